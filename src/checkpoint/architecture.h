/* Which model a checkpoint holds. Read from the names and shapes of its tensors, and from a diffusers
 * folder's configuration where that says more; never from a file's name. */
#ifndef BALLAST_CHECKPOINT_ARCHITECTURE_H
#define BALLAST_CHECKPOINT_ARCHITECTURE_H

#include "checkpoint/checkpoint.h"
#include "checkpoint/family.h"

#include <stdbool.h>

#define BL_ARCH_LEVELS 6
#define BL_ARCH_BLOCKS 8
#define BL_UNKNOWN_BYTES 256
#define BL_ARCH_STATISTICS 128
#define BL_SIZE_VALUES 6 /* SDXL: original height and width, crop top and left, target height and width */
#define BL_SIZE_VALUE_DIM 256 /* each as a sinusoid of that many channels */

typedef enum bl_spacing {
    BL_SPACING_UNKNOWN, /* single files do not say */
    BL_SPACING_LEADING,
    BL_SPACING_LINSPACE,
    BL_SPACING_TRAILING
} bl_spacing;

/* UNet2DConditionModel. Level 0 has the picture's full size; up_blocks.i is level levels - 1 - i. */
typedef struct bl_unet_architecture {
    int in_channels, out_channels;
    int levels;
    int channels[BL_ARCH_LEVELS];
    int resnets[BL_ARCH_LEVELS]; /* on the way down; one more on the way up */
    int down_depth[BL_ARCH_LEVELS]
                  [BL_ARCH_BLOCKS]; /* [level][j] transformer blocks behind resnet j; 0: no attention */
    int mid_resnets;                /* 2, around the transformer; 1: the first alone; 0: no middle */
    int mid_depth;
    int up_depth[BL_ARCH_LEVELS][BL_ARCH_BLOCKS]; /* [i][j] of up_blocks.i */
    int heads[BL_ARCH_LEVELS]; /* of every attention in the level; the middle's are the last level's */
    int context_dim;           /* of the text's hidden states */
    int time_dim;              /* of the time embedding (4 * channels[0]) */
    int adm_dim;               /* SDXL: pooled text + 6 * 256; else 0 */
    int groups;                /* of group norms */
    float norm_eps;            /* of resnets and conv_norm_out; transformers have 1e-6 and 1e-5 */
} bl_unet_architecture;

/* CLIP's text tower. The context is the hidden state behind layer layers - context_skip (0 skipped: the last
 * layer's), through the final layer norm if context_norm. */
typedef struct bl_text_architecture {
    bool present;
    int width, layers, heads, ff_dim;
    int positions, vocab;
    bool quick_gelu; /* else gelu with erf */
    int projection;  /* width of the projected pooled output, 0 if it is not used */
    int pad_token;   /* behind the end token */
    int context_skip;
    bool context_norm;
    bool pools_largest; /* at the token of the largest number, as its configuration says; else at the first
                           end token, which is the same but for words beside the vocabulary */
} bl_text_architecture;

/* Channels of the vector that it makes of a text: projected, or where no projection is used as it is. */
static inline int bl_text_vector_dim(const bl_text_architecture *t) {
    return t->projection ? t->projection : t->width;
}

/* AutoencoderKL. */
typedef struct bl_vae_architecture {
    bool has_encoder;
    int levels;
    int channels[BL_ARCH_LEVELS]; /* level 0 has the picture's full size */
    int resnets;                  /* of each of the encoder's levels; the decoder has one more */
    int latent_channels;
    bool quant_conv, post_quant_conv;
    int groups;
    double scale, shift; /* the denoiser's latents are (the autoencoder's - shift) scale */
    /* of the channels of packed ones, which are (the autoencoder's - mean) / deviation */
    float mean[BL_ARCH_STATISTICS], deviation[BL_ARCH_STATISTICS];
} bl_vae_architecture;

/* TAESD's decoder, of whoever gave one. */
typedef struct bl_taesd_architecture {
    int channels; /* 64 in all that are published; 0: there is none */
    int latent_channels;
    bool pooled; /* TAEF2's: a branch over the whole picture before each of the first three blocks */
} bl_taesd_architecture;

typedef struct bl_architecture {
    const bl_family *family; /* static storage */
    int width;               /* channels of the denoiser, where it has the fewest */
    int context_dim;         /* width of what the denoiser reads of the text */
    /* the family's denoiser */
    bl_unet_architecture unet;
    bl_zimage zimage;
    bl_flux1 flux1;
    bl_flux2 flux2;
    bl_sd3 sd3;
    /* and its readers of text */
    /* SDXL's context is both side by side, and so are some rows of SD3's; SDXL's pooled output is the
     * second's, SD3's that of both */
    bl_text_architecture text[2];
    bl_qwen3 qwen3;
    bl_t5 t5; /* layers 0: it is missing, for which zeros stand */
    bl_vae_architecture vae;
    bl_taesd_architecture taesd;
    bl_prediction prediction;
    bl_flow_rule flow;             /* of flow matching */
    bool zero_snr;                 /* trained with betas rescaled to zero terminal SNR */
    const char *prediction_source; /* what said so, for people. Static storage */
    bool prediction_guessed;       /* nothing said so */
    bl_spacing spacing;            /* of timesteps, as the folder's scheduler wants it */
    bool alpha_to_one;             /* diffusers' DDIM ends without noise, as the folder's scheduler says */
    bool distilled;                /* the folder's pipeline says so: diffusers leaves its guidance out */
    bool encodes_empty_negative; /* the folder's pipeline takes no zeros where there is no negative prompt */
    int sample_size;             /* side of the latents it was trained on, as the folder says; 0: unknown */
    char unknown_keys[BL_UNKNOWN_BYTES]; /* of the folder's configuration, passed over, for people; or "" */
} bl_architecture;

/* Errors: BL_E_UNSUPPORTED with one sentence for models that are recognised but not run (inpainting, refiner,
 * SD3, Flux, a LoRA, ...) and for unknown ones, with what was seen; BL_E_FORMAT where tensors are missing or
 * contradict each other.
 *
 * Prediction: a folder's scheduler_config.json decides; in a single file the marker tensors "v_pred" and
 * "ztsnr", then the "NAME.yaml" beside "NAME.safetensors" (CompVis' "parameterization", SGM's
 * "scaling_config"), then the metadata "modelspec.prediction_type" and "modelspec.architecture". Where an SD
 * 2.x single file has none of these it is guessed from the weights, of which the biases of the last
 * transformer's first norm spread more in the v models (768) than in the base models (512):
 * prediction_guessed. Others: epsilon.
 *
 * Family: SDXL has two text encoders; SD 2.x reads the text of OpenCLIP's H, SD 1.x that of CLIP's L. */
int bl_architecture_detect(bl_architecture *out, const bl_checkpoint *ckpt, bl_error *err);

/* The decoder that the checkpoint took. Channels 0 where it has none. BL_E_UNSUPPORTED: for latents of
 * another family.
 */
int bl_detect_taesd(bl_taesd_architecture *out, const bl_checkpoint *c, const bl_family *family,
                    bl_error *err);

#endif
