/* Every op there is, one row each: what an op is made of beyond its row is written once, and found by the
 * tables that this list expands to.
 *
 * ROW(KIND, name, shape, flops, memory)
 *   KIND    its kind is BL_OP_KIND; messages call it "KIND"
 *   name    a device's table asks for what it does with the op by this name: the cpu's for bl_cpu_<name>
 *   shape, flops, memory: see bl_op_row in op_rows.h; functions of op_rows.c
 *
 * The three behind UPSAMPLE are only in graphs of bl_graph_fold, and described in fold.h. */
#ifndef BALLAST_GRAPH_OP_LIST_H
#define BALLAST_GRAPH_OP_LIST_H

#define BL_OP_LIST(ROW)                                                                                 \
    /* in: INPUT F32, NCHW or channels-last -> activation */                                            \
    ROW(IMPORT, import, import_shape, no_flops, own_place)                                              \
    /* in: activation -> OUTPUT F32, NCHW or channels-last */                                           \
    ROW(EXPORT, export, export_shape, no_flops, own_place)                                              \
    /* in: INPUT F32 [n,1,1,k] -> [n,1,1,k*dim]: for each value cos(v f_j), then sin(v f_j),            \
     * f_j = 10000^(-j/(dim/2)), j < dim/2 (DDPM's timestep embedding, flip_sin_to_cos) */              \
    ROW(SINUSOID, sinusoid, sinusoid_shape, no_flops, own_place)                                        \
    /* in: INPUT I32 [n,T,1,1]; weight: token table, weight2: position table or NONE -> [n,T,1,C] */    \
    ROW(EMBED, embed, embed_shape, no_flops, own_place)                                                 \
    /* in: [n,T,1,C], INPUT I32 [n,1,1,1] row numbers -> [n,1,1,C] */                                   \
    ROW(TAKE_ROW, take_row, take_row_shape, no_flops, own_place)                                        \
    /* in: x, residual or NONE, per-channel [n,1,1,O] or NONE; weight CONV, weight2: bias.              \
     * y = conv(x) + bias + channels + residual */                                                      \
    ROW(CONV, conv, conv_shape, conv_flops, over_residual)                                              \
    /* in: x, residual or NONE; weight LINEAR, weight2: bias or NONE. y = act(x W^T + bias) + residual; \
     * BL_ACT_GEGLU: with [a, g] = x W^T + bias, y = a gelu(g) + residual */                            \
    ROW(LINEAR, linear, linear_shape, linear_flops, over_residual)                                      \
    /* in: x; weight scale, weight2 shift; act NONE or SILU after it */                                 \
    ROW(GROUP_NORM, group_norm, norm_shape, no_flops, over_input)                                       \
    /* in: x; weight scale, weight2 shift, or both NONE: 1 and 0; over c */                             \
    ROW(LAYER_NORM, layer_norm, norm_shape, no_flops, over_input)                                       \
    /* in: x; weight scale [c], or [d] where each d channels, a head, are normed alone.                 \
     * y = x / sqrt(mean(x^2) + eps) scale */                                                           \
    ROW(RMS_NORM, rms_norm, rms_norm_shape, no_flops, over_input)                                       \
    /* in: q, k, v (channel slices of them), INPUT I32 [n,1,1,1] or NONE: how many of its keys each of  \
     * the batch sees, from the first on; softmax(q k^T scale) v per head. Heads of q share those of k  \
     * and v, each of these for as many that lie side by side. Or, with INPUT F32 [n,heads,1,d],        \
     * d = rows of q + rows of k - 1: softmax(q k^T + bias) v, the bias of row i and key j at its place \
     * i - j + rows of k - 1 */                                                                         \
    ROW(ATTENTION, attention, attention_shape, attention_flops, own_place)                              \
    /* in: x, INPUT F32 [n,T,1,d]: cos t_j, then sin t_j, j < d/2. Each d channels, a head, are turned: \
     * pairs (a, b) become (a cos - b sin, a sin + b cos); those of channels 2j, 2j + 1, or, `halves`,  \
     * of j, j + d/2 */                                                                                 \
    ROW(ROPE, rope, rope_shape, no_flops, over_input)                                                   \
    /* in: x, m [n,1,1,k]: y = x (1 + m[scale ..]) + m[shift ..], or without shift */                   \
    ROW(MODULATE, modulate, modulate_shape, no_flops, over_input)                                       \
    /* in: x, y, m [n,1,1,k]: x + g y, g = m[at ..] or its tanh */                                      \
    ROW(GATED_ADD, gated_add, gated_add_shape, no_flops, over_input)                                    \
    /* in: [a, b] along channels -> act(a) b; act SILU (SwiGLU) or GELU_TANH (the GEGLU of T5) */       \
    ROW(GLU, glu, glu_shape, no_flops, own_place)                                                       \
    /* in: a, b, of as many channels -> [n,T,1,c]: b's rows behind a's */                               \
    ROW(JOIN, join, join_shape, no_flops, own_place)                                                    \
    /* in: x -> [n,count,1,c]: rows [first, first + count) */                                           \
    ROW(SLICE, slice, slice_shape, no_flops, own_place)                                                 \
    /* in: x -> its channels [first, first + count) */                                                  \
    ROW(CHANNELS, channels, channels_shape, no_flops, own_place)                                        \
    /* in: [n,h,w,c] -> [n,h/s,w/s,s s c]: channels (dy, dx, c) of squares of side s, or, `planes`,     \
     * (c, dy, dx); and back */                                                                         \
    ROW(PATCHIFY, patchify, patchify_shape, no_flops, own_place)                                        \
    ROW(UNPATCHIFY, unpatchify, unpatchify_shape, no_flops, own_place)                                  \
    /* in: x; act */                                                                                    \
    ROW(ACT, act, act_shape, no_flops, over_input)                                                      \
    /* in: a, b, same shape */                                                                          \
    ROW(ADD, add, add_shape, no_flops, over_input)                                                      \
    /* in: a, b, joined along channels */                                                               \
    ROW(CONCAT, concat, concat_shape, no_flops, own_place)                                              \
    /* in: x -> [n, h', w', c], nearest: source row = floor(y * h / h') */                              \
    ROW(UPSAMPLE, upsample, upsample_shape, no_flops, own_place)                                        \
    ROW(NORM_FACTORS, norm_factors, folded_shape, no_flops, own_place)                                  \
    ROW(FOLDED_CONV, folded_conv, folded_shape, no_flops, in_bands)                                     \
    ROW(FEED_FORWARD, feed_forward, folded_shape, no_flops, in_slices)

#endif
