/* Pictures that are enough before all of their steps are made, and pictures with seeds of their own. */
#include "studio.h"

#include "support/slow.h"

#include <jansson.h>
#include <stdbool.h>

#define MOST 6
#define STEPS 6

/* What is asked for, and what comes. */
typedef struct scene {
    int at[MOST]; /* the step after which a picture is enough; 0: never; -1: before it begins */
    int step;     /* of the batch in work; 0: none */
    int steps, second_steps;
    uint64_t sums[MOST]; /* of the pictures that came; 0: none */
    int count;
} scene;

static int on_progress(void *payload, const ballast_progress *p) {
    scene *s = payload;
    bool second = !strcmp(p->stage, "hires");
    s->step = !strcmp(p->stage, "denoise") || second ? p->step : 0;
    int *most = second ? &s->second_steps : &s->steps;
    *most = s->step > *most ? s->step : *most;
    return 0;
}

static int on_enough(void *payload, int index) {
    const scene *s = payload;
    return s->at[index] < 0 || (s->at[index] && s->step >= s->at[index]);
}

static int on_image(void *payload, const ballast_image *image) {
    scene *s = payload;
    assert_true(image->index < MOST);
    s->sums[image->index] = studio_sum_of(image);
    s->count++;
    s->step = 0;
    return 0;
}

static ballast_generate_options request(scene *s) {
    ballast_generate_options o = studio_request();
    o.steps = STEPS;
    o.sampler = "Euler a";
    o.progress = on_progress;
    o.image = on_image;
    o.enough = on_enough;
    o.payload = s;
    return o;
}

/* A figure of a batch of the report: "ledger", "moved_bytes". */
static long figure(json_t *report, size_t batch, const char *part, const char *name) {
    json_t *b = json_array_get(json_object_get(report, "batches"), batch);
    json_t *v = json_object_get(part ? json_object_get(b, part) : b, name);
    assert_true(json_is_integer(v));
    return (long)json_integer_value(v);
}

static json_t *make(studio *st, const ballast_generate_options *o) {
    char *text = NULL;
    ballast_error err = {0};
    if (ballast_generate(&text, st->model, o, &err)) {
        fail_msg("%s", err.message);
    }
    json_t *report = json_loads(text, 0, NULL);
    assert_non_null(report);
    ballast_string_free(&text);
    return report;
}

/* The steps that are left are not made, the picture is decoded, and things lie as if all had been: in every
 * mode the next picture has its bits, and its ledger is its plan's. */
static void test_one(void **state) {
    static const char *const modes[] = {"auto", "sequential", "model", "balanced", "none"};
    studio st;
    uint64_t whole = 0, part = 0;
    (void)state;
    studio_open(&st);
    for (size_t m = 0; m < (bl_test_slow() ? 2 : sizeof modes / sizeof *modes); m++) {
        scene s = {.at = {2}};
        ballast_generate_options o = request(&s);
        o.offload = modes[m];
        json_t *report = make(&st, &o);
        assert_int_equal(s.count, 1);
        assert_int_equal(s.steps, 2);
        assert_int_equal(figure(report, 0, NULL, "left_out"), STEPS - 2);
        assert_true(figure(report, 0, "ledger", "moved_bytes") <= figure(report, 0, "plan", "moved_bytes"));
        if (!strcmp(modes[m], "sequential")) {
            assert_true(2 * figure(report, 0, "ledger", "moved_bytes") <
                        figure(report, 0, "plan", "moved_bytes"));
        }
        json_decref(report);
        part = part ? part : s.sums[0];
        assert_true(s.sums[0] == part);
        for (int i = 0; i < 2; i++) {
            s = (scene){0};
            report = make(&st, &o);
            whole = whole ? whole : s.sums[0];
            assert_true(s.sums[0] == whole);
            assert_true(whole != part);
            assert_int_equal(figure(report, 0, NULL, "left_out"), 0);
            assert_int_equal(figure(report, 0, "ledger", "moved_bytes"),
                             figure(report, 0, "plan", "moved_bytes"));
            json_decref(report);
        }
    }
    studio_close(&st);
}

/* The half-done picture is what the step predicted: after the first of two what a single one ends with. */
static void test_it_is_the_prediction(void **state) {
    studio st;
    scene one = {0}, part = {.at = {1}};
    (void)state;
    studio_open(&st);
    ballast_generate_options o = request(&one);
    o.sampler = "Euler";
    o.schedule = "karras";
    o.steps = 1;
    json_decref(make(&st, &o));
    o.payload = &part;
    o.steps = 2;
    json_decref(make(&st, &o));
    assert_int_equal(part.steps, 1);
    assert_true(part.sums[0] == one.sums[0]);
    studio_close(&st);
}

/* One of a batch is enough; the other one has the bits that it has without. */
static void test_one_of_two(void **state) {
    studio st;
    (void)state;
    studio_open(&st);
    for (int second = 0; second < 2; second++) {
        scene both = {0}, one = {.at = {2}};
        ballast_generate_options o = request(&both);
        o.batch = 2;
        o.hires_scale = second ? 1.5 : 0;
        json_decref(make(&st, &o));
        o.payload = &one;
        json_t *report = make(&st, &o);
        assert_int_equal(figure(report, 0, NULL, "left_out"), 0);
        json_decref(report);
        assert_int_equal(one.steps, STEPS);
        assert_true(one.sums[1] == both.sums[1]);
        assert_true(one.sums[0] && one.sums[0] != both.sums[0]);
    }
    studio_close(&st);
}

/* In two passes: the first is cut short, the second left out, the picture has the size that it would have. */
static void test_two_passes(void **state) {
    static const char *const upscalers[] = {"latent", "lanczos"};
    static const char *const modes[] = {"auto", "sequential"};
    studio st;
    (void)state;
    studio_open(&st);
    for (int i = 0; i < 4; i++) {
        scene s = {0}, cut = {.at = {2}};
        ballast_generate_options o = request(&s);
        o.offload = modes[i / 2];
        o.hires_scale = 1.5;
        o.hires_strength = 1;
        o.hires_upscaler = upscalers[i % 2];
        json_decref(make(&st, &o));
        assert_int_equal(s.second_steps, STEPS);
        o.payload = &cut;
        json_t *report = make(&st, &o);
        assert_int_equal(json_integer_value(json_object_get(report, "width")), SIDE * 3 / 2);
        json_decref(report);
        assert_int_equal(cut.steps, 2);
        assert_int_equal(cut.second_steps, 0);
        assert_int_equal(cut.count, 1);
        uint64_t wanted = s.sums[0];
        o.payload = &s;
        s.sums[0] = 0;
        json_decref(make(&st, &o));
        assert_true(s.sums[0] == wanted);
    }
    studio_close(&st);
}

/* One picture of three ends early; one is not begun; the report counts those that came. */
static void test_batches(void **state) {
    studio st;
    scene all = {0}, some = {.at = {0, 3, 0}}, fewer = {.at = {0, -1, 0}}, none = {.at = {-1, -1, -1}};
    (void)state;
    studio_open(&st);
    ballast_generate_options o = request(&all);
    o.count = 3;
    json_decref(make(&st, &o));
    o.payload = &some;
    json_decref(make(&st, &o));
    assert_int_equal(some.count, 3);
    assert_true(some.sums[0] == all.sums[0] && some.sums[2] == all.sums[2] && some.sums[1] != all.sums[1]);
    o.payload = &fewer;
    json_t *report = make(&st, &o);
    assert_int_equal(json_integer_value(json_object_get(report, "images")), 2);
    json_decref(report);
    assert_true(fewer.sums[0] == all.sums[0] && !fewer.sums[1] && fewer.sums[2] == all.sums[2]);
    o.payload = &none;
    report = make(&st, &o);
    assert_int_equal(json_integer_value(json_object_get(report, "images")), 0);
    json_decref(report);
    studio_close(&st);
}

static void test_seeds(void **state) {
    static const uint64_t seeds[4] = {99, 7, UINT64_MAX, 7};
    studio st;
    scene together = {0};
    ballast_error err = {0};
    (void)state;
    studio_open(&st);
    ballast_generate_options o = request(&together);
    o.batch = o.count = 2;
    o.seeds = seeds;
    o.seed_count = 4;
    json_decref(make(&st, &o));
    assert_int_equal(together.count, 4);
    for (int i = 0; i < 4; i++) {
        scene alone = {0};
        ballast_generate_options one = request(&alone);
        one.seed = seeds[i];
        json_decref(make(&st, &one));
        assert_true(alone.sums[0] == together.sums[i]);
    }
    o.seed_count = 3;
    assert_int_equal(ballast_generate(NULL, st.model, &o, &err), BALLAST_E_ARGUMENT);
    EXPECT_SAYS(&err, "seeds", "3", "4");
    studio_close(&st);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),        cmocka_unit_test(test_it_is_the_prediction),
        cmocka_unit_test(test_one_of_two), cmocka_unit_test(test_two_passes),
        cmocka_unit_test(test_batches),    cmocka_unit_test(test_seeds),
    };
    return cmocka_run_group_tests_name("api.enough", tests, rig_open, rig_close);
}
