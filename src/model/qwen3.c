#include "model/qwen3.h"

#include "model/layers.h"

static bl_weight_id vector(bl_graph *g, bl_path name, int channels) {
    const char *weight = name.s;
    const int64_t n = channels;
    return bl_weight_new(g, BL_W_VECTOR, &n, 1, &weight, 1);
}

static bl_weight_id matrix(bl_graph *g, bl_path name, int out, int in) {
    const char *weight = name.s;
    const int64_t shape[2] = {out, in};
    return bl_weight_new(g, BL_W_LINEAR, shape, 2, &weight, 1);
}

/* A layer's weights, which all texts are multiplied with. */
typedef struct layer_weights {
    bl_weight_id norm, q, k, v, q_norm, k_norm, o, norm2, gate_up, down;
} layer_weights;

static layer_weights weights_of(bl_graph *g, const bl_qwen3 *a, int i) {
    const int d = a->head_dim;
    const bl_path gate = bl_path_make("model.layers.%d.mlp.gate_proj.weight", i);
    const bl_path up = bl_path_make("model.layers.%d.mlp.up_proj.weight", i);
    const char *const names[] = {gate.s, up.s};
    const int64_t shape[2] = {2 * (int64_t)a->hidden, a->width};
    layer_weights w = {.q_norm = BL_NONE, .k_norm = BL_NONE};
    w.norm = vector(g, bl_path_make("model.layers.%d.input_layernorm.weight", i), a->width);
    w.q = matrix(g, bl_path_make("model.layers.%d.self_attn.q_proj.weight", i), a->heads * d, a->width);
    w.k = matrix(g, bl_path_make("model.layers.%d.self_attn.k_proj.weight", i), a->kv_heads * d, a->width);
    w.v = matrix(g, bl_path_make("model.layers.%d.self_attn.v_proj.weight", i), a->kv_heads * d, a->width);
    if (!a->plain_heads) {
        w.q_norm = vector(g, bl_path_make("model.layers.%d.self_attn.q_norm.weight", i), d);
        w.k_norm = vector(g, bl_path_make("model.layers.%d.self_attn.k_norm.weight", i), d);
    }
    w.o = matrix(g, bl_path_make("model.layers.%d.self_attn.o_proj.weight", i), a->width, a->heads * d);
    w.norm2 = vector(g, bl_path_make("model.layers.%d.post_attention_layernorm.weight", i), a->width);
    w.gate_up = bl_weight_new(g, BL_W_LINEAR, shape, 2, names, 2);
    w.down = matrix(g, bl_path_make("model.layers.%d.mlp.down_proj.weight", i), a->width, a->hidden);
    return w;
}

/* Without bias. */
static bl_tensor_id linear(bl_graph *g, bl_tensor_id x, bl_weight_id weight, bl_tensor_id residual) {
    return bl_linear(g, x, weight, BL_NONE, BL_ACT_NONE, residual);
}

/* One text on its way. `tapped`: the first one, whose inner tensors have names. */
typedef struct text {
    bl_tensor_id x, counts, rope, context;
    bool tapped;
} text;

static bl_tensor_id attention(bl_graph *g, const bl_qwen3 *a, bl_tensor_id x, const text *t, int i,
                              const layer_weights *w) {
    const int d = a->head_dim;
    bl_tensor_id q = linear(g, x, w->q, BL_NONE), k = linear(g, x, w->k, BL_NONE),
                 v = linear(g, x, w->v, BL_NONE);
    if (!a->plain_heads) {
        q = bl_rms_norm(g, q, w->q_norm, a->eps);
        if (t->tapped) {
            bl_tap_tokens(g, q, "layers.%d.self_attn.q_norm", i);
        }
        k = bl_rms_norm(g, k, w->k_norm, a->eps);
    }
    q = bl_rope(g, q, t->rope, d, true);
    k = bl_rope(g, k, t->rope, d, true);
    x = bl_attention(g, q, k, v,
                     (bl_attention_options){.heads = a->heads,
                                            .kv_heads = a->kv_heads,
                                            .head_dim = d,
                                            .causal = true,
                                            .key_counts = t->counts});
    return linear(g, x, w->o, t->x);
}

static void layer(bl_graph *g, const bl_qwen3 *a, text *t, int i, const layer_weights *w) {
    bl_tensor_id y = bl_rms_norm(g, t->x, w->norm, a->eps);
    if (t->tapped) {
        bl_tap_tokens(g, y, "layers.%d.input_layernorm", i);
    }
    t->x = attention(g, a, y, t, i, w);
    y = linear(g, bl_rms_norm(g, t->x, w->norm2, a->eps), w->gate_up, BL_NONE);
    t->x = linear(g, bl_glu(g, y, BL_ACT_SILU), w->down, t->x);
    if (t->tapped) {
        bl_tap_tokens(g, t->x, "layers.%d", i);
    }
}

static int check(const bl_qwen3 *a, bl_qwen3_outputs want, bl_error *err) {
    bool ok = want.count >= 1 && want.count <= BL_QWEN3_TAKEN;
    for (int i = 0; i < want.count && ok; i++) {
        ok = want.taken[i] > (i ? want.taken[i - 1] : 0) && want.taken[i] <= a->layers;
    }
    return ok ? 0
              : bl_fail(err, BL_E_ARGUMENT, "text_encoder: its %d layers are not those that are read",
                        a->layers);
}

/* A name that the second text's ports have with a 2 behind it. */
static text text_in(bl_graph *g, const bl_qwen3 *a, int batch, int tokens, bool second) {
    return (text){
        .x = bl_input(g, second ? "embeddings 2" : "embeddings", BL_F32, BL_CHANNELS_LAST, batch, tokens, 1,
                      a->width),
        .counts = bl_input(g, second ? "counts 2" : "counts", BL_I32, BL_CHANNELS_LAST, batch, 1, 1, 1),
        .rope =
            bl_input(g, second ? "rope 2" : "rope", BL_F32, BL_CHANNELS_LAST, batch, tokens, 1, a->head_dim),
        .context = BL_NONE,
        .tapped = !second};
}

int bl_qwen3_graph(bl_graph **out, const bl_qwen3 *a, int batch, int tokens, int second,
                   bl_qwen3_outputs want, bl_dtype dtype, const char *const *taps, bl_error *err) {
    *out = NULL;
    int rc = check(a, want, err);
    rc = rc ? rc : bl_net_check_shape(BL_TEXT_ENCODER, batch, 1, 1, tokens, err);
    rc = rc || !second ? rc : bl_net_check_shape(BL_TEXT_ENCODER, batch, 1, 1, second, err);
    if (rc) {
        return rc;
    }
    bl_graph *g = bl_graph_new(BL_TEXT_ENCODER, dtype, taps);
    if (!g) {
        return bl_fail_memory(err, "a graph", sizeof *g);
    }
    const int count = second ? 2 : 1, last = want.taken[want.count - 1];
    text texts[2] = {text_in(g, a, batch, tokens, false)};
    if (second) {
        texts[1] = text_in(g, a, batch, second, true);
    }
    for (int i = 0, next = 0; i < last; i++) {
        bl_graph_block(g, "model.layers.%d", i);
        const layer_weights w = weights_of(g, a, i);
        const bool taken = want.taken[next] == i + 1, normed = taken && i + 1 == last && want.last_norm;
        const bl_weight_id norm = normed ? vector(g, bl_path_make("model.norm.weight"), a->width) : BL_NONE;
        next += taken;
        for (int k = 0; k < count; k++) {
            text *t = &texts[k];
            t->x = i ? t->x : bl_import(g, t->x);
            layer(g, a, t, i, &w);
            bl_tensor_id y = normed ? bl_rms_norm(g, t->x, norm, a->eps) : t->x;
            if (taken) {
                t->context = t->context == BL_NONE ? y : bl_concat(g, t->context, y);
            }
        }
    }
    for (int k = 0; k < count; k++) {
        bl_export(g, texts[k].context, k ? "context 2" : "context", BL_CHANNELS_LAST);
    }
    return bl_net_finish(out, g, err);
}
