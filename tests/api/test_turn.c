/* Whose turn it is: models that are still open, calls from two threads, a context for each. */
#include "studio.h"

#include <pthread.h>
#include <semaphore.h>

/* The sentence is in the log where there is nowhere else for it. */
static void test_closing_out_of_turn(void **state) {
    studio s;
    ballast_model *second;
    (void)state;
    studio_open(&s);
    studio_open_model(&second, s.context);
    assert_int_equal(ballast_context_close(&s.context), BALLAST_E_BUSY);
    assert_non_null(s.context);
    expect_contains(s.log, "2 of its models are still open");
    assert_int_equal(ballast_model_close(&second), 0);
    assert_int_equal(ballast_context_close(&s.context), BALLAST_E_BUSY);
    expect_contains(s.log, "1 of its models is still open");
    studio_close(&s);
}

/* ---- two threads */

typedef struct meeting {
    studio s;
    sem_t begun, go_on;
    bool met;
    int code;
    uint64_t sum;
    ballast_error err;
} meeting;

static int wait_for_the_other(void *payload, const ballast_progress *progress) {
    meeting *m = payload;
    (void)progress;
    if (!m->met) {
        m->met = true;
        sem_post(&m->begun);
        sem_wait(&m->go_on);
    }
    return 0;
}

static void *generate_slowly(void *payload) {
    meeting *m = payload;
    ballast_generate_options o = studio_request();
    o.progress = wait_for_the_other;
    o.payload = m;
    m->code = ballast_generate(NULL, m->s.model, &o, &m->err);
    return NULL;
}

static void *make_picture(void *payload) {
    meeting *m = payload;
    m->sum = studio_picture(m->s.model);
    return NULL;
}

static void test_two_threads(void **state) {
    meeting m = {0};
    pthread_t thread;
    ballast_error err = {0};
    (void)state;
    sem_init(&m.begun, 0, 0);
    sem_init(&m.go_on, 0, 0);
    studio_open(&m.s);
    ballast_generate_options o = studio_request();
    assert_int_equal(pthread_create(&thread, NULL, generate_slowly, &m), 0);
    sem_wait(&m.begun);
    assert_int_equal(ballast_generate(NULL, m.s.model, &o, &err), BALLAST_E_BUSY);
    EXPECT_SAYS(&err, "ballast_generate", "another thread", "one at a time");
    char *text;
    assert_int_equal(ballast_model_residency(&text, m.s.model, &err), BALLAST_E_BUSY);
    assert_null(text);
    assert_int_equal(ballast_model_close(&m.s.model), BALLAST_E_BUSY);
    expect_contains(m.s.log, "another thread");
    sem_post(&m.go_on);
    pthread_join(thread, NULL);
    assert_int_equal(m.code, 0);

    /* then it is anybody's turn, and the picture is the same in whatever thread */
    uint64_t wanted = studio_picture(m.s.model);
    assert_int_equal(pthread_create(&thread, NULL, make_picture, &m), 0);
    pthread_join(thread, NULL);
    assert_true(m.sum == wanted);
    studio_close(&m.s);
    sem_destroy(&m.begun);
    sem_destroy(&m.go_on);
}

/* A context for each of two threads: both work at once, and their pictures are the same as ever. */
static void *work_alone(void *payload) {
    uint64_t *sums = payload;
    studio s;
    studio_open(&s);
    for (int i = 0; i < 3; i++) {
        sums[i] = studio_picture(s.model);
    }
    studio_close(&s);
    return NULL;
}

static void test_two_contexts(void **state) {
    uint64_t here[3], there[3];
    pthread_t thread;
    studio s;
    (void)state;
    studio_open(&s);
    uint64_t wanted = studio_picture(s.model);
    assert_int_equal(pthread_create(&thread, NULL, work_alone, there), 0);
    work_alone(here);
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++) {
        assert_true(here[i] == wanted && there[i] == wanted);
    }
    studio_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closing_out_of_turn),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_two_contexts),
    };
    return cmocka_run_group_tests_name("api.turn", tests, rig_open, rig_close);
}
