/* Transformers out of folders and files that somebody put together: how a scheduler shifts the noise levels,
 * and what is said of an encoder or an autoencoder that is another model's. */
#include "variant.h"

#include "checkpoint/safetensors.h"

#define KLEIN "flux2/klein_2_2"

static const char *const parts[] = {"transformer", "text_encoder", "text_encoder_2",  "tokenizer",
                                    "vae",         "scheduler",    "model_index.json"};

/* `folder`/name becomes the family's with another scheduler; NULL: without one. */
static void make_family(char made[BL_TEST_PATH], const char *name, const char *family,
                        const char *scheduler) {
    char from[BL_TEST_PATH], to[BL_TEST_PATH], synth[BL_TEST_PATH];
    bl_synth_folder(synth, family);
    bl_test_join(made, folder, name);
    bl_test_join(to, made, "scheduler/scheduler_config.json");
    if (scheduler) {
        bl_test_write(to, scheduler, strlen(scheduler));
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        bl_test_join(from, synth, parts[i]);
        bl_test_join(to, made, parts[i]);
        char *real = strcmp(parts[i], "scheduler") ? realpath(from, NULL) : NULL;
        assert_true(!real || !symlink(real, to));
        free(real);
    }
}

/* As diffusers' FlowMatchEulerDiscreteScheduler does it: without use_dynamic_shifting there is one factor,
 * and what the pipeline makes of the picture's size counts for nothing. */
static void schedulers_say_how_levels_are_shifted(void **state) {
    static const struct {
        const char *family, *scheduler;
        int kind;
        double shift; /* of a fixed one */
        bool linear;
    } cases[] = {
        {"flux1/dev", NULL, BL_SHIFT_BY_SIZE, 0, false},
        {"flux1/dev", "{\"use_dynamic_shifting\": true}", BL_SHIFT_BY_SIZE, 0, false},
        {"flux1/dev", "{\"use_dynamic_shifting\": false, \"shift\": 3.0}", BL_SHIFT_FIXED, 3, false},
        {"flux1/dev", "{\"shift\": 2.5}", BL_SHIFT_FIXED, 2.5, false},
        {"flux1/schnell", "{\"use_dynamic_shifting\": true}", BL_SHIFT_BY_SIZE, 0, false},
        {KLEIN, NULL, BL_SHIFT_BY_STEPS, 0, false},
        {KLEIN, "{\"use_dynamic_shifting\": true, \"shift\": 3.0}", BL_SHIFT_BY_STEPS, 0, false},
        {KLEIN, "{\"use_dynamic_shifting\": true, \"time_shift_type\": \"linear\"}", BL_SHIFT_BY_STEPS, 0,
         true},
        {KLEIN, "{\"use_dynamic_shifting\": false, \"shift\": 3.0}", BL_SHIFT_FIXED, 3, false},
        {KLEIN, "{\"use_dynamic_shifting\": false}", BL_SHIFT_FIXED, 1, false},
        {"zimage", NULL, BL_SHIFT_FIXED, 3, false},
        {"zimage", "{\"shift\": 6.0}", BL_SHIFT_FIXED, 6, false},
        {"zimage", "{\"use_dynamic_shifting\": true, \"time_shift_type\": \"linear\"}", BL_SHIFT_BY_SIZE, 0,
         true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char made[BL_TEST_PATH], name[16];
        snprintf(name, sizeof name, "case%zu/", i);
        make_family(made, name, cases[i].family, cases[i].scheduler);
        const bl_flow_rule f = detect(made).flow;
        if ((int)f.kind != cases[i].kind || f.linear != cases[i].linear ||
            (f.kind == BL_SHIFT_FIXED && f.shift != cases[i].shift)) {
            fail_msg("%s, %s: kind %d, shift %g", cases[i].family,
                     cases[i].scheduler ? cases[i].scheduler : "none", (int)f.kind, f.shift);
        }
    }
}

/* ---- files of other models beside a transformer */

/* Opens the family's folder with these beside it, as far as detection; the error. */
static bl_error refused(const char *family, const char *encoder, const char *vae) {
    char synth[BL_TEST_PATH];
    bl_checkpoint *c;
    bl_architecture a;
    bl_error err = {0};
    bl_synth_folder(synth, family);
    int rc = bl_checkpoint_open(&c, synth, vae, &err);
    assert_int_equal(rc, 0);
    rc = encoder ? bl_checkpoint_take_text_encoders(c, encoder, &err) : 0;
    rc = rc ? rc : bl_architecture_detect(&a, c, &err);
    assert_int_not_equal(rc, 0);
    bl_checkpoint_close(&c);
    return err;
}

/* The message names the file, says these words, and is one line. */
static void expect(bl_error err, const char *file, const char *words) {
    if (!strstr(err.message, file) || !strstr(err.message, words) || strchr(err.message, '\n')) {
        fail_msg("no \"%s\" or no \"%s\" in: %s", file, words, err.message);
    }
}

/* A language model twice as wide, of the same layers. */
static bool twice(void *context, char *name, bl_tensor_data *t) {
    (void)context;
    const bool head = strstr(name, "q_norm") || strstr(name, "k_norm");
    for (int i = 0; i < t->rank && !head && !strstr(name, "embed"); i++) {
        t->shape[i] *= 2;
    }
    if (strstr(name, "embed")) {
        t->shape[0] = 64;
        t->shape[1] *= 2;
    }
    t->data = NULL;
    return true;
}

static void encoders_of_others_are_named(void **state) {
    char zimage[BL_TEST_PATH], klein[BL_TEST_PATH], file[BL_TEST_PATH];
    (void)state;
    bl_synth_folder(zimage, "zimage");
    bl_synth_folder(klein, KLEIN);
    bl_test_join(file, zimage, "text_encoder/model.safetensors");
    expect(refused(KLEIN, file, NULL), file, "a text encoder of 3 layers, of which FLUX.2 klein reads layer");
    bl_test_join(file, klein, "text_encoder/model.safetensors");
    bl_test_rewrite(path, file, twice, NULL, NULL, 0);
    expect(refused(KLEIN, path, NULL), path, "a text encoder of width 32; the transformer of ");
    expect(refused(KLEIN, path, NULL), path, " reads one of 16: give its own with --text-encoder FILE");
    expect(refused("zimage", path, NULL), path, " reads one of 16: give its own with --text-encoder FILE");
    bl_test_join(file, klein, "transformer/diffusion_pytorch_model.safetensors");
    expect(refused("zimage", file, NULL), file, "holds no Qwen3 language model");
    bl_synth_checkpoint(file, "sd15", BL_SYNTH_SINGLE);
    expect(refused("zimage", file, NULL), file, "holds no Qwen3 language model");
}

/* With a configuration beside it, in a folder of diffusers, and alone. */
static void autoencoders_of_others_are_named(void **state) {
    static const struct {
        const char *family, *of, *words;
    } cases[] = {{"zimage", KLEIN, "has 32 latent channels; that of Z-Image has 16"},
                 {KLEIN, "zimage", "has 16 latent channels; that of FLUX.2 klein has 32"}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        char synth[BL_TEST_PATH], file[BL_TEST_PATH], alone[BL_TEST_PATH], *real;
        bl_synth_folder(synth, cases[i].of);
        bl_test_join(file, synth, "vae/diffusion_pytorch_model.safetensors");
        bl_test_join(alone, folder, i ? "one.safetensors" : "other.safetensors");
        real = realpath(file, NULL);
        assert_true(real && !symlink(real, alone));
        free(real);
        expect(refused(cases[i].family, NULL, file), file, cases[i].words);
        expect(refused(cases[i].family, NULL, alone), alone, cases[i].words);
        bl_synth_checkpoint(alone, "sd15", BL_SYNTH_SINGLE);
        expect(refused(cases[i].family, NULL, alone), alone, "has 4 latent channels; that of");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(schedulers_say_how_levels_are_shifted),
                                       TEST(encoders_of_others_are_named),
                                       TEST(autoencoders_of_others_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
