#include "model/zimage.h"

#include "model/layers.h"
#include "model/rope.h"

#define HEAD_EPS 1e-5f       /* of the norms of queries and keys */
#define FINAL_NORM_EPS 1e-6f /* of the last norm, which has no weights */
#define SINUSOIDS 256        /* of a timestep */

static int filled(int tokens) {
    return (tokens + BL_ZIMAGE_STEP - 1) / BL_ZIMAGE_STEP * BL_ZIMAGE_STEP;
}

static int patches(const bl_zimage_shape *s) {
    return s->height / BL_ZIMAGE_PATCH * (s->width / BL_ZIMAGE_PATCH);
}

int bl_zimage_image_tokens(const bl_zimage_shape *s) {
    return filled(patches(s));
}

int bl_zimage_caption_tokens(const bl_zimage_shape *s) {
    return filled(s->caption);
}

static int head_of(const bl_zimage *a) {
    return a->width / a->heads;
}

void bl_zimage_rope(float *image, float *caption, const bl_zimage *a, const bl_zimage_shape *s) {
    const int head = head_of(a), columns = s->width / BL_ZIMAGE_PATCH,
              behind = bl_zimage_caption_tokens(s) + 1;
    for (int i = 0; i < bl_zimage_image_tokens(s); i++) {
        const bool fill = i >= patches(s);
        const int at[3] = {fill ? 0 : behind, fill ? 0 : i / columns, fill ? 0 : i % columns};
        bl_rope_row(image + (size_t)i * (size_t)head, at, a->axis, 3, a->theta);
    }
    for (int i = 0; i < bl_zimage_caption_tokens(s); i++) {
        bl_rope_row(caption + (size_t)i * (size_t)head, (const int[3]){i + 1, 0, 0}, a->axis, 3, a->theta);
    }
}

/* ---- layers */

static bl_tensor_id norm(bl_graph *g, bl_tensor_id x, const char *layer, const char *name, int channels,
                         float eps) {
    const bl_path path = bl_path_make("%s.%s.weight", layer, name);
    const char *weight = path.s;
    int64_t n = channels;
    return bl_rms_norm(g, x, bl_weight_new(g, BL_W_VECTOR, &n, 1, &weight, 1), eps);
}

/* Without bias. */
static bl_tensor_id linear(bl_graph *g, bl_tensor_id x, const char *layer, const char *name, int out) {
    const bl_path path = bl_path_make("%s.%s", layer, name);
    return bl_net_projections(g, x, &path, 1, out, false);
}

/* What the tokens that a layer works on are told of themselves. */
typedef struct token_inputs {
    bl_tensor_id rope;
    bl_tensor_id counts; /* how many of them are seen; or BL_NONE: all */
    int least;           /* of these; others are more by multiples */
} token_inputs;

static bl_tensor_id attention(bl_graph *g, const bl_zimage *a, bl_tensor_id x, const char *layer,
                              token_inputs of) {
    const int head = head_of(a);
    bl_tensor_id q = linear(g, x, layer, "attention.to_q", a->width);
    bl_tensor_id k = linear(g, x, layer, "attention.to_k", a->width);
    bl_tensor_id v = linear(g, x, layer, "attention.to_v", a->width);
    q = bl_rope(g, norm(g, q, layer, "attention.norm_q", head, HEAD_EPS), of.rope, head, false);
    k = bl_rope(g, norm(g, k, layer, "attention.norm_k", head, HEAD_EPS), of.rope, head, false);
    x = bl_attention(g, q, k, v,
                     (bl_attention_options){.heads = a->heads,
                                            .head_dim = head,
                                            .key_counts = of.counts,
                                            .key_least = of.counts == BL_NONE ? 0 : of.least,
                                            .key_step = of.counts == BL_NONE ? 0 : BL_ZIMAGE_STEP});
    return linear(g, x, layer, "attention.to_out.0", a->width);
}

static bl_tensor_id feed_forward(bl_graph *g, const bl_zimage *a, bl_tensor_id x, const char *layer) {
    const bl_path names[2] = {bl_path_make("%s.feed_forward.w1", layer),
                              bl_path_make("%s.feed_forward.w3", layer)};
    x = bl_glu(g, bl_net_projections(g, x, names, 2, a->hidden, false), BL_ACT_SILU);
    return linear(g, x, layer, "feed_forward.w2", a->width);
}

/* `time`: the timestep's embedding; BL_NONE in the refiners of the caption, which know no time. Of it each
 * layer makes scale and gate for its attention, then for its feed-forward layer. */
static bl_tensor_id layer_of(bl_graph *g, const bl_zimage *a, bl_tensor_id x, const char *name,
                             token_inputs of, bl_tensor_id time) {
    const int c = a->width;
    const bl_path path = bl_path_make("%s.adaLN_modulation.0", name);
    bl_tensor_id m = time == BL_NONE ? BL_NONE : bl_net_linear(g, time, path.s, 4 * c, BL_ACT_NONE, BL_NONE);
    for (int part = 0; part < 2; part++) {
        bl_tensor_id y = norm(g, x, name, part ? "ffn_norm1" : "attention_norm1", c, a->eps);
        y = m == BL_NONE ? y : bl_modulate(g, y, m, 2 * part * c, BL_NONE);
        y = part ? feed_forward(g, a, y, name) : attention(g, a, y, name, of);
        y = norm(g, y, name, part ? "ffn_norm2" : "attention_norm2", c, a->eps);
        x = m == BL_NONE ? bl_add(g, x, y) : bl_gated_add(g, x, y, m, (2 * part + 1) * c, true);
    }
    bl_tap_tokens(g, x, "%s", name);
    return x;
}

/* ---- the whole */

typedef struct net {
    bl_graph *g;
    const bl_zimage *a;
    const bl_zimage_shape *s;
    bl_tensor_id time;
} net;

/* `counts`: the name of its input; or NULL. `least`: with the shortest caption. */
static token_inputs tokens_input(const net *w, const char *rope, int count, int least, const char *counts) {
    const int n = w->s->batch;
    return (token_inputs){.rope = bl_input(w->g, rope, BL_F32, BL_CHANNELS_LAST, n, count, 1, head_of(w->a)),
                          .counts = counts && w->s->own_lengths
                                        ? bl_input(w->g, counts, BL_I32, BL_CHANNELS_LAST, n, 1, 1, 1)
                                        : BL_NONE,
                          .least = least};
}

/* Fills the picture's tokens up to a multiple with the row that a weight holds. */
static bl_tensor_id fill_up(const net *w, bl_tensor_id x, int tokens) {
    static const char *const weight = "x_pad_token";
    const int64_t shape[2] = {1, w->a->width};
    const bl_weight_id row = bl_weight_new(w->g, BL_W_EMBEDDING, shape, 2, &weight, 1);
    const int missing = filled(tokens) - tokens;
    if (!missing) {
        return bl_slice(w->g, x, 0, tokens);
    }
    bl_tensor_id ids = bl_input(w->g, "image_fill", BL_I32, BL_CHANNELS_LAST, w->s->batch, missing, 1, 1);
    return bl_join(w->g, x, bl_embed(w->g, ids, row, BL_NONE));
}

static bl_tensor_id image_tokens(net *w) {
    bl_graph *g = w->g;
    const bl_zimage *a = w->a;
    bl_tensor_id latents =
        bl_input(g, "latents", BL_F32, BL_NCHW, w->s->batch, w->s->height, w->s->width, a->channels);
    bl_tensor_id t = bl_input(g, "t", BL_F32, BL_CHANNELS_LAST, w->s->batch, 1, 1, 1);
    bl_graph_block(g, "embedders");
    t = bl_net_linear(g, bl_sinusoid(g, t, SINUSOIDS), "t_embedder.mlp.0", a->time_hidden, BL_ACT_SILU,
                      BL_NONE);
    w->time = bl_net_linear(g, t, "t_embedder.mlp.2", a->time, BL_ACT_NONE, BL_NONE);
    bl_tap_tokens(g, w->time, "t_embedder");
    bl_tensor_id x = bl_patchify(g, bl_import(g, latents), BL_ZIMAGE_PATCH);
    x = bl_net_linear(g, x, "all_x_embedder.2-1", a->width, BL_ACT_NONE, BL_NONE);
    return fill_up(w, x, patches(w->s));
}

/* Captions may differ in length, so that what fills them up cannot be put behind them: a table holds the bias
 * and the row that fills up, and each token is given its own; what it is added to is zero behind a caption.
 */
static bl_tensor_id caption_tokens(const net *w) {
    static const char *const rows[2] = {"cap_embedder.1.bias", "cap_pad_token"};
    static const char *const weight = "cap_embedder.1.weight";
    bl_graph *g = w->g;
    const int n = w->s->batch, tokens = bl_zimage_caption_tokens(w->s);
    const int64_t table[2] = {2, w->a->width}, shape[2] = {w->a->width, w->a->caption};
    bl_tensor_id y = bl_input(g, "caption", BL_F32, BL_CHANNELS_LAST, n, tokens, 1, w->a->caption);
    bl_tensor_id ids = bl_input(g, "caption_rows", BL_I32, BL_CHANNELS_LAST, n, tokens, 1, 1);
    y = norm(g, bl_import(g, y), "cap_embedder", "0", w->a->caption, w->a->eps);
    bl_weight_id linear_weight = bl_weight_new(g, BL_W_LINEAR, shape, 2, &weight, 1);
    bl_tensor_id own = bl_embed(g, ids, bl_weight_new(g, BL_W_EMBEDDING, table, 2, rows, 2), BL_NONE);
    return bl_linear(g, y, linear_weight, BL_NONE, BL_ACT_NONE, own);
}

/* `behind`: rows that the first layer puts behind x; or BL_NONE. */
static bl_tensor_id layers(const net *w, bl_tensor_id x, bl_tensor_id behind, const char *name, int count,
                           token_inputs of, bl_tensor_id time) {
    for (int i = 0; i < count; i++) {
        const bl_path path = bl_path_make("%s.%d", name, i);
        bl_graph_block(w->g, "%s", path.s);
        x = i || behind == BL_NONE ? x : bl_join(w->g, x, behind);
        x = layer_of(w->g, w->a, x, path.s, of, time);
    }
    return x;
}

static void final_layer(const net *w, bl_tensor_id x) {
    bl_graph *g = w->g;
    const bl_zimage *a = w->a;
    bl_graph_block(g, "all_final_layer.2-1");
    bl_tensor_id m = bl_net_linear(g, bl_activation(g, w->time, BL_ACT_SILU),
                                   "all_final_layer.2-1.adaLN_modulation.1", a->width, BL_ACT_NONE, BL_NONE);
    x = bl_layer_norm(g, bl_slice(g, x, 0, patches(w->s)), BL_NONE, BL_NONE, FINAL_NORM_EPS);
    x = bl_net_linear(g, bl_modulate(g, x, m, 0, BL_NONE), "all_final_layer.2-1.linear",
                      BL_ZIMAGE_PATCH * BL_ZIMAGE_PATCH * a->channels, BL_ACT_NONE, BL_NONE);
    bl_tap_tokens(g, x, "all_final_layer.2-1");
    bl_export(g, bl_unpatchify(g, x, BL_ZIMAGE_PATCH, w->s->height, w->s->width), "output", BL_NCHW);
}

int bl_zimage_graph(bl_graph **out, const bl_zimage *a, const bl_zimage_shape *s, bl_dtype dtype,
                    const char *const *taps, bl_error *err) {
    *out = NULL;
    int rc = bl_net_check_shape(BL_TRANSFORMER, s->batch, s->height, s->width, s->caption, err);
    if (!rc && (s->height % BL_ZIMAGE_PATCH || s->width % BL_ZIMAGE_PATCH)) {
        rc = bl_fail(err, BL_E_ARGUMENT, "transformer: latents of %d x %d are no whole patches", s->height,
                     s->width);
    }
    if (rc) {
        return rc;
    }
    net w = {.g = bl_graph_new(BL_TRANSFORMER, dtype, taps), .a = a, .s = s};
    if (!w.g) {
        return bl_fail_memory(err, "a graph", sizeof *w.g);
    }
    bl_tensor_id x = image_tokens(&w), y = caption_tokens(&w);
    bl_tap_tokens(w.g, x, "all_x_embedder.2-1");
    bl_tap_tokens(w.g, y, "cap_embedder");
    const int images = bl_zimage_image_tokens(s), captions = bl_zimage_caption_tokens(s);
    const token_inputs image = tokens_input(&w, "image_rope", images, images, NULL),
                       caption = tokens_input(&w, "caption_rope", captions, BL_ZIMAGE_STEP, "caption_counts"),
                       all = tokens_input(&w, "rope", images + captions, images + BL_ZIMAGE_STEP, "counts");
    x = layers(&w, x, BL_NONE, "noise_refiner", a->refiners, image, w.time);
    y = layers(&w, y, BL_NONE, "context_refiner", a->refiners, caption, BL_NONE);
    x = layers(&w, x, y, "layers", a->layers, all, w.time);
    final_layer(&w, x);
    return bl_net_finish(out, w.g, err);
}
