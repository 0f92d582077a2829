#include "support/zimage_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "checkpoint/names.h"
#include "support/files.h"
#include "support/synth.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    WIDTH = 256,
    HEAD = 128,
    HIDDEN = 128,
    CAPTION = 16,
    TIME_HIDDEN = 64,
    TIME = 32,
    SQUARE = 64,
    MOST = 128
};

typedef struct list {
    bl_tensor_data tensors[MOST];
    char names[MOST][128];
    int count;
    uint32_t state;
} list;

/* About +-scale. */
static void add(list *l, const char *name, int rows, int columns, float mean, float scale) {
    bl_tensor_data *t = &l->tensors[l->count];
    const size_t n = (size_t)rows * (size_t)(columns ? columns : 1);
    float *values = malloc(n * sizeof *values);
    assert_true(l->count < MOST && values);
    for (size_t i = 0; i < n; i++) {
        l->state = l->state * 1664525u + 1013904223u;
        values[i] = mean + scale * ((float)(l->state >> 8) / 8388608.0f - 1);
    }
    snprintf(l->names[l->count], sizeof l->names[0], "%s", name);
    *t = (bl_tensor_data){.name = l->names[l->count],
                          .dtype = BL_F32,
                          .rank = columns ? 2 : 1,
                          .shape = {rows, columns},
                          .data = values};
    l->count++;
}

static void add_in(list *l, const char *layer, const char *name, int rows, int columns, float mean) {
    char full[128];
    snprintf(full, sizeof full, "%s.%s", layer, name);
    add(l, full, rows, columns, mean, columns ? 1.5f / sqrtf((float)columns) : 0.2f);
}

static void add_layer(list *l, const char *layer, bool timed, bool fused) {
    if (fused) {
        add_in(l, layer, "attention.qkv.weight", 3 * WIDTH, WIDTH, 0);
    } else {
        add_in(l, layer, "attention.to_q.weight", WIDTH, WIDTH, 0);
        add_in(l, layer, "attention.to_k.weight", WIDTH, WIDTH, 0);
        add_in(l, layer, "attention.to_v.weight", WIDTH, WIDTH, 0);
    }
    add_in(l, layer, fused ? "attention.out.weight" : "attention.to_out.0.weight", WIDTH, WIDTH, 0);
    add_in(l, layer, fused ? "attention.q_norm.weight" : "attention.norm_q.weight", HEAD, 0, 1);
    add_in(l, layer, fused ? "attention.k_norm.weight" : "attention.norm_k.weight", HEAD, 0, 1);
    add_in(l, layer, "feed_forward.w1.weight", HIDDEN, WIDTH, 0);
    add_in(l, layer, "feed_forward.w2.weight", WIDTH, HIDDEN, 0);
    add_in(l, layer, "feed_forward.w3.weight", HIDDEN, WIDTH, 0);
    static const char *const norms[] = {"attention_norm1.weight", "ffn_norm1.weight",
                                        "attention_norm2.weight", "ffn_norm2.weight"};
    for (int i = 0; i < 4; i++) {
        add_in(l, layer, norms[i], WIDTH, 0, 1);
    }
    if (timed) {
        add_in(l, layer, "adaLN_modulation.0.weight", 4 * WIDTH, TIME, 0);
        add_in(l, layer, "adaLN_modulation.0.bias", 4 * WIDTH, 0, 0);
    }
}

static void write_transformer(const char *path, const char *prefix, bool fused) {
    list *l = calloc(1, sizeof *l);
    bl_error err;
    char name[128];
    assert_non_null(l);
    snprintf(name, sizeof name, "%scap_embedder", prefix);
    add_in(l, name, "0.weight", CAPTION, 0, 1);
    add_in(l, name, "1.weight", WIDTH, CAPTION, 0);
    add_in(l, name, "1.bias", WIDTH, 0, 0);
    snprintf(name, sizeof name, "%s%s", prefix, fused ? "x_embedder" : "all_x_embedder.2-1");
    add_in(l, name, "weight", WIDTH, SQUARE, 0);
    add_in(l, name, "bias", WIDTH, 0, 0);
    snprintf(name, sizeof name, "%s%s", prefix, fused ? "final_layer" : "all_final_layer.2-1");
    add_in(l, name, "linear.weight", SQUARE, WIDTH, 0);
    add_in(l, name, "linear.bias", SQUARE, 0, 0);
    add_in(l, name, "adaLN_modulation.1.weight", WIDTH, TIME, 0);
    add_in(l, name, "adaLN_modulation.1.bias", WIDTH, 0, 0);
    snprintf(name, sizeof name, "%st_embedder.mlp", prefix);
    add_in(l, name, "0.weight", TIME_HIDDEN, 256, 0);
    add_in(l, name, "0.bias", TIME_HIDDEN, 0, 0);
    add_in(l, name, "2.weight", TIME, TIME_HIDDEN, 0);
    add_in(l, name, "2.bias", TIME, 0, 0);
    static const char *const layers[] = {"noise_refiner.0", "context_refiner.0", "layers.0"};
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, layers[i]);
        add_layer(l, name, i != 1, fused);
    }
    static const char *const pads[] = {"x_pad_token", "cap_pad_token"};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, pads[i]);
        add(l, name, 1, WIDTH, 0, 1);
    }
    if (bl_safetensors_write(path, l->tensors, l->count, NULL, 0, &err)) {
        fail_msg("%s", err.message);
    }
    for (int i = 0; i < l->count; i++) {
        free((void *)(uintptr_t)l->tensors[i].data);
    }
    free(l);
}

void bl_test_zimage_folder(const char *path) {
    static const char config[] =
        "{\"_class_name\": \"ZImageTransformer2DModel\", \"dim\": 256, \"n_heads\": 2, "
        "\"n_layers\": 1, \"axes_dims\": [32, 48, 48]}";
    static const char *const same[] = {"text_encoder", "vae", "scheduler", "model_index.json"};
    char synth[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    bl_synth_folder(synth, "zimage");
    bl_test_join(to, path, "transformer/config.json");
    bl_test_write(to, config, sizeof config - 1);
    bl_test_join(to, path, "transformer/diffusion_pytorch_model.safetensors");
    write_transformer(to, "", false);
    for (int i = 0; i < 4; i++) {
        bl_test_join(from, synth, same[i]);
        bl_test_join(to, path, same[i]);
        assert_int_equal(symlink(from, to), 0);
    }
}

void bl_test_zimage_single(const char *path, const char *prefix) {
    write_transformer(path, prefix, true);
}

/* llama.cpp's name of a tensor. */
static bool llama_name(void *context, char *name, bl_tensor_data *t) {
    static const char *const ends[][2] = {
        {"self_attn.q_proj", "attn_q"},          {"self_attn.k_proj", "attn_k"},
        {"self_attn.v_proj", "attn_v"},          {"self_attn.o_proj", "attn_output"},
        {"self_attn.q_norm", "attn_q_norm"},     {"self_attn.k_norm", "attn_k_norm"},
        {"mlp.gate_proj", "ffn_gate"},           {"mlp.up_proj", "ffn_up"},
        {"mlp.down_proj", "ffn_down"},           {"input_layernorm", "attn_norm"},
        {"post_attention_layernorm", "ffn_norm"}};
    int number, at;
    char rest[128];
    (void)context, (void)t;
    if (!strcmp(name, "model.embed_tokens.weight") || !strcmp(name, "model.norm.weight")) {
        strcpy(name, strstr(name, "embed") ? "token_embd.weight" : "output_norm.weight");
        return true;
    }
    assert_int_equal(sscanf(name, "model.layers.%d.%n", &number, &at), 1);
    snprintf(rest, sizeof rest, "%s", name + at);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (!strncmp(rest, ends[i][0], strlen(ends[i][0]))) {
            snprintf(name, 256, "blk.%d.%s.weight", number, ends[i][1]);
        }
    }
    return true;
}

static void rewrite(const char *path, const char *name, bl_rewrite_fn *fn) {
    char synth[BL_TEST_PATH], from[BL_TEST_PATH];
    bl_synth_folder(synth, "zimage");
    bl_test_join(from, synth, name);
    bl_test_rewrite(path, from, fn, NULL, NULL, 0);
}

void bl_test_zimage_llama(const char *path) {
    rewrite(path, "text_encoder/model.safetensors", llama_name);
}

static bool bare_name(void *context, char *name, bl_tensor_data *t) {
    (void)context, (void)t;
    const size_t n = strlen("model.");
    assert_memory_equal(name, "model.", n);
    memmove(name, name + n, strlen(name + n) + 1);
    return true;
}

void bl_test_zimage_bare(const char *path) {
    rewrite(path, "text_encoder/model.safetensors", bare_name);
}

static bool ldm_name(void *context, char *name, bl_tensor_data *t) {
    bl_stored stored;
    (void)context, (void)t;
    assert_true(bl_stored_name(&stored, BL_NAMES_LDM_VAE, NULL, 4, name) && stored.shares == 1);
    snprintf(name, 256, "%s", stored.name);
    return true;
}

void bl_test_zimage_vae(const char *path) {
    rewrite(path, "vae/diffusion_pytorch_model.safetensors", ldm_name);
}
