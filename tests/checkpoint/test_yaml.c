/* The configuration that lies beside a single file. */
#include "checkpoint/architecture.h"
#include "checkpoint/yaml.h"
#include "scratch.h"
#include "support/synth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the text */

static void expect_scalar(const char *text, const char *key, const char *expected) {
    char value[64] = "?";
    size_t n = strlen(text);
    char *exact = malloc(n ? n : 1); /* without the zero: sanitizers see a step too far */
    assert_non_null(exact);
    memcpy(exact, text, n);
    bool found = bl_yaml_find(value, sizeof value, exact, n, key);
    free(exact);
    if (found != (expected != NULL) || (expected && strcmp(value, expected) != 0)) {
        fail_msg("%s in\n%s\nis %s", key, text, value);
    }
}

static void scalars_are_found_by_their_paths(void **state) {
    (void)state;
    expect_scalar("a: 1\nb:\n  c: 2\n  d: 3\ne: 4\n", "b.d", "3");
    expect_scalar("a: 1\nb:\n  c: 2\n  d: 3\ne: 4", "e", "4");
    expect_scalar("a: 1\r\nb:\r\n    c: 'x # y' # z\r\n", "b.c", "x # y");
    expect_scalar("\"a\": x # y\n", "a", "x");
    expect_scalar("a: \"v\"", "a", "v");
    expect_scalar("a: x#y", "a", "x#y");
    expect_scalar("a: sgm.x.Y: z", "a", "sgm.x.Y: z");
    expect_scalar("# a: 1\n  # a: 2\n", "a", NULL);
    expect_scalar("a:\n", "a", NULL);
    expect_scalar("a: # nothing\n", "a", NULL);
    expect_scalar("b:\n  a: 1\n", "a", NULL);
    expect_scalar("b:\n  - x: 1\n    a: 2\n  - a: 3\nc: 4\n", "b.-.a", "3");
    expect_scalar("b:\n- x: 1\n  a: 2\nc: 4\n", "b.-.a", NULL); /* "-" stands beside its key */
    expect_scalar("b:\n- x: 1\n  a: 2\nc: 4\n", "c", "4");
    expect_scalar("- - - - a: 1", "-.-.-.-.a", "1");
    expect_scalar("", "a", NULL);
    expect_scalar("a", "a", NULL);
    expect_scalar("a: '", "a", "'");
    expect_scalar(":", "", NULL);
    expect_scalar("a: 123456789.123456789.123456789.123456789.123456789.123456789.123456789", "a",
                  "123456789.123456789.123456789.123456789.123456789.123456789.123");
}

static void depth_and_length_do_no_harm(void **state) {
    (void)state;
    char text[4096] = "", value[8];
    for (int i = 0; i < 60; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "%*sk:\n", i, "");
    }
    assert_false(bl_yaml_find(value, sizeof value, text, strlen(text), "k"));
    memset(text, 'x', sizeof text);
    text[sizeof text - 2] = ':';
    text[sizeof text - 1] = '\n';
    assert_false(bl_yaml_find(value, sizeof value, text, sizeof text, "x"));
    memset(text, '-', sizeof text);
    for (size_t i = 1; i < sizeof text; i += 2) {
        text[i] = ' ';
    }
    assert_false(bl_yaml_find(value, sizeof value, text, sizeof text, "x"));
}

/* ---- beside a file */

static bl_checkpoint *checkpoint;

static int detect(bl_architecture *out, const char *yaml, bl_error *err) {
    char beside[BL_TEST_PATH];
    bl_test_join(beside, folder, "x.yaml");
    bl_test_write(beside, yaml, strlen(yaml));
    int rc = bl_checkpoint_open(&checkpoint, path, NULL, err);
    rc = rc ? rc : bl_architecture_detect(out, checkpoint, err);
    bl_checkpoint_close(&checkpoint);
    return rc;
}

/* A copy of a family whose file holds no numbers, with one marker if it is not NULL. */
static bool mark(void *context, char *name, bl_tensor_data *t) {
    t->dtype = BL_U8;
    if (strcmp(name, "model_ema.decay") == 0 && context) {
        memcpy(name, context, strlen(context) + 1);
    }
    return true;
}

static void make_file(const char *family, char *marker) {
    char from[BL_TEST_PATH];
    bl_synth_checkpoint(from, family, BL_SYNTH_SINGLE);
    bl_test_rewrite(path, from, mark, marker, NULL, 0);
}

static void expect(const char *yaml, bl_prediction prediction, bool zero_snr, const char *source) {
    bl_architecture a = {.family = &bl_sd1};
    bl_error err;
    if (detect(&a, yaml, &err)) {
        fail_msg("%s: %s", yaml, err.message);
    }
    if (a.prediction != prediction || a.zero_snr != zero_snr || !strstr(a.prediction_source, source)) {
        fail_msg("%s: %s by \"%s\", zero SNR %d", yaml, bl_prediction_name(a.prediction), a.prediction_source,
                 a.zero_snr);
    }
}

#define PARAMS "model:\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n  params:\n"
#define SGM "model:\n  params:\n    denoiser_config:\n      params:\n"

static void what_it_says_counts(void **state) {
    char marker[] = "v_pred";
    (void)state;
    make_file("sd15", NULL);
    expect(PARAMS "    parameterization: \"v\"\n", BL_PREDICT_V, false, ".yaml");
    expect(PARAMS "    linear_start: 0.00085\n    linear_end: 0.0120\n    timesteps: 1000\n"
                  "    parameterization: eps # as usual\n",
           BL_PREDICT_EPSILON, false, ".yaml");
    expect(
        SGM
        "        scaling_config:\n          target: sgm.modules.diffusionmodules.denoiser_scaling.VScaling\n"
        "        discretization_config:\n          target: vwm.modules.ZeroSNRDDPMDiscretization\n",
        BL_PREDICT_V, true, ".yaml");
    expect(SGM "        scaling_config:\n          target: "
               "sgm.modules.diffusionmodules.denoiser_scaling.EpsScaling\n",
           BL_PREDICT_EPSILON, false, ".yaml");
    expect("something: else\n", BL_PREDICT_EPSILON, false, "usual");
    expect("parameterization: v\n", BL_PREDICT_EPSILON, false, "usual");
    make_file("sd21v", NULL); /* no guess where the yaml says it */
    expect(PARAMS "    parameterization: eps\n", BL_PREDICT_EPSILON, false, ".yaml");
    make_file("sd15", marker);
    expect(PARAMS "    parameterization: eps\n", BL_PREDICT_V, false, "v_pred");
}

static void its_scale_of_latents_counts(void **state) {
    (void)state;
    bl_architecture a;
    bl_error err;
    make_file("sd15", NULL);
    assert_int_equal(detect(&a, PARAMS "    scale_factor: 0.25\n", &err), 0);
    assert_true(a.vae.scale == 0.25);
    assert_int_equal(detect(&a, PARAMS "    scale_factor: none\n", &err), 0);
    assert_true(a.vae.scale == 0.18215);
}

static void what_is_not_run_is_refused(void **state) {
    static const char *const cases[][2] = {
        {PARAMS "    parameterization: x0\n", "parameterization: x0"},
        {PARAMS "    linear_end: 0.02\n", "betas"},
        {PARAMS "    linear_start: 1e-4\n", "betas"},
        {PARAMS "    timesteps: 4000\n", "betas"},
        {SGM "        scaling_config:\n          target: sgm.EDMScaling\n", "scaling_config: EDMScaling"},
        {SGM "        discretization_config:\n          target: sgm.EDMDiscretization\n",
         "EDMDiscretization"}};
    (void)state;
    make_file("sd15", NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_architecture a;
        bl_error err = {.code = 0};
        int rc = detect(&a, cases[i][0], &err);
        if (rc != BL_E_UNSUPPORTED || !strstr(err.message, cases[i][1]) || !strstr(err.message, path)) {
            fail_msg("%s: %d %s", cases[i][0], rc, err.message);
        }
    }
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    char beside[BL_TEST_PATH];
    bl_error err = {.code = 0};
    make_file("sd15", NULL);
    bl_test_join(beside, folder, "x.yaml");
    assert_int_equal(mkdir(beside, 0700), 0);
    assert_int_equal(bl_checkpoint_open(&checkpoint, path, NULL, &err), BL_E_FORMAT);
    assert_non_null(strstr(err.message, "x.yaml is not a file"));
    assert_null(checkpoint);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(scalars_are_found_by_their_paths),
        TEST(depth_and_length_do_no_harm),
        TEST(what_it_says_counts),
        TEST(its_scale_of_latents_counts),
        TEST(what_is_not_run_is_refused),
        TEST(what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
