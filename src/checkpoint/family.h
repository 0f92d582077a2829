/* A family of models in one struct: what its members have in common and cannot be read from the shapes of
 * their tensors. Rooms above ask for a field, never for a family by name; a new family is a new struct and
 * its place in the list (and whatever ops and networks it needs). */
#ifndef BALLAST_CHECKPOINT_FAMILY_H
#define BALLAST_CHECKPOINT_FAMILY_H

#include "checkpoint/transformers.h"
#include "core/module.h"
#include "core/prediction.h"

#include <stdbool.h>

#define BL_FAMILY_ENCODERS 2  /* of text, at most */
#define BL_FAMILY_CHANNELS 32 /* of an autoencoder's latents, at most */

/* The denoiser's network. */
typedef enum bl_net { BL_NET_UNET, BL_NET_ZIMAGE, BL_NET_FLUX1, BL_NET_FLUX2, BL_NET_SD3 } bl_net;

/* Who reads the text: CLIP, in chunks of 77 tokens with weights (one's or two's contexts side by side); or a
 * language model, a prompt as it is in a conversation's frame; or T5, a prompt as it is, as the last
 * encoder beside one or two of CLIP, of which one vector is read, and what words.beside says. */
typedef enum bl_reader { BL_READER_CLIP, BL_READER_QWEN3, BL_READER_MISTRAL, BL_READER_T5 } bl_reader;

/* How a language model is asked, and what of its answer counts. */
typedef struct bl_family_words {
    const char *before, *after; /* of the prompt: the conversation's frame */
    int most;                   /* tokens of both together; what is more is left out at the end */
    int row_step;               /* the denoiser takes rows by so many at once, zeros at the end; 0: singly */
    bool filled;                /* up to `most` with pad tokens, whose rows count, too */
    int beside; /* rows of CLIP's before T5's: two contexts side by side, zeros behind them; T5
                   may be missing, for which zeros stand; 0: none */
    int taken[BL_QWEN3_TAKEN], count; /* hidden states that are read, as in bl_qwen3_outputs; from 0 down they
                                         count from the last layer's, which is 0 */
} bl_family_words;

/* How far the noise levels of a model trained by flow matching are shifted towards noise. */
typedef enum bl_shift_kind {
    BL_SHIFT_FIXED,
    BL_SHIFT_BY_SIZE, /* by the picture's tokens, on a line */
    BL_SHIFT_BY_STEPS /* by tokens and steps: bl_flow_shift_of */
} bl_shift_kind;

typedef struct bl_flow_rule {
    bl_shift_kind kind;
    double shift; /* FIXED */
    double low, high, low_tokens,
        high_tokens; /* BY_SIZE: mu, from `low` at `low_tokens` to `high` at those */
    bool linear;     /* the shift is mu itself, not e^mu; not of FIXED */
    bool to_least;   /* the list ends at the least level of training, of 1000 that are shifted where the shift
                        is FIXED; else at 1 / steps */
} bl_flow_rule;

/* One of a family's text encoders. */
typedef struct bl_family_encoder {
    int pad_token;    /* behind the end token */
    int context_skip; /* the context is the hidden state behind layer layers - this */
    bool context_norm;
    bool quick_gelu; /* where no configuration says what it is: else gelu with erf */
} bl_family_encoder;

typedef struct bl_family {
    const char *name; /* "SD 1.x" */
    const char *type; /* "sd1": what users call it in lists */

    bl_net net;
    bool timed_prologue; /* the denoiser is in two: what its prologue makes of the times of all steps, and the
                            rest; it is never whole */
    const char *probe;   /* a tensor that no other family's transformer has; NULL: a UNet */
    const char *also;    /* or none together with this one; NULL */
    const struct bl_config_rules *rules; /* of its folder's configurations */
    bl_reader reader;
    bl_family_words words;    /* of a language model */
    const char *unread;       /* why nothing reads its prompts: it is planned and not run; NULL: it is run */
    bl_prediction prediction; /* of models that do not say */
    bl_flow_rule flow;        /* where no configuration says; of flow matching */
    const char *sampler;      /* where none is asked for; NULL: that of all others */
    int steps;                /* that its makers recommend; 0: nothing */
    double cfg;               /* the same, where steps are */
    int full_steps; /* both of a folder whose pipeline says that it was not distilled; 0: the same */
    double full_cfg;
    double guidance; /* that its makers recommend where the network reads it as a number; 0: it reads none */
    bool cfg_needs_negative; /* diffusers guides only beside a negative prompt */
    bool cfg_from_prompt;    /* diffusers' guidance scale is one less than everybody's */

    /* latents */
    int latent_channels;
    int downscale; /* pixels along one side of a latent's square */
    int patch;     /* latents along one side of a token's square; 0: no tokens */
    int packed;    /* side of the square of the autoencoder's latents that one of the denoiser's holds, each
                      channel's square in a row, and normalised by the autoencoder's statistics; 0: they are one
                    */
    double latent_scale; /* the denoiser's latents are (the autoencoder's - shift) scale; the scale of a */
    double latent_shift; /* folder's configuration comes first */
    /* Linear map from latents to RGB, -1 .. 1, fitted to the family: those that ComfyUI publishes as
     * latent_rgb_factors; of the autoencoder's. */
    float preview[BL_FAMILY_CHANNELS][3];

    /* pictures */
    int native_size;   /* pixels of a side that it was trained on, where the file does not say */
    int native_size_v; /* the same of its v models */

    /* conditioning */
    int encoders; /* of text; their contexts lie side by side */
    bl_family_encoder encoder[BL_FAMILY_ENCODERS];
    int pooled;     /* the encoder whose pooled output the denoiser reads too, with sizes and crop; -1 */
    bool clip_skip; /* the context may come from another layer */
    int untrained_layers; /* behind the one that clip skip counts from, where ComfyUI counts them */
    bool a1111_clip_skip; /* in A1111 too, which reads the model's own layer of the other families */
    bool zero_negative;   /* zeros stand for a negative prompt that is not there, or empty: see condition.c */

    const char *taesd; /* how the files of its TAESD begin; NULL: it has none */

    const double *aligned; /* [11] sigmas of Align Your Steps; NULL: those of SD 1.5 */

    int heads; /* of each of the denoiser's attentions, where no configuration says; 0: channels / 64 */
} bl_family;

extern const bl_family bl_sd1, bl_sd2, bl_sdxl, bl_z_image, bl_flux1_dev, bl_flux1_schnell, bl_flux2_dev,
    bl_flux2_klein, bl_sd35_medium, bl_sd35_large, bl_sd3_medium;

/* The module that its denoiser is. */
static inline bl_module bl_family_denoiser(const bl_family *f) {
    return f->net == BL_NET_UNET ? BL_UNET : BL_TRANSFORMER;
}

/* The module that makes the rows that it reads of a text, where a language model or T5 does. */
static inline bl_module bl_family_words_module(const bl_family *f) {
    return f->reader != BL_READER_T5 ? BL_TEXT_ENCODER
           : f->encoders == 2        ? BL_TEXT_ENCODER_3
                                     : BL_TEXT_ENCODER_2;
}

/* Rows that the denoiser reads of a text that is filled up. */
static inline int bl_family_filled_rows(const bl_family *f) {
    return f->words.beside + f->words.most;
}

/* Whether the denoiser reads a vector of the text by this encoder of CLIP's kind. */
static inline bool bl_family_pools(const bl_family *f, int encoder) {
    return f->reader == BL_READER_T5 || encoder == f->pooled;
}

/* What sides of pictures are multiples of, in pixels. */
static inline int bl_family_side(const bl_family *f) {
    return f->downscale * (f->patch ? f->patch : 1);
}

/* Of the autoencoder: its latents along one side of the denoiser's; the pixels along one side of them; their
 * channels. */
static inline int bl_family_packed(const bl_family *f) {
    return f->packed ? f->packed : 1;
}

static inline int bl_family_vae_downscale(const bl_family *f) {
    return f->downscale / bl_family_packed(f);
}

static inline int bl_family_vae_channels(const bl_family *f) {
    return f->latent_channels / (bl_family_packed(f) * bl_family_packed(f));
}

/* All of them; ends with NULL. */
extern const bl_family *const bl_families[];

#endif
