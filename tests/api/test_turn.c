/* Whose turn it is: calls from callbacks, from two threads, ballast_cancel, a fork; and what is one for the
 * whole process. */
#include "studio.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

/* libgomp's own, as a program that computes with it calls them. */
void omp_set_num_threads(int n);
int omp_get_max_threads(void);

static uint64_t sum_of(const ballast_image *image) {
    uint64_t sum = 0;
    for (int i = 0; i < 3 * image->width * image->height; i++) {
        sum = sum * 31 + image->rgb[i];
    }
    return sum;
}

static int take_sum(void *payload, const ballast_image *image) {
    *(uint64_t *)payload = sum_of(image);
    return 0;
}

/* A picture of the plain request. */
static uint64_t picture(ballast_model *model) {
    ballast_error err = {0};
    uint64_t sum = 0;
    ballast_generate_options o = studio_request();
    o.image = take_sum;
    o.payload = &sum;
    if (ballast_generate(NULL, model, &o, &err)) {
        fail_msg("%s", err.message);
    }
    return sum;
}

/* ---- callbacks that call back */

typedef struct caller {
    studio *s;
    int at; /* in which callback */
    int tried;
    uint64_t sum;
} caller;

enum { IN_PROGRESS, IN_IMAGE, IN_PREVIEW, IN_LATENTS, IN_LOG, CALLBACKS };

static void expect_busy(int code, const ballast_error *err) {
    assert_int_equal(code, BALLAST_E_BUSY);
    EXPECT_SAYS(err, "ballast_", "callback", "return from it first");
}

/* Everything that needs the context is refused, and nothing is closed. */
static void try_all(caller *c) {
    studio *s = c->s;
    ballast_error err = {0};
    char *text = "", *more = "";
    ballast_model *model = s->model, *other = s->model;
    ballast_context *context = s->context;
    ballast_generate_options o = studio_request();
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    mo.path = "model";
    c->tried++;
    expect_busy(ballast_generate(&text, s->model, &o, &err), &err);
    assert_null(text);
    expect_busy(ballast_plan(&text, &more, s->model, &o, NULL, &err), &err);
    assert_null(more);
    expect_busy(ballast_calibrate(s->model, &o, &err), &err);
    expect_busy(ballast_model_inspect(&text, s->model, SIDE, SIDE, &err), &err);
    expect_busy(ballast_model_open(&other, s->context, &mo, &err), &err);
    assert_null(other);
    bl_test_write("in", "", 0);
    expect_busy(ballast_eval(s->model, "unet", "in", "out", 0, &err), &err);
    assert_int_equal(ballast_model_close(&model), BALLAST_E_BUSY);
    assert_int_equal(ballast_context_close(&context), BALLAST_E_BUSY);
    assert_ptr_equal(model, s->model);
    assert_ptr_equal(context, s->context);
}

static int on_progress(void *payload, const ballast_progress *progress) {
    caller *c = payload;
    assert_int_equal(progress->struct_size, sizeof *progress);
    if (c->at == IN_PROGRESS && c->tried < 40) { /* at stages, after steps and between blocks */
        try_all(c);
    }
    return 0;
}

static int on_image(void *payload, const ballast_image *image) {
    caller *c = payload;
    assert_int_equal(image->struct_size, sizeof *image);
    c->sum = sum_of(image);
    if (c->at == IN_IMAGE) {
        try_all(c);
    }
    return 0;
}

static int on_preview(void *payload, const ballast_image *image) {
    caller *c = payload;
    assert_int_equal(image->struct_size, sizeof *image);
    if (c->at == IN_PREVIEW) {
        try_all(c);
    }
    return 0;
}

static int on_latents(void *payload, const ballast_latents *latents) {
    caller *c = payload;
    assert_int_equal(latents->struct_size, sizeof *latents);
    if (c->at == IN_LATENTS) {
        try_all(c);
    }
    return 0;
}

static void on_log(void *payload, int level, const char *line) {
    caller *c = payload;
    (void)level;
    if (c->at == IN_LOG && !c->tried && !strstr(line, "callback")) { /* closing logs, too */
        try_all(c);
    }
}

static void test_callbacks(void **state) {
    studio s = {0};
    caller c = {.s = &s};
    ballast_error err = {0};
    (void)state;
    ballast_context_options co = studio_options(&s);
    co.log = on_log;
    co.log_payload = &c;
    assert_int_equal(ballast_context_open(&s.context, &co, &err), 0);
    studio_open_model(&s.model, s.context);
    uint64_t wanted = picture(s.model);
    for (int at = 0; at < CALLBACKS; at++) {
        c = (caller){.s = &s, .at = at};
        ballast_generate_options o = studio_request();
        o.progress = on_progress;
        o.image = on_image;
        o.preview = on_preview;
        o.save_latents = on_latents;
        o.payload = &c;
        if (ballast_generate(NULL, s.model, &o, &err)) {
            fail_msg("callback %d: %s", at, err.message);
        }
        assert_true(c.tried > 0);
        assert_true(c.sum == wanted);
    }
    c.at = CALLBACKS;
    studio_close(&s);
}

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

/* Another context is another matter: a callback may open one and use it. */
static int use_other(void *payload, const ballast_image *image) {
    uint64_t *sums = payload;
    studio other;
    sums[0] = sum_of(image);
    studio_open(&other);
    sums[1] = picture(other.model);
    studio_close(&other);
    return 0;
}

static void test_other_context_in_callback(void **state) {
    studio s;
    uint64_t sums[2] = {0};
    ballast_error err = {0};
    (void)state;
    studio_open(&s);
    ballast_generate_options o = studio_request();
    o.count = 2;
    o.image = use_other;
    o.payload = sums;
    if (ballast_generate(NULL, s.model, &o, &err)) {
        fail_msg("%s", err.message);
    }
    uint64_t first = picture(s.model);
    assert_true(sums[1] == first);
    o.count = 1;
    o.seed++;
    if (ballast_generate(NULL, s.model, &o, &err)) {
        fail_msg("%s", err.message);
    }
    assert_true(sums[1] == first);
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
    m->sum = picture(m->s.model);
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
    uint64_t wanted = picture(m.s.model);
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
        sums[i] = picture(s.model);
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
    uint64_t wanted = picture(s.model);
    assert_int_equal(pthread_create(&thread, NULL, work_alone, there), 0);
    work_alone(here);
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++) {
        assert_true(here[i] == wanted && there[i] == wanted);
    }
    studio_close(&s);
}

/* The calling thread's own number of OpenMP threads is what it was. */
static void test_threads_of_the_program(void **state) {
    studio s;
    (void)state;
    omp_set_num_threads(3);
    studio_open(&s);
    assert_int_equal(omp_get_max_threads(), 3);
    picture(s.model);
    assert_int_equal(omp_get_max_threads(), 3);
    studio_close(&s);
    assert_int_equal(omp_get_max_threads(), 3);
    omp_set_num_threads(1);
}

/* ---- ballast_cancel */

static int cancel_in_vain(void *payload, const ballast_progress *progress) {
    studio *s = payload;
    (void)progress;
    assert_int_equal(ballast_cancel(s->model), 0);
    return 0;
}

static int cancel_here(void *payload, const ballast_progress *progress) {
    studio *s = payload;
    if (progress->step == 1) {
        assert_int_equal(ballast_cancel(s->model), 1);
        assert_int_equal(ballast_cancel(s->model), 1); /* it still is at work */
    }
    return 0;
}

static int count_pictures(void *payload, const ballast_image *image) {
    (void)image;
    ++*(int *)payload;
    return 0;
}

static void test_cancel(void **state) {
    studio s;
    ballast_model *second;
    ballast_error err = {0};
    char *report = NULL;
    int pictures = 0;
    (void)state;
    studio_open(&s);
    studio_open_model(&second, s.context);
    ballast_generate_options o = studio_request();
    o.progress = cancel_here;
    o.payload = &s;
    assert_int_equal(ballast_generate(&report, s.model, &o, &err), BALLAST_E_CANCELLED);
    assert_null(report);
    EXPECT_SAYS(&err, "stopped");
    assert_int_equal(ballast_calibrate(s.model, &o, &err), BALLAST_E_CANCELLED);
    /* another model's call goes on */
    o.progress = cancel_in_vain;
    assert_int_equal(ballast_generate(NULL, second, &o, &err), 0);
    /* none is at work: nothing is stopped, later neither */
    assert_int_equal(ballast_cancel(s.model), 0);
    o.progress = NULL;
    o.image = count_pictures;
    o.payload = &pictures;
    assert_int_equal(ballast_generate(NULL, s.model, &o, &err), 0);
    assert_int_equal(pictures, 1);
    assert_int_equal(ballast_model_close(&second), 0);
    studio_close(&s);
}

static void *cancel_once(void *payload) {
    while (!ballast_cancel(payload)) {
        usleep(200);
    }
    return NULL;
}

/* From another thread, whatever the call: a thousand plans, a thousand pictures. */
static void test_cancel_from_another_thread(void **state) {
    studio s;
    ballast_error err = {0};
    ballast_plan_options po;
    pthread_t thread;
    (void)state;
    studio_open(&s);
    ballast_generate_options o = studio_request();
    ballast_plan_options_init(&po, sizeof po);
    po.sweep = "10M:100M:1000";
    assert_int_equal(pthread_create(&thread, NULL, cancel_once, s.model), 0);
    assert_int_equal(ballast_plan(NULL, NULL, s.model, &o, &po, &err), BALLAST_E_CANCELLED);
    pthread_join(thread, NULL);
    o.count = 1000;
    assert_int_equal(pthread_create(&thread, NULL, cancel_once, s.model), 0);
    assert_int_equal(ballast_generate(NULL, s.model, &o, &err), BALLAST_E_CANCELLED);
    pthread_join(thread, NULL);
    studio_close(&s);
}

typedef struct hammer {
    ballast_model *model;
    atomic_bool enough;
} hammer;

static void *cancel_always(void *payload) {
    hammer *h = payload;
    for (unsigned i = 0; !atomic_load(&h->enough); i++) {
        ballast_cancel(h->model);
        usleep(i * 7919 % 3000);
    }
    return NULL;
}

/* A call that is stopped says so, and nothing else comes of it; the ones after the last blow are whole. */
static void test_cancel_at_any_moment(void **state) {
    studio s;
    hammer h = {0};
    ballast_error err = {0};
    pthread_t thread;
    int stopped = 0;
    (void)state;
    studio_open(&s);
    uint64_t wanted = picture(s.model);
    h.model = s.model;
    ballast_generate_options o = studio_request();
    o.steps = 1;
    assert_int_equal(pthread_create(&thread, NULL, cancel_always, &h), 0);
    for (int i = 0; i < 60; i++) {
        int code = ballast_generate(NULL, s.model, &o, &err);
        if (code && code != BALLAST_E_CANCELLED) {
            fail_msg("%s", err.message);
        }
        stopped += code != 0;
    }
    atomic_store(&h.enough, true);
    pthread_join(thread, NULL);
    assert_true(stopped > 0);
    assert_true(picture(s.model) == wanted);
    studio_close(&s);
}

/* ---- one for the whole process */

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
    uint64_t wanted = picture(s.model);
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
            right = picture(own.model) == wanted;
        }
        _exit(right ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(picture(s.model) == wanted); /* the parent goes on */
    studio_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_closing_out_of_turn),
        cmocka_unit_test(test_other_context_in_callback),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_two_contexts),
        cmocka_unit_test(test_threads_of_the_program),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_from_another_thread),
        cmocka_unit_test(test_cancel_at_any_moment),
        cmocka_unit_test(test_isa),
        cmocka_unit_test(test_number_of_threads),
        cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests_name("api.turn", tests, rig_open, rig_close);
}
