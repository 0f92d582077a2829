/* Names of transformers in single files: Z-Image's as its authors and ComfyUI have them, and Qwen3's as
 * llama.cpp does. */
#include "checkpoint/names.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

static const bl_rename zimage_starts[] = {{"all_x_embedder.2-1", "x_embedder"},
                                          {"all_final_layer.2-1", "final_layer"}};

static const bl_rename zimage_attention[] = {{"to_out.0", "out"}, {"norm_q", "q_norm"}, {"norm_k", "k_norm"}};

/* Queries, keys and values are one matrix. */
bool bl_zimage_name(bl_stored *out, const char *name) {
    static const char *const fused[] = {"to_q.", "to_k.", "to_v."};
    static const char attention[] = ".attention.";
    const char *at = strstr(name, attention);
    if (!at) {
        return bl_renamed(out, "", name, zimage_starts, COUNT(zimage_starts), true);
    }
    char head[64];
    const char *rest = at + strlen(attention);
    if (rest - name >= (int)sizeof head) {
        return false;
    }
    snprintf(head, sizeof head, "%.*s", (int)(rest - name), name);
    for (int i = 0; i < 3; i++) {
        const char *kind = bl_after(rest, fused[i]);
        if (kind) {
            out->share = i;
            out->shares = 3;
            const int n = snprintf(out->name, sizeof out->name, "%sqkv.%s", head, kind);
            return n < (int)sizeof out->name;
        }
    }
    return bl_renamed(out, head, rest, zimage_attention, COUNT(zimage_attention), false);
}

static const bl_rename llama_ends[] = {{"embed_tokens", "token_embd"}, {"norm", "output_norm"}};

static const bl_rename llama_layer[] = {
    {"self_attn.q_proj", "attn_q"},          {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},          {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},     {"self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},           {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},           {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"}};

bool bl_llama_name(bl_stored *out, const char *name) {
    const char *rest = bl_after(name, "model.");
    if (!rest) {
        return false;
    }
    const char *inner = bl_after(rest, "layers.");
    if (!inner) {
        return bl_renamed(out, "", rest, llama_ends, COUNT(llama_ends), false);
    }
    const int number = bl_take_number(&inner);
    char head[24];
    snprintf(head, sizeof head, "blk.%d.", number);
    return number >= 0 && bl_renamed(out, head, inner, llama_layer, COUNT(llama_layer), false);
}
