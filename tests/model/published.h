/* The published models' architectures, as their configuration files have them. */
#ifndef BALLAST_TESTS_MODEL_PUBLISHED_H
#define BALLAST_TESTS_MODEL_PUBLISHED_H

#include "checkpoint/architecture.h"

/* What the UNets of SD1.x and SD2.x share. */
#define PUBLISHED_SD_UNET                                                                              \
    .in_channels = 4, .out_channels = 4, .levels = 4, .channels = {320, 640, 1280, 1280},              \
    .resnets = {2, 2, 2, 2}, .mid_resnets = 2, .down_depth = {{1, 1}, {1, 1}, {1, 1}}, .mid_depth = 1, \
    .up_depth = {{0}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}}, .time_dim = 1280, .groups = 32, .norm_eps = 1e-5f

static const bl_unet_architecture published_sd15_unet = {
    PUBLISHED_SD_UNET,
    .heads = {8, 8, 8, 8},
    .context_dim = 768,
};

static const bl_unet_architecture published_sd21_unet = {
    PUBLISHED_SD_UNET,
    .heads = {5, 10, 20, 20},
    .context_dim = 1024,
};

static const bl_unet_architecture published_sdxl_unet = {
    .in_channels = 4,
    .out_channels = 4,
    .levels = 3,
    .channels = {320, 640, 1280},
    .resnets = {2, 2, 2},
    .down_depth = {{0}, {2, 2}, {10, 10}},
    .mid_resnets = 2,
    .mid_depth = 10,
    .up_depth = {{10, 10, 10}, {2, 2, 2}},
    .heads = {5, 10, 20},
    .context_dim = 2048,
    .time_dim = 1280,
    .adm_dim = 2816,
    .groups = 32,
    .norm_eps = 1e-5f,
};

static const bl_vae_architecture published_vae = {
    .has_encoder = true,
    .levels = 4,
    .channels = {128, 256, 512, 512},
    .resnets = 2,
    .latent_channels = 4,
    .quant_conv = true,
    .post_quant_conv = true,
    .groups = 32,
    .scale = 0.18215,
};

#define PUBLISHED_CLIP_L                                                                       \
    .present = true, .width = 768, .layers = 12, .heads = 12, .ff_dim = 3072, .positions = 77, \
    .vocab = 49408, .quick_gelu = true

static const bl_text_architecture published_clip_l = {PUBLISHED_CLIP_L, .context_norm = true};

static const bl_text_architecture published_clip_l_sdxl = {PUBLISHED_CLIP_L, .context_skip = 1};

/* OpenCLIP-H as single files of SD2.x have it: with the layer that nothing reads. */
static const bl_text_architecture published_clip_h = {
    .present = true,
    .width = 1024,
    .layers = 24,
    .heads = 16,
    .ff_dim = 4096,
    .positions = 77,
    .vocab = 49408,
    .context_skip = 1,
    .context_norm = true,
};

static const bl_text_architecture published_clip_g = {
    .present = true,
    .width = 1280,
    .layers = 32,
    .heads = 20,
    .ff_dim = 5120,
    .positions = 77,
    .vocab = 49408,
    .projection = 1280,
    .context_skip = 1,
};

#endif
