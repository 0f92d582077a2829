/* The layers that the networks are made of, under the tensor names of diffusers and transformers. Only the
 * model room and its tests use this header.
 *
 * A layer called "down_blocks.0.resnets.0" declares its weights in the graph's current block and returns its
 * output; shapes that do not fit are kept as the graph's error, as everywhere in graph.h. */
#ifndef BALLAST_MODEL_LAYERS_H
#define BALLAST_MODEL_LAYERS_H

#include "graph/graph.h"

#include <stdbool.h>

/* eps of every LayerNorm in the text encoders and the transformers. */
#define BL_NET_LAYER_NORM_EPS 1e-5f

/* The name of a layer or a tensor. Passed by value, so that names can be made inside a call. */
typedef struct bl_path {
    char s[BL_NAME_BYTES];
} bl_path;

bl_path bl_path_make(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Channels, or width, of an activation; 1 after an error. */
int bl_net_channels(const bl_graph *g, bl_tensor_id x);

/* Refuses batches, sides of latents and numbers of tokens that are not 1 to 65536: what is larger no memory
 * holds, and what is in this range overflows nothing on the way. BL_E_ARGUMENT. */
int bl_net_check_shape(bl_module module, int batch, int height, int width, int tokens, bl_error *err);

/* Ends building: *out is the graph, or g is freed and its first error returned. */
int bl_net_finish(bl_graph **out, bl_graph *g, bl_error *err);

/* ---- single weights */

/* Square convolution with bias and zero padding of kernel/2 on all sides, unless `o` names a padding of its
 * own. [n, h, w, c] -> [n, h / stride, w / stride, out_channels] */
bl_tensor_id bl_net_conv(bl_graph *g, bl_tensor_id x, const char *name, int out_channels, int kernel,
                         bl_conv_options o);

/* The same without bias. */
bl_tensor_id bl_net_conv_without_bias(bl_graph *g, bl_tensor_id x, const char *name, int out_channels,
                                      int kernel);

/* With bias; also any 1x1 convolution, which is the same thing. [n, h, w, c] -> [n, h, w, out_channels]; for
 * BL_ACT_GEGLU out_channels counts both halves. */
bl_tensor_id bl_net_linear(bl_graph *g, bl_tensor_id x, const char *name, int out_channels, bl_act act,
                           bl_tensor_id residual);

/* `parts` (1 to 3) projections of the same x side by side: -> [n, h, w, parts * out_channels]. */
bl_tensor_id bl_net_projections(bl_graph *g, bl_tensor_id x, const bl_path *names, int parts,
                                int out_channels, bool bias);

/* Scale and shift of a norm over `channels`. */
void bl_net_norm_weights(bl_graph *g, const char *name, int channels, bl_weight_id *scale,
                         bl_weight_id *shift);

bl_tensor_id bl_net_group_norm(bl_graph *g, bl_tensor_id x, const char *name, int groups, float eps,
                               bl_act act);
bl_tensor_id bl_net_layer_norm(bl_graph *g, bl_tensor_id x, const char *name, float eps);

/* GroupNorm, then SiLU: one op, or two where a tap wants what lies between (named `name`). */
bl_tensor_id bl_net_norm_out(bl_graph *g, bl_tensor_id x, const char *name, int groups, float eps);

/* ---- layers of the UNet and the autoencoder */

/* ResnetBlock2D: shortcut(x) + conv2(silu(norm2(conv1(silu(norm1 x)) + time_emb_proj(temb)))). The shortcut
 * is a 1x1 convolution where the channels change. `temb`: [n,1,1,t], SiLU already applied; BL_NONE in the
 * autoencoder. */
bl_tensor_id bl_net_resnet(bl_graph *g, bl_tensor_id x, bl_tensor_id temb, const char *name, int out_channels,
                           int groups, float eps);

/* Upsample2D: nearest to h x w, then a 3x3 convolution. `late_crop`: nearest to twice x's sides, the
 * convolution, and only then the last row and column left out where h or w is one less. */
bl_tensor_id bl_net_upsampler(bl_graph *g, bl_tensor_id x, const char *name, int h, int w, bool late_crop);

/* Downsample2D with padding 1: 3x3, stride 2; an odd side rounds up. */
bl_tensor_id bl_net_downsampler(bl_graph *g, bl_tensor_id x, const char *name);

/* Downsample2D with padding 0, the autoencoder's: one row and column of zeros at the bottom and at the right
 * only. */
bl_tensor_id bl_net_downsampler_asymmetric(bl_graph *g, bl_tensor_id x, const char *name);

/* Attention of one head over the pixels of x, as the autoencoder's middle has it:
 * x + to_out(attention(group_norm x)). */
bl_tensor_id bl_net_pixel_attention(bl_graph *g, bl_tensor_id x, const char *name, int groups, float eps);

/* Rows of the context for each chunk of a prompt. */
#define BL_NET_CHUNK_ROWS 77

/* What a transformer reads beside x. */
typedef struct bl_net_context {
    bl_tensor_id tokens; /* [n,T,1,k]; or BL_NONE: a prologue kept what the blocks make of it */
    int batch, rows;     /* n and T, where there are no tokens */
    bl_tensor_id
        counts; /* an I32 input [n,1,1,1]: how many of its tokens each of the batch has; or BL_NONE: all */
} bl_net_context;

/* The prologue of a transformer of `depth` blocks and as many channels: keeps each block's keys and values of
 * the context, [n,T,1,2 channels]. Starts a block of the graph for each, called "<name of the block>.attn2";
 * the first of the graph imports the context: *tokens is BL_NONE before it. */
void bl_net_keep_context(bl_graph *g, bl_tensor_id context, bl_tensor_id *tokens, const char *name,
                         int channels, int depth);

/* BasicTransformerBlock: self attention, attention to `context`, GEGLU; LayerNorm before each. */
bl_tensor_id bl_net_transformer_block(bl_graph *g, bl_tensor_id x, bl_net_context context, const char *name,
                                      int heads);

/* Transformer2DModel: GroupNorm (eps 1e-6), proj_in, `depth` transformer blocks, proj_out, residual. Starts a
 * block of the graph for each transformer block; the first also holds norm and proj_in, the last proj_out.
 * Taps: its own name, and that of each transformer block. */
bl_tensor_id bl_net_transformer(bl_graph *g, bl_tensor_id x, bl_net_context context, const char *name,
                                int heads, int depth, int groups);

/* ---- layers of the text encoders */

/* CLIPEncoderLayer: causal self attention and an MLP of `intermediate` channels, LayerNorm before each.
 * `act`: BL_ACT_GELU or BL_ACT_QUICK_GELU. */
bl_tensor_id bl_net_clip_layer(bl_graph *g, bl_tensor_id x, const char *name, int heads, int intermediate,
                               bl_act act);

#endif
