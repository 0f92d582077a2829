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
    f->shape = *s;
    f->width = f->heads * f->head_dim;
    f->g = bl_graph_new(BL_TRANSFORMER, dtype, taps);
    return f->g ? 0 : bl_fail_memory(err, "a graph", sizeof *f->g);
}

bl_tensor_id bl_flux_linear(const bl_flux_net *f, bl_tensor_id x, const char *block, const char *name,
                            int out_channels, bl_act act) {
    const bl_path path = bl_path_make("%s%s", block, name);
    return bl_net_linear(f->g, x, path.s, out_channels, act, BL_NONE);
}

/* Two layers with SiLU between them. */
static bl_tensor_id embedded(const bl_flux_net *f, bl_tensor_id x, const char *name) {
    x = bl_flux_linear(f, x, name, ".linear_1", f->width, BL_ACT_SILU);
    return bl_flux_linear(f, x, name, ".linear_2", f->width, BL_ACT_NONE);
}

/* Steps of all pictures that are worked for. */
static int vectors(const bl_flux_net *f) {
    return f->shape.batch * (f->shape.form == BL_UNET_PROLOGUE ? f->shape.times : 1);
}

static bl_tensor_id number(const bl_flux_net *f, const char *input, int sinusoids, const char *name) {
    bl_tensor_id t = bl_input(f->g, input, BL_F32, BL_CHANNELS_LAST, vectors(f), 1, 1, 1);
    return embedded(f, bl_sinusoid(f->g, t, sinusoids), name);
}

void bl_flux_embed_time(bl_flux_net *f, int sinusoids, int pooled, bool guided) {
    bl_graph *g = f->g;
    bl_tensor_id vector = bl_input(g, "pooled", BL_F32, BL_CHANNELS_LAST, vectors(f), 1, 1, pooled);
    bl_tensor_id t = number(f, "t", sinusoids, "time_text_embed.timestep_embedder");
    if (guided) {
        t = bl_add(g, t, number(f, "guidance", sinusoids, "time_text_embed.guidance_embedder"));
    }
    t = bl_add(g, t, embedded(f, bl_import(g, vector), "time_text_embed.text_embedder"));
    bl_tap_tokens(g, t, "time_text_embed");
    f->time = bl_activation(g, t, BL_ACT_SILU);
}

bl_tensor_id bl_flux_modulation(const bl_flux_net *f, const char *block, const char *name, int parts) {
    const bl_flux_shape *s = &f->shape;
    if (s->form == BL_UNET_STEP) {
        return bl_take_row(f->g, bl_kept(f->g, s->batch, s->times, 1, parts * f->width), f->step);
    }
    const bl_tensor_id m = bl_flux_linear(f, f->time, block, name, parts * f->width, BL_ACT_NONE);
    if (s->form == BL_UNET_PROLOGUE) {
        bl_keep(f->g, m);
    }
    return m;
}

bl_tensor_id bl_flux_feed_forward(const bl_flux_net *f, bl_tensor_id x, bl_tensor_id modulation,
                                  const char *block, const char *name, int hidden) {
    const bl_path in = bl_path_make("%s.net.0.proj", name), out = bl_path_make("%s.net.2", name);
    bl_tensor_id y = bl_flux_modulated(f, x, modulation, 3 * f->width);
    y = bl_flux_linear(f, y, block, in.s, hidden, BL_ACT_GELU_TANH);
    y = bl_flux_linear(f, y, block, out.s, f->width, BL_ACT_NONE);
    return bl_gated_add(f->g, x, y, modulation, 5 * f->width, false);
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
