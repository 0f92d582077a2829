#include "model/sd3.h"

#include "model/flux.h"
#include "model/layers.h"

typedef struct net {
    bl_flux_net f;
    const bl_sd3 *a;
    const bl_sd3_shape *s;
} net;

static bl_tensor_id linear(const net *w, bl_tensor_id x, const char *block, const char *name, int out) {
    return bl_flux_linear(&w->f, x, block, name, out, BL_ACT_NONE);
}

/* Queries or keys: each head is normed alone, where they are normed at all. */
static bl_tensor_id normed(const net *w, bl_tensor_id x, const char *block, const char *name,
                           const char *norm_name) {
    x = linear(w, x, block, name, w->f.width);
    return w->a->head_norms ? bl_flux_head_norm(&w->f, x, block, norm_name) : x;
}

static bl_tensor_id attention(const net *w, bl_tensor_id q, bl_tensor_id k, bl_tensor_id v) {
    return bl_attention(
        w->f.g, q, k, v,
        (bl_attention_options){.heads = w->f.heads, .head_dim = w->f.head_dim, .key_counts = BL_NONE});
}

/* ---- modulations: shift, scale and gate of the attention, the same of the feed-forward layers, the same of
 * the second attention; of text that nobody reads behind it scale and shift of the attention alone */

static bool is_dual(const net *w, int i) {
    return i < w->a->duals;
}

static bool is_last(const net *w, int i) {
    return i == w->a->layers - 1;
}

static bl_tensor_id image_modulation(const net *w, const char *block, int i) {
    return bl_flux_modulation(&w->f, block, "norm1.linear", is_dual(w, i) ? 9 : 6);
}

static bl_tensor_id text_modulation(const net *w, const char *block, int i) {
    return bl_flux_modulation(&w->f, block, "norm1_context.linear", is_last(w, i) ? 2 : 6);
}

/* ---- a block: text and picture have weights of their own and attend to both, the picture first */

/* The second attention, of the picture to itself, on the same norm. */
static bl_tensor_id second_attention(const net *w, bl_tensor_id norm, bl_tensor_id m, const char *block) {
    const int c = w->f.width;
    bl_tensor_id x = bl_modulate(w->f.g, norm, m, 7 * c, 6 * c);
    bl_tensor_id q = normed(w, x, block, "attn2.to_q", "attn2.norm_q");
    bl_tensor_id k = normed(w, x, block, "attn2.to_k", "attn2.norm_k");
    x = attention(w, q, k, linear(w, x, block, "attn2.to_v", c));
    return linear(w, x, block, "attn2.to_out.0", c);
}

static void joint_block(const net *w, bl_tensor_id *image, bl_tensor_id *text, int i) {
    bl_graph *g = w->f.g;
    const bl_path block = bl_path_make("transformer_blocks.%d.", i);
    const int rows = bl_sd3_image_tokens(w->s), tokens = w->s->tokens, c = w->f.width;
    const bool last = is_last(w, i);
    const bl_tensor_id m = image_modulation(w, block.s, i), n = text_modulation(w, block.s, i);
    const bl_tensor_id norm = bl_layer_norm(g, *image, BL_NONE, BL_NONE, w->f.eps);
    bl_tensor_id x = bl_modulate(g, norm, m, c, 0);
    bl_tensor_id y = bl_layer_norm(g, *text, BL_NONE, BL_NONE, w->f.eps);
    y = last ? bl_modulate(g, y, n, 0, c) : bl_modulate(g, y, n, c, 0);
    bl_tensor_id q = normed(w, x, block.s, "attn.to_q", "attn.norm_q");
    bl_tensor_id k = normed(w, x, block.s, "attn.to_k", "attn.norm_k");
    bl_tensor_id v = linear(w, x, block.s, "attn.to_v", c);
    if (!last) {
        q = bl_join(g, q, normed(w, y, block.s, "attn.add_q_proj", "attn.norm_added_q"));
    }
    k = bl_join(g, k, normed(w, y, block.s, "attn.add_k_proj", "attn.norm_added_k"));
    v = bl_join(g, v, linear(w, y, block.s, "attn.add_v_proj", c));
    const bl_tensor_id o = attention(w, q, k, v);
    x = linear(w, last ? o : bl_slice(g, o, 0, rows), block.s, "attn.to_out.0", c);
    x = bl_gated_add(g, *image, x, m, 2 * c, false);
    if (is_dual(w, i)) {
        x = bl_gated_add(g, x, second_attention(w, norm, m, block.s), m, 8 * c, false);
    }
    *image = bl_flux_feed_forward(&w->f, x, m, block.s, "ff", w->a->hidden);
    if (!last) {
        y = linear(w, bl_slice(g, o, rows, tokens), block.s, "attn.to_add_out", c);
        y = bl_gated_add(g, *text, y, n, 2 * c, false);
        *text = bl_flux_feed_forward(&w->f, y, n, block.s, "ff_context", w->a->hidden);
        bl_tap_tokens(g, *text, "transformer_blocks.%d.0", i);
    }
    bl_tap_tokens(g, *image, "transformer_blocks.%d.1", i);
}

/* ---- the whole */

static void embed_time(net *w) {
    bl_flux_embed_time(&w->f, w->a->time, w->a->pooled, false);
}

static void build_prologue(net *w) {
    bl_graph *g = w->f.g;
    bl_graph_block(g, "times");
    embed_time(w);
    for (int i = 0; i < w->a->layers; i++) {
        const bl_path block = bl_path_make("transformer_blocks.%d.", i);
        bl_graph_block(g, "transformer_blocks.%d.norm", i);
        image_modulation(w, block.s, i);
        text_modulation(w, block.s, i);
    }
    bl_graph_block(g, "norm_out");
    bl_flux_modulation(&w->f, "", "norm_out.linear", 2);
}

/* A convolution that takes each patch once, and the patches' positions. */
static bl_tensor_id embed_patches(const net *w, bl_tensor_id latents, bl_tensor_id positions) {
    bl_graph *g = w->f.g;
    const int64_t shape[4] = {w->f.width, w->a->channels, BL_SD3_PATCH, BL_SD3_PATCH};
    const char *weight = "pos_embed.proj.weight", *bias = "pos_embed.proj.bias";
    const bl_weight_id kernel = bl_weight_new(g, BL_W_CONV, shape, 4, &weight, 1),
                       shift = bl_weight_new(g, BL_W_VECTOR, shape, 1, &bias, 1);
    const bl_conv_options o = {
        .stride = BL_SD3_PATCH, .residual = bl_import(g, positions), .channels = BL_NONE};
    return bl_slice(g, bl_conv(g, bl_import(g, latents), kernel, shift, o), 0, bl_sd3_image_tokens(w->s));
}

static void embed(net *w, bl_tensor_id *image, bl_tensor_id *text) {
    bl_graph *g = w->f.g;
    const bl_sd3_shape *s = w->s;
    const bl_tensor_id latents =
        bl_input(g, "latents", BL_F32, BL_NCHW, s->batch, s->height, s->width, w->a->channels);
    const bl_tensor_id positions = bl_input(g, "positions", BL_F32, BL_CHANNELS_LAST, s->batch,
                                            s->height / BL_SD3_PATCH, s->width / BL_SD3_PATCH, w->f.width);
    *text = bl_input(g, "context", BL_F32, BL_CHANNELS_LAST, s->batch, s->tokens, 1, w->a->context);
    bl_graph_block(g, "embedders");
    if (s->form == BL_UNET_STEP) {
        w->f.step = bl_input(g, "step", BL_I32, BL_CHANNELS_LAST, s->batch, 1, 1, 1);
    } else {
        embed_time(w);
    }
    *image = embed_patches(w, latents, positions);
    *text = linear(w, bl_import(g, *text), "", "context_embedder", w->f.width);
}

static void final_layer(const net *w, bl_tensor_id x) {
    bl_graph *g = w->f.g;
    bl_graph_block(g, "norm_out");
    /* scale, then shift */
    const bl_tensor_id m = bl_flux_modulation(&w->f, "", "norm_out.linear", 2);
    x = bl_layer_norm(g, x, BL_NONE, BL_NONE, w->f.eps);
    x = linear(w, bl_modulate(g, x, m, 0, w->f.width), "", "proj_out",
               w->a->channels * BL_SD3_PATCH * BL_SD3_PATCH);
    bl_export(g, bl_unpatchify(g, x, BL_SD3_PATCH, w->s->height, w->s->width), "output", BL_NCHW);
}

static int check_sides(const bl_sd3 *a, const bl_sd3_shape *s, bl_error *err) {
    const int most = a->positions * BL_SD3_PATCH;
    if (s->form == BL_UNET_PROLOGUE) {
        return 0;
    }
    if (s->height % BL_SD3_PATCH || s->width % BL_SD3_PATCH) {
        return bl_fail(err, BL_E_ARGUMENT, "transformer: latents of %d x %d are no whole patches of %d x %d",
                       s->width, s->height, BL_SD3_PATCH, BL_SD3_PATCH);
    }
    if (s->height > most || s->width > most) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "transformer: its table of positions is for latents of at most %d x %d, not %d x %d",
                       most, most, s->width, s->height);
    }
    return 0;
}

int bl_sd3_graph(bl_graph **out, const bl_sd3 *a, const bl_sd3_shape *s, bl_dtype dtype,
                 const char *const *taps, bl_error *err) {
    *out = NULL;
    int rc = check_sides(a, s, err);
    if (rc) {
        return rc;
    }
    net w = {.f = {.heads = a->heads, .head_dim = a->head_dim, .eps = a->eps}, .a = a, .s = s};
    const bl_flux_shape shape = {s->batch, s->height, s->width, s->tokens, s->form, s->times};
    rc = bl_flux_begin(&w.f, &shape, dtype, taps, err);
    if (rc) {
        return rc;
    }
    if (s->form == BL_UNET_PROLOGUE) {
        build_prologue(&w);
        return bl_net_finish(out, w.f.g, err);
    }
    bl_tensor_id image, text;
    embed(&w, &image, &text);
    for (int i = 0; i < a->layers; i++) {
        bl_graph_block(w.f.g, "transformer_blocks.%d", i);
        joint_block(&w, &image, &text, i);
    }
    final_layer(&w, image);
    return bl_net_finish(out, w.f.g, err);
}
