#include "model/flux2.h"

#include "model/flux.h"
#include "model/layers.h"
#include "model/rope.h"

void bl_flux2_rope(float *rope, const bl_flux2 *a, const bl_flux2_shape *s) {
    for (int i = 0; i < s->tokens + s->height * s->width; i++) {
        const int p = i - s->tokens;
        const int at[BL_FLUX2_AXES] = {0, p < 0 ? 0 : p / s->width, p < 0 ? 0 : p % s->width, p < 0 ? i : 0};
        bl_rope_row(rope + (size_t)i * (size_t)a->head_dim, at, a->axis, BL_FLUX2_AXES, a->theta);
    }
}

typedef struct net {
    bl_flux_net f;
    const bl_flux2 *a;
    const bl_flux2_shape *s;
    bl_tensor_id image, text, both; /* modulations of a kind of blocks: shift, scale, gate, once or twice */
    bl_tensor_id last;              /* of what is behind them: scale, then shift */
} net;

/* ---- layers; none has a bias */

static bl_tensor_id linear(const net *w, bl_tensor_id x, const char *block, const char *name, int out) {
    const bl_path path = bl_path_make("%s%s", block, name);
    return bl_net_projections(w->f.g, x, &path, 1, out, false);
}

static bl_tensor_id feed_forward(const net *w, bl_tensor_id x, bl_tensor_id m, const char *block,
                                 const char *name) {
    const bl_path in = bl_path_make("%s.linear_in", name), out = bl_path_make("%s.linear_out", name);
    bl_tensor_id y = linear(w, bl_flux_modulated(&w->f, x, m, 3 * w->f.width), block, in.s, 2 * w->a->hidden);
    y = linear(w, bl_glu(w->f.g, y, BL_ACT_SILU), block, out.s, w->f.width);
    return bl_gated_add(w->f.g, x, y, m, 5 * w->f.width, false);
}

/* Text and picture have weights of their own and attend to both. */
static void double_block(const net *w, bl_tensor_id *image, bl_tensor_id *text, int i) {
    bl_graph *g = w->f.g;
    const bl_path block = bl_path_make("transformer_blocks.%d.", i);
    const int rows = w->s->height * w->s->width, tokens = w->s->tokens, c = w->f.width;
    bl_tensor_id x = bl_flux_modulated(&w->f, *image, w->image, 0),
                 y = bl_flux_modulated(&w->f, *text, w->text, 0);
    bl_tensor_id q = bl_flux_head_norm(&w->f, linear(w, x, block.s, "attn.to_q", c), block.s, "attn.norm_q");
    bl_tensor_id k = bl_flux_head_norm(&w->f, linear(w, x, block.s, "attn.to_k", c), block.s, "attn.norm_k");
    bl_tensor_id v = linear(w, x, block.s, "attn.to_v", c);
    bl_tensor_id q2 =
        bl_flux_head_norm(&w->f, linear(w, y, block.s, "attn.add_q_proj", c), block.s, "attn.norm_added_q");
    bl_tensor_id k2 =
        bl_flux_head_norm(&w->f, linear(w, y, block.s, "attn.add_k_proj", c), block.s, "attn.norm_added_k");
    bl_tensor_id v2 = linear(w, y, block.s, "attn.add_v_proj", c);
    bl_tensor_id o = bl_flux_attention(&w->f, bl_join(g, q2, q), bl_join(g, k2, k), bl_join(g, v2, v));
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
    bl_graph *g = w->f.g;
    const bl_path block = bl_path_make("single_transformer_blocks.%d.", i);
    const int c = w->f.width, hidden = w->a->hidden;
    bl_tensor_id z = linear(w, bl_flux_modulated(&w->f, x, w->both, 0), block.s, "attn.to_qkv_mlp_proj",
                            3 * c + 2 * hidden);
    bl_tensor_id q = bl_flux_head_norm(&w->f, bl_channels(g, z, 0, c), block.s, "attn.norm_q");
    bl_tensor_id k = bl_flux_head_norm(&w->f, bl_channels(g, z, c, c), block.s, "attn.norm_k");
    bl_tensor_id o = bl_flux_attention(&w->f, q, k, bl_channels(g, z, 2 * c, c));
    bl_tensor_id f = bl_glu(g, bl_channels(g, z, 3 * c, 2 * hidden), BL_ACT_SILU);
    x = bl_gated_add(g, x, linear(w, bl_concat(g, o, f), block.s, "attn.to_out", c), w->both, 2 * c, false);
    bl_tap_tokens(g, x, "single_transformer_blocks.%d", i);
    return x;
}

/* ---- the whole */

static bl_tensor_id embedded(const net *w, const char *input, const char *name) {
    const int rows = w->s->batch * (w->s->form == BL_UNET_PROLOGUE ? w->s->times : 1);
    bl_tensor_id t = bl_input(w->f.g, input, BL_F32, BL_CHANNELS_LAST, rows, 1, 1, 1);
    t = linear(w, bl_sinusoid(w->f.g, t, w->a->time), name, ".linear_1", w->f.width);
    return linear(w, bl_activation(w->f.g, t, BL_ACT_SILU), name, ".linear_2", w->f.width);
}

static void modulate(net *w) {
    bl_graph *g = w->f.g;
    const int c = w->f.width;
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
    const bl_tensor_id step = bl_input(w->f.g, "step", BL_I32, BL_CHANNELS_LAST, w->s->batch, 1, 1, 1);
    for (int i = 0; i < 4; i++) {
        *modulation(w, i) =
            bl_take_row(w->f.g, bl_kept(w->f.g, w->s->batch, w->s->times, 1, parts[i] * w->f.width), step);
    }
}

static void embed(net *w, bl_tensor_id *image, bl_tensor_id *text) {
    bl_graph *g = w->f.g;
    const bl_flux2_shape *s = w->s;
    const int c = w->f.width;
    *image = bl_input(g, "latents", BL_F32, BL_NCHW, s->batch, s->height, s->width, w->a->channels);
    *text = bl_input(g, "context", BL_F32, BL_CHANNELS_LAST, s->batch, s->tokens, 1, w->a->context);
    w->f.rope = bl_input(g, "rope", BL_F32, BL_CHANNELS_LAST, s->batch, s->tokens + s->height * s->width, 1,
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
    bl_graph *g = w->f.g;
    const bl_flux2_shape *s = w->s;
    bl_graph_block(g, "norm_out");
    x = bl_layer_norm(g, bl_slice(g, x, s->tokens, s->height * s->width), BL_NONE, BL_NONE, w->a->eps);
    x = linear(w, bl_modulate(g, x, w->last, 0, w->f.width), "", "proj_out", w->a->channels);
    bl_export(g, bl_unpatchify(g, x, 1, s->height, s->width), "output", BL_NCHW);
}

static void build_prologue(net *w) {
    bl_graph_block(w->f.g, "times");
    modulate(w);
    for (int i = 0; i < 4; i++) {
        bl_keep(w->f.g, *modulation(w, i));
    }
}

int bl_flux2_graph(bl_graph **out, const bl_flux2 *a, const bl_flux2_shape *s, bl_dtype dtype,
                   const char *const *taps, bl_error *err) {
    *out = NULL;
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
