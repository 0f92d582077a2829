#include "model/layers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Transformer2DModel's own; the resnets around it have the network's norm_eps. */
#define TRANSFORMER_NORM_EPS 1e-6f

bl_path bl_path_make(const char *format, ...) {
    bl_path path;
    va_list args;
    va_start(args, format);
    vsnprintf(path.s, sizeof path.s, format, args);
    va_end(args);
    return path;
}

int bl_net_channels(const bl_graph *g, bl_tensor_id x) {
    return x == BL_NONE ? 1 : g->tensors[x].c;
}

int bl_net_check_shape(bl_module module, int batch, int height, int width, int tokens, bl_error *err) {
    const int most = 65536;
    bool good = batch > 0 && height > 0 && width > 0 && tokens > 0;
    if (!good || batch > most || height > most || width > most || tokens > most) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "%s: a batch of %d, latents of %d x %d and %d tokens cannot be: each must be 1 to %d",
                       bl_module_name(module), batch, height, width, tokens, most);
    }
    return 0;
}

int bl_net_finish(bl_graph **out, bl_graph *g, bl_error *err) {
    *out = NULL;
    int rc = bl_graph_finish(g, err);
    if (rc) {
        bl_graph_free(&g);
        return rc;
    }
    *out = g;
    return 0;
}

static bl_weight_id vector(bl_graph *g, const char *layer, const char *leaf, int channels) {
    bl_path path = bl_path_make("%s.%s", layer, leaf);
    const char *name = path.s;
    int64_t shape[1] = {channels};
    return bl_weight_new(g, BL_W_VECTOR, shape, 1, &name, 1);
}

static bl_weight_id conv_weight(bl_graph *g, bl_tensor_id x, const char *name, int out_channels, int kernel) {
    bl_path path = bl_path_make("%s.weight", name);
    const char *weight_name = path.s;
    int64_t shape[4] = {out_channels, bl_net_channels(g, x), kernel, kernel};
    return bl_weight_new(g, BL_W_CONV, shape, 4, &weight_name, 1);
}

bl_tensor_id bl_net_conv_without_bias(bl_graph *g, bl_tensor_id x, const char *name, int out_channels,
                                      int kernel) {
    const char *none = "";
    int64_t shape[1] = {out_channels};
    int pad = kernel / 2;
    bl_weight_id weight = conv_weight(g, x, name, out_channels, kernel);
    bl_weight_id bias = bl_weight_new(g, BL_W_VECTOR, shape, 1, &none, 1);
    return bl_conv(g, x, weight, bias, (bl_conv_options){0, pad, pad, pad, pad, BL_NONE, BL_NONE});
}

bl_tensor_id bl_net_conv(bl_graph *g, bl_tensor_id x, const char *name, int out_channels, int kernel,
                         bl_conv_options o) {
    bl_weight_id weight = conv_weight(g, x, name, out_channels, kernel);
    bl_weight_id bias = vector(g, name, "bias", out_channels);
    if (o.top == 0 && o.left == 0 && o.bottom == 0 && o.right == 0) {
        o.top = o.left = o.bottom = o.right = kernel / 2;
    }
    return bl_conv(g, x, weight, bias, o);
}

bl_tensor_id bl_net_linear(bl_graph *g, bl_tensor_id x, const char *name, int out_channels, bl_act act,
                           bl_tensor_id residual) {
    bl_path path = bl_path_make("%s.weight", name);
    const char *weight_name = path.s;
    int64_t shape[2] = {out_channels, bl_net_channels(g, x)};
    bl_weight_id weight = bl_weight_new(g, BL_W_LINEAR, shape, 2, &weight_name, 1);
    bl_weight_id bias = vector(g, name, "bias", out_channels);
    return bl_linear(g, x, weight, bias, act, residual);
}

bl_tensor_id bl_net_projections(bl_graph *g, bl_tensor_id x, const bl_path *names, int parts,
                                int out_channels, bool bias) {
    bl_path weight_paths[BL_WEIGHT_PARTS], bias_paths[BL_WEIGHT_PARTS];
    const char *weight_names[BL_WEIGHT_PARTS] = {0}, *bias_names[BL_WEIGHT_PARTS] = {0};
    for (int i = 0; i < parts && i < BL_WEIGHT_PARTS; i++) {
        weight_paths[i] = bl_path_make("%s.weight", names[i].s);
        bias_paths[i] = bl_path_make("%s.bias", names[i].s);
        weight_names[i] = weight_paths[i].s;
        bias_names[i] = bias_paths[i].s;
    }
    int64_t shape[2] = {(int64_t)parts * out_channels, bl_net_channels(g, x)};
    bl_weight_id w = bl_weight_new(g, BL_W_LINEAR, shape, 2, weight_names, parts);
    bl_weight_id b = bias ? bl_weight_new(g, BL_W_VECTOR, shape, 1, bias_names, parts) : BL_NONE;
    return bl_linear(g, x, w, b, BL_ACT_NONE, BL_NONE);
}

void bl_net_norm_weights(bl_graph *g, const char *name, int channels, bl_weight_id *scale,
                         bl_weight_id *shift) {
    *scale = vector(g, name, "weight", channels);
    *shift = vector(g, name, "bias", channels);
}

bl_tensor_id bl_net_group_norm(bl_graph *g, bl_tensor_id x, const char *name, int groups, float eps,
                               bl_act act) {
    bl_weight_id scale, shift;
    bl_net_norm_weights(g, name, bl_net_channels(g, x), &scale, &shift);
    return bl_group_norm(g, x, scale, shift, groups, eps, act);
}

bl_tensor_id bl_net_layer_norm(bl_graph *g, bl_tensor_id x, const char *name, float eps) {
    bl_weight_id scale, shift;
    bl_net_norm_weights(g, name, bl_net_channels(g, x), &scale, &shift);
    return bl_layer_norm(g, x, scale, shift, eps);
}

static bool is_tapped(const bl_graph *g, const char *name) {
    for (const char *const *tap = g->taps; tap && *tap; tap++) {
        if (strcmp(*tap, name) == 0) {
            return true;
        }
    }
    return false;
}

bl_tensor_id bl_net_norm_out(bl_graph *g, bl_tensor_id x, const char *name, int groups, float eps) {
    if (!is_tapped(g, name)) {
        return bl_net_group_norm(g, x, name, groups, eps, BL_ACT_SILU);
    }
    x = bl_net_group_norm(g, x, name, groups, eps, BL_ACT_NONE);
    bl_tap(g, x, "%s", name);
    return bl_activation(g, x, BL_ACT_SILU);
}

static bl_tensor_id shortcut(bl_graph *g, bl_tensor_id x, const char *name, int out_channels) {
    return bl_net_linear(g, x, bl_path_make("%s.conv_shortcut", name).s, out_channels, BL_ACT_NONE, BL_NONE);
}

bl_tensor_id bl_net_resnet(bl_graph *g, bl_tensor_id x, bl_tensor_id temb, const char *name, int out_channels,
                           int groups, float eps) {
    int in_channels = bl_net_channels(g, x);
    bl_tensor_id residual = x, channels = BL_NONE;
    /* Of x and its shortcut the smaller one waits for the end: the arena's peak is often here, and where the
     * shortcut was taken first, norm1 may overwrite x. */
    if (in_channels > out_channels) {
        residual = shortcut(g, x, name, out_channels);
    }
    bl_tensor_id y = bl_net_group_norm(g, x, bl_path_make("%s.norm1", name).s, groups, eps, BL_ACT_SILU);
    if (temb != BL_NONE) {
        bl_path projection = bl_path_make("%s.time_emb_proj", name);
        channels = bl_net_linear(g, temb, projection.s, out_channels, BL_ACT_NONE, BL_NONE);
    }
    y = bl_net_conv(g, y, bl_path_make("%s.conv1", name).s, out_channels, 3,
                    (bl_conv_options){.residual = BL_NONE, .channels = channels});
    y = bl_net_group_norm(g, y, bl_path_make("%s.norm2", name).s, groups, eps, BL_ACT_SILU);
    if (in_channels < out_channels) {
        residual = shortcut(g, x, name, out_channels);
    }
    return bl_net_conv(g, y, bl_path_make("%s.conv2", name).s, out_channels, 3,
                       (bl_conv_options){.residual = residual, .channels = BL_NONE});
}

bl_tensor_id bl_net_upsampler(bl_graph *g, bl_tensor_id x, const char *name, int h, int w, bool late_crop) {
    int up_h = h, up_w = w;
    if (late_crop && x != BL_NONE) {
        up_h = 2 * g->tensors[x].h;
        up_w = 2 * g->tensors[x].w;
    }
    x = bl_upsample(g, x, up_h, up_w);
    /* Less padding behind the last row computes it from the one that is left out. */
    bl_conv_options o = {.top = 1, .left = 1, .bottom = 1 + h - up_h, .right = 1 + w - up_w};
    o.residual = o.channels = BL_NONE;
    return bl_net_conv(g, x, bl_path_make("%s.conv", name).s, bl_net_channels(g, x), 3, o);
}

bl_tensor_id bl_net_downsampler(bl_graph *g, bl_tensor_id x, const char *name) {
    return bl_net_conv(g, x, bl_path_make("%s.conv", name).s, bl_net_channels(g, x), 3,
                       (bl_conv_options){.stride = 2, .residual = BL_NONE, .channels = BL_NONE});
}

bl_tensor_id bl_net_downsampler_asymmetric(bl_graph *g, bl_tensor_id x, const char *name) {
    return bl_net_conv(
        g, x, bl_path_make("%s.conv", name).s, bl_net_channels(g, x), 3,
        (bl_conv_options){.stride = 2, .bottom = 1, .right = 1, .residual = BL_NONE, .channels = BL_NONE});
}

bl_tensor_id bl_net_pixel_attention(bl_graph *g, bl_tensor_id x, const char *name, int groups, float eps) {
    int channels = bl_net_channels(g, x);
    bl_path parts[3] = {bl_path_make("%s.to_q", name), bl_path_make("%s.to_k", name),
                        bl_path_make("%s.to_v", name)};
    bl_tensor_id y = bl_net_group_norm(g, x, bl_path_make("%s.group_norm", name).s, groups, eps, BL_ACT_NONE);
    y = bl_net_projections(g, y, parts, 3, channels, true);
    bl_attention_options o = {.heads = 1,
                              .head_dim = channels,
                              .k_offset = channels,
                              .v_offset = 2 * channels,
                              .key_counts = BL_NONE};
    y = bl_attention(g, y, y, y, o);
    return bl_net_linear(g, y, bl_path_make("%s.to_out.0", name).s, channels, BL_ACT_NONE, x);
}

/* Keys and values of the context as a transformer block reads them: [n,T,1,2 channels]. */
static bl_tensor_id context_keys(bl_graph *g, bl_tensor_id tokens, const char *block, int channels) {
    bl_path names[2] = {bl_path_make("%s.attn2.to_k", block), bl_path_make("%s.attn2.to_v", block)};
    return bl_net_projections(g, tokens, names, 2, channels, false);
}

void bl_net_keep_context(bl_graph *g, bl_tensor_id context, bl_tensor_id *tokens, const char *name,
                         int channels, int depth) {
    for (int i = 0; i < depth; i++) {
        bl_path block = bl_path_make("%s.transformer_blocks.%d", name, i);
        bl_graph_block(g, "%s.attn2", block.s);
        *tokens = *tokens == BL_NONE ? bl_import(g, context) : *tokens;
        bl_keep(g, context_keys(g, *tokens, block.s, channels));
    }
}

bl_tensor_id bl_net_transformer_block(bl_graph *g, bl_tensor_id x, bl_net_context context, const char *name,
                                      int heads) {
    int channels = bl_net_channels(g, x);
    bl_attention_options o = {.heads = heads, .head_dim = channels / heads, .key_counts = BL_NONE};

    bl_tensor_id y = bl_net_layer_norm(g, x, bl_path_make("%s.norm1", name).s, BL_NET_LAYER_NORM_EPS);
    bl_path own[3] = {bl_path_make("%s.attn1.to_q", name), bl_path_make("%s.attn1.to_k", name),
                      bl_path_make("%s.attn1.to_v", name)};
    bl_tensor_id qkv = bl_net_projections(g, y, own, 3, channels, false);
    o.k_offset = channels;
    o.v_offset = 2 * channels;
    y = bl_attention(g, qkv, qkv, qkv, o);
    x = bl_net_linear(g, y, bl_path_make("%s.attn1.to_out.0", name).s, channels, BL_ACT_NONE, x);

    y = bl_net_layer_norm(g, x, bl_path_make("%s.norm2", name).s, BL_NET_LAYER_NORM_EPS);
    bl_path query = bl_path_make("%s.attn2.to_q", name);
    bl_tensor_id q = bl_net_projections(g, y, &query, 1, channels, false);
    bl_tensor_id kv = context.tokens == BL_NONE ? bl_kept(g, context.batch, context.rows, 1, 2 * channels)
                                                : context_keys(g, context.tokens, name, channels);
    o.k_offset = 0;
    o.v_offset = channels;
    o.key_counts = context.counts;
    if (context.counts != BL_NONE && g->tensors[kv].h % BL_NET_CHUNK_ROWS == 0) {
        o.key_least = o.key_step = BL_NET_CHUNK_ROWS;
    }
    y = bl_attention(g, q, kv, kv, o);
    x = bl_net_linear(g, y, bl_path_make("%s.attn2.to_out.0", name).s, channels, BL_ACT_NONE, x);

    y = bl_net_layer_norm(g, x, bl_path_make("%s.norm3", name).s, BL_NET_LAYER_NORM_EPS);
    y = bl_net_linear(g, y, bl_path_make("%s.ff.net.0.proj", name).s, 8 * channels, BL_ACT_GEGLU, BL_NONE);
    return bl_net_linear(g, y, bl_path_make("%s.ff.net.2", name).s, channels, BL_ACT_NONE, x);
}

bl_tensor_id bl_net_transformer(bl_graph *g, bl_tensor_id x, bl_net_context context, const char *name,
                                int heads, int depth, int groups) {
    int channels = bl_net_channels(g, x);
    bl_tensor_id y = x;
    for (int i = 0; i < depth; i++) {
        bl_path block = bl_path_make("%s.transformer_blocks.%d", name, i);
        bl_graph_block(g, "%s", block.s);
        if (i == 0) {
            y = bl_net_group_norm(g, x, bl_path_make("%s.norm", name).s, groups, TRANSFORMER_NORM_EPS,
                                  BL_ACT_NONE);
            y = bl_net_linear(g, y, bl_path_make("%s.proj_in", name).s, channels, BL_ACT_NONE, BL_NONE);
        }
        y = bl_net_transformer_block(g, y, context, block.s, heads);
        bl_tap_tokens(g, y, "%s", block.s);
    }
    y = bl_net_linear(g, y, bl_path_make("%s.proj_out", name).s, channels, BL_ACT_NONE, x);
    bl_tap(g, y, "%s", name);
    return y;
}

bl_tensor_id bl_net_clip_layer(bl_graph *g, bl_tensor_id x, const char *name, int heads, int intermediate,
                               bl_act act) {
    int channels = bl_net_channels(g, x);
    bl_path parts[3] = {bl_path_make("%s.self_attn.q_proj", name), bl_path_make("%s.self_attn.k_proj", name),
                        bl_path_make("%s.self_attn.v_proj", name)};
    bl_tensor_id y = bl_net_layer_norm(g, x, bl_path_make("%s.layer_norm1", name).s, BL_NET_LAYER_NORM_EPS);
    y = bl_net_projections(g, y, parts, 3, channels, true);
    bl_attention_options o = {.heads = heads,
                              .head_dim = channels / heads,
                              .k_offset = channels,
                              .v_offset = 2 * channels,
                              .causal = true,
                              .key_counts = BL_NONE};
    y = bl_attention(g, y, y, y, o);
    x = bl_net_linear(g, y, bl_path_make("%s.self_attn.out_proj", name).s, channels, BL_ACT_NONE, x);
    y = bl_net_layer_norm(g, x, bl_path_make("%s.layer_norm2", name).s, BL_NET_LAYER_NORM_EPS);
    y = bl_net_linear(g, y, bl_path_make("%s.mlp.fc1", name).s, intermediate, act, BL_NONE);
    return bl_net_linear(g, y, bl_path_make("%s.mlp.fc2", name).s, channels, BL_ACT_NONE, x);
}
