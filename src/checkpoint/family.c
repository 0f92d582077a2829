#include "checkpoint/family.h"

#include "checkpoint/config.h"

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
#define PREVIEW_FLUX { /* of Flux.1's autoencoder */ \
    {-0.0346f, 0.0244f, 0.0681f}, \
    {0.0034f, 0.0210f, 0.0687f}, \
    {0.0275f, -0.0668f, -0.0433f}, \
    {-0.0174f, 0.0160f, 0.0617f}, \
    {0.0859f, 0.0721f, 0.0329f}, \
    {0.0004f, 0.0383f, 0.0115f}, \
    {0.0405f, 0.0861f, 0.0915f}, \
    {-0.0236f, -0.0185f, -0.0259f}, \
    {-0.0245f, 0.0250f, 0.1180f}, \
    {0.1008f, 0.0755f, -0.0421f}, \
    {-0.0515f, 0.0201f, 0.0011f}, \
    {0.0428f, -0.0012f, -0.0036f}, \
    {0.0817f, 0.0765f, 0.0749f}, \
    {-0.1264f, -0.0522f, -0.1103f}, \
    {-0.0280f, -0.0881f, -0.0499f}, \
    {-0.1262f, -0.0982f, -0.0778f}, \
}
#define PREVIEW_SD3 { \
    {-0.0645f, 0.0177f, 0.1052f}, \
    {0.0028f, 0.0312f, 0.0650f}, \
    {0.1848f, 0.0762f, 0.0360f}, \
    {0.0944f, 0.0360f, 0.0889f}, \
    {0.0897f, 0.0506f, -0.0364f}, \
    {-0.0020f, 0.1203f, 0.0284f}, \
    {0.0855f, 0.0118f, 0.0283f}, \
    {-0.0539f, 0.0658f, 0.1047f}, \
    {-0.0057f, 0.0116f, 0.0700f}, \
    {-0.0412f, 0.0281f, -0.0039f}, \
    {0.1106f, 0.1171f, 0.1220f}, \
    {-0.0248f, 0.0682f, -0.0481f}, \
    {0.0815f, 0.0846f, 0.1207f}, \
    {-0.0120f, -0.0055f, -0.0867f}, \
    {-0.0749f, -0.0634f, -0.0456f}, \
    {-0.1418f, -0.1457f, -0.1259f}, \
}
#define PREVIEW_FLUX2 { \
    {0.0058f, 0.0113f, 0.0073f}, \
    {0.0495f, 0.0443f, 0.0836f}, \
    {-0.0099f, 0.0096f, 0.0644f}, \
    {0.2144f, 0.3009f, 0.3652f}, \
    {0.0166f, -0.0039f, -0.0054f}, \
    {0.0157f, 0.0103f, -0.0160f}, \
    {-0.0398f, 0.0902f, -0.0235f}, \
    {-0.0052f, 0.0095f, 0.0109f}, \
    {-0.3527f, -0.2712f, -0.1666f}, \
    {-0.0301f, -0.0356f, -0.0180f}, \
    {-0.0107f, 0.0078f, 0.0013f}, \
    {0.0746f, 0.0090f, -0.0941f}, \
    {0.0156f, 0.0169f, 0.0070f}, \
    {-0.0034f, -0.0040f, -0.0114f}, \
    {0.0032f, 0.0181f, 0.0080f}, \
    {-0.0939f, -0.0008f, 0.0186f}, \
    {0.0018f, 0.0043f, 0.0104f}, \
    {0.0284f, 0.0056f, -0.0127f}, \
    {-0.0024f, -0.0022f, -0.0030f}, \
    {0.1207f, -0.0026f, 0.0065f}, \
    {0.0128f, 0.0101f, 0.0142f}, \
    {0.0137f, -0.0072f, -0.0007f}, \
    {0.0095f, 0.0092f, -0.0059f}, \
    {0.0000f, -0.0077f, -0.0049f}, \
    {-0.0465f, -0.0204f, -0.0312f}, \
    {0.0095f, 0.0012f, -0.0066f}, \
    {0.0290f, -0.0034f, 0.0025f}, \
    {0.0220f, 0.0169f, -0.0048f}, \
    {-0.0332f, -0.0457f, -0.0468f}, \
    {-0.0085f, 0.0389f, 0.0609f}, \
    {-0.0076f, 0.0003f, -0.0043f}, \
    {-0.0111f, -0.0460f, -0.0614f}, \
}
/* clang-format on */

const bl_family bl_sd1 = {
    .name = "SD 1.x",
    .type = "sd1",
    .rules = &bl_unet_folder_rules,
    .prediction = BL_PREDICT_EPSILON,
    .latent_channels = 4,
    .downscale = 8,
    .latent_scale = 0.18215,
    .preview = PREVIEW_SD,
    .taesd = "taesd",
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
    .rules = &bl_unet_folder_rules,
    .prediction = BL_PREDICT_EPSILON,
    .latent_channels = 4,
    .downscale = 8,
    .latent_scale = 0.18215,
    .preview = PREVIEW_SD,
    .taesd = "taesd",
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
    .rules = &bl_unet_folder_rules,
    .prediction = BL_PREDICT_EPSILON,
    .latent_channels = 4,
    .downscale = 8,
    .latent_scale = 0.13025,
    .preview = PREVIEW_SDXL,
    .taesd = "taesdxl",
    .native_size = 1024,
    .native_size_v = 1024,
    .encoders = 2,
    .encoder = {{.pad_token = END_TOKEN, .context_skip = 1, .quick_gelu = true}, {.context_skip = 1}},
    .pooled = 1,
    .clip_skip = true,
    .zero_negative = true,
    .aligned = sdxl_aligned,
};

/* Both Z-Image and Z-Image-Turbo, which are one network: what is recommended is the Turbo's. */
const bl_family bl_z_image = {
    .name = "Z-Image",
    .type = "zimage",
    .net = BL_NET_ZIMAGE,
    .probe = "cap_pad_token",
    .rules = &bl_zimage_folder_rules,
    .reader = BL_READER_QWEN3,
    .words = {.before = "<|im_start|>user\n",
              .after = "<|im_end|>\n<|im_start|>assistant\n",
              .most = 512,
              .row_step = 32,
              .taken = {-1},
              .count = 1},
    .prediction = BL_PREDICT_FLOW,
    .flow = {.kind = BL_SHIFT_FIXED, .shift = 3},
    .sampler = "Euler",
    .steps = 8,
    .cfg = 1,
    .cfg_from_prompt = true,
    .latent_channels = 16,
    .downscale = 8,
    .patch = 2,
    .latent_scale = 0.3611,
    .latent_shift = 0.1159,
    .preview = PREVIEW_FLUX,
    .taesd = "taef1",
    .native_size = 1024,
    .native_size_v = 1024,
    .encoders = 1,
    .pooled = -1,
};

/* What both kinds of FLUX.1 have in common. */
#define FLUX1                                                                                             \
    .net = BL_NET_FLUX1, .timed_prologue = true, .rules = &bl_flux1_folder_rules, .reader = BL_READER_T5, \
    .prediction = BL_PREDICT_FLOW, .sampler = "Euler", .cfg = 1, .cfg_needs_negative = true,              \
    .latent_channels = 16, .downscale = 8, .patch = 2, .latent_scale = 0.3611, .latent_shift = 0.1159,    \
    .preview = PREVIEW_FLUX, .taesd = "taef1", .native_size = 1024, .native_size_v = 1024, .encoders = 1, \
    .encoder = {{.quick_gelu = true}}, .pooled = -1

/* The guidance is a number that the network reads: no second half of a batch. */
const bl_family bl_flux1_dev = {
    .name = "FLUX.1 dev",
    .type = "flux1dev",
    .probe = "time_text_embed.guidance_embedder.linear_1.weight",
    .words = {.before = "", .after = "", .most = 512, .filled = true},
    .flow = {.kind = BL_SHIFT_BY_SIZE, .low = 0.5, .high = 1.15, .low_tokens = 256, .high_tokens = 4096},
    .steps = 28,
    .guidance = 3.5,
    FLUX1,
};

const bl_family bl_flux1_schnell = {
    .name = "FLUX.1 schnell",
    .type = "flux1schnell",
    .probe = "single_transformer_blocks.0.proj_mlp.weight",
    .words = {.before = "", .after = "", .most = 256, .filled = true},
    .flow = {.kind = BL_SHIFT_FIXED, .shift = 1},
    .steps = 4,
    FLUX1,
};

/* FLUX.2 klein, of 4 and of 9 billion weights. What is recommended is for the distilled ones. */
const bl_family bl_flux2_klein = {
    .name = "FLUX.2 klein",
    .type = "flux2klein",
    .net = BL_NET_FLUX2,
    .timed_prologue = true,
    .probe = "double_stream_modulation_img.linear.weight",
    .rules = &bl_flux2_folder_rules,
    .reader = BL_READER_QWEN3,
    .words = {.before = "<|im_start|>user\n",
              .after = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
              .most = 512,
              .filled = true,
              .taken = {9, 18, 27},
              .count = 3},
    .prediction = BL_PREDICT_FLOW,
    .flow = {.kind = BL_SHIFT_BY_STEPS},
    .sampler = "Euler",
    .steps = 4,
    .cfg = 1,
    .full_steps = 50,
    .full_cfg = 4,
    .latent_channels = 128,
    .downscale = 16,
    .patch = 1,
    .packed = 2,
    .latent_scale = 1,
    .preview = PREVIEW_FLUX2,
    .taesd = "taef2",
    .native_size = 1024,
    .native_size_v = 1024,
    .encoders = 1,
    .pooled = -1,
};

/* The guidance is a number that the network reads: no second half of a batch. */
const bl_family bl_flux2_dev = {
    .name = "FLUX.2 dev",
    .type = "flux2dev",
    .net = BL_NET_FLUX2,
    .timed_prologue = true,
    .probe = "time_guidance_embed.guidance_embedder.linear_1.weight",
    .rules = &bl_flux2_dev_folder_rules,
    .reader = BL_READER_MISTRAL,
    .words = {.before = "", .after = "", .most = 512, .filled = true, .taken = {10, 20, 30}, .count = 3},
    .unread = "Mistral reads its prompts, whose words Ballast does not have",
    .prediction = BL_PREDICT_FLOW,
    .flow = {.kind = BL_SHIFT_BY_STEPS},
    .sampler = "Euler",
    .steps = 50,
    .cfg = 1,
    .latent_channels = 128,
    .downscale = 16,
    .patch = 1,
    .packed = 2,
    .latent_scale = 1,
    .preview = PREVIEW_FLUX2,
    .taesd = "taef2",
    .native_size = 1024,
    .native_size_v = 1024,
    .encoders = 1,
    .pooled = -1,
};

/* What all kinds of SD3 have in common. A guidance of 7 was recommended first, of 3.5 to 4.5 for SD3.5; the
 * VAE is one of its own, beside FLUX.1's in all but its weights, scale and shift. */
#define SD3                                                                                            \
    .net = BL_NET_SD3, .timed_prologue = true, .probe = "pos_embed.pos_embed",                         \
    .rules = &bl_sd3_folder_rules, .reader = BL_READER_T5,                                             \
    .words = {.before = "", .after = "", .most = 256, .filled = true, .beside = 77},                   \
    .prediction = BL_PREDICT_FLOW, .flow = {.kind = BL_SHIFT_FIXED, .shift = 3, .to_least = true},     \
    .sampler = "Euler", .latent_channels = 16, .downscale = 8, .patch = 2, .latent_scale = 1.5305,     \
    .latent_shift = 0.0609, .preview = PREVIEW_SD3, .taesd = "taesd3", .native_size = 1024,            \
    .native_size_v = 1024, .encoders = 2,                                                              \
    .encoder = {{.pad_token = END_TOKEN, .context_skip = 1, .quick_gelu = true}, {.context_skip = 1}}, \
    .pooled = -1

const bl_family bl_sd35_medium = {
    .name = "SD3.5 medium",
    .type = "sd35medium",
    .also = "transformer_blocks.0.attn2.norm_q.weight",
    .steps = 40,
    .cfg = 4.5,
    SD3,
};

const bl_family bl_sd35_large = {
    .name = "SD3.5 large",
    .type = "sd35large",
    .also = "transformer_blocks.0.attn.norm_added_q.weight",
    .steps = 28,
    .cfg = 3.5,
    SD3,
};

const bl_family bl_sd3_medium = {
    .name = "SD3 medium",
    .type = "sd3medium",
    .also = "time_text_embed.text_embedder.linear_1.weight",
    .steps = 28,
    .cfg = 7,
    SD3,
};

const bl_family *const bl_families[] = {&bl_sd1,         &bl_sd2,           &bl_sdxl,       &bl_z_image,
                                        &bl_flux1_dev,   &bl_flux1_schnell, &bl_flux2_dev,  &bl_flux2_klein,
                                        &bl_sd35_medium, &bl_sd35_large,    &bl_sd3_medium, NULL};
