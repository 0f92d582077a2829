/* A family of models in one struct: what its members have in common and cannot be read from the shapes of
 * their tensors. Rooms above ask for a field, never for a family by name; a new family is a new struct and
 * its place in the list (and whatever ops and networks it needs). */
#ifndef BALLAST_CHECKPOINT_FAMILY_H
#define BALLAST_CHECKPOINT_FAMILY_H

#include "core/prediction.h"

#include <stdbool.h>

#define BL_FAMILY_ENCODERS 2  /* of text, at most */
#define BL_FAMILY_CHANNELS 16 /* of latents, at most */

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

    bl_prediction prediction; /* of models that do not say */

    /* latents */
    int latent_channels;
    int downscale;       /* pixels along one side of a latent's square */
    double latent_scale; /* the denoiser's latents are (the autoencoder's - shift) scale; the scale of a */
    double latent_shift; /* folder's configuration comes first */
    /* Linear map from latents to RGB, -1 .. 1, fitted to the family: those that ComfyUI publishes as
     * latent_rgb_factors. */
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

    const double *aligned; /* [11] sigmas of Align Your Steps; NULL: those of SD 1.5 */

    int heads; /* of each of the denoiser's attentions, where no configuration says; 0: channels / 64 */
} bl_family;

extern const bl_family bl_sd1, bl_sd2, bl_sdxl;

/* All of them; ends with NULL. */
extern const bl_family *const bl_families[];

#endif
