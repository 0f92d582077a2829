/* How it is found what a checkpoint predicts: markers, metadata, weights, a folder's scheduler. */
#include "variant.h"

static void expect_prediction(bl_prediction prediction, bool zero_snr, const char *source) {
    bl_architecture a = detect(path);
    if (a.prediction != prediction || a.zero_snr != zero_snr || !strstr(a.prediction_source, source)) {
        fail_msg("%s by \"%s\", zero SNR %d", bl_prediction_name(a.prediction), a.prediction_source,
                 a.zero_snr);
    }
}

/* A tensor of no use is there in every file of the first two families: it becomes the marker. */
#define MARK(name) ((variant){.named = "model_ema.decay", .renamed = (name)})

static void markers_and_metadata_decide(void **state) {
    (void)state;
    static const char *const v_type[] = {"modelspec.prediction_type", "v"};
    static const char *const epsilon_type[] = {"modelspec.prediction_type", "epsilon"};
    static const char *const odd_type[] = {"modelspec.prediction_type", "flow"};
    static const char *const base[] = {"modelspec.architecture", "stable-diffusion-v2-512"};
    static const char *const v768[] = {"modelspec.architecture", "stable-diffusion-v2-768-v"};
    make_variant("sd15", MARK("v_pred"), NULL, 0);
    expect_prediction(BL_PREDICT_V, false, "v_pred");
    make_variant("sd15", MARK("ztsnr"), NULL, 0);
    expect_prediction(BL_PREDICT_EPSILON, true, "usual");
    make_variant("sd15", (variant){.named = "model_ema.decay", .renamed = "v_pred", .without = "betas"},
                 epsilon_type, 1);
    expect_prediction(BL_PREDICT_V, false, "v_pred");
    make_variant("sd15", (variant){.without = NULL}, v_type, 1);
    expect_prediction(BL_PREDICT_V, false, "modelspec.prediction_type");
    make_variant("sd15", (variant){.without = NULL}, odd_type, 1);
    expect_prediction(BL_PREDICT_EPSILON, false, "usual");
    make_variant("sd21v", (variant){.without = NULL}, epsilon_type, 1);
    expect_prediction(BL_PREDICT_EPSILON, false, "modelspec.prediction_type");
    make_variant("sd21v", (variant){.without = NULL}, base, 1);
    expect_prediction(BL_PREDICT_EPSILON, false, "modelspec.architecture");
    make_variant("sd21v", (variant){.without = NULL}, v768, 1);
    expect_prediction(BL_PREDICT_V, false, "modelspec.architecture");
    assert_false(detect(path).prediction_guessed);
}

/* The spread of one tensor tells SD 2.x's two kinds apart; it stays a guess. */
static void weights_of_sd2_tell_what_they_predict(void **state) {
    static const char bias[] = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
    (void)state;
    make_variant("sd21v", (variant){.floats = true}, NULL, 0);
    expect_prediction(BL_PREDICT_V, false, "spreads as in v models");
    assert_true(detect(path).prediction_guessed);
    make_variant("sd21v", (variant){.floats = true, .reshaped = bias, .size = 100}, NULL, 0); /* zeros */
    expect_prediction(BL_PREDICT_EPSILON, false, "spreads as in base models");
    assert_true(detect(path).prediction_guessed);
    make_variant("sd21v", (variant){.floats = true, .without = bias}, NULL, 0);
    expect_prediction(BL_PREDICT_EPSILON, false, "usual");
    assert_true(detect(path).prediction_guessed);
}

static void schedulers_decide(void **state) {
    static const struct {
        const char *text;
        bl_prediction prediction;
        bool zero_snr;
        bl_spacing spacing;
    } cases[] = {
        {"{\"prediction_type\":\"v_prediction\",\"rescale_betas_zero_snr\":true,\"timestep_spacing\":"
         "\"trailing\"}",
         BL_PREDICT_V, true, BL_SPACING_TRAILING},
        {"{\"timestep_spacing\":\"linspace\"}", BL_PREDICT_EPSILON, false, BL_SPACING_LINSPACE},
        {"{}", BL_PREDICT_EPSILON, false, BL_SPACING_UNKNOWN},
    };
    (void)state;
    char file[BL_TEST_PATH];
    link_folder("sd21v");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_test_join(file, folder, "scheduler/scheduler_config.json");
        bl_test_write(file, cases[i].text, strlen(cases[i].text));
        bl_architecture a = detect(folder);
        assert_int_equal(a.prediction, cases[i].prediction);
        assert_int_equal(a.zero_snr, cases[i].zero_snr);
        assert_int_equal(a.spacing, cases[i].spacing);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(markers_and_metadata_decide),
        TEST(weights_of_sd2_tell_what_they_predict),
        TEST(schedulers_decide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
