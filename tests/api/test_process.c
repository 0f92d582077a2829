/* What is one for the whole process: the instruction set, OpenMP's threads; and a child of fork. */
#include "studio.h"

#include <sys/wait.h>
#include <unistd.h>

/* libgomp's own, as a program that computes with it calls them. */
void omp_set_num_threads(int n);
int omp_get_max_threads(void);

/* The calling thread's own number of OpenMP threads is what it was. */
static void test_threads_of_the_program(void **state) {
    studio s;
    (void)state;
    omp_set_num_threads(3);
    studio_open(&s);
    assert_int_equal(omp_get_max_threads(), 3);
    studio_picture(s.model);
    assert_int_equal(omp_get_max_threads(), 3);
    studio_close(&s);
    assert_int_equal(omp_get_max_threads(), 3);
    omp_set_num_threads(1);
}

static void test_isa(void **state) {
    studio s;
    ballast_context *c;
    ballast_error err = {0};
    char card[BL_TEST_PATH];
    (void)state;
    studio_open(&s); /* with "auto" */
    ballast_context_options o = studio_options(&s);
    o.isa = "plain";
    assert_int_equal(ballast_context_open(&c, &o, &err), BALLAST_E_ARGUMENT);
    assert_null(c);
    EXPECT_SAYS(&err, "isa: \"plain\"", "\"auto\"", "process");
    snprintf(card, sizeof card, "sim:%s/share/devices/rtx4090.json", SOURCE_FOLDER);
    o.device = card; /* computes nothing */
    assert_int_equal(ballast_context_open(&c, &o, &err), 0);
    assert_int_equal(ballast_context_close(&c), 0);
    o = studio_options(&s);
    assert_int_equal(ballast_context_open(&c, &o, &err), 0);
    assert_int_equal(ballast_context_close(&c), 0);
    studio_close(&s);
}

static void test_number_of_threads(void **state) {
    studio s = {0};
    ballast_context *c;
    ballast_error err = {0};
    int processors = (int)sysconf(_SC_NPROCESSORS_CONF);
    const int refused[] = {-1, 1024, processors > 256 ? processors + 1 : 257};
    (void)state;
    ballast_context_options o = studio_options(&s);
    for (int i = 0; i < 3; i++) {
        o.threads = refused[i];
        assert_int_equal(ballast_context_open(&c, &o, &err), BALLAST_E_ARGUMENT);
        EXPECT_SAYS(&err, "threads: ", "is not between 0 and");
    }
    assert_string_equal(s.log, "");
    o.threads = processors > 256 ? processors : processors + 1; /* more than there are: said */
    assert_int_equal(ballast_context_open(&c, &o, &err), 0);
    if (processors <= 256) {
        expect_contains(s.log, "take turns on");
    }
    assert_int_equal(ballast_context_close(&c), 0);
}

/* A child of fork has none of its parent's contexts; one of its own works. Two threads: it has none of its
 * parent's, either. */
static void test_fork(void **state) {
    studio s = {0}, own = {0};
    ballast_error err = {0};
    int status;
    (void)state;
    ballast_context_options o = studio_options(&s);
    o.threads = 2;
    assert_int_equal(ballast_context_open(&s.context, &o, &err), 0);
    studio_open_model(&s.model, s.context);
    uint64_t wanted = studio_picture(s.model);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        char *text;
        alarm(60); /* instead of hanging */
        bool right = ballast_model_inspect(&text, s.model, 0, 0, &err) == BALLAST_E_ARGUMENT &&
                     strstr(err.message, "fork") && ballast_model_close(&s.model) == BALLAST_E_ARGUMENT;
        o = studio_options(&own);
        o.threads = 2;
        right = right && !ballast_context_open(&own.context, &o, &err);
        if (right) {
            studio_open_model(&own.model, own.context);
            right = studio_picture(own.model) == wanted;
        }
        _exit(right ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(studio_picture(s.model) == wanted); /* the parent goes on */
    studio_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_of_the_program),
        cmocka_unit_test(test_isa),
        cmocka_unit_test(test_number_of_threads),
        cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests_name("api.process", tests, rig_open, rig_close);
}
