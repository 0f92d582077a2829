/* The text that A1111 stores with a picture and that the tools around it read: the prompt, a line "Negative
 * prompt: ", and a line "Steps: 20, Sampler: Euler, ...". */
#ifndef BALLAST_IMAGE_PARAMETERS_H
#define BALLAST_IMAGE_PARAMETERS_H

#include "core/error.h"

#include <stdint.h>

/* Begin with {0}. Text is UTF-8; NULL or "" leaves a field out, and so does 0 of a number but for `seed`. */
typedef struct bl_parameters {
    const char *prompt;
    const char *negative;
    int64_t steps;
    const char *sampler;  /* "DPM++ 2M" */
    const char *schedule; /* "Karras": A1111's "Schedule type" */
    double cfg;
    const char *guidance; /* a number: Forge's "Distilled CFG Scale" */
    uint64_t seed;        /* always written */
    int64_t width, height;
    const char *model_hash; /* the first 10 digits of the file's SHA-256 */
    const char *model;
    const char *vae;
    const char *decoder;     /* "TAESD": A1111's "VAE Decoder"; the VAE's is left out */
    uint64_t variation_seed; /* written if variation_strength is not 0 */
    double variation_strength;
    double denoising_strength; /* of image-to-image or of the hires pass */
    int64_t clip_skip;         /* 1 is left out, as A1111 does */
    const char *pad_conds;     /* "True" */
    int64_t ensd;
    const char *rng;            /* "CPU"; A1111 leaves out its default, the GPU's */
    const char *noise_schedule; /* "Zero Terminal SNR"; A1111 leaves out its default */
    double hires_upscale;
    int64_t hires_steps;
    const char *hires_upscaler;
    const char *lora_hashes; /* "style: 90eadcb9e078, ..." */
    const char *ti_hashes;   /* the same of embeddings */
    const char *version;
    char *storage; /* owned: after bl_parameters_parse the texts above point into it; else NULL */
} bl_parameters;

/* The text for *parameters in *out, which the caller frees. Numbers have at most 6 decimals.
 * Errors: BL_E_ARGUMENT (a number that is not finite or beyond 1e12), BL_E_MEMORY. */
int bl_parameters_text(char **out, const bl_parameters *parameters, bl_error *err);

/* Reads such a text back as A1111 does. Keys that the struct has no place for are passed over, numbers that
 * are none count as missing; a text without a line of parameters is all prompt. The caller clears *out with
 * bl_parameters_clear. BL_E_MEMORY. */
int bl_parameters_parse(bl_parameters *out, const char *text, bl_error *err);

/* The same, entry by entry: `entry` gets "Prompt", "Negative prompt", and each key of the line of parameters
 * with its value. Anything but 0 from it stops with BL_E_CANCELLED. BL_E_MEMORY. */
int bl_parameters_each(const char *text, int (*entry)(void *payload, const char *key, const char *value),
                       void *payload, bl_error *err);

void bl_parameters_clear(bl_parameters *parameters);

#endif
