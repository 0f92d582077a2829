#include "model/autoencoder_kl.h"

#include "model/layers.h"

#define NORM_EPS 1e-6f
#define IMAGE_CHANNELS 3

static const bl_conv_options plain = {.residual = BL_NONE, .channels = BL_NONE};

static bl_tensor_id resnet(bl_graph *g, bl_tensor_id x, const char *name, int channels, int groups) {
    bl_graph_block(g, "%s", name);
    x = bl_net_resnet(g, x, BL_NONE, name, channels, groups, NORM_EPS);
    bl_tap(g, x, "%s", name);
    return x;
}

/* Resnet, attention over all pixels, resnet. `side`: "encoder" or "decoder". */
static bl_tensor_id middle(bl_graph *g, bl_tensor_id x, const char *side, int groups) {
    int channels = bl_net_channels(g, x);
    x = resnet(g, x, bl_path_make("%s.mid_block.resnets.0", side).s, channels, groups);
    bl_path attention = bl_path_make("%s.mid_block.attentions.0", side);
    bl_graph_block(g, "%s", attention.s);
    x = bl_net_pixel_attention(g, x, attention.s, groups, NORM_EPS);
    x = resnet(g, x, bl_path_make("%s.mid_block.resnets.1", side).s, channels, groups);
    bl_tap(g, x, "%s.mid_block", side);
    return x;
}

static bl_tensor_id decoder_up(bl_graph *g, bl_tensor_id x, const bl_vae_architecture *c, int index) {
    int level = c->levels - 1 - index;
    for (int i = 0; i <= c->resnets; i++) {
        x = resnet(g, x, bl_path_make("decoder.up_blocks.%d.resnets.%d", index, i).s, c->channels[level],
                   c->groups);
    }
    if (level > 0 && x != BL_NONE) {
        bl_path name = bl_path_make("decoder.up_blocks.%d.upsamplers.0", index);
        bl_graph_block(g, "%s", name.s);
        x = bl_net_upsampler(g, x, name.s, 2 * g->tensors[x].h, 2 * g->tensors[x].w, false);
    }
    bl_tap(g, x, "decoder.up_blocks.%d", index);
    return x;
}

static void build_decoder(bl_graph *g, const bl_vae_architecture *c, bl_vae_shape s) {
    bl_tensor_id z = bl_input(g, "z", BL_F32, BL_NCHW, s.batch, s.height, s.width, c->latent_channels);
    bl_graph_block(g, "decoder.conv_in");
    bl_tensor_id x = bl_import(g, z);
    if (c->post_quant_conv) {
        x = bl_net_linear(g, x, "post_quant_conv", c->latent_channels, BL_ACT_NONE, BL_NONE);
        bl_tap(g, x, "post_quant_conv");
    }
    x = bl_net_conv(g, x, "decoder.conv_in", c->channels[c->levels - 1], 3, plain);
    bl_tap(g, x, "decoder.conv_in");
    x = middle(g, x, "decoder", c->groups);
    for (int i = 0; i < c->levels; i++) {
        x = decoder_up(g, x, c, i);
    }
    bl_graph_block(g, "decoder.conv_out");
    x = bl_net_norm_out(g, x, "decoder.conv_norm_out", c->groups, NORM_EPS);
    x = bl_net_conv(g, x, "decoder.conv_out", IMAGE_CHANNELS, 3, plain);
    bl_export(g, x, "image", BL_NCHW);
}

static bl_tensor_id encoder_down(bl_graph *g, bl_tensor_id x, const bl_vae_architecture *c, int level) {
    for (int i = 0; i < c->resnets; i++) {
        x = resnet(g, x, bl_path_make("encoder.down_blocks.%d.resnets.%d", level, i).s, c->channels[level],
                   c->groups);
    }
    if (level + 1 < c->levels) {
        bl_path name = bl_path_make("encoder.down_blocks.%d.downsamplers.0", level);
        bl_graph_block(g, "%s", name.s);
        x = bl_net_downsampler_asymmetric(g, x, name.s);
    }
    bl_tap(g, x, "encoder.down_blocks.%d", level);
    return x;
}

static void build_encoder(bl_graph *g, const bl_vae_architecture *c, bl_vae_shape s) {
    int shrink = 1 << (c->levels - 1);
    bl_tensor_id image =
        bl_input(g, "image", BL_F32, BL_NCHW, s.batch, shrink * s.height, shrink * s.width, IMAGE_CHANNELS);
    bl_graph_block(g, "encoder.conv_in");
    bl_tensor_id x = bl_net_conv(g, bl_import(g, image), "encoder.conv_in", c->channels[0], 3, plain);
    bl_tap(g, x, "encoder.conv_in");
    for (int i = 0; i < c->levels; i++) {
        x = encoder_down(g, x, c, i);
    }
    x = middle(g, x, "encoder", c->groups);
    bl_graph_block(g, "encoder.conv_out");
    x = bl_net_norm_out(g, x, "encoder.conv_norm_out", c->groups, NORM_EPS);
    x = bl_net_conv(g, x, "encoder.conv_out", 2 * c->latent_channels, 3, plain);
    bl_tap(g, x, "encoder.conv_out");
    if (c->quant_conv) {
        x = bl_net_linear(g, x, "quant_conv", 2 * c->latent_channels, BL_ACT_NONE, BL_NONE);
    }
    bl_export(g, x, "moments", BL_NCHW);
}

typedef void builder(bl_graph *g, const bl_vae_architecture *arch, bl_vae_shape shape);

static int make(bl_graph **out, bl_module module, builder *build, const bl_vae_architecture *arch,
                bl_vae_shape shape, bl_dtype dtype, const char *const *taps, bl_error *err) {
    *out = NULL;
    int rc = bl_net_check_shape(module, shape.batch, shape.height, shape.width, 1, err);
    if (rc) {
        return rc;
    }
    bl_graph *g = bl_graph_new(module, dtype, taps);
    if (!g) {
        return bl_fail_memory(err, "a graph", sizeof *g);
    }
    build(g, arch, shape);
    return bl_net_finish(out, g, err);
}

int bl_vae_decoder_graph(bl_graph **out, const bl_vae_architecture *arch, bl_vae_shape shape, bl_dtype dtype,
                         const char *const *taps, bl_error *err) {
    return make(out, BL_VAE_DECODER, build_decoder, arch, shape, dtype, taps, err);
}

int bl_vae_encoder_graph(bl_graph **out, const bl_vae_architecture *arch, bl_vae_shape shape, bl_dtype dtype,
                         const char *const *taps, bl_error *err) {
    return make(out, BL_VAE_ENCODER, build_encoder, arch, shape, dtype, taps, err);
}
