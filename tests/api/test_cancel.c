/* ballast_cancel: from a callback, from another thread, at any moment. */
#include "studio.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

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
    uint64_t wanted = studio_picture(s.model);
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
    assert_true(studio_picture(s.model) == wanted);
    studio_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_from_another_thread),
        cmocka_unit_test(test_cancel_at_any_moment),
    };
    return cmocka_run_group_tests_name("api.cancel", tests, rig_open, rig_close);
}
