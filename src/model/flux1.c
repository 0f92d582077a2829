#include "model/flux1.h"

#include "model/flux.h"
#include "model/layers.h"
#include "model/rope.h"

void bl_flux1_rope(float *rope, const bl_flux1 *a, const bl_flux1_shape *s) {
    const int columns = s->width / BL_FLUX1_PATCH;
    for (int i = 0; i < s->tokens + bl_flux1_image_tokens(s); i++) {
        const int p = i - s->tokens;
        const int at[BL_FLUX1_AXES] = {0, p < 0 ? 0 : p / columns, p < 0 ? 0 : p % columns};
        bl_rope_row(rope + (size_t)i * (size_t)a->head_dim, at, a->axis, BL_FLUX1_AXES, a->theta);
    }
}

typedef struct net {
    bl_flux_net f;
    const bl_flux1 *a;
    const bl_flux1_shape *s;
} net;

/* ---- layers; all have a bias */

static bl_tensor_id linear(const net *w, bl_tensor_id x, const char *block, const char *name, int out,
                           bl_act act) {
    return bl_flux_linear(&w->f, x, block, name, out, act);
}

static bl_tensor_id modulation(const net *w, const char *block, const char *name, int parts) {
    return bl_flux_modulation(&w->f, block, name, parts);
}

/* Queries and keys are normed, each head alone. */
static bl_tensor_id normed(const net *w, bl_tensor_id x, const char *block, const char *name,
                           const char *norm_name) {
    return bl_flux_head_norm(&w->f, linear(w, x, block, name, w->f.width, BL_ACT_NONE), block, norm_name);
}

/* Text and picture have weights of their own and attend to both. */
static void double_block(const net *w, bl_tensor_id *image, bl_tensor_id *text, int i) {
    bl_graph *g = w->f.g;
    const bl_path block = bl_path_make("transformer_blocks.%d.", i);
    const int rows = bl_flux1_image_tokens(w->s), tokens = w->s->tokens, c = w->f.width;
    const bl_tensor_id m = modulation(w, block.s, "norm1.linear", 6);
    const bl_tensor_id n = modulation(w, block.s, "norm1_context.linear", 6);
    bl_tensor_id x = bl_flux_modulated(&w->f, *image, m, 0), y = bl_flux_modulated(&w->f, *text, n, 0);
    bl_tensor_id q = normed(w, x, block.s, "attn.to_q", "attn.norm_q");
    bl_tensor_id k = normed(w, x, block.s, "attn.to_k", "attn.norm_k");
    bl_tensor_id v = linear(w, x, block.s, "attn.to_v", c, BL_ACT_NONE);
    bl_tensor_id q2 = normed(w, y, block.s, "attn.add_q_proj", "attn.norm_added_q");
    bl_tensor_id k2 = normed(w, y, block.s, "attn.add_k_proj", "attn.norm_added_k");
    bl_tensor_id v2 = linear(w, y, block.s, "attn.add_v_proj", c, BL_ACT_NONE);
    bl_tensor_id o = bl_flux_attention(&w->f, bl_join(g, q2, q), bl_join(g, k2, k), bl_join(g, v2, v));
    x = linear(w, bl_slice(g, o, tokens, rows), block.s, "attn.to_out.0", c, BL_ACT_NONE);
    y = linear(w, bl_slice(g, o, 0, tokens), block.s, "attn.to_add_out", c, BL_ACT_NONE);
    x = bl_gated_add(g, *image, x, m, 2 * c, false);
    y = bl_gated_add(g, *text, y, n, 2 * c, false);
    *image = bl_flux_feed_forward(&w->f, x, m, block.s, "ff", w->a->hidden);
    *text = bl_flux_feed_forward(&w->f, y, n, block.s, "ff_context", w->a->hidden);
    bl_tap_tokens(g, *text, "transformer_blocks.%d.0", i);
    bl_tap_tokens(g, *image, "transformer_blocks.%d.1", i);
}

/* One stream: attention and feed-forward layer side by side. */
static bl_tensor_id single_block(const net *w, bl_tensor_id x, int i) {
    bl_graph *g = w->f.g;
    const bl_path block = bl_path_make("single_transformer_blocks.%d.", i);
    const int c = w->f.width;
    const bl_tensor_id m = modulation(w, block.s, "norm.linear", 3);
    bl_tensor_id z = bl_flux_modulated(&w->f, x, m, 0);
    bl_tensor_id q = normed(w, z, block.s, "attn.to_q", "attn.norm_q");
    bl_tensor_id k = normed(w, z, block.s, "attn.to_k", "attn.norm_k");
    bl_tensor_id o = bl_flux_attention(&w->f, q, k, linear(w, z, block.s, "attn.to_v", c, BL_ACT_NONE));
    bl_tensor_id f = linear(w, z, block.s, "proj_mlp", w->a->hidden, BL_ACT_GELU_TANH);
    o = linear(w, bl_concat(g, o, f), block.s, "proj_out", c, BL_ACT_NONE);
    x = bl_gated_add(g, x, o, m, 2 * c, false);
    bl_tap_tokens(g, x, "single_transformer_blocks.%d", i);
    return x;
}

/* ---- the whole */

static void embed_time(net *w) {
    bl_flux_embed_time(&w->f, w->a->time, w->a->pooled, w->a->guided);
}

static void build_prologue(net *w) {
    bl_graph *g = w->f.g;
    bl_graph_block(g, "times");
    embed_time(w);
    for (int i = 0; i < w->a->doubles; i++) {
        const bl_path block = bl_path_make("transformer_blocks.%d.", i);
        bl_graph_block(g, "transformer_blocks.%d.norm", i);
        modulation(w, block.s, "norm1.linear", 6);
        modulation(w, block.s, "norm1_context.linear", 6);
    }
    for (int i = 0; i < w->a->singles; i++) {
        const bl_path block = bl_path_make("single_transformer_blocks.%d.", i);
        bl_graph_block(g, "single_transformer_blocks.%d.norm", i);
        modulation(w, block.s, "norm.linear", 3);
    }
    bl_graph_block(g, "norm_out");
    modulation(w, "", "norm_out.linear", 2);
}

static void embed(net *w, bl_tensor_id *image, bl_tensor_id *text) {
    bl_graph *g = w->f.g;
    const bl_flux1_shape *s = w->s;
    const int c = w->f.width, rows = bl_flux1_image_tokens(s);
    *image = bl_input(g, "latents", BL_F32, BL_NCHW, s->batch, s->height, s->width, w->a->channels);
    *text = bl_input(g, "context", BL_F32, BL_CHANNELS_LAST, s->batch, s->tokens, 1, w->a->context);
    w->f.rope = bl_input(g, "rope", BL_F32, BL_CHANNELS_LAST, s->batch, s->tokens + rows, 1, w->a->head_dim);
    bl_graph_block(g, "embedders");
    if (s->form == BL_UNET_STEP) {
        w->f.step = bl_input(g, "step", BL_I32, BL_CHANNELS_LAST, s->batch, 1, 1, 1);
    } else {
        embed_time(w);
    }
    *image = bl_patchify_planes(g, bl_import(g, *image), BL_FLUX1_PATCH);
    *image = bl_slice(g, linear(w, *image, "", "x_embedder", c, BL_ACT_NONE), 0, rows); /* rows of tokens */
    *text = linear(w, bl_import(g, *text), "", "context_embedder", c, BL_ACT_NONE);
}

static void final_layer(const net *w, bl_tensor_id x) {
    bl_graph *g = w->f.g;
    const bl_flux1_shape *s = w->s;
    bl_graph_block(g, "norm_out");
    /* scale, then shift */
    bl_tensor_id m = modulation(w, "", "norm_out.linear", 2);
    x = bl_layer_norm(g, bl_slice(g, x, s->tokens, bl_flux1_image_tokens(s)), BL_NONE, BL_NONE, w->a->eps);
    x = linear(w, bl_modulate(g, x, m, 0, w->f.width), "", "proj_out",
               w->a->channels * BL_FLUX1_PATCH * BL_FLUX1_PATCH, BL_ACT_NONE);
    bl_export(g, bl_unpatchify_planes(g, x, BL_FLUX1_PATCH, s->height, s->width), "output", BL_NCHW);
}

int bl_flux1_graph(bl_graph **out, const bl_flux1 *a, const bl_flux1_shape *s, bl_dtype dtype,
                   const char *const *taps, bl_error *err) {
    *out = NULL;
    if (s->form != BL_UNET_PROLOGUE && (s->height % BL_FLUX1_PATCH || s->width % BL_FLUX1_PATCH)) {
        return bl_fail(err, BL_E_ARGUMENT, "transformer: latents of %d x %d are no whole patches of %d x %d",
                       s->width, s->height, BL_FLUX1_PATCH, BL_FLUX1_PATCH);
    }
    net w = {.f = {.heads = a->heads, .head_dim = a->head_dim, .eps = a->eps}, .a = a, .s = s};
    const bl_flux_shape shape = {s->batch, s->height, s->width, s->tokens, s->form, s->times};
    int rc = bl_flux_begin(&w.f, &shape, dtype, taps, err);
    if (rc) {
        return rc;
    }
    if (s->form == BL_UNET_PROLOGUE) {
        build_prologue(&w);
        return bl_net_finish(out, w.f.g, err);
    }
    bl_tensor_id image, text;
    embed(&w, &image, &text);
    for (int i = 0; i < a->doubles; i++) {
        bl_graph_block(w.f.g, "transformer_blocks.%d", i);
        double_block(&w, &image, &text, i);
    }
    bl_tensor_id x = BL_NONE;
    for (int i = 0; i < a->singles; i++) {
        bl_graph_block(w.f.g, "single_transformer_blocks.%d", i);
        x = single_block(&w, i ? x : bl_join(w.f.g, text, image), i);
    }
    final_layer(&w, x);
    return bl_net_finish(out, w.f.g, err);
}
