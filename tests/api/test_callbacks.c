/* Calls from callbacks: refused within the same context, and welcome in another. */
#include "studio.h"

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
    c->sum = studio_sum_of(image);
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
    uint64_t wanted = studio_picture(s.model);
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

/* Another context is another matter: a callback may open one and use it. */
static int use_other(void *payload, const ballast_image *image) {
    uint64_t *sums = payload;
    studio other;
    sums[0] = studio_sum_of(image);
    studio_open(&other);
    sums[1] = studio_picture(other.model);
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
    uint64_t first = studio_picture(s.model);
    assert_true(sums[1] == first);
    o.count = 1;
    o.seed++;
    if (ballast_generate(NULL, s.model, &o, &err)) {
        fail_msg("%s", err.message);
    }
    assert_true(sums[1] == first);
    studio_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_other_context_in_callback),
    };
    return cmocka_run_group_tests_name("api.callbacks", tests, rig_open, rig_close);
}
