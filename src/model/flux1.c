#include "model/flux1.h"

#include "model/layers.h"
#include "model/rope.h"

#define HEAD_EPS 1e-6f /* of the norms of queries and keys */

void bl_flux1_rope(float *rope, const bl_flux1 *a, const bl_flux1_shape *s) {
    const int columns = s->width / BL_FLUX1_PATCH;
    for (int i = 0; i < s->tokens + bl_flux1_image_tokens(s); i++) {
        const int p = i - s->tokens;
        const int at[BL_FLUX1_AXES] = {0, p < 0 ? 0 : p / columns, p < 0 ? 0 : p % columns};
        bl_rope_row(rope + (size_t)i * (size_t)a->head_dim, at, a->axis, BL_FLUX1_AXES, a->theta);
    }
}

typedef struct net {
    bl_graph *g;
    const bl_flux1 *a;
    const bl_flux1_shape *s;
    int width;               /* of the tokens */
    bl_tensor_id rope, time; /* time: SiLU of the embedding of time, guidance and the text's vector */
    bl_tensor_id step;       /* which of those that the prologue kept */
} net;

/* ---- layers; all have a bias */

static bl_tensor_id linear(const net *w, bl_tensor_id x, const char *block, const char *name, int out,
                           bl_act act) {
    const bl_path path = bl_path_make("%s%s", block, name);
    return bl_net_linear(w->g, x, path.s, out, act, BL_NONE);
}

/* Of each head. */
static bl_tensor_id norm(const net *w, bl_tensor_id x, const char *block, const char *name) {
    const bl_path path = bl_path_make("%s%s.weight", block, name);
    const char *weight = path.s;
    int64_t n = w->a->head_dim;
    return bl_rms_norm(w->g, x, bl_weight_new(w->g, BL_W_VECTOR, &n, 1, &weight, 1), HEAD_EPS);
}

/* The norm without weights, then the scale and shift that begin at `at` of a modulation. */
static bl_tensor_id modulated(const net *w, bl_tensor_id x, bl_tensor_id m, int at) {
    x = bl_layer_norm(w->g, x, BL_NONE, BL_NONE, w->a->eps);
    return bl_modulate(w->g, x, m, at + w->width, at);
}

/* Of a block: `parts` vectors side by side. They are kept in the order in which they are read. */
static bl_tensor_id modulation(const net *w, const char *block, const char *name, int parts) {
    const bl_flux1_shape *s = w->s;
    if (s->form == BL_UNET_STEP) {
        return bl_take_row(w->g, bl_kept(w->g, s->batch, s->times, 1, parts * w->width), w->step);
    }
    const bl_tensor_id m = linear(w, w->time, block, name, parts * w->width, BL_ACT_NONE);
    if (s->form == BL_UNET_PROLOGUE) {
        bl_keep(w->g, m);
    }
    return m;
}

static bl_tensor_id attention(const net *w, bl_tensor_id q, bl_tensor_id k, bl_tensor_id v) {
    const int head = w->a->head_dim;
    q = bl_rope(w->g, q, w->rope, head, false);
    k = bl_rope(w->g, k, w->rope, head, false);
    return bl_attention(
        w->g, q, k, v, (bl_attention_options){.heads = w->a->heads, .head_dim = head, .key_counts = BL_NONE});
}

static bl_tensor_id feed_forward(const net *w, bl_tensor_id x, bl_tensor_id m, const char *block,
                                 const char *name) {
    const bl_path in = bl_path_make("%s.net.0.proj", name), out = bl_path_make("%s.net.2", name);
    bl_tensor_id y = modulated(w, x, m, 3 * w->width);
    y = linear(w, y, block, in.s, w->a->hidden, BL_ACT_GELU_TANH);
    y = linear(w, y, block, out.s, w->width, BL_ACT_NONE);
    return bl_gated_add(w->g, x, y, m, 5 * w->width, false);
}

/* Queries and keys are normed, each head alone. */
static bl_tensor_id normed(const net *w, bl_tensor_id x, const char *block, const char *name,
                           const char *norm_name) {
    return norm(w, linear(w, x, block, name, w->width, BL_ACT_NONE), block, norm_name);
}

/* Text and picture have weights of their own and attend to both. */
static void double_block(const net *w, bl_tensor_id *image, bl_tensor_id *text, int i) {
    bl_graph *g = w->g;
    const bl_path block = bl_path_make("transformer_blocks.%d.", i);
    const int rows = bl_flux1_image_tokens(w->s), tokens = w->s->tokens, c = w->width;
    const bl_tensor_id m = modulation(w, block.s, "norm1.linear", 6);
    const bl_tensor_id n = modulation(w, block.s, "norm1_context.linear", 6);
    bl_tensor_id x = modulated(w, *image, m, 0), y = modulated(w, *text, n, 0);
    bl_tensor_id q = normed(w, x, block.s, "attn.to_q", "attn.norm_q");
    bl_tensor_id k = normed(w, x, block.s, "attn.to_k", "attn.norm_k");
    bl_tensor_id v = linear(w, x, block.s, "attn.to_v", c, BL_ACT_NONE);
    bl_tensor_id q2 = normed(w, y, block.s, "attn.add_q_proj", "attn.norm_added_q");
    bl_tensor_id k2 = normed(w, y, block.s, "attn.add_k_proj", "attn.norm_added_k");
    bl_tensor_id v2 = linear(w, y, block.s, "attn.add_v_proj", c, BL_ACT_NONE);
    bl_tensor_id o = attention(w, bl_join(g, q2, q), bl_join(g, k2, k), bl_join(g, v2, v));
    x = linear(w, bl_slice(g, o, tokens, rows), block.s, "attn.to_out.0", c, BL_ACT_NONE);
    y = linear(w, bl_slice(g, o, 0, tokens), block.s, "attn.to_add_out", c, BL_ACT_NONE);
    x = bl_gated_add(g, *image, x, m, 2 * c, false);
    y = bl_gated_add(g, *text, y, n, 2 * c, false);
    *image = feed_forward(w, x, m, block.s, "ff");
    *text = feed_forward(w, y, n, block.s, "ff_context");
    bl_tap_tokens(g, *text, "transformer_blocks.%d.0", i);
    bl_tap_tokens(g, *image, "transformer_blocks.%d.1", i);
}

/* One stream: attention and feed-forward layer side by side. */
static bl_tensor_id single_block(const net *w, bl_tensor_id x, int i) {
    bl_graph *g = w->g;
    const bl_path block = bl_path_make("single_transformer_blocks.%d.", i);
    const int c = w->width;
    const bl_tensor_id m = modulation(w, block.s, "norm.linear", 3);
    bl_tensor_id z = modulated(w, x, m, 0);
    bl_tensor_id q = normed(w, z, block.s, "attn.to_q", "attn.norm_q");
    bl_tensor_id k = normed(w, z, block.s, "attn.to_k", "attn.norm_k");
    bl_tensor_id o = attention(w, q, k, linear(w, z, block.s, "attn.to_v", c, BL_ACT_NONE));
    bl_tensor_id f = linear(w, z, block.s, "proj_mlp", w->a->hidden, BL_ACT_GELU_TANH);
    o = linear(w, bl_concat(g, o, f), block.s, "proj_out", c, BL_ACT_NONE);
    x = bl_gated_add(g, x, o, m, 2 * c, false);
    bl_tap_tokens(g, x, "single_transformer_blocks.%d", i);
    return x;
}

/* ---- the whole */

/* Two layers with SiLU between them. */
static bl_tensor_id embedded(const net *w, bl_tensor_id x, const char *name) {
    x = linear(w, x, name, ".linear_1", w->width, BL_ACT_SILU);
    return linear(w, x, name, ".linear_2", w->width, BL_ACT_NONE);
}

/* Steps of all pictures that are worked for. */
static int vectors(const bl_flux1_shape *s) {
    return s->batch * (s->form == BL_UNET_PROLOGUE ? s->times : 1);
}

static bl_tensor_id number(const net *w, const char *input, const char *name) {
    bl_tensor_id t = bl_input(w->g, input, BL_F32, BL_CHANNELS_LAST, vectors(w->s), 1, 1, 1);
    return embedded(w, bl_sinusoid(w->g, t, w->a->time), name);
}

static void embed_time(net *w) {
    bl_graph *g = w->g;
    bl_tensor_id pooled = bl_input(g, "pooled", BL_F32, BL_CHANNELS_LAST, vectors(w->s), 1, 1, w->a->pooled);
    bl_tensor_id t = number(w, "t", "time_text_embed.timestep_embedder");
    if (w->a->guided) {
        t = bl_add(g, t, number(w, "guidance", "time_text_embed.guidance_embedder"));
    }
    t = bl_add(g, t, embedded(w, bl_import(g, pooled), "time_text_embed.text_embedder"));
    bl_tap_tokens(g, t, "time_text_embed");
    w->time = bl_activation(g, t, BL_ACT_SILU);
}

static void build_prologue(net *w) {
    bl_graph *g = w->g;
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
    bl_graph *g = w->g;
    const bl_flux1_shape *s = w->s;
    const int c = w->width, rows = bl_flux1_image_tokens(s);
    *image = bl_input(g, "latents", BL_F32, BL_NCHW, s->batch, s->height, s->width, w->a->channels);
    *text = bl_input(g, "context", BL_F32, BL_CHANNELS_LAST, s->batch, s->tokens, 1, w->a->context);
    w->rope = bl_input(g, "rope", BL_F32, BL_CHANNELS_LAST, s->batch, s->tokens + rows, 1, w->a->head_dim);
    bl_graph_block(g, "embedders");
    if (s->form == BL_UNET_STEP) {
        w->step = bl_input(g, "step", BL_I32, BL_CHANNELS_LAST, s->batch, 1, 1, 1);
    } else {
        embed_time(w);
    }
    *image = bl_patchify_planes(g, bl_import(g, *image), BL_FLUX1_PATCH);
    *image = bl_slice(g, linear(w, *image, "", "x_embedder", c, BL_ACT_NONE), 0, rows); /* rows of tokens */
    *text = linear(w, bl_import(g, *text), "", "context_embedder", c, BL_ACT_NONE);
}

static void final_layer(const net *w, bl_tensor_id x) {
    bl_graph *g = w->g;
    const bl_flux1_shape *s = w->s;
    bl_graph_block(g, "norm_out");
    /* scale, then shift */
    bl_tensor_id m = modulation(w, "", "norm_out.linear", 2);
    x = bl_layer_norm(g, bl_slice(g, x, s->tokens, bl_flux1_image_tokens(s)), BL_NONE, BL_NONE, w->a->eps);
    x = linear(w, bl_modulate(g, x, m, 0, w->width), "", "proj_out",
               w->a->channels * BL_FLUX1_PATCH * BL_FLUX1_PATCH, BL_ACT_NONE);
    bl_export(g, bl_unpatchify_planes(g, x, BL_FLUX1_PATCH, s->height, s->width), "output", BL_NCHW);
}

int bl_flux1_graph(bl_graph **out, const bl_flux1 *a, const bl_flux1_shape *s, bl_dtype dtype,
                   const char *const *taps, bl_error *err) {
    *out = NULL;
    const bool prologue = s->form == BL_UNET_PROLOGUE;
    int rc = bl_net_check_shape(BL_TRANSFORMER, s->batch, prologue ? 1 : s->height, prologue ? 1 : s->width,
                                prologue ? s->times : s->tokens, err);
    if (!rc && !prologue && (s->height % BL_FLUX1_PATCH || s->width % BL_FLUX1_PATCH)) {
        rc = bl_fail(err, BL_E_ARGUMENT, "transformer: latents of %d x %d are no whole patches of %d x %d",
                     s->width, s->height, BL_FLUX1_PATCH, BL_FLUX1_PATCH);
    }
    if (!rc && s->form != BL_UNET_WHOLE && s->times < 1) {
        rc = bl_fail(err, BL_E_ARGUMENT, "transformer: a prologue of %d steps", s->times);
    }
    if (rc) {
        return rc;
    }
    net w = {.g = bl_graph_new(BL_TRANSFORMER, dtype, taps), .a = a, .s = s, .width = a->heads * a->head_dim};
    if (!w.g) {
        return bl_fail_memory(err, "a graph", sizeof *w.g);
    }
    if (prologue) {
        build_prologue(&w);
        return bl_net_finish(out, w.g, err);
    }
    bl_tensor_id image, text;
    embed(&w, &image, &text);
    for (int i = 0; i < a->doubles; i++) {
        bl_graph_block(w.g, "transformer_blocks.%d", i);
        double_block(&w, &image, &text, i);
    }
    bl_tensor_id x = BL_NONE;
    for (int i = 0; i < a->singles; i++) {
        bl_graph_block(w.g, "single_transformer_blocks.%d", i);
        x = single_block(&w, i ? x : bl_join(w.g, text, image), i);
    }
    final_layer(&w, x);
    return bl_net_finish(out, w.g, err);
}
