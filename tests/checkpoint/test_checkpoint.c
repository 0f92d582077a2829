/* Tensors under diffusers' names: in every layout the same bytes, and errors that name what is missing. */
#include "checkpoint/checkpoint.h"
#include "checkpoint/internal.h"
#include "support/files.h"
#include "support/synth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static bl_checkpoint *open_or_fail(const char *path, const char *vae) {
    bl_checkpoint *c;
    bl_error err;
    if (bl_checkpoint_open(&c, path, vae, &err)) {
        fail_msg("%s", err.message);
    }
    return c;
}

static bl_checkpoint *open_family(const char *family, bl_synth_layout layout) {
    char path[BL_TEST_PATH];
    bl_synth_checkpoint(path, family, layout);
    return open_or_fail(path, NULL);
}

static bl_module module_of(const char *component, const char *name) {
    if (strcmp(component, "vae") == 0) {
        return strncmp(name, "encoder.", 8) == 0 || strncmp(name, "quant_conv.", 11) == 0 ? BL_VAE_ENCODER
                                                                                          : BL_VAE_DECODER;
    }
    return strcmp(component, "unet") == 0           ? BL_UNET
           : strcmp(component, "text_encoder") == 0 ? BL_TEXT_ENCODER
                                                    : BL_TEXT_ENCODER_2;
}

/* All elements as F32. Owner: the caller; free(). */
static float *read_view(const bl_view *v, size_t *count) {
    bl_error err;
    *count = (size_t)(bl_view_rows(v) * bl_view_row_elements(v));
    void *raw = malloc(*count * bl_dtype_size(v->dtype) + 1);
    float *out = malloc(*count * sizeof *out + 1);
    assert_true(raw && out);
    if (bl_view_read(v, 0, bl_view_rows(v), raw, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(bl_convert(out, BL_F32, raw, v->dtype, *count), 0);
    free(raw);
    return out;
}

/* Finds each tensor of weights.json in both, by the shape given there, and compares all bytes. Returns how
 * many. */
static int compare(const char *family, const bl_checkpoint *a, const bl_checkpoint *b) {
    char name[64];
    snprintf(name, sizeof name, "%s/weights.json", family);
    json_t *weights = bl_test_json(name), *list, *entry;
    const char *component;
    size_t i;
    int compared = 0;
    json_object_foreach(json_object_get(weights, "components"), component, list) {
        if (!json_object_get(json_object_get(weights, "files"), component)) {
            continue; /* what only single files hold */
        }
        json_array_foreach(list, i, entry) {
            const char *tensor = json_string_value(json_array_get(entry, 0));
            json_t *dims = json_array_get(entry, 1);
            int64_t shape[4] = {0};
            int rank = (int)json_array_size(dims);
            for (int d = 0; d < rank; d++) {
                shape[d] = json_integer_value(json_array_get(dims, (size_t)d));
            }
            bl_view va, vb;
            bl_error err;
            bl_module m = module_of(component, tensor);
            if (bl_checkpoint_require(&va, a, m, tensor, shape, rank, &err) ||
                bl_checkpoint_require(&vb, b, m, tensor, shape, rank, &err)) {
                fail_msg("%s", err.message);
            }
            assert_int_equal(va.rank, rank);
            assert_memory_equal(va.shape, shape, (size_t)rank * sizeof *shape);
            size_t na, nb;
            float *xa = read_view(&va, &na), *xb = read_view(&vb, &nb);
            assert_int_equal(na, nb);
            if (memcmp(xa, xb, na * sizeof *xa) != 0) {
                fail_msg("%s: %s %s is not the same", family, component, tensor);
            }
            free(xa);
            free(xb);
            compared++;
        }
    }
    json_decref(weights);
    return compared;
}

static void both_layouts_hold_the_same(void **state) {
    static const struct {
        const char *family;
        int tensors;
    } cases[] = {{"sd15", 686 + 248 + 196}, {"sd21v", 686 + 248 + 372}, {"sdxl", 960 + 248 + 196 + 517}};
    (void)state;
    for (int i = 0; i < 3; i++) {
        bl_checkpoint *folder = open_family(cases[i].family, BL_SYNTH_FOLDER);
        bl_checkpoint *single = open_family(cases[i].family, BL_SYNTH_SINGLE);
        assert_true(bl_checkpoint_is_folder(folder) && !bl_checkpoint_is_folder(single));
        assert_int_equal(compare(cases[i].family, folder, single), cases[i].tensors);
        bl_checkpoint_close(&folder);
        bl_checkpoint_close(&single);
    }
}

static void half_precision_holds_the_same(void **state) {
    (void)state;
    bl_checkpoint *a = open_family("sd15", BL_SYNTH_SINGLE), *b = open_family("sd15", BL_SYNTH_SINGLE_F16);
    assert_int_equal(compare("sd15", a, b), 686 + 248 + 196);
    bl_view v;
    assert_true(bl_checkpoint_find(&v, b, BL_UNET, "conv_in.weight"));
    assert_int_equal(v.dtype, BL_F16);
    bl_checkpoint_close(&a);
    bl_checkpoint_close(&b);
}

/* ---- parts of tensors */

static void rows_are_those_of_the_view(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool transposed;
    } cases[] = {{"text_model.encoder.layers.3.self_attn.k_proj.weight", false},
                 {"text_projection.weight", true}};
    bl_checkpoint *c = open_family("sdxl", BL_SYNTH_SINGLE);
    for (int i = 0; i < 2; i++) {
        bl_view v;
        bl_error err;
        size_t count;
        const int64_t shape[2] = {48, 48};
        assert_int_equal(bl_checkpoint_require(&v, c, BL_TEXT_ENCODER_2, cases[i].name, shape, 2, &err), 0);
        assert_int_equal(v.transposed, cases[i].transposed);
        float *all = read_view(&v, &count), some[7 * 48];
        assert_int_equal(bl_view_read(&v, 5, 12, some, &err), 0);
        assert_memory_equal(some, all + (size_t)5 * 48, sizeof some);
        assert_int_equal(bl_view_read(&v, 48, 48, some, &err), 0);
        assert_int_equal(bl_view_read(&v, 5, 49, some, &err), BL_E_INTERNAL);
        assert_int_equal(bl_view_read(&v, -1, 2, some, &err), BL_E_INTERNAL);
        free(all);
    }
    bl_checkpoint_close(&c);
}

/* ---- what is missing or wrong */

typedef struct change {
    const char *from, *to; /* name; `to` NULL: left out */
    int64_t first_dim;     /* 0: as it is */
    int rank;              /* 0: as it is */
} change;

static bool apply(void *context, char *name, bl_tensor_data *t) {
    for (const change *c = context; c->from; c++) {
        if (strcmp(name, c->from) == 0) {
            if (!c->to) {
                return false;
            }
            snprintf(name, 256, "%s", c->to);
            t->shape[0] = c->first_dim ? c->first_dim : t->shape[0];
            t->rank = c->rank ? c->rank : t->rank;
        }
    }
    return true;
}

static void expect_require_error(const bl_checkpoint *c, bl_module m, const char *name, const int64_t *shape,
                                 int rank, const char *text) {
    bl_view v;
    bl_error err = {.code = 0};
    int rc = bl_checkpoint_require(&v, c, m, name, shape, rank, &err);
    if (rc != BL_E_FORMAT || !strstr(err.message, text) || !strstr(err.message, bl_module_name(m)) ||
        !strstr(err.message, ".safetensors")) {
        fail_msg("expected \"%s\", got code %d: %s", text, rc, err.message);
    }
}

static void missing_and_misshapen_tensors_are_named(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], path[BL_TEST_PATH], from[BL_TEST_PATH];
    static const change changes[] = {
        {.from = "model.diffusion_model.input_blocks.1.0.in_layers.2.weight"},
        {.from = "model.diffusion_model.out.2.weight",
         .to = "model.diffusion_model.out.2.weight",
         .first_dim = 5},
        {.from = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight",
         .to = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight",
         .first_dim = 95},
        {.from = NULL}};
    bl_test_folder(folder);
    bl_test_join(path, folder, "x.safetensors");
    bl_synth_checkpoint(from, "sd21v", BL_SYNTH_SINGLE);
    bl_test_rewrite(path, from, apply, (void *)(uintptr_t)changes, NULL, 0);
    bl_checkpoint *c = open_or_fail(path, NULL);
    const int64_t conv[4] = {64, 64, 3, 3}, out[4] = {4, 64, 3, 3}, q[2] = {32, 32};
    expect_require_error(
        c, BL_UNET, "down_blocks.0.resnets.0.conv1.weight", conv, 4,
        "\"model.diffusion_model.input_blocks.1.0.in_layers.2.weight\" of the unet is missing; expected "
        "shape [64, 64, 3, 3]");
    expect_require_error(
        c, BL_UNET, "conv_out.weight", out, 4,
        "\"model.diffusion_model.out.2.weight\" of the unet has shape [5, 64, 3, 3]; expected [4, 64, 3, 3]");
    expect_require_error(c, BL_TEXT_ENCODER, "text_model.encoder.layers.0.self_attn.q_proj.weight", q, 2,
                         "in_proj_weight\" of the text_encoder has shape [95, 32]");
    expect_require_error(c, BL_UNET, "down_blocks.77.resnets.0.conv1.weight", conv, 4,
                         "\"down_blocks.77.resnets.0.conv1.weight\" of the unet is missing");
    bl_checkpoint_close(&c);
    bl_test_folder_remove(folder);
}

static void types_we_cannot_compute_from_are_named(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], path[BL_TEST_PATH];
    bl_test_folder(folder);
    bl_test_join(path, folder, "x.safetensors");
    bl_test_write_header(path,
                         "{\"model.diffusion_model.input_blocks.0.0.weight\":"
                         "{\"dtype\":\"I8\",\"shape\":[4,4,1,1],\"data_offsets\":[0,16]}}",
                         16);
    bl_checkpoint *c = open_or_fail(path, NULL);
    bl_view v;
    bl_error err;
    /* No UNet can be numbered here, but its ends have names. */
    const int64_t shape[2] = {4, 4};
    assert_int_equal(bl_checkpoint_require(&v, c, BL_UNET, "conv_in.weight", shape, 2, &err),
                     BL_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "has type I8"));
    bl_checkpoint_close(&c);
    bl_test_folder_remove(folder);
}

static void names_that_are_none_are_not_found(void **state) {
    (void)state;
    static const char *const names[] = {"",
                                        "down_blocks.",
                                        "down_blocks.0",
                                        "down_blocks.-1.resnets.0.conv1.weight",
                                        "down_blocks.0.resnets.9.conv1.weight",
                                        "down_blocks.00.resnets.0.conv1.weight",
                                        "down_blocks.3.downsamplers.0.conv.weight",
                                        "up_blocks.9.resnets.0.conv1.weight",
                                        "up_blocks.3.upsamplers.0.conv.weight",
                                        "mid_block.resnets.0",
                                        "down_blocks.0.resnets.0.conv1x.weight",
                                        "decoder.up_blocks.4.resnets.0.conv1.weight",
                                        "text_model.encoder.layers.x.layer_norm1.weight",
                                        "text_model.encoder.layers.200.layer_norm1.weight"};
    char longest[600];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (int layout = 0; layout < 2; layout++) {
        bl_checkpoint *c = open_family("sdxl", layout ? BL_SYNTH_FOLDER : BL_SYNTH_SINGLE);
        bl_view v;
        for (int m = 0; m < BL_MODULE_COUNT; m++) {
            for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                assert_false(bl_checkpoint_find(&v, c, (bl_module)m, names[i]));
            }
            assert_false(bl_checkpoint_find(&v, c, (bl_module)m, longest));
        }
        bl_checkpoint_close(&c);
    }
}

/* ---- another autoencoder */

typedef struct prefix_change {
    const char *old_prefix, *new_prefix;
    const char *without; /* left out */
} prefix_change;

static bool only_prefix(void *context, char *name, bl_tensor_data *t) {
    const prefix_change *c = context;
    char rest[256];
    size_t n = strlen(c->old_prefix);
    (void)t;
    if (strncmp(name, c->old_prefix, n) != 0 || (c->without && strstr(name, c->without))) {
        return false;
    }
    snprintf(rest, sizeof rest, "%s", name + n);
    snprintf(name, 256, "%s%.200s", c->new_prefix, rest);
    return true;
}

/* Is the first element of post_quant_conv the one of this family? */
static void expect_vae_of(const bl_checkpoint *c, const char *family) {
    bl_checkpoint *own = open_family(family, BL_SYNTH_FOLDER);
    static const struct {
        bl_module module;
        const char *name;
    } cases[] = {{BL_VAE_DECODER, "post_quant_conv.weight"},
                 {BL_VAE_DECODER, "decoder.up_blocks.1.resnets.2.conv2.weight"},
                 {BL_VAE_DECODER, "decoder.mid_block.attentions.0.to_q.weight"},
                 {BL_VAE_ENCODER, "encoder.mid_block.attentions.0.to_out.0.bias"},
                 {BL_VAE_ENCODER, "quant_conv.bias"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_view a, b;
        size_t na, nb;
        assert_true(bl_checkpoint_find(&a, c, cases[i].module, cases[i].name));
        assert_true(bl_checkpoint_find(&b, own, cases[i].module, cases[i].name));
        float *xa = read_view(&a, &na), *xb = read_view(&b, &nb);
        assert_int_equal(na, nb);
        assert_memory_equal(xa, xb, na * sizeof *xa);
        free(xa);
        free(xb);
    }
    bl_checkpoint_close(&own);
}

static bool old_attention_names(void *context, char *name, bl_tensor_data *t) {
    static const char *const pairs[][2] = {
        {".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}};
    (void)context;
    (void)t;
    for (int i = 0; i < 4; i++) {
        char *at = strstr(name, pairs[i][0]), tail[256];
        if (at) {
            snprintf(tail, sizeof tail, "%s", at + strlen(pairs[i][0]));
            snprintf(at, 256 - (size_t)(at - name), "%s%s", pairs[i][1], tail);
        }
    }
    return true;
}

static void another_vae_may_be_given(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], model[BL_TEST_PATH], other[BL_TEST_PATH], single[BL_TEST_PATH],
        path[BL_TEST_PATH];
    bl_test_folder(folder);
    bl_synth_checkpoint(single, "sd15", BL_SYNTH_SINGLE);
    bl_synth_checkpoint(other, "sd21v", BL_SYNTH_SINGLE);
    bl_test_join(model, folder, "m.safetensors");
    assert_int_equal(symlink(single, model), 0);
    bl_checkpoint *c = open_or_fail(model, NULL);
    expect_vae_of(c, "sd15");
    bl_checkpoint_close(&c);

    /* LDM's names, with and without the prefix, explicit */
    static const char *const prefixes[] = {"", "first_stage_model."};
    for (int i = 0; i < 2; i++) {
        prefix_change part = {.old_prefix = "first_stage_model.", .new_prefix = prefixes[i]};
        bl_test_join(path, folder, "v.safetensors");
        bl_test_rewrite(path, other, only_prefix, &part, NULL, 0);
        c = open_or_fail(model, path);
        expect_vae_of(c, "sd21v");
        bl_checkpoint_close(&c);
    }
    /* a whole checkpoint's, and a folder's, and a folder of an autoencoder alone */
    c = open_or_fail(model, other);
    expect_vae_of(c, "sd21v");
    bl_checkpoint_close(&c);
    bl_synth_checkpoint(other, "sd21v", BL_SYNTH_FOLDER);
    c = open_or_fail(model, other);
    expect_vae_of(c, "sd21v");
    bl_checkpoint_close(&c);
    snprintf(path, sizeof path, "%.4000s/vae", other);
    c = open_or_fail(model, path);
    expect_vae_of(c, "sd21v");
    bl_checkpoint_close(&c);
    /* diffusers' names of 2022, in a file beside the model */
    char source[BL_TEST_PATH];
    snprintf(source, sizeof source, "%.4000s/vae/diffusion_pytorch_model.safetensors", other);
    bl_test_join(path, folder, "m.vae.safetensors");
    bl_test_rewrite(path, source, old_attention_names, NULL, NULL, 0);
    c = open_or_fail(model, NULL);
    expect_vae_of(c, "sd21v");
    assert_int_equal(c->file_count, 2);
    assert_string_equal(bl_safetensors_path(bl_checkpoint_module_file(c, BL_VAE_DECODER)), path);
    bl_checkpoint_close(&c);
    bl_test_folder_remove(folder);
}

static void a_decoder_alone_replaces_the_decoder(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], model[BL_TEST_PATH], other[BL_TEST_PATH], path[BL_TEST_PATH];
    bl_test_folder(folder);
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    bl_synth_checkpoint(other, "sd21v", BL_SYNTH_SINGLE);
    prefix_change part = {.old_prefix = "first_stage_model.", .new_prefix = "", .without = "encoder."};
    bl_test_join(path, folder, "v.safetensors");
    bl_test_rewrite(path, other, only_prefix, &part, NULL, 0);
    bl_checkpoint *c = open_or_fail(model, path);
    assert_string_equal(bl_safetensors_path(bl_checkpoint_module_file(c, BL_VAE_DECODER)), path);
    assert_string_equal(bl_safetensors_path(bl_checkpoint_module_file(c, BL_VAE_ENCODER)), model);
    bl_checkpoint_close(&c);
    bl_test_folder_remove(folder);
}

static void a_file_without_a_vae_is_refused_as_one(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], model[BL_TEST_PATH], path[BL_TEST_PATH];
    bl_test_folder(folder);
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    bl_test_join(path, folder, "v.safetensors");
    bl_test_write_header(path, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    bl_checkpoint *c = NULL;
    bl_error err;
    assert_int_equal(bl_checkpoint_open(&c, model, path, &err), BL_E_FORMAT);
    assert_non_null(strstr(err.message, "holds no autoencoder"));
    assert_int_equal(bl_checkpoint_open(&c, model, folder, &err), BL_E_NOT_FOUND);
    bl_test_join(path, folder, "not-there.safetensors");
    assert_int_equal(bl_checkpoint_open(&c, model, path, &err), BL_E_NOT_FOUND);
    assert_null(c);
    bl_test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_layouts_hold_the_same),
        cmocka_unit_test(half_precision_holds_the_same),
        cmocka_unit_test(rows_are_those_of_the_view),
        cmocka_unit_test(missing_and_misshapen_tensors_are_named),
        cmocka_unit_test(types_we_cannot_compute_from_are_named),
        cmocka_unit_test(names_that_are_none_are_not_found),
        cmocka_unit_test(another_vae_may_be_given),
        cmocka_unit_test(a_decoder_alone_replaces_the_decoder),
        cmocka_unit_test(a_file_without_a_vae_is_refused_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
