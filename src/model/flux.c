#include "model/flux.h"

#include "model/layers.h"

#define HEAD_EPS 1e-6f /* of the norms of queries and keys */

int bl_flux_begin(bl_flux_net *f, const bl_flux_shape *s, bl_dtype dtype, const char *const *taps,
                  bl_error *err) {
    const bool prologue = s->form == BL_UNET_PROLOGUE;
    int rc = bl_net_check_shape(BL_TRANSFORMER, s->batch, prologue ? 1 : s->height, prologue ? 1 : s->width,
                                prologue ? s->times : s->tokens, err);
    if (!rc && s->form != BL_UNET_WHOLE && s->times < 1) {
        rc = bl_fail(err, BL_E_ARGUMENT, "transformer: a prologue of %d steps", s->times);
    }
    if (rc) {
        return rc;
    }
    f->width = f->heads * f->head_dim;
    f->g = bl_graph_new(BL_TRANSFORMER, dtype, taps);
    return f->g ? 0 : bl_fail_memory(err, "a graph", sizeof *f->g);
}

bl_tensor_id bl_flux_head_norm(const bl_flux_net *f, bl_tensor_id x, const char *block, const char *name) {
    const bl_path path = bl_path_make("%s%s.weight", block, name);
    const char *weight = path.s;
    int64_t n = f->head_dim;
    return bl_rms_norm(f->g, x, bl_weight_new(f->g, BL_W_VECTOR, &n, 1, &weight, 1), HEAD_EPS);
}

bl_tensor_id bl_flux_modulated(const bl_flux_net *f, bl_tensor_id x, bl_tensor_id modulation, int at) {
    x = bl_layer_norm(f->g, x, BL_NONE, BL_NONE, f->eps);
    return bl_modulate(f->g, x, modulation, at + f->width, at);
}

bl_tensor_id bl_flux_attention(const bl_flux_net *f, bl_tensor_id q, bl_tensor_id k, bl_tensor_id v) {
    q = bl_rope(f->g, q, f->rope, f->head_dim, false);
    k = bl_rope(f->g, k, f->rope, f->head_dim, false);
    return bl_attention(
        f->g, q, k, v,
        (bl_attention_options){.heads = f->heads, .head_dim = f->head_dim, .key_counts = BL_NONE});
}
