#include "model/taesd.h"

#include "model/layers.h"

#include <math.h>

#define IMAGE_CHANNELS 3
#define BLOCKS 3 /* before each of the three steps up; one behind the last */

static bl_tensor_id relu(bl_graph *g, bl_tensor_id x) {
    return bl_activation(g, x, BL_ACT_RELU);
}

/* By both ways of counting: the authors' begins with the clamp. */
static void tap(bl_graph *g, bl_tensor_id x, int layer) {
    bl_tap(g, x, "decoder.layers.%d", layer);
    bl_tap(g, x, "%d", layer + 1);
}

static bl_tensor_id conv(bl_graph *g, bl_tensor_id x, const char *name, int channels, bl_tensor_id residual) {
    return bl_net_conv(g, x, name, channels, 3, (bl_conv_options){.residual = residual, .channels = BL_NONE});
}

/* x + a branch whose norm is over the whole picture. */
static bl_tensor_id pool(bl_graph *g, bl_tensor_id x, const char *name) {
    const int channels = bl_net_channels(g, x);
    bl_tensor_id y = bl_net_conv_without_bias(g, x, bl_path_make("%s.pool.0", name).s, 4 * channels, 1);
    y = relu(g, bl_net_group_norm(g, y, bl_path_make("%s.pool.1", name).s, 4, 1e-5f, BL_ACT_NONE));
    return bl_add(g, x, bl_net_conv_without_bias(g, y, bl_path_make("%s.pool.3", name).s, channels, 1));
}

/* relu(x + three convolutions of x, relu between them) */
static bl_tensor_id block(bl_graph *g, bl_tensor_id x, int layer, bool pooled) {
    bl_path name = bl_path_make("decoder.layers.%d", layer);
    const int channels = bl_net_channels(g, x);
    bl_graph_block(g, "%s", name.s);
    x = pooled ? pool(g, x, name.s) : x;
    bl_tensor_id y = relu(g, conv(g, x, bl_path_make("%s.conv.0", name.s).s, channels, BL_NONE));
    y = relu(g, conv(g, y, bl_path_make("%s.conv.2", name.s).s, channels, BL_NONE));
    y = relu(g, conv(g, y, bl_path_make("%s.conv.4", name.s).s, channels, x));
    tap(g, y, layer);
    return y;
}

/* Twice the sides, then a convolution without bias. */
static bl_tensor_id enlarge(bl_graph *g, bl_tensor_id x, int layer) {
    bl_path name = bl_path_make("decoder.layers.%d", layer + 1);
    bl_graph_block(g, "%s", name.s);
    if (x == BL_NONE) {
        return x;
    }
    x = bl_upsample(g, x, 2 * g->tensors[x].h, 2 * g->tensors[x].w);
    tap(g, x, layer);
    x = bl_net_conv_without_bias(g, x, name.s, bl_net_channels(g, x), 3);
    tap(g, x, layer + 1);
    return x;
}

static void build(bl_graph *g, const bl_taesd_architecture *a, bl_taesd_shape s) {
    bl_tensor_id z = bl_input(g, "z", BL_F32, BL_NCHW, s.batch, s.height, s.width, a->latent_channels);
    if (s.kept) {
        bl_kept(g, 1, 1, 1, (int)(s.kept / bl_dtype_size(g->dtype)));
    }
    bl_graph_block(g, "decoder.layers.0");
    bl_tensor_id x = bl_import(g, z);
    bl_tap(g, x, "0");
    x = conv(g, x, "decoder.layers.0", a->channels, BL_NONE);
    bl_tap(g, x, "decoder.layers.0");
    bl_tap(g, x, "1");
    x = relu(g, x);
    tap(g, x, 1);
    int layer = 2;
    for (int level = 0; level < 3; level++) {
        for (int i = 0; i < BLOCKS; i++) {
            x = block(g, x, layer++, a->pooled && !level);
        }
        x = enlarge(g, x, layer);
        layer += 2;
    }
    x = block(g, x, layer++, false);
    bl_graph_block(g, "decoder.layers.%d", layer);
    x = conv(g, x, bl_path_make("decoder.layers.%d", layer).s, IMAGE_CHANNELS, BL_NONE);
    bl_export(g, x, "image", BL_NCHW);
}

int bl_taesd_graph(bl_graph **out, const bl_taesd_architecture *arch, bl_taesd_shape shape, bl_dtype dtype,
                   const char *const *taps, bl_error *err) {
    *out = NULL;
    int rc = bl_net_check_shape(BL_TAESD, shape.batch, shape.height, shape.width, 1, err);
    if (rc) {
        return rc;
    }
    bl_graph *g = bl_graph_new(BL_TAESD, dtype, taps);
    if (!g) {
        return bl_fail_memory(err, "a graph", sizeof *g);
    }
    build(g, arch, shape);
    return bl_net_finish(out, g, err);
}

void bl_taesd_clamp(float *out, const float *z, size_t n) {
    for (size_t i = 0; i < n; i++) {
        out[i] = tanhf(z[i] / 3) * 3;
    }
}

void bl_taesd_range(float *image, size_t n) {
    for (size_t i = 0; i < n; i++) {
        image[i] = 2 * image[i] - 1;
    }
}
