#include "checkpoint/family.h"

#include <stddef.h>

#define END_TOKEN 49407

/* clang-format off */
#define PREVIEW_SD { \
    {0.3512f, 0.2297f, 0.3227f}, \
    {0.3250f, 0.4974f, 0.2350f}, \
    {-0.2829f, 0.1762f, 0.2721f}, \
    {-0.2120f, -0.2616f, -0.7177f}, \
}
#define PREVIEW_SDXL { \
    {0.3920f, 0.4054f, 0.4549f}, \
    {-0.2634f, -0.0196f, 0.0653f}, \
    {0.0568f, 0.1687f, -0.0755f}, \
    {-0.3112f, -0.2359f, -0.2076f}, \
}
/* clang-format on */

const bl_family bl_sd1 = {
    .name = "SD 1.x",
    .type = "sd1",
    .prediction = BL_PREDICT_EPSILON,
    .latent_channels = 4,
    .downscale = 8,
    .latent_scale = 0.18215,
    .preview = PREVIEW_SD,
    .native_size = 512,
    .native_size_v = 512,
    .encoders = 1,
    .encoder = {{.pad_token = END_TOKEN, .context_norm = true, .quick_gelu = true}},
    .pooled = -1,
    .clip_skip = true,
    .a1111_clip_skip = true,
    .heads = 8,
};

/* Trained on the last layer but one. Diffusers, and files converted back from it, have dropped the layer that
 * nothing reads: where it is still there, detection skips it. */
const bl_family bl_sd2 = {
    .name = "SD 2.x",
    .type = "sd2",
    .prediction = BL_PREDICT_EPSILON,
    .latent_channels = 4,
    .downscale = 8,
    .latent_scale = 0.18215,
    .preview = PREVIEW_SD,
    .native_size = 512,
    .native_size_v = 768,
    .encoders = 1,
    .encoder = {{.context_norm = true}},
    .pooled = -1,
    .clip_skip = true,
    .untrained_layers = 1,
};

/* Published with Align Your Steps (Sabour et al. 2024). */
static const double sdxl_aligned[] = {14.615, 6.315, 3.771, 2.181, 1.342, 0.862,
                                      0.555,  0.380, 0.234, 0.113, 0.029};

const bl_family bl_sdxl = {
    .name = "SDXL base",
    .type = "sdxl",
    .prediction = BL_PREDICT_EPSILON,
    .latent_channels = 4,
    .downscale = 8,
    .latent_scale = 0.13025,
    .preview = PREVIEW_SDXL,
    .native_size = 1024,
    .native_size_v = 1024,
    .encoders = 2,
    .encoder = {{.pad_token = END_TOKEN, .context_skip = 1, .quick_gelu = true}, {.context_skip = 1}},
    .pooled = 1,
    .clip_skip = true,
    .zero_negative = true,
    .aligned = sdxl_aligned,
};

const bl_family *const bl_families[] = {&bl_sd1, &bl_sd2, &bl_sdxl, NULL};
