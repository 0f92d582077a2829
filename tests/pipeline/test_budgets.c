/* Every budget that a refusal, a report or a hint names is one that works: set as it is said, everything else
 * as it was. */
#include "rig.h"

#include "support/slow.h"

#include <jansson.h>

#define TOO_SMALL "300K"

typedef struct wish {
    const char *what;
    int width, height, batch;
    double cfg, hires_scale;
    const char *hires_upscaler, *tiled, *reserve, *prompt;
} wish;

static const char *const modes[] = {"auto", "none", "model", "sequential", "balanced"};

#define LONG "a BREAK b BREAK c BREAK d BREAK e BREAK f BREAK g BREAK h BREAK i BREAK j"

static const wish wishes[] = {
    {"plain", 64, 64, 1, 1, 0, "Latent", "off", NULL, "a fox"},
    {"a reserve", 64, 64, 1, 1, 0, "Latent", "off", "7M", "a fox"},
    {"guided, large", 256, 192, 1, 5, 0, "Latent", "off", NULL, "a fox"},
    {"a second pass", 64, 64, 1, 1, 1.5, "Lanczos", "off", "1M", "a fox"},
    {"tiles allowed", 512, 512, 1, 1, 0, "Latent", "auto", NULL, "a fox"},
    {"tiles would help", 512, 512, 1, 1, 0, "Latent", "off", "3M", "a fox"},
    {"tiles", 512, 512, 1, 1, 0, "Latent", "on", "3M", "a fox"},
    {"much text", 64, 64, 4, 4, 0, "Latent", "off", NULL, LONG},
};

static rig_studio studio;
static int refused;

static ballast_generate_options request(rig_pictures *p, const wish *w, const char *mode) {
    ballast_generate_options o = rig_request(p, 64);
    o.width = w->width;
    o.height = w->height;
    o.batch = w->batch;
    o.cfg = w->cfg;
    o.hires_scale = w->hires_scale;
    o.hires_upscaler = w->hires_upscaler;
    o.tiled_decode = w->tiled;
    o.reserve = w->reserve;
    o.prompt = o.negative_prompt = w->prompt;
    o.offload = mode;
    o.steps = 1;
    return o;
}

static int planned(const ballast_generate_options *o, ballast_error *err) {
    return ballast_plan(NULL, NULL, studio.model, o, NULL, err);
}

static void expect_works(const ballast_generate_options *o, uint64_t budget, const char *what,
                         const char *said) {
    ballast_generate_options with = *o;
    ballast_error err = {0};
    rig_size size = rig_bytes(budget);
    with.budget = size.text;
    if (planned(&with, &err)) {
        fail_msg("%s, %s: said \"%s\"; with %s: %s", what, o->offload, said, size.text, err.message);
    }
}

/* The number before this word, the first behind `from`; 0: there is none. */
static uint64_t number_before(const char *from, const char *word) {
    const char *end = from ? strstr(from, word) : NULL;
    while (end && end > from && end[-1] >= '0' && end[-1] <= '9') {
        end--;
    }
    return end ? strtoull(end, NULL, 10) : 0;
}

/* Both of what is only planned and of what is to run, which prepares fewer arena levels. */
static void expect_named_work(const wish *w, const char *mode, bool run) {
    rig_pictures none = {0};
    ballast_generate_options o = request(&none, w, mode), with = o;
    ballast_error err = {0};
    with.budget = w->reserve ? "8M" : TOO_SMALL;
    int result = run ? ballast_generate(NULL, studio.model, &with, &err) : planned(&with, &err);
    rig_release(&none);
    if (!result) {
        return;
    }
    if (result != BALLAST_E_BUDGET) {
        fail_msg("%s, %s: %s", w->what, mode, err.message);
    }
    refused++;
    uint64_t least = number_before(strstr(err.message, "smallest that works is "), " bytes");
    assert_true(least > 0);
    expect_works(&o, least, w->what, err.message);
    uint64_t instead = number_before(strstr(err.message, "with --offload auto "), " bytes");
    if (instead) {
        with = o;
        with.offload = "auto";
        expect_works(&with, instead, w->what, err.message);
    }
    uint64_t tiled = number_before(strstr(err.message, "changes the picture slightly, needs "), " bytes");
    if (tiled) {
        with = o;
        with.tiled_decode = "auto";
        expect_works(&with, tiled, w->what, err.message);
    }
}

static void refusals(void **state) {
    (void)state;
    size_t stride = bl_test_slow() ? 2 : 1;
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i += stride) {
        for (size_t k = 0; k < sizeof modes / sizeof *modes; k++) {
            expect_named_work(&wishes[i], modes[k], true);
            expect_named_work(&wishes[i], modes[k], false);
        }
    }
    assert_int_equal(refused, 2 * sizeof wishes / sizeof *wishes / stride * (sizeof modes / sizeof *modes));
}

/* Pictures are made with it; and where it is the least of all that could be prepared, none with a byte less.
 */
static void expect_generates(const wish *w, uint64_t budget, bool least) {
    rig_size size = rig_bytes(budget), below = rig_bytes(budget - 1);
    rig_pictures p = {0};
    ballast_error err = {0};
    ballast_generate_options o = request(&p, w, "auto");
    o.reserve = NULL;
    o.budget = size.text;
    json_t *report = rig_generate(&studio, &o);
    assert_true(rig_figure(report, 0, "plan", "peak_bytes") <= budget);
    assert_true(rig_figure(report, 0, "plan", "min_budget_bytes") <= budget);
    assert_int_equal(p.count, w->batch);
    if (least) {
        assert_true(rig_figure(report, 0, "plan", "min_budget_bytes") == budget);
        o.budget = below.text;
        assert_int_equal(ballast_generate(NULL, studio.model, &o, &err), BALLAST_E_BUDGET);
        assert_true(number_before(strstr(err.message, "smallest that works is "), " bytes") == budget);
        assert_int_equal(p.count, w->batch);
    }
    json_decref(report);
    rig_release(&p);
}

/* What a report calls the smallest budget works, also where few arena levels were prepared. */
static void reports(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i += bl_test_slow() ? 2 : 1) {
        rig_pictures p = {0};
        ballast_generate_options o = request(&p, &wishes[i], "auto");
        json_t *report = rig_generate(&studio, &o);
        uint64_t least = rig_figure(report, 0, "plan", "min_budget_bytes");
        json_decref(report);
        rig_release(&p);
        o.reserve = NULL;
        expect_works(&o, least, wishes[i].what, "min_budget_bytes");
        if (wishes[i].width == 64 && wishes[i].batch == 1) {
            expect_generates(&wishes[i], least, false);
        }
        least = rig_planned(&studio, &o, "min_budget_bytes");
        if (wishes[i].width == 64 && wishes[i].batch == 1) {
            expect_generates(&wishes[i], least, true);
        }
        expect_works(&o, least, wishes[i].what, "min_budget_bytes of a plan");
        rig_size below = rig_bytes(least - 1);
        ballast_error err = {0};
        o.budget = below.text;
        assert_int_equal(planned(&o, &err), BALLAST_E_BUDGET);
    }
}

static int open_studio(void **state) {
    (void)state;
    rig_open_small(&studio);
    return 0;
}

static int close_studio(void **state) {
    (void)state;
    rig_close(&studio);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals),
        cmocka_unit_test(reports),
    };
    return cmocka_run_group_tests(tests, open_studio, close_studio);
}
