/* Adapters of a transformer: whatever names their keys have, and whether queries, keys and values are one
 * layer or three, every weight is the base's plus the change, summed in F64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adapter/inspect.h"
#include "adapter/merge.h"
#include "checkpoint/architecture.h"
#include "model/weights.h"
#include "model/zimage.h"
#include "support/files.h"
#include "support/sd3_files.h"
#include "support/synth.h"
#include "support/zimage_files.h"
#include "support/zimage_lora.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STRENGTH 0.75

static char folder[BL_TEST_PATH], file[BL_TEST_PATH];
static bl_checkpoint *ckpt;
static bl_architecture arch;
static bl_layers *layers;
static bl_graph *graph;
static bl_model_weights weights;
static bl_source base;
static bl_merge *merge;

static void good(int rc, const bl_error *err) {
    if (rc) {
        fail_msg("%s", err->message);
    }
}

static int open_model(void **state) {
    const bl_zimage_shape shape = {.batch = 1, .height = 8, .width = 8, .caption = 32};
    bl_error err = {0};
    (void)state;
    bl_test_folder(folder);
    bl_test_zimage_folder(folder);
    bl_test_join(file, folder, "lora.safetensors");
    good(bl_checkpoint_open(&ckpt, folder, NULL, &err), &err);
    good(bl_architecture_detect(&arch, ckpt, &err), &err);
    good(bl_layers_new(&layers, &arch, &err), &err);
    good(bl_zimage_graph(&graph, &arch.zimage, &shape, BL_F32, NULL, &err), &err);
    good(bl_model_weights_open(&weights, graph, ckpt, &err), &err);
    base = bl_model_source(&weights);
    good(bl_merge_new(&merge, graph, &base, &err), &err);
    return 0;
}

static int close_model(void **state) {
    (void)state;
    bl_merge_free(&merge);
    bl_model_weights_close(&weights);
    bl_graph_free(&graph);
    bl_layers_free(&layers);
    bl_checkpoint_close(&ckpt);
    bl_test_folder_remove(folder);
    return 0;
}

/* All rows of a part, in pieces. Caller: free. */
static float *read_part(const bl_source *s, const bl_weight *w, int part, int64_t *count) {
    bl_error err = {0};
    const int64_t rows = w->shape[0] / w->parts, columns = bl_weight_elements(w) / w->shape[0];
    float *all = malloc((size_t)(rows * columns) * sizeof *all);
    assert_non_null(all);
    assert_int_equal(s->dtype(s->payload, w, part), BL_F32);
    for (int64_t b = 0; b < rows; b += 100) {
        const int64_t e = b + 100 < rows ? b + 100 : rows;
        good(s->read(s->payload, w, part, b, e, all + b * columns, &err), &err);
    }
    *count = rows * columns;
    return all;
}

/* Returns whether the file changes it. */
static bool check_part(const bl_test_lora_form *form, const bl_weight *w, int part, double strength) {
    char layer[BL_NAME_BYTES];
    const char *dot = strrchr(w->name[part], '.');
    const bool bias = dot && !strcmp(dot, ".bias");
    const bl_source merged = bl_merge_source(merge);
    int64_t count, changed;
    snprintf(layer, sizeof layer, "%.*s", dot ? (int)(dot - w->name[part]) : 0, w->name[part]);
    double *delta = bl_test_zimage_delta(layer, bias, &changed);
    float *was = read_part(&base, w, part, &count), *is = read_part(&merged, w, part, &count);
    assert_true(!delta || count == changed);
    for (int64_t i = 0; i < count; i++) {
        const double wanted = (double)was[i] + (delta ? strength * delta[i] : 0);
        if (fabs((double)is[i] - wanted) > (delta ? 3e-7 : 0)) {
            fail_msg("%s: %s: number %lld is %.9g for %.9g", form->name, w->name[part], (long long)i,
                     (double)is[i], wanted);
        }
    }
    free(was);
    free(is);
    const bool touched = delta != NULL;
    free(delta);
    return touched;
}

static void every_naming_changes_every_layer(void **state) {
    (void)state;
    bl_error err = {0};
    for (int f = 0; f < BL_TEST_LORA_FORMS; f++) {
        const bl_test_lora_form *form = &bl_test_lora_forms[f];
        bl_adapter *a;
        int touched = 0;
        bl_test_zimage_lora(file, form);
        good(bl_adapter_open(&a, file, layers, &err), &err);
        assert_int_equal(a->unmatched, 0);
        const bl_wanted wanted = {.adapter = a, .text = 9, .denoiser = STRENGTH}; /* the denoiser's counts */
        good(bl_merge_set(merge, &(bl_changes){&wanted, 1, NULL}, &err), &err);
        for (int i = 0; i < graph->weight_count; i++) {
            for (int part = 0; part < graph->weights[i].parts; part++) {
                touched += check_part(form, &graph->weights[i], part, STRENGTH);
            }
        }
        assert_int_equal(touched, 3 * 7 + 1);
        good(bl_merge_set(merge, &(bl_changes){NULL, 0, NULL}, &err), &err);
        bl_adapter_drop(&a);
    }
}

/* ---- the other kinds on a layer that is three in the model, and what cannot be */

typedef struct tensor {
    const char *leaf;
    int rows, columns;
    float values;
} tensor;

static void write_made(const char *layer, const tensor *t, int count) {
    bl_tensor_data data[8] = {{0}};
    char names[8][128];
    float *values[8];
    bl_error ignored;
    for (int i = 0; i < count; i++) {
        const int n = t[i].rows * (t[i].columns ? t[i].columns : 1);
        snprintf(names[i], sizeof names[i], "%s.%s", layer, t[i].leaf);
        values[i] = malloc((size_t)n * sizeof *values[i]);
        assert_non_null(values[i]);
        for (int k = 0; k < n; k++) { /* the row is in the number */
            values[i][k] = t[i].values * (float)(1 + k / (t[i].columns ? t[i].columns : 1));
        }
        data[i] = (bl_tensor_data){.name = names[i],
                                   .dtype = BL_F32,
                                   .rank = t[i].columns ? 2 : 1,
                                   .shape = {t[i].rows, t[i].columns},
                                   .data = values[i]};
    }
    good(bl_safetensors_write(file, data, count, NULL, 0, &ignored), &ignored);
    for (int i = 0; i < count; i++) {
        free(values[i]);
    }
}

static int open_made(bl_adapter **a, const char *layer, const tensor *t, int count, bl_error *err) {
    write_made(layer, t, count);
    return bl_adapter_open(a, file, layers, err);
}

static const bl_weight *weight_named(const char *name) {
    for (int i = 0; i < graph->weight_count; i++) {
        if (!strcmp(graph->weights[i].name[0], name)) {
            return &graph->weights[i];
        }
    }
    fail_msg("no weight %s", name);
    return NULL;
}

/* The first value that each row of keys and values gained, which the second and the last third of the file's
 * rows are. */
static void check_thirds(bl_adapter *a, const char *what, float (*wanted)(int row)) {
    static const char *const names[3] = {"layers.0.attention.to_q.weight", "layers.0.attention.to_k.weight",
                                         "layers.0.attention.to_v.weight"};
    bl_error err = {0};
    const bl_wanted one = {.adapter = a, .text = 0, .denoiser = 1};
    good(bl_merge_set(merge, &(bl_changes){&one, 1, NULL}, &err), &err);
    const bl_source merged = bl_merge_source(merge);
    for (int third = 0; third < 3; third++) {
        int64_t count;
        const bl_weight *w = weight_named(names[third]);
        const int rows = (int)w->shape[0], columns = (int)w->shape[1];
        float *was = read_part(&base, w, 0, &count), *is = read_part(&merged, w, 0, &count);
        for (int r = 0; r < rows; r++) {
            const float gained = is[r * columns] - was[r * columns], due = wanted(third * rows + r);
            if (fabsf(gained - due) > 1e-5f * (1 + fabsf(due))) {
                fail_msg("%s: row %d of %s gained %g for %g", what, r, names[third], (double)gained,
                         (double)due);
            }
        }
        free(was);
        free(is);
    }
    good(bl_merge_set(merge, &(bl_changes){NULL, 0, NULL}, &err), &err);
    bl_adapter_drop(&a);
}

static float by_row(int row) {
    return 0.001f * (float)(1 + row);
}
static float by_kron(int row) { /* w1 [6, 1], w2 [128, 256]: o2 is 128 */
    return 0.001f * (float)(1 + row / 128) * (float)(1 + row % 128);
}
static float by_square(int row) {
    return 1e-6f * (float)(1 + row) * (float)(1 + row);
}

static void other_kinds_know_their_third(void **state) {
    (void)state;
    static const char qkv[] = "diffusion_model.layers.0.attention.qkv";
    bl_error err = {0};
    bl_adapter *a;
    good(open_made(&a, qkv, (const tensor[]){{"diff", 768, 256, 0.001f}}, 1, &err), &err);
    check_thirds(a, "full", by_row);
    good(open_made(&a, qkv, (const tensor[]){{"lokr_w1", 6, 1, 1}, {"lokr_w2", 128, 256, 0.001f}}, 2, &err),
         &err);
    check_thirds(a, "LoKr", by_kron);
    good(open_made(&a, qkv,
                   (const tensor[]){{"hada_w1_a", 768, 1, 0.001f},
                                    {"hada_w1_b", 1, 256, 1},
                                    {"hada_w2_a", 768, 1, 0.001f},
                                    {"hada_w2_b", 1, 256, 1}},
                   4, &err),
         &err);
    check_thirds(a, "LoHa", by_square);
    /* of one input over all three: nobody reads it from one of them */
    assert_int_equal(open_made(&a, qkv,
                               (const tensor[]){{"lora_down.weight", 2, 256, 1},
                                                {"lora_up.weight", 768, 2, 1},
                                                {"dora_scale", 1, 256, 1}},
                               3, &err),
                     BL_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "a magnitude of each input of layers that are one in this file"));
    /* a third is not the whole */
    assert_int_equal(
        open_made(&a, qkv, (const tensor[]){{"lora_down.weight", 2, 256, 1}, {"lora_up.weight", 256, 2, 1}},
                  2, &err),
        BL_E_FORMAT);
    assert_non_null(strstr(err.message, "768 outputs"));
}

static void text_encoders_have_names_too(void **state) {
    (void)state;
    static const char *const names[] = {"text_encoder.model.layers.1.mlp.up_proj",
                                        "lora_te_layers_1_mlp_up_proj", "lora_te1_model_layers_1_mlp_up_proj",
                                        "text_encoder.layers.1.mlp.up_proj",
                                        "text_encoders.qwen3_4b.transformer.model.layers.1.mlp.up_proj"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bl_layer_place place[BL_LAYER_SHARES];
        assert_int_equal(bl_layers_find(place, layers, names[i], strlen(names[i])), 1);
        const bl_layer *l = bl_layers_at(layers, place[0].layer);
        assert_int_equal(l->module, BL_TEXT_ENCODER);
        assert_string_equal(l->name, "model.layers.1.mlp.up_proj");
    }
    bl_layer_place place[BL_LAYER_SHARES];
    assert_int_equal(bl_layers_find(place, layers, "lora_unet_mid_block", 19), 0);
}

static void files_say_whose_they_are(void **state) {
    (void)state;
    static const struct {
        const char *layer;
        int inputs, outputs;
        const char *family;
    } cases[] = {
        {"diffusion_model.layers.0.attention.qkv", 3840, 8, "Z-Image"},
        {"lora_unet_layers_0_attention_to_q", 3840, 8, "Z-Image"},
        {"transformer.single_transformer_blocks.0.attn.to_k", 3072, 3072, "FLUX.1"},
        {"transformer.single_transformer_blocks.0.proj_mlp", 3072, 12288, "FLUX.1"},
        {"lora_unet_single_blocks_0_linear1", 3072, 21504, "FLUX.1"},
        {"lora_unet_double_blocks_0_img_mlp_0", 3072, 12288, "FLUX.1"},
        {"transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj", 3072, 27648, "FLUX.2 klein"},
        {"diffusion_model.single_blocks.0.linear1", 3072, 27648, "FLUX.2 klein"},
        {"diffusion_model.double_blocks.0.img_attn.qkv", 4096, 12288, "FLUX.2 klein"},
        {"diffusion_model.double_blocks.0.img_attn.qkv", 6144, 18432, "FLUX.2 dev"},
        {"diffusion_model.double_blocks.0.img_attn.qkv", 3072, 9216, NULL}, /* both have it */
        {"transformer.transformer_blocks.0.attn2.to_q", 1536, 1536, "SD3.5 medium"},
        {"transformer.transformer_blocks.0.attn.to_q", 1536, 1536, "SD3 or SD3.5 medium"},
        {"diffusion_model.joint_blocks.0.x_block.attn.qkv", 2432, 7296, "SD3.5 large"},
        {"transformer.transformer_blocks.0.attn.to_q", 3840, 3840, NULL},
        {"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_q", 1536, 1536, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *told = NULL;
        bl_error err = {0};
        write_made(cases[i].layer,
                   (const tensor[]){{"lora_down.weight", 2, cases[i].inputs, 1},
                                    {"lora_up.weight", cases[i].outputs, 2, 1}},
                   2);
        good(bl_adapter_inspect(&told, file, &err), &err);
        const char *family = json_string_value(json_object_get(told, "family"));
        if (!family != !cases[i].family || (family && strcmp(family, cases[i].family) != 0)) {
            fail_msg("%s: %s", cases[i].layer, family ? family : "no family");
        }
        const json_t *changed = json_object_get(told, "layers");
        const bool unet = strstr(cases[i].layer, "down_blocks");
        assert_int_equal(json_integer_value(json_object_get(changed, unet ? "unet" : "transformer")), 1);
        assert_null(json_object_get(changed, unet ? "transformer" : "unet"));
        json_decref(told);
    }
}

/* Both of SDXL's encoders are SD3's, too. */
static void encoders_alone_do_not_say_whose_they_are(void **state) {
    (void)state;
    for (int kohya = 0; kohya < 2; kohya++) {
        json_t *told = NULL;
        bl_error err = {0};
        bl_test_sd3_lora(file, kohya);
        good(bl_adapter_inspect(&told, file, &err), &err);
        assert_true(json_is_null(json_object_get(told, "family")));
        const json_t *changed = json_object_get(told, "layers");
        assert_int_equal(json_integer_value(json_object_get(changed, "transformer")), kohya ? 4 : 6);
        assert_int_equal(json_integer_value(json_object_get(changed, "text_encoder_2")), 1);
        json_decref(told);
    }
}

/* A key, one of its layers, and where its rows lie in the file's: in rows of the layer. */
typedef struct place_case {
    const char *key, *layer;
    double first, rows;
    int count; /* layers that the key has */
} place_case;

static void check_places(const char *family, const place_case *cases, size_t n) {
    char path[BL_TEST_PATH];
    bl_checkpoint *c;
    bl_architecture a;
    bl_layers *l;
    bl_error err = {0};
    bl_synth_folder(path, family);
    good(bl_checkpoint_open(&c, path, NULL, &err), &err);
    good(bl_architecture_detect(&a, c, &err), &err);
    good(bl_layers_new(&l, &a, &err), &err);
    for (size_t i = 0; i < n; i++) {
        bl_layer_place places[BL_LAYER_SHARES];
        const int count = bl_layers_find(places, l, cases[i].key, strlen(cases[i].key));
        bool found = !cases[i].layer && !count;
        for (int k = 0; k < count && cases[i].layer; k++) {
            const bl_layer *x = bl_layers_at(l, places[k].layer);
            found = found || (!strcmp(x->name, cases[i].layer) &&
                              (double)places[k].first == cases[i].first * (double)x->rows &&
                              (double)places[k].rows == cases[i].rows * (double)x->rows);
        }
        if (!found || count != cases[i].count) {
            fail_msg("%s: %d layers, not %d with %s", cases[i].key, count, cases[i].count,
                     cases[i].layer ? cases[i].layer : "none");
        }
    }
    bl_layers_free(&l);
    bl_checkpoint_close(&c);
}

/* FLUX's and SD3's, by the names of diffusers and of their authors. */
static void layers_have_names(void **state) {
    static const place_case flux2[] = {
        {"transformer.transformer_blocks.0.attn.to_k", "transformer_blocks.0.attn.to_k", 0, 1, 1},
        {"diffusion_model.double_blocks.0.img_attn.qkv", "transformer_blocks.0.attn.to_k", 1, 3, 3},
        {"lora_unet_double_blocks_0_txt_attn_qkv", "transformer_blocks.0.attn.add_k_proj", 1, 3, 3},
        {"lora_unet_double_blocks_0_txt_mlp_2", "transformer_blocks.0.ff_context.linear_out", 0, 1, 1},
        {"diffusion_model.single_blocks.0.linear1", "single_transformer_blocks.0.attn.to_qkv_mlp_proj", 0, 1,
         1},
        {"base_model.model.single_transformer_blocks.0.attn.to_out",
         "single_transformer_blocks.0.attn.to_out", 0, 1, 1},
        {"diffusion_model.final_layer.linear", "proj_out", 0, 1, 1},
        {"diffusion_model.double_blocks.0.img_attn.norm.key_norm", "transformer_blocks.0.attn.norm_k", 0, 1,
         1},
        {"transformer.norm_out.linear", "norm_out.linear", 0, 1, 1},
        {"diffusion_model.final_layer.adaLN_modulation", NULL, 0, 0, 0}};
    static const place_case flux1[] = {
        {"transformer.single_transformer_blocks.0.proj_mlp", "single_transformer_blocks.0.proj_mlp", 0, 1, 1},
        {"lora_unet_double_blocks_0_img_attn_qkv", "transformer_blocks.0.attn.to_k", 1, 3, 3},
        {"diffusion_model.double_blocks.0.txt_attn.qkv", "transformer_blocks.0.attn.add_v_proj", 2, 3, 3},
        {"lora_unet_double_blocks_0_img_mod_lin", "transformer_blocks.0.norm1.linear", 0, 1, 1},
        {"lora_unet_double_blocks_0_txt_mlp_2", "transformer_blocks.0.ff_context.net.2", 0, 1, 1},
        {"lora_unet_single_blocks_0_linear1", "single_transformer_blocks.0.attn.to_v", 2, 7, 4},
        {"lora_unet_single_blocks_0_linear1", "single_transformer_blocks.0.proj_mlp", 0.75, 1.75, 4},
        {"lora_unet_single_blocks_1_linear2", "single_transformer_blocks.1.proj_out", 0, 1, 1},
        {"lora_te1_text_model_encoder_layers_1_mlp_fc1", "text_model.encoder.layers.1.mlp.fc1", 0, 1, 1},
        {"clip_l.text_model.encoder.layers.0.self_attn.q_proj",
         "text_model.encoder.layers.0.self_attn.q_proj", 0, 1, 1},
    };
    static const place_case sd3[] = {
        {"transformer.transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_q", 0, 1, 1},
        {"lora_unet_joint_blocks_0_x_block_attn_qkv", "transformer_blocks.0.attn.to_k", 1, 3, 3},
        {"diffusion_model.joint_blocks.0.context_block.attn.qkv", "transformer_blocks.0.attn.add_v_proj", 2,
         3, 3},
        {"diffusion_model.joint_blocks.0.x_block.attn2.qkv", "transformer_blocks.0.attn2.to_k", 1, 3, 3},
        {"lora_unet_joint_blocks_1_x_block_mlp_fc1", "transformer_blocks.1.ff.net.0.proj", 0, 1, 1},
        {"lora_unet_joint_blocks_1_context_block_adaLN_modulation_1",
         "transformer_blocks.1.norm1_context.linear", 0, 1, 1},
        {"lora_unet_joint_blocks_2_context_block_adaLN_modulation_1",
         "transformer_blocks.2.norm1_context.linear", 0.5, 1, 1},
        {"diffusion_model.final_layer.adaLN_modulation.1", "norm_out.linear", 0.5, 1, 1},
        {"transformer.transformer_blocks.2.attn.add_q_proj", "transformer_blocks.2.attn.add_q_proj", 0, 1, 1},
        {"diffusion_model.context_embedder", "context_embedder", 0, 1, 1},
        {"lora_unet_x_embedder_proj", "pos_embed.proj", 0, 1, 1},
        {"lora_te1_text_model_encoder_layers_0_mlp_fc1", "text_model.encoder.layers.0.mlp.fc1", 0, 1, 1},
        {"clip_g.text_model.encoder.layers.1.mlp.fc1", "text_model.encoder.layers.1.mlp.fc1", 0, 1, 1},
        {"lora_te3_encoder_block_0_layer_0_SelfAttention_q", NULL, 0, 0, 0}};
    (void)state;
    check_places("sd3/medium", sd3, sizeof sd3 / sizeof *sd3);
    check_places("flux2/klein_2_2", flux2, sizeof flux2 / sizeof *flux2);
    check_places("flux1/dev", flux1, sizeof flux1 / sizeof *flux1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_naming_changes_every_layer),
        cmocka_unit_test(other_kinds_know_their_third),
        cmocka_unit_test(layers_have_names),
        cmocka_unit_test(files_say_whose_they_are),
        cmocka_unit_test(text_encoders_have_names_too),
        cmocka_unit_test(encoders_alone_do_not_say_whose_they_are),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
