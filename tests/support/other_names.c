#include "support/other_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "checkpoint/names.h"
#include "support/files.h"
#include "support/synth.h"

#include <stdio.h>
#include <string.h>

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

static void rewrite(const char *path, const char *family, const char *name, bl_rewrite_fn *fn) {
    char synth[BL_TEST_PATH], from[BL_TEST_PATH];
    bl_synth_folder(synth, family);
    bl_test_join(from, synth, name);
    bl_test_rewrite(path, from, fn, NULL, NULL, 0);
}

void bl_test_qwen_llama(const char *path, const char *family) {
    rewrite(path, family, "text_encoder/model.safetensors", llama_name);
}

static bool bare_name(void *context, char *name, bl_tensor_data *t) {
    (void)context, (void)t;
    const size_t n = strlen("model.");
    assert_memory_equal(name, "model.", n);
    memmove(name, name + n, strlen(name + n) + 1);
    return true;
}

void bl_test_qwen_bare(const char *path, const char *family) {
    rewrite(path, family, "text_encoder/model.safetensors", bare_name);
}

static bool ldm_name(void *context, char *name, bl_tensor_data *t) {
    bl_stored stored;
    (void)context, (void)t;
    assert_true(bl_stored_name(&stored, BL_NAMES_LDM_VAE, NULL, 4, name) && stored.shares == 1);
    const char *half = strncmp(name, "quant_conv.", 11) ? "decoder." : "encoder.";
    snprintf(name, 256, "%s%.200s", strstr(name, "quant_conv.") ? half : "", stored.name);
    return true;
}

void bl_test_ldm_vae(const char *path, const char *family) {
    rewrite(path, family, "vae/diffusion_pytorch_model.safetensors", ldm_name);
}
