#include "model/flux2.h"

#include "model/layers.h"
#include "model/rope.h"

#define HEAD_EPS 1e-6f /* of the norms of queries and keys */

void bl_flux2_rope(float *rope, const bl_flux2 *a, const bl_flux2_shape *s) {
    for (int i = 0; i < s->tokens + s->height * s->width; i++) {
        const int p = i - s->tokens;
        const int at[BL_FLUX2_AXES] = {0, p < 0 ? 0 : p / s->width, p < 0 ? 0 : p % s->width, p < 0 ? i : 0};
        bl_rope_row(rope + (size_t)i * (size_t)a->head_dim, at, a->axis, BL_FLUX2_AXES, a->theta);
    }
}

typedef struct net {
    bl_graph *g;
    const bl_flux2 *a;
    const bl_flux2_shape *s;
    int width; /* of the tokens */
    bl_tensor_id rope;
    bl_tensor_id image, text, both; /* modulations of a kind of blocks: shift, scale, gate, once or twice */
    bl_tensor_id last;              /* of what is behind them: scale, then shift */
} net;

/* ---- layers; none has a bias */

static bl_tensor_id linear(const net *w, bl_tensor_id x, const char *block, const char *name, int out) {
    const bl_path path = bl_path_make("%s%s", block, name);
    return bl_net_projections(w->g, x, &path, 1, out, false);
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

static bl_tensor_id attention(const net *w, bl_tensor_id q, bl_tensor_id k, bl_tensor_id v) {
    const int head = w->a->head_dim;
    q = bl_rope(w->g, q, w->rope, head, false);
    k = bl_rope(w->g, k, w->rope, head, false);
    return bl_attention(
        w->g, q, k, v, (bl_attention_options){.heads = w->a->heads, .head_dim = head, .key_counts = BL_NONE});
}

static bl_tensor_id feed_forward(const net *w, bl_tensor_id x, bl_tensor_id m, const char *block,
                                 const char *name) {
    const bl_path in = bl_path_make("%s.linear_in", name), out = bl_path_make("%s.linear_out", name);
    bl_tensor_id y = linear(w, modulated(w, x, m, 3 * w->width), block, in.s, 2 * w->a->hidden);
    y = linear(w, bl_glu(w->g, y, BL_ACT_SILU), block, out.s, w->width);
    return bl_gated_add(w->g, x, y, m, 5 * w->width, false);
}

/* Text and picture have weights of their own and attend to both. */
static void double_block(const net *w, bl_tensor_id *image, bl_tensor_id *text, int i) {
    bl_graph *g = w->g;
    const bl_path block = bl_path_make("transformer_blocks.%d.", i);
    const int rows = w->s->height * w->s->width, tokens = w->s->tokens, c = w->width;
    bl_tensor_id x = modulated(w, *image, w->image, 0), y = modulated(w, *text, w->text, 0);
    bl_tensor_id q = norm(w, linear(w, x, block.s, "attn.to_q", c), block.s, "attn.norm_q");
    bl_tensor_id k = norm(w, linear(w, x, block.s, "attn.to_k", c), block.s, "attn.norm_k");
    bl_tensor_id v = linear(w, x, block.s, "attn.to_v", c);
    bl_tensor_id q2 = norm(w, linear(w, y, block.s, "attn.add_q_proj", c), block.s, "attn.norm_added_q");
    bl_tensor_id k2 = norm(w, linear(w, y, block.s, "attn.add_k_proj", c), block.s, "attn.norm_added_k");
    bl_tensor_id v2 = linear(w, y, block.s, "attn.add_v_proj", c);
    bl_tensor_id o = attention(w, bl_join(g, q2, q), bl_join(g, k2, k), bl_join(g, v2, v));
    x = linear(w, bl_slice(g, o, tokens, rows), block.s, "attn.to_out.0", c);
    y = linear(w, bl_slice(g, o, 0, tokens), block.s, "attn.to_add_out", c);
    x = bl_gated_add(g, *image, x, w->image, 2 * c, false);
    y = bl_gated_add(g, *text, y, w->text, 2 * c, false);
    *image = feed_forward(w, x, w->image, block.s, "ff");
    *text = feed_forward(w, y, w->text, block.s, "ff_context");
    bl_tap_tokens(g, *text, "transformer_blocks.%d.0", i);
    bl_tap_tokens(g, *image, "transformer_blocks.%d.1", i);
}

/* One stream: attention and feed-forward layer side by side. */
static bl_tensor_id single_block(const net *w, bl_tensor_id x, int i) {
    bl_graph *g = w->g;
    const bl_path block = bl_path_make("single_transformer_blocks.%d.", i);
    const int c = w->width, hidden = w->a->hidden;
    bl_tensor_id z =
        linear(w, modulated(w, x, w->both, 0), block.s, "attn.to_qkv_mlp_proj", 3 * c + 2 * hidden);
    bl_tensor_id q = norm(w, bl_channels(g, z, 0, c), block.s, "attn.norm_q");
    bl_tensor_id k = norm(w, bl_channels(g, z, c, c), block.s, "attn.norm_k");
    bl_tensor_id o = attention(w, q, k, bl_channels(g, z, 2 * c, c));
    bl_tensor_id f = bl_glu(g, bl_channels(g, z, 3 * c, 2 * hidden), BL_ACT_SILU);
    x = bl_gated_add(g, x, linear(w, bl_concat(g, o, f), block.s, "attn.to_out", c), w->both, 2 * c, false);
    bl_tap_tokens(g, x, "single_transformer_blocks.%d", i);
    return x;
}

/* ---- the whole */

static bl_tensor_id embedded(const net *w, const char *input, const char *name) {
    const int rows = w->s->batch * (w->s->form == BL_UNET_PROLOGUE ? w->s->times : 1);
    bl_tensor_id t = bl_input(w->g, input, BL_F32, BL_CHANNELS_LAST, rows, 1, 1, 1);
    t = linear(w, bl_sinusoid(w->g, t, w->a->time), name, ".linear_1", w->width);
    return linear(w, bl_activation(w->g, t, BL_ACT_SILU), name, ".linear_2", w->width);
}

static void modulate(net *w) {
    bl_graph *g = w->g;
    const int c = w->width;
    bl_tensor_id t = embedded(w, "t", "time_guidance_embed.timestep_embedder");
    if (w->a->guided) {
        t = bl_add(g, t, embedded(w, "guidance", "time_guidance_embed.guidance_embedder"));
    }
    bl_tap_tokens(g, t, "time_guidance_embed");
    t = bl_activation(g, t, BL_ACT_SILU);
    w->image = linear(w, t, "", "double_stream_modulation_img.linear", 6 * c);
    w->text = linear(w, t, "", "double_stream_modulation_txt.linear", 6 * c);
    w->both = linear(w, t, "", "single_stream_modulation.linear", 3 * c);
    w->last = linear(w, t, "", "norm_out.linear", 2 * c);
}

/* All four, in one order: so they are kept, and so they are found. */
static bl_tensor_id *modulation(net *w, int i) {
    bl_tensor_id *const all[4] = {&w->image, &w->text, &w->both, &w->last};
    return all[i];
}

/* What the prologue kept of this step. */
static void take_modulations(net *w) {
    static const int parts[4] = {6, 6, 3, 2};
    const bl_tensor_id step = bl_input(w->g, "step", BL_I32, BL_CHANNELS_LAST, w->s->batch, 1, 1, 1);
    for (int i = 0; i < 4; i++) {
        *modulation(w, i) =
            bl_take_row(w->g, bl_kept(w->g, w->s->batch, w->s->times, 1, parts[i] * w->width), step);
    }
}

static void embed(net *w, bl_tensor_id *image, bl_tensor_id *text) {
    bl_graph *g = w->g;
    const bl_flux2_shape *s = w->s;
    const int c = w->width;
    *image = bl_input(g, "latents", BL_F32, BL_NCHW, s->batch, s->height, s->width, w->a->channels);
    *text = bl_input(g, "context", BL_F32, BL_CHANNELS_LAST, s->batch, s->tokens, 1, w->a->context);
    w->rope = bl_input(g, "rope", BL_F32, BL_CHANNELS_LAST, s->batch, s->tokens + s->height * s->width, 1,
                       w->a->head_dim);
    bl_graph_block(g, "embedders");
    if (s->form == BL_UNET_STEP) {
        take_modulations(w);
    } else {
        modulate(w);
    }
    *image = linear(w, bl_import(g, *image), "", "x_embedder", c);
    *image = bl_slice(g, *image, 0, s->height * s->width); /* as rows of tokens */
    *text = linear(w, bl_import(g, *text), "", "context_embedder", c);
}

static void final_layer(const net *w, bl_tensor_id x) {
    bl_graph *g = w->g;
    const bl_flux2_shape *s = w->s;
    bl_graph_block(g, "norm_out");
    x = bl_layer_norm(g, bl_slice(g, x, s->tokens, s->height * s->width), BL_NONE, BL_NONE, w->a->eps);
    x = linear(w, bl_modulate(g, x, w->last, 0, w->width), "", "proj_out", w->a->channels);
    bl_export(g, bl_unpatchify(g, x, 1, s->height, s->width), "output", BL_NCHW);
}

static void build_prologue(net *w) {
    bl_graph_block(w->g, "times");
    modulate(w);
    for (int i = 0; i < 4; i++) {
        bl_keep(w->g, *modulation(w, i));
    }
}

int bl_flux2_graph(bl_graph **out, const bl_flux2 *a, const bl_flux2_shape *s, bl_dtype dtype,
                   const char *const *taps, bl_error *err) {
    *out = NULL;
    const bool prologue = s->form == BL_UNET_PROLOGUE;
    int rc = bl_net_check_shape(BL_TRANSFORMER, s->batch, prologue ? 1 : s->height, prologue ? 1 : s->width,
                                prologue ? s->times : s->tokens, err);
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
