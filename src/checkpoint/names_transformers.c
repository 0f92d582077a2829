/* Names of transformers in single files: Z-Image's, FLUX.1's and FLUX.2's as their authors and ComfyUI
 * have them, Qwen3's and T5's as llama.cpp does. */
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

static const bl_rename flux2_ends[] = {
    {"time_guidance_embed.timestep_embedder.linear_1", "time_in.in_layer"},
    {"time_guidance_embed.timestep_embedder.linear_2", "time_in.out_layer"},
    {"time_guidance_embed.guidance_embedder.linear_1", "guidance_in.in_layer"},
    {"time_guidance_embed.guidance_embedder.linear_2", "guidance_in.out_layer"},
    {"double_stream_modulation_img.linear", "double_stream_modulation_img.lin"},
    {"double_stream_modulation_txt.linear", "double_stream_modulation_txt.lin"},
    {"single_stream_modulation.linear", "single_stream_modulation.lin"},
    {"x_embedder", "img_in"},
    {"context_embedder", "txt_in"},
    {"norm_out.linear", "final_layer.adaLN_modulation.1"},
    {"proj_out", "final_layer.linear"}};

static const bl_rename flux2_double[] = {{"attn.norm_q", "img_attn.norm.query_norm"},
                                         {"attn.norm_k", "img_attn.norm.key_norm"},
                                         {"attn.norm_added_q", "txt_attn.norm.query_norm"},
                                         {"attn.norm_added_k", "txt_attn.norm.key_norm"},
                                         {"attn.to_out.0", "img_attn.proj"},
                                         {"attn.to_add_out", "txt_attn.proj"},
                                         {"ff.linear_in", "img_mlp.0"},
                                         {"ff.linear_out", "img_mlp.2"},
                                         {"ff_context.linear_in", "txt_mlp.0"},
                                         {"ff_context.linear_out", "txt_mlp.2"}};

static const bl_rename flux2_single[] = {{"attn.to_qkv_mlp_proj", "linear1"},
                                         {"attn.to_out", "linear2"},
                                         {"attn.norm_q", "norm.query_norm"},
                                         {"attn.norm_k", "norm.key_norm"}};

/* What its authors call the weights of norms of heads; ComfyUI writes "weight", too. */
static void flux_norm(bl_stored *out) {
    static const char end[] = "_norm.weight";
    const size_t n = strlen(out->name), m = strlen(end);
    if (n > m && !strcmp(out->name + n - m, end)) {
        memcpy(out->other, out->name, n + 1);
        memcpy(out->name + n - strlen("weight"), "scale", sizeof "scale");
    }
}

/* Queries, keys and values are one matrix; the last layer's shift comes before its scale. */
bool bl_flux2_name(bl_stored *out, const char *name) {
    static const char *const fused[2][3] = {{"attn.to_q.", "attn.to_k.", "attn.to_v."},
                                            {"attn.add_q_proj.", "attn.add_k_proj.", "attn.add_v_proj."}};
    char head[32];
    const char *rest = bl_after(name, "transformer_blocks.");
    const bool two = rest != NULL;
    rest = two ? rest : bl_after(name, "single_transformer_blocks.");
    if (!rest) {
        out->swapped = bl_after(name, "norm_out.linear.") != NULL;
        return bl_renamed(out, "", name, flux2_ends, COUNT(flux2_ends), false);
    }
    const int number = bl_take_number(&rest);
    snprintf(head, sizeof head, two ? "double_blocks.%d." : "single_blocks.%d.", number);
    for (int i = 0; two && i < 6; i++) {
        const char *kind = bl_after(rest, fused[i / 3][i % 3]);
        if (kind) {
            out->share = i % 3;
            out->shares = 3;
            const int n =
                snprintf(out->name, sizeof out->name, "%s%s_attn.qkv.%s", head, i < 3 ? "img" : "txt", kind);
            return number >= 0 && n < (int)sizeof out->name;
        }
    }
    const bool known = bl_renamed(out, head, rest, two ? flux2_double : flux2_single,
                                  two ? COUNT(flux2_double) : COUNT(flux2_single), false);
    flux_norm(out);
    return number >= 0 && known;
}

static const bl_rename flux1_ends[] = {
    {"time_text_embed.timestep_embedder.linear_1", "time_in.in_layer"},
    {"time_text_embed.timestep_embedder.linear_2", "time_in.out_layer"},
    {"time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer"},
    {"time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer"},
    {"time_text_embed.text_embedder.linear_1", "vector_in.in_layer"},
    {"time_text_embed.text_embedder.linear_2", "vector_in.out_layer"},
    {"x_embedder", "img_in"},
    {"context_embedder", "txt_in"},
    {"norm_out.linear", "final_layer.adaLN_modulation.1"},
    {"proj_out", "final_layer.linear"}};

static const bl_rename flux1_double[] = {{"norm1.linear", "img_mod.lin"},
                                         {"norm1_context.linear", "txt_mod.lin"},
                                         {"attn.norm_q", "img_attn.norm.query_norm"},
                                         {"attn.norm_k", "img_attn.norm.key_norm"},
                                         {"attn.norm_added_q", "txt_attn.norm.query_norm"},
                                         {"attn.norm_added_k", "txt_attn.norm.key_norm"},
                                         {"attn.to_out.0", "img_attn.proj"},
                                         {"attn.to_add_out", "txt_attn.proj"},
                                         {"ff.net.0.proj", "img_mlp.0"},
                                         {"ff.net.2", "img_mlp.2"},
                                         {"ff_context.net.0.proj", "txt_mlp.0"},
                                         {"ff_context.net.2", "txt_mlp.2"}};

static const bl_rename flux1_single[] = {{"norm.linear", "modulation.lin"},
                                         {"attn.norm_q", "norm.query_norm"},
                                         {"attn.norm_k", "norm.key_norm"},
                                         {"proj_out", "linear2"}};

/* What is one matrix: queries, keys and values, behind which single blocks have the feed-forward layer, which
 * is four times as wide. The last layer's shift comes before its scale. */
bool bl_flux1_name(bl_stored *out, const char *name) {
    static const struct fused {
        const char *layer, *matrix;
        int share, shares, spans;
    } two[] = {{"attn.to_q.", "img_attn.qkv.", 0, 3, 1},
               {"attn.to_k.", "img_attn.qkv.", 1, 3, 1},
               {"attn.to_v.", "img_attn.qkv.", 2, 3, 1},
               {"attn.add_q_proj.", "txt_attn.qkv.", 0, 3, 1},
               {"attn.add_k_proj.", "txt_attn.qkv.", 1, 3, 1},
               {"attn.add_v_proj.", "txt_attn.qkv.", 2, 3, 1}},
      one[] = {{"attn.to_q.", "linear1.", 0, 7, 1},
               {"attn.to_k.", "linear1.", 1, 7, 1},
               {"attn.to_v.", "linear1.", 2, 7, 1},
               {"proj_mlp.", "linear1.", 3, 7, 4}};
    char head[32];
    const char *rest = bl_after(name, "transformer_blocks.");
    const bool is_double = rest != NULL;
    rest = rest ? rest : bl_after(name, "single_transformer_blocks.");
    if (!rest) {
        out->swapped = bl_after(name, "norm_out.linear.") != NULL;
        return bl_renamed(out, "", name, flux1_ends, COUNT(flux1_ends), false);
    }
    const int number = bl_take_number(&rest);
    snprintf(head, sizeof head, is_double ? "double_blocks.%d." : "single_blocks.%d.", number);
    for (int i = 0; number >= 0 && i < (is_double ? COUNT(two) : COUNT(one)); i++) {
        const struct fused *f = is_double ? &two[i] : &one[i];
        const char *kind = bl_after(rest, f->layer);
        if (kind) {
            out->share = f->share;
            out->shares = f->shares;
            out->spans = f->spans;
            const int n = snprintf(out->name, sizeof out->name, "%s%s%s", head, f->matrix, kind);
            return n < (int)sizeof out->name;
        }
    }
    const bool known = bl_renamed(out, head, rest, is_double ? flux1_double : flux1_single,
                                  is_double ? COUNT(flux1_double) : COUNT(flux1_single), false);
    flux_norm(out);
    return number >= 0 && known;
}

static const bl_rename t5_ends[] = {{"shared", "token_embd"},
                                    {"encoder.final_layer_norm", "enc.output_norm"}};

static const bl_rename t5_layer[] = {{"layer.0.SelfAttention.q", "attn_q"},
                                     {"layer.0.SelfAttention.k", "attn_k"},
                                     {"layer.0.SelfAttention.v", "attn_v"},
                                     {"layer.0.SelfAttention.o", "attn_o"},
                                     {"layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"},
                                     {"layer.0.layer_norm", "attn_norm"},
                                     {"layer.1.DenseReluDense.wi_0", "ffn_gate"},
                                     {"layer.1.DenseReluDense.wi_1", "ffn_up"},
                                     {"layer.1.DenseReluDense.wo", "ffn_down"},
                                     {"layer.1.layer_norm", "ffn_norm"}};

bool bl_llama_t5_name(bl_stored *out, const char *name) {
    const char *rest = bl_after(name, "encoder.block.");
    if (!rest) {
        return bl_renamed(out, "", name, t5_ends, COUNT(t5_ends), false);
    }
    const int number = bl_take_number(&rest);
    char head[24];
    snprintf(head, sizeof head, "enc.blk.%d.", number);
    return number >= 0 && bl_renamed(out, head, rest, t5_layer, COUNT(t5_layer), false);
}

static const bl_rename sd3_ends[] = {{"pos_embed.pos_embed", "pos_embed"},
                                     {"pos_embed.proj", "x_embedder.proj"},
                                     {"context_embedder", "context_embedder"},
                                     {"time_text_embed.timestep_embedder.linear_1", "t_embedder.mlp.0"},
                                     {"time_text_embed.timestep_embedder.linear_2", "t_embedder.mlp.2"},
                                     {"time_text_embed.text_embedder.linear_1", "y_embedder.mlp.0"},
                                     {"time_text_embed.text_embedder.linear_2", "y_embedder.mlp.2"},
                                     {"norm_out.linear", "final_layer.adaLN_modulation.1"},
                                     {"proj_out", "final_layer.linear"}};

static const bl_rename sd3_block[] = {{"norm1.linear", "x_block.adaLN_modulation.1"},
                                      {"norm1_context.linear", "context_block.adaLN_modulation.1"},
                                      {"attn.norm_q", "x_block.attn.ln_q"},
                                      {"attn.norm_k", "x_block.attn.ln_k"},
                                      {"attn.norm_added_q", "context_block.attn.ln_q"},
                                      {"attn.norm_added_k", "context_block.attn.ln_k"},
                                      {"attn.to_out.0", "x_block.attn.proj"},
                                      {"attn.to_add_out", "context_block.attn.proj"},
                                      {"attn2.norm_q", "x_block.attn2.ln_q"},
                                      {"attn2.norm_k", "x_block.attn2.ln_k"},
                                      {"attn2.to_out.0", "x_block.attn2.proj"},
                                      {"ff.net.0.proj", "x_block.mlp.fc1"},
                                      {"ff.net.2", "x_block.mlp.fc2"},
                                      {"ff_context.net.0.proj", "context_block.mlp.fc1"},
                                      {"ff_context.net.2", "context_block.mlp.fc2"}};

/* Queries, keys and values are one matrix; shift comes before scale also where diffusers has them the other
 * way round: behind the blocks, and of the last block's text. */
bool bl_sd3_name(bl_stored *out, int blocks, const char *name) {
    static const char *const fused[3][3] = {{"attn.to_q.", "attn.to_k.", "attn.to_v."},
                                            {"attn.add_q_proj.", "attn.add_k_proj.", "attn.add_v_proj."},
                                            {"attn2.to_q.", "attn2.to_k.", "attn2.to_v."}},
                             *const whole[3] = {"x_block.attn", "context_block.attn", "x_block.attn2"};
    char head[32];
    const char *rest = bl_after(name, "transformer_blocks.");
    if (!rest) {
        out->swapped = bl_after(name, "norm_out.linear.") != NULL;
        return bl_renamed(out, "", name, sd3_ends, COUNT(sd3_ends), false);
    }
    const int number = bl_take_number(&rest);
    snprintf(head, sizeof head, "joint_blocks.%d.", number);
    for (int i = 0; i < 9; i++) {
        const char *kind = bl_after(rest, fused[i / 3][i % 3]);
        if (kind) {
            out->share = i % 3;
            out->shares = 3;
            const int n = snprintf(out->name, sizeof out->name, "%s%s.qkv.%s", head, whole[i / 3], kind);
            return number >= 0 && n < (int)sizeof out->name;
        }
    }
    out->swapped = number == blocks - 1 && bl_after(rest, "norm1_context.linear.") != NULL;
    return number >= 0 && bl_renamed(out, head, rest, sd3_block, COUNT(sd3_block), false);
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
