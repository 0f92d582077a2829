#include "model/qwen3.h"

#include "model/layers.h"

static bl_tensor_id norm(bl_graph *g, bl_tensor_id x, bl_path name, int channels, float eps) {
    const char *weight = name.s;
    int64_t n = channels;
    return bl_rms_norm(g, x, bl_weight_new(g, BL_W_VECTOR, &n, 1, &weight, 1), eps);
}

/* Without bias. */
static bl_tensor_id linear(bl_graph *g, bl_tensor_id x, bl_path name, int out, bl_tensor_id residual) {
    const char *weight = name.s;
    const int64_t shape[2] = {out, bl_net_channels(g, x)};
    return bl_linear(g, x, bl_weight_new(g, BL_W_LINEAR, shape, 2, &weight, 1), BL_NONE, BL_ACT_NONE,
                     residual);
}

typedef struct inputs {
    bl_tensor_id counts, rope;
} inputs;

static bl_tensor_id attention(bl_graph *g, const bl_qwen3 *a, bl_tensor_id x, bl_tensor_id residual, int i,
                              inputs in) {
    const int d = a->head_dim;
    bl_tensor_id q =
        linear(g, x, bl_path_make("model.layers.%d.self_attn.q_proj.weight", i), a->heads * d, BL_NONE);
    bl_tensor_id k =
        linear(g, x, bl_path_make("model.layers.%d.self_attn.k_proj.weight", i), a->kv_heads * d, BL_NONE);
    bl_tensor_id v =
        linear(g, x, bl_path_make("model.layers.%d.self_attn.v_proj.weight", i), a->kv_heads * d, BL_NONE);
    if (!a->plain_heads) {
        q = norm(g, q, bl_path_make("model.layers.%d.self_attn.q_norm.weight", i), d, a->eps);
        bl_tap_tokens(g, q, "layers.%d.self_attn.q_norm", i);
        k = norm(g, k, bl_path_make("model.layers.%d.self_attn.k_norm.weight", i), d, a->eps);
    }
    q = bl_rope(g, q, in.rope, d, true);
    k = bl_rope(g, k, in.rope, d, true);
    x = bl_attention(g, q, k, v,
                     (bl_attention_options){.heads = a->heads,
                                            .kv_heads = a->kv_heads,
                                            .head_dim = d,
                                            .causal = true,
                                            .key_counts = in.counts});
    return linear(g, x, bl_path_make("model.layers.%d.self_attn.o_proj.weight", i), a->width, residual);
}

static bl_tensor_id feed_forward(bl_graph *g, const bl_qwen3 *a, bl_tensor_id x, bl_tensor_id residual,
                                 int i) {
    const bl_path gate = bl_path_make("model.layers.%d.mlp.gate_proj.weight", i);
    const bl_path up = bl_path_make("model.layers.%d.mlp.up_proj.weight", i);
    const char *const names[] = {gate.s, up.s};
    const int64_t shape[2] = {2 * (int64_t)a->hidden, a->width};
    x = bl_linear(g, x, bl_weight_new(g, BL_W_LINEAR, shape, 2, names, 2), BL_NONE, BL_ACT_NONE, BL_NONE);
    return linear(g, bl_glu(g, x, BL_ACT_SILU), bl_path_make("model.layers.%d.mlp.down_proj.weight", i),
                  a->width, residual);
}

static bl_tensor_id layer(bl_graph *g, const bl_qwen3 *a, bl_tensor_id x, int i, inputs in) {
    bl_tensor_id y = norm(g, x, bl_path_make("model.layers.%d.input_layernorm.weight", i), a->width, a->eps);
    bl_tap_tokens(g, y, "layers.%d.input_layernorm", i);
    x = attention(g, a, y, x, i, in);
    y = norm(g, x, bl_path_make("model.layers.%d.post_attention_layernorm.weight", i), a->width, a->eps);
    x = feed_forward(g, a, y, x, i);
    bl_tap_tokens(g, x, "layers.%d", i);
    return x;
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

int bl_qwen3_graph(bl_graph **out, const bl_qwen3 *a, int batch, int tokens, bl_qwen3_outputs want,
                   bl_dtype dtype, const char *const *taps, bl_error *err) {
    *out = NULL;
    int rc = check(a, want, err);
    rc = rc ? rc : bl_net_check_shape(BL_TEXT_ENCODER, batch, 1, 1, tokens, err);
    if (rc) {
        return rc;
    }
    bl_graph *g = bl_graph_new(BL_TEXT_ENCODER, dtype, taps);
    if (!g) {
        return bl_fail_memory(err, "a graph", sizeof *g);
    }
    bl_tensor_id x = bl_input(g, "embeddings", BL_F32, BL_CHANNELS_LAST, batch, tokens, 1, a->width);
    const inputs in = {.counts = bl_input(g, "counts", BL_I32, BL_CHANNELS_LAST, batch, 1, 1, 1),
                       .rope = bl_input(g, "rope", BL_F32, BL_CHANNELS_LAST, batch, tokens, 1, a->head_dim)};
    bl_tensor_id context = BL_NONE;
    const int last = want.taken[want.count - 1];
    for (int i = 0, next = 0; i < last; i++) {
        bl_graph_block(g, "model.layers.%d", i);
        x = layer(g, a, i ? x : bl_import(g, x), i, in);
        if (want.taken[next] == i + 1) {
            next++;
            bl_tensor_id y = i + 1 == last && want.last_norm
                                 ? norm(g, x, bl_path_make("model.norm.weight"), a->width, a->eps)
                                 : x;
            context = context == BL_NONE ? y : bl_concat(g, context, y);
        }
    }
    bl_export(g, context, "context", BL_CHANNELS_LAST);
    return bl_net_finish(out, g, err);
}
