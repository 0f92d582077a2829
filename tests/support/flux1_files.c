#include "support/flux1_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/files.h"
#include "support/synth.h"
#include "support/weight_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void link_to(const char *from, const char *folder, const char *name) {
    char to[BL_TEST_PATH];
    bl_test_join(to, folder, name);
    assert_int_equal(symlink(from, to), 0);
}

void bl_test_t5_vocabulary(const char *path, const char *name) {
    char from[BL_TEST_PATH];
    bl_test_data(from, "common/unigram/tokenizer.json");
    link_to(from, path, name);
}

void bl_test_flux1_folder(const char *path, const char *family) {
    static const char *const same[] = {"text_encoder", "text_encoder_2", "transformer",
                                       "vae",          "scheduler",      "model_index.json"};
    char synth[BL_TEST_PATH], from[BL_TEST_PATH];
    bl_synth_folder(synth, family);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        bl_test_join(from, synth, same[i]);
        link_to(from, path, same[i]);
    }
    bl_test_t5_vocabulary(path, "tokenizer_2/tokenizer.json");
}

/* ---- with heads of 128 channels */

enum { WIDTH = 128, HIDDEN = 4 * WIDTH, CONTEXT = 48, POOLED = 32, CHANNELS = 64, SINUSOIDS = 256 };

/* A matrix and its bias, which diffusers may have in parts; or the scale of a norm, which has no columns. */
typedef struct layer {
    const char *authors, *parts[4];
    int rows[4], columns;
} layer;

#define DOUBLE "transformer_blocks.0."
#define SINGLE "single_transformer_blocks.0."
#define TIMES "time_text_embed."

static const layer layers[] = {
    {"time_in.in_layer", {TIMES "timestep_embedder.linear_1"}, {WIDTH}, SINUSOIDS},
    {"time_in.out_layer", {TIMES "timestep_embedder.linear_2"}, {WIDTH}, WIDTH},
    {"guidance_in.in_layer", {TIMES "guidance_embedder.linear_1"}, {WIDTH}, SINUSOIDS},
    {"guidance_in.out_layer", {TIMES "guidance_embedder.linear_2"}, {WIDTH}, WIDTH},
    {"vector_in.in_layer", {TIMES "text_embedder.linear_1"}, {WIDTH}, POOLED},
    {"vector_in.out_layer", {TIMES "text_embedder.linear_2"}, {WIDTH}, WIDTH},
    {"img_in", {"x_embedder"}, {WIDTH}, CHANNELS},
    {"txt_in", {"context_embedder"}, {WIDTH}, CONTEXT},
    {"double_blocks.0.img_mod.lin", {DOUBLE "norm1.linear"}, {6 * WIDTH}, WIDTH},
    {"double_blocks.0.txt_mod.lin", {DOUBLE "norm1_context.linear"}, {6 * WIDTH}, WIDTH},
    {"double_blocks.0.img_attn.qkv",
     {DOUBLE "attn.to_q", DOUBLE "attn.to_k", DOUBLE "attn.to_v"},
     {WIDTH, WIDTH, WIDTH},
     WIDTH},
    {"double_blocks.0.txt_attn.qkv",
     {DOUBLE "attn.add_q_proj", DOUBLE "attn.add_k_proj", DOUBLE "attn.add_v_proj"},
     {WIDTH, WIDTH, WIDTH},
     WIDTH},
    {"double_blocks.0.img_attn.norm.query_norm", {DOUBLE "attn.norm_q"}, {WIDTH}, 0},
    {"double_blocks.0.img_attn.norm.key_norm", {DOUBLE "attn.norm_k"}, {WIDTH}, 0},
    {"double_blocks.0.txt_attn.norm.query_norm", {DOUBLE "attn.norm_added_q"}, {WIDTH}, 0},
    {"double_blocks.0.txt_attn.norm.key_norm", {DOUBLE "attn.norm_added_k"}, {WIDTH}, 0},
    {"double_blocks.0.img_attn.proj", {DOUBLE "attn.to_out.0"}, {WIDTH}, WIDTH},
    {"double_blocks.0.txt_attn.proj", {DOUBLE "attn.to_add_out"}, {WIDTH}, WIDTH},
    {"double_blocks.0.img_mlp.0", {DOUBLE "ff.net.0.proj"}, {HIDDEN}, WIDTH},
    {"double_blocks.0.img_mlp.2", {DOUBLE "ff.net.2"}, {WIDTH}, HIDDEN},
    {"double_blocks.0.txt_mlp.0", {DOUBLE "ff_context.net.0.proj"}, {HIDDEN}, WIDTH},
    {"double_blocks.0.txt_mlp.2", {DOUBLE "ff_context.net.2"}, {WIDTH}, HIDDEN},
    {"single_blocks.0.modulation.lin", {SINGLE "norm.linear"}, {3 * WIDTH}, WIDTH},
    {"single_blocks.0.linear1",
     {SINGLE "attn.to_q", SINGLE "attn.to_k", SINGLE "attn.to_v", SINGLE "proj_mlp"},
     {WIDTH, WIDTH, WIDTH, HIDDEN},
     WIDTH},
    {"single_blocks.0.linear2", {SINGLE "proj_out"}, {WIDTH}, WIDTH + HIDDEN},
    {"single_blocks.0.norm.query_norm", {SINGLE "attn.norm_q"}, {WIDTH}, 0},
    {"single_blocks.0.norm.key_norm", {SINGLE "attn.norm_k"}, {WIDTH}, 0},
    {"final_layer.linear", {"proj_out"}, {CHANNELS}, WIDTH},
    {"final_layer.adaLN_modulation.1", {"norm_out.linear"}, {2 * WIDTH}, WIDTH},
};

/* A layer's tensors of one kind: in parts, or as one under its authors' name. */
static void add(bl_weight_list *l, const layer *of, const char *prefix, int columns, const char *end) {
    const bool norm = !of->columns, swapped = strstr(of->authors, "adaLN") != NULL;
    char name[128];
    int rows = 0;
    for (int i = 0; i < 4 && of->parts[i]; i++) {
        rows += of->rows[i];
        if (!prefix) {
            snprintf(name, sizeof name, "%s%s", of->parts[i], end);
            bl_weight_list_add(l, name, of->rows[i], columns, norm, norm ? 0.2f : 0.1f);
        }
    }
    if (prefix) {
        snprintf(name, sizeof name, "%s%s%s", prefix, of->authors, norm ? ".scale" : end);
        bl_weight_list_add(l, name, rows, columns, norm, norm ? 0.2f : 0.1f);
    }
    if (prefix && swapped) {
        bl_weight_list_swap(l);
    }
}

/* `prefix`: of its authors' names; NULL: diffusers'. */
static void write_transformer(const char *path, const char *prefix) {
    bl_weight_list *l = calloc(1, sizeof *l);
    assert_non_null(l);
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        add(l, &layers[i], prefix, layers[i].columns, ".weight");
        if (layers[i].columns) {
            add(l, &layers[i], prefix, 0, ".bias");
        }
    }
    bl_weight_list_write(l, path);
    free(l);
}

void bl_test_flux1_wide_folder(const char *path) {
    static const char config[] = "{\"_class_name\": \"FluxTransformer2DModel\", \"guidance_embeds\": true}";
    static const char *const same[] = {"text_encoder", "text_encoder_2", "vae", "scheduler",
                                       "model_index.json"};
    char synth[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    bl_synth_folder(synth, "flux1/dev");
    bl_test_join(to, path, "transformer/config.json");
    bl_test_write(to, config, sizeof config - 1);
    bl_test_join(to, path, "transformer/diffusion_pytorch_model.safetensors");
    write_transformer(to, NULL);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        bl_test_join(from, synth, same[i]);
        link_to(from, path, same[i]);
    }
    bl_test_t5_vocabulary(path, "tokenizer_2/tokenizer.json");
}

void bl_test_flux1_single(const char *path, const char *prefix) {
    write_transformer(path, prefix);
}

void bl_test_flux1_lora(const char *path, bool kohya) {
    static const char *const names[] = {"attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"};
    bl_weight_list *l = calloc(1, sizeof *l);
    char name[128];
    assert_non_null(l);
    if (kohya) {
        bl_weight_list_add_lora(l, "lora_unet_single_blocks_0_linear1", false, 3 * WIDTH + HIDDEN, WIDTH);
        bl_weight_list_add_lora(l, "lora_te1_text_model_encoder_layers_0_mlp_fc1", false, 64, POOLED);
    }
    for (int i = 0; i < 4 && !kohya; i++) {
        snprintf(name, sizeof name, "transformer." SINGLE "%s", names[i]);
        bl_weight_list_add_lora(l, name, true, i < 3 ? WIDTH : HIDDEN, WIDTH);
    }
    if (!kohya) {
        bl_weight_list_add_lora(l, "text_encoder.text_model.encoder.layers.0.mlp.fc1", true, 64, POOLED);
    }
    bl_weight_list_write(l, path);
    free(l);
}

/* ---- T5 */

static bool llama_name(void *context, char *name, bl_tensor_data *t) {
    static const char *const ends[][2] = {{"0.SelfAttention.q", "attn_q"},
                                          {"0.SelfAttention.k", "attn_k"},
                                          {"0.SelfAttention.v", "attn_v"},
                                          {"0.SelfAttention.o", "attn_o"},
                                          {"0.SelfAttention.relative_attention_bias", "attn_rel_b"},
                                          {"0.layer_norm", "attn_norm"},
                                          {"1.DenseReluDense.wi_0", "ffn_gate"},
                                          {"1.DenseReluDense.wi_1", "ffn_up"},
                                          {"1.DenseReluDense.wo", "ffn_down"},
                                          {"1.layer_norm", "ffn_norm"}};
    int number, at;
    char rest[128];
    (void)context, (void)t;
    if (sscanf(name, "encoder.block.%d.layer.%n", &number, &at) != 1) {
        strcpy(name, strstr(name, "shared") ? "token_embd.weight" : "enc.output_norm.weight");
        return true;
    }
    snprintf(rest, sizeof rest, "%s", name + at);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const size_t n = strlen(ends[i][0]);
        if (!strncmp(rest, ends[i][0], n) && rest[n] == '.') {
            snprintf(name, 256, "enc.blk.%d.%s.weight", number, ends[i][1]);
        }
    }
    return true;
}

void bl_test_t5_llama(const char *path) {
    char synth[BL_TEST_PATH], from[BL_TEST_PATH];
    bl_synth_folder(synth, "flux1/dev");
    bl_test_join(from, synth, "text_encoder_2/model.safetensors");
    bl_test_rewrite(path, from, llama_name, NULL, NULL, 0);
}
