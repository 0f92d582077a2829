/* Text encoders out of other files: which one a file holds is read from its tensors. */
#include "checkpoint/architecture.h"
#include "scratch.h"
#include "support/synth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Names that begin with `from` are kept, and begin with `to` then. */
typedef struct piece {
    const char *from, *to;
} piece;

static bool cut(void *context, char *name, bl_tensor_data *t) {
    const piece *p = context;
    char tail[256];
    (void)t;
    if (strncmp(name, p->from, strlen(p->from)) != 0) {
        return false;
    }
    snprintf(tail, sizeof tail, "%s", name + strlen(p->from));
    snprintf(name, 256, "%s%s", p->to, tail);
    return true;
}

/* Writes one piece of a family's file as folder/name and puts its path to `out`. */
static void make(char out[BL_TEST_PATH], const char *name, const char *family, const char *from,
                 const char *to) {
    char whole[BL_TEST_PATH];
    piece p = {from, to};
    bl_synth_checkpoint(whole, family, BL_SYNTH_SINGLE);
    bl_test_join(out, folder, name);
    bl_test_rewrite(out, whole, cut, &p, NULL, 0);
}

/* Opens the unet and the autoencoder of a family, and takes encoders from these files. */
static int open_parts(bl_checkpoint **c, bl_architecture *a, const char *family, const char *const *encoders,
                      bl_error *err) {
    char unet[BL_TEST_PATH], vae[BL_TEST_PATH];
    make(unet, "unet.safetensors", family, "model.diffusion_model.", "model.diffusion_model.");
    make(vae, "unet.vae.safetensors", family, "first_stage_model.", "");
    if (bl_checkpoint_open(c, unet, NULL, err)) {
        fail_msg("%s", err->message);
    }
    int rc = 0;
    for (int i = 0; encoders[i] && !rc; i++) {
        rc = bl_checkpoint_take_text_encoders(*c, encoders[i], err);
    }
    return rc ? rc : bl_architecture_detect(a, *c, err);
}

/* The pieces are the same model as the family's one file. */
#define EXPECT_SAME(family, ...) expect_same(family, (const char *const[]){__VA_ARGS__, NULL})
static void expect_same(const char *family, const char *const *encoders) {
    static const char *const names[] = {"text_model.embeddings.token_embedding.weight",
                                        "text_model.encoder.layers.1.self_attn.k_proj.weight",
                                        "text_model.final_layer_norm.bias"};
    char file[BL_TEST_PATH];
    bl_checkpoint *whole, *c;
    bl_architecture expected, a;
    bl_error err;
    bl_synth_checkpoint(file, family, BL_SYNTH_SINGLE);
    if (bl_checkpoint_open(&whole, file, NULL, &err) || bl_architecture_detect(&expected, whole, &err) ||
        open_parts(&c, &a, family, encoders, &err)) {
        fail_msg("%s", err.message);
    }
    for (int e = 0; e < 2; e++) {
        bl_module module = e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER;
        const bl_text_architecture *x = &expected.text[e], *y = &a.text[e];
        assert_int_equal(x->present, y->present);
        assert_int_equal(x->layers - x->context_skip, y->layers - y->context_skip);
        assert_int_equal(x->heads, y->heads);
        assert_int_equal(x->quick_gelu, y->quick_gelu);
        assert_int_equal(x->context_norm, y->context_norm);
        assert_int_equal(x->projection, y->projection);
        for (int i = 0; x->present && i < 3; i++) {
            bl_view p, q;
            float v, w;
            assert_true(bl_checkpoint_find(&p, whole, module, names[i]));
            assert_true(bl_checkpoint_find(&q, c, module, names[i]));
            assert_int_equal(bl_tensor_read(p.file, p.stored, p.first, 1, &v, &err), 0);
            assert_int_equal(bl_tensor_read(q.file, q.stored, q.first, 1, &w, &err), 0);
            assert_true(v == w);
        }
    }
    bl_checkpoint_close(&whole);
    bl_checkpoint_close(&c);
}

static void expect_refusal(const char *family, const char *const *encoders, const char *text) {
    bl_checkpoint *c;
    bl_architecture a;
    bl_error err = {.code = 0};
    int rc = open_parts(&c, &a, family, encoders, &err);
    if (rc >= 0 || !strstr(err.message, text)) {
        fail_msg("expected \"%s\", got %d: %s", text, rc, err.message);
    }
    bl_checkpoint_close(&c);
}
#define EXPECT_REFUSAL(family, text, ...) \
    expect_refusal(family, (const char *const[]){__VA_ARGS__, NULL}, text)

#define L1 "cond_stage_model.transformer."
#define H2 "cond_stage_model.model."
#define L "conditioner.embedders.0.transformer."
#define G "conditioner.embedders.1.model."

static void one_encoder_is_found_in_any_layout(void **state) {
    static const char *const prefixes[] = {"", "clip_l.transformer.", "state_dict.", "text_encoder.",
                                           "module.cond_stage_model.transformer."};
    (void)state;
    char file[BL_TEST_PATH], other[BL_TEST_PATH];
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        make(file, "te.safetensors", "sd15", L1, prefixes[i]);
        EXPECT_SAME("sd15", file);
    }
    make(file, "te.safetensors", "sd15", L1 "text_model.", "");
    EXPECT_SAME("sd15", file);
    make(file, "te.safetensors", "sd21v", H2, "");
    EXPECT_SAME("sd21v", file);
    /* whole models, and folders: of a pipeline, and of the encoder itself */
    bl_synth_checkpoint(file, "sd15", BL_SYNTH_SINGLE);
    EXPECT_SAME("sd15", file);
    bl_synth_checkpoint(file, "sd15", BL_SYNTH_FOLDER);
    EXPECT_SAME("sd15", file);
    bl_test_join(other, file, "text_encoder");
    EXPECT_SAME("sd15", other);
    bl_synth_checkpoint(file, "sd21v", BL_SYNTH_FOLDER);
    bl_test_join(other, file, "text_encoder/model.safetensors");
    EXPECT_SAME("sd21v", other); /* the config.json beside it says how many heads */
}

static void sdxls_two_are_told_apart(void **state) {
    (void)state;
    char first[BL_TEST_PATH], second[BL_TEST_PATH], both[BL_TEST_PATH];
    make(first, "1.safetensors", "sdxl", L, "");
    make(second, "2.safetensors", "sdxl", G, "");
    EXPECT_SAME("sdxl", first, second);
    EXPECT_SAME("sdxl", second, first);
    make(both, "3.safetensors", "sdxl", "conditioner.", "conditioner.");
    EXPECT_SAME("sdxl", both);
    bl_synth_checkpoint(both, "sdxl", BL_SYNTH_FOLDER);
    EXPECT_SAME("sdxl", both);
}

/* In the place of those that a model has itself. */
static void own_encoders_are_replaced(void **state) {
    (void)state;
    char file[BL_TEST_PATH], model[BL_TEST_PATH];
    bl_checkpoint *c;
    bl_error err;
    make(file, "te.safetensors", "sd15", L1, "");
    for (int layout = BL_SYNTH_SINGLE; layout <= BL_SYNTH_FOLDER;
         layout += BL_SYNTH_FOLDER - BL_SYNTH_SINGLE) {
        bl_synth_checkpoint(model, "sd15", (bl_synth_layout)layout);
        assert_int_equal(bl_checkpoint_open(&c, model, NULL, &err), 0);
        assert_int_equal(bl_checkpoint_take_text_encoders(c, file, &err), 0);
        assert_string_equal(bl_safetensors_path(bl_checkpoint_module_file(c, BL_TEXT_ENCODER)), file);
        bl_checkpoint_close(&c);
    }
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    char first[BL_TEST_PATH], second[BL_TEST_PATH], l[BL_TEST_PATH], vae[BL_TEST_PATH];
    make(first, "1.safetensors", "sdxl", L, "");
    make(second, "2.safetensors", "sdxl", G, "");
    make(l, "te.safetensors", "sd15", L1, "");
    make(vae, "vae.safetensors", "sd15", "first_stage_model.", "");
    EXPECT_REFUSAL("sd15", "give one with --text-encoder", NULL);
    EXPECT_REFUSAL("sd15", "no text encoder of CLIP's kind", vae);
    EXPECT_REFUSAL("sd15", "No such file", "absent.safetensors");
    EXPECT_REFUSAL("sd15", "no text encoder of CLIP's kind", folder);
    EXPECT_REFUSAL("sd15", "hold the same one", l, l);
    EXPECT_REFUSAL("sdxl", "hold the same one", second, second);
    EXPECT_REFUSAL("sdxl", "give it with --text-encoder", first);
    EXPECT_REFUSAL("sdxl", "give one with --text-encoder", second);
    EXPECT_REFUSAL("sd15", "has hidden states of width", second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_encoder_is_found_in_any_layout),
        TEST(sdxls_two_are_told_apart),
        TEST(own_encoders_are_replaced),
        TEST(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
