/* Files whose names all stand below a word that a trainer put there. */
#include "checkpoint/architecture.h"
#include "scratch.h"
#include "support/synth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What stands before all names, and before those of "betas"; names with `without` in them are left out. */
typedef struct wrapping {
    const char *wrapper, *other;
    const char *without;
} wrapping;

static bool wrap(void *context, char *name, bl_tensor_data *t) {
    const wrapping *w = context;
    char tail[256];
    t->dtype = BL_U8; /* names and shapes are all that counts here */
    snprintf(tail, sizeof tail, "%s", strcmp(name, "model_ema.decay") == 0 ? "v_pred" : name);
    snprintf(name, 256, "%s%s", strncmp(tail, "betas", 5) == 0 ? w->other : w->wrapper, tail);
    return !w->without || !strstr(tail, w->without);
}

static bl_checkpoint *open_checkpoint(const char *model, const char *vae) {
    bl_checkpoint *c;
    bl_error err;
    if (bl_checkpoint_open(&c, model, vae, &err)) {
        fail_msg("%s", err.message);
    }
    return c;
}

static void whole_models_are_read(void **state) {
    static const wrapping wrappings[] = {{"state_dict.", "state_dict.", NULL},
                                         {"module.", "module.", NULL},
                                         {"state_dict.module.", "state_dict.module.", NULL},
                                         {"_orig_mod.", "", NULL},
                                         {"state_dict.", "optimizer_states.0.", NULL},
                                         {"checkpoint.weights.", "checkpoint.weights.", NULL},
                                         {"model.", "epoch.", NULL}};
    (void)state;
    char from[BL_TEST_PATH], stored[256];
    bl_synth_checkpoint(from, "sd15", BL_SYNTH_SINGLE);
    for (size_t i = 0; i < sizeof wrappings / sizeof *wrappings; i++) {
        wrapping w = wrappings[i];
        bl_architecture a;
        bl_error err;
        bl_test_rewrite(path, from, wrap, &w, NULL, 0);
        bl_checkpoint *c = open_checkpoint(path, NULL);
        if (bl_architecture_detect(&a, c, &err)) {
            fail_msg("%s: %s", w.wrapper, err.message);
        }
        assert_ptr_equal(a.family, &bl_sd1);
        assert_string_equal(a.prediction_source, "marker tensor v_pred");
        bl_checkpoint_stored_name(stored, sizeof stored, c, BL_UNET, "conv_in.weight");
        assert_memory_equal(stored, w.wrapper, strlen(w.wrapper));
        assert_string_equal(stored + strlen(w.wrapper), "model.diffusion_model.input_blocks.0.0.weight");
        bl_checkpoint_close(&c);
    }
}

static void autoencoders_are_read(void **state) {
    (void)state;
    char from[BL_TEST_PATH];
    bl_synth_checkpoint(from, "sd15", BL_SYNTH_SINGLE);
    for (int i = 0; i < 3; i++) {
        wrapping w = {.wrapper = i == 0 ? "" : i == 1 ? "state_dict." : "net."};
        w.other = w.wrapper;
        w.without = "model.diffusion";
        bl_test_rewrite(path, from, wrap, &w, NULL, 0);
        bl_checkpoint *c = open_checkpoint(from, path);
        assert_ptr_equal(bl_checkpoint_module_file(c, BL_VAE_ENCODER), bl_checkpoint_file(c, 1));
        assert_ptr_equal(bl_checkpoint_module_file(c, BL_VAE_DECODER), bl_checkpoint_file(c, 1));
        bl_checkpoint_close(&c);
    }
}

/* What is no model stays none: parts of models stand below words as well. */
static void parts_of_models_are_no_models(void **state) {
    static const char *const wrappers[] = {"control_model.", "base_model.model.", "unet."};
    (void)state;
    char from[BL_TEST_PATH];
    bl_synth_checkpoint(from, "sd15", BL_SYNTH_SINGLE);
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++) {
        wrapping w = {.wrapper = wrappers[i], .other = wrappers[i]};
        bl_architecture a;
        bl_error err;
        bl_test_rewrite(path, from, wrap, &w, NULL, 0);
        bl_checkpoint *c = open_checkpoint(path, NULL);
        assert_int_equal(bl_architecture_detect(&a, c, &err), BL_E_UNSUPPORTED);
        bl_checkpoint_close(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(whole_models_are_read),
        TEST(autoencoders_are_read),
        TEST(parts_of_models_are_no_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
