/* How much of a picture tuning changes: nothing by what leaves bits alone, little by what does not; and what
 * the other type is. */
#include "pipeline/rig.h"

#include <jansson.h>
#include <math.h>

#include "api/api.h"
#include "residency/run/tuned.h"
#include "tune/pictures.h"

#define SIDE 64

static rig_studio studio;
static const bl_tune_until for_ever = {1e12, 1e12};

/* What a second of tuning says, with the names of the phases. */
static json_t *tune(const ballast_generate_options *o) {
    ballast_error err = {0};
    ballast_tune_options to;
    char *text = NULL;
    ballast_tune_options_init(&to, sizeof to);
    to.seconds = 1;
    to.bits = "any";
    assert_int_equal(ballast_tune(&text, NULL, studio.model, o, &to, &err), 0);
    json_t *tuned = json_loads(text, 0, NULL);
    ballast_string_free(&text);
    assert_int_equal(ballast_tuned_forget(NULL, studio.context, studio.model, &err), 0);
    return tuned;
}

/* Keeps these choices for all of the phases. */
static void choose(const json_t *tuned, const char *choices) {
    ballast_error err = {0};
    int count = 0;
    json_t *phase, *list = json_array();
    size_t i;
    json_array_foreach(json_object_get(tuned, "phases"), i, phase) {
        json_object_set_new(phase, "choices", json_string(choices));
        json_object_set_new(phase, "untuned_seconds", json_real(1));
        json_object_set_new(phase, "seconds", json_real(0.5));
        json_array_append(list, phase);
    }
    json_t *root = json_pack("{s:i, s:o}", "ballast_tuned", 1, "entries", list);
    char *text = json_dumps(root, 0);
    if (ballast_tuned_import(&count, studio.context, text, &err)) {
        fail_msg("%s", err.message);
    }
    assert_true(count >= 2); /* denoiser and decoder */
    free(text);
    json_decref(root);
}

static double difference(const ballast_generate_options *o) {
    bl_pipeline p = bl_pipeline_of(studio.model);
    ballast_generate_options own = *o;
    bl_error err = {0};
    own.offload = "auto";
    own.fit_check = 1;
    bl_pipeline without = p;
    without.untuned = true;
    bl_tune_pictures made;
    assert_int_equal(bl_tune_pictures_make(&made, &without, &p, &own, 0, for_ever, &err), 0);
    assert_true(made.seconds > 0 && made.other > 0 && made.pairs == 0 && made.low == 0);
    return made.psnr;
}

/* Pictures that tuning makes are no runs that judge what was tuned. */
static void check_runs(void) {
    bl_pipeline p = bl_pipeline_of(studio.model);
    bl_error err = {0};
    bl_tuned *list;
    int count;
    assert_int_equal(
        bl_tuned_list(&list, &count, bl_memory_calibration(bl_modules_given(p.modules)->memory), &err), 0);
    assert_true(count >= 2);
    for (int i = 0; i < count; i++) {
        assert_int_equal(list[i].runs, 0);
    }
    free(list);
}

/* Tuned is the very request, with its second pass. */
static void check_second_pass(ballast_generate_options o) {
    json_t *phase, *tuned;
    bool there = false;
    size_t i;
    o.hires_scale = 1.5;
    tuned = tune(&o);
    json_array_foreach(json_object_get(tuned, "phases"), i, phase) {
        there = there || !strcmp(json_string_value(json_object_get(phase, "phase")), "denoise hires");
    }
    assert_true(there);
    json_decref(tuned);
}

static void pictures(void **state) {
    (void)state;
    rig_pictures p = {0};
    rig_open_small(&studio);
    ballast_generate_options o = rig_request(&p, SIDE);
    json_t *tuned = tune(&o);
    choose(tuned, "level=2,pin=1");
    assert_true(difference(&o) == 0);
    choose(tuned, "threads=1,winograd=1"); /* in f32 sums may be cut by threads: why tuning compares bits */
    double psnr = difference(&o);
    assert_true(psnr == 0 || psnr > 40); /* 0: less than a pixel shows */
    check_runs();
    check_second_pass(o);
    json_decref(tuned);
    rig_close(&studio);
    rig_release(&p);
}

/* dB between the pictures of two models; what is measured is held against it. */
static double psnr_between(const char *one, const char *other, ballast_generate_options o) {
    const char *const types[] = {one, other};
    rig_pictures p[2] = {0};
    char checkpoint[BL_TEST_PATH];
    double sum = 0;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    for (int i = 0; i < 2; i++) {
        ballast_error err = {0};
        rig_studio s;
        rig_open(&s, checkpoint, types[i], "");
        o.payload = &p[i];
        assert_int_equal(ballast_generate(NULL, s.model, &o, &err), 0);
        rig_close(&s);
    }
    for (size_t i = 0; i < p[0].bytes; i++) {
        double d = (double)p[0].rgb[i] - p[1].rgb[i];
        sum += d * d;
    }
    double psnr = 10 * log10(255.0 * 255.0 * (double)p[0].bytes / sum);
    rig_release(&p[0]);
    rig_release(&p[1]);
    return psnr;
}

static int stop(void *payload, const ballast_progress *progress) {
    (void)progress;
    return --*(int *)payload < 0;
}

/* The other type: a picture of each, and pairs for as long as there is time; neither is kept. */
static void types(void **state) {
    (void)state;
    rig_pictures taken = {0};
    bl_error err = {0};
    bl_tune_type x;
    rig_open_small(&studio);
    bl_pipeline p = bl_pipeline_of(studio.model);
    ballast_generate_options o = rig_request(&taken, SIDE);
    o.offload = "auto";
    o.fit_check = 1;
    o.steps = 1;
    assert_true(bl_tune_type_find(&x, p.modules));
    assert_true(x.own == BL_F32 && x.other == BL_BF16 && !x.tried);
    assert_int_equal(bl_tune_type_try(&x, &p, &o, BL_PAIRS_LEAST, for_ever, &err), 0);
    assert_true(x.tried && !x.why[0]);
    assert_int_equal(x.pictures.pairs, BL_PAIRS_LEAST);
    assert_true(x.pictures.psnr > 20 && fabs(x.pictures.psnr - psnr_between("f32", "bf16", o)) < 1e-9);
    assert_true(x.pictures.low > 0 && x.pictures.low <= x.pictures.high);
    assert_true(x.pictures.seconds > 0 && x.pictures.other > 0);
    assert_int_equal(taken.count, 0); /* none of them is the caller's */
    assert_int_equal(bl_tune_type_try(&x, &p, &o, 5, (bl_tune_until){0, 1e12}, &err),
                     0); /* a picture of each */
    assert_true(x.tried && x.pictures.pairs == 0 && x.pictures.low == 0 && x.pictures.psnr > 20);
    assert_int_equal(bl_tune_type_try(&x, &p, &o, 5, (bl_tune_until){0, 0}, &err), 0);
    assert_true(!x.tried && !strcmp(x.why, "no time"));
    int left = 3;
    o.progress = stop;
    o.payload = &left;
    assert_int_equal(bl_tune_type_try(&x, &p, &o, BL_PAIRS_LEAST, for_ever, &err), BL_E_CANCELLED);
    rig_close(&studio);
    rig_release(&taken);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pictures), cmocka_unit_test(types)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
