/* Sizes of the networks that are made of transformers' blocks. */
#ifndef BALLAST_CHECKPOINT_TRANSFORMERS_H
#define BALLAST_CHECKPOINT_TRANSFORMERS_H

#include <stdbool.h>

/* Z-Image's denoiser: ZImageTransformer2DModel. */
typedef struct bl_zimage {
    int channels;             /* of latents */
    int width, heads, hidden; /* hidden: of the feed-forward layers */
    int layers, refiners;
    int caption;           /* width of what the text encoder made */
    int time_hidden, time; /* of the timestep's embedding */
    int axis[3];           /* of the rotary embedding; their sum is the width of a head */
    float eps;
    double theta;
} bl_zimage;

#define BL_FLUX2_AXES 4

/* Flux.2's denoiser: Flux2Transformer2DModel. */
typedef struct bl_flux2 {
    int channels;                /* of latents, which are patches already: a token each */
    int heads, head_dim, hidden; /* hidden: of the feed-forward layers */
    int doubles, singles;        /* blocks with streams of their own for text and picture; of one for both */
    int context;                 /* width of what the text encoder made */
    int time;                    /* sinusoids of a timestep */
    bool guided;                 /* reads the guidance as a number */
    int axis[BL_FLUX2_AXES];     /* of the rotary embedding; their sum is head_dim */
    float eps;                   /* of the layer norms, which have no weights */
    double theta;
} bl_flux2;

#define BL_FLUX1_AXES 3

/* Flux.1's denoiser: FluxTransformer2DModel. */
typedef struct bl_flux1 {
    int channels;                /* of latents */
    int heads, head_dim, hidden; /* hidden: of the feed-forward layers */
    int doubles, singles;        /* blocks with streams of their own for text and picture; of one for both */
    int context, pooled;         /* width of what the text encoders made: of its rows; of the vector */
    int time;                    /* sinusoids of a timestep */
    bool guided;                 /* reads the guidance as a number */
    int axis[BL_FLUX1_AXES];     /* of the rotary embedding; their sum is head_dim */
    float eps;                   /* of the layer norms, which have no weights */
    double theta;
} bl_flux1;

#define BL_SD3_TABLE "pos_embed.pos_embed" /* of positions, [side, side, width] */

/* SD3's and SD3.5's denoiser: SD3Transformer2DModel. */
typedef struct bl_sd3 {
    int channels;                /* of latents */
    int heads, head_dim, hidden; /* hidden: of the feed-forward layers */
    int layers;                  /* of the last one's text nothing is read but keys and values */
    int duals;                   /* the first of them, whose picture attends to itself once more */
    bool head_norms;             /* queries and keys are normed */
    int context, pooled;         /* width of what the text encoders made: of its rows; of the vector */
    int time;                    /* sinusoids of a timestep */
    int positions;               /* side of the table of positions, in tokens: no picture is larger */
    float eps;                   /* of the layer norms, which have no weights */
} bl_sd3;

#define BL_QWEN3_TAKEN 3

/* Which layers are read: hidden_states[k], k from 1 (what leaves layer 0), and how many of those side by
 * side. Layers that nobody reads are not in the graph: neither read nor planned. */
typedef struct bl_qwen3_outputs {
    int taken[BL_QWEN3_TAKEN], count; /* in rising order */
    bool last_norm;                   /* the last of them through the final norm, as hidden_states[-1] is */
} bl_qwen3_outputs;

/* The Qwen3 language model as a text encoder, and Mistral, which is the same with plain heads. */
typedef struct bl_qwen3 {
    int vocab;
    int width, hidden; /* channels; of the feed-forward layers */
    int layers;
    int heads, kv_heads, head_dim; /* heads * head_dim need not be the width */
    bool plain_heads;              /* no norms of queries and keys */
    float eps;                     /* of all RMS norms */
    double theta;                  /* of the rotary embedding, whose pairs are halves of a head */
    bl_qwen3_outputs outputs;      /* that the denoiser reads */
} bl_qwen3;

/* T5's encoder, version 1.1: RMS norms, gated tanh-GELU, a bias by distance that all layers share. */
typedef struct bl_t5 {
    int vocab;
    int width, hidden; /* channels; of the feed-forward layers */
    int layers;
    int heads, head_dim;   /* heads * head_dim need not be the width */
    int buckets, distance; /* of relative positions; those further apart than `distance` share one */
    float eps;             /* of all RMS norms */
} bl_t5;

#endif
