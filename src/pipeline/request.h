/* A request that has been checked: what ballast_generate_options asks for, in the words of the rooms below.
 */
#ifndef BALLAST_PIPELINE_REQUEST_H
#define BALLAST_PIPELINE_REQUEST_H

#include "ballast.h"
#include "checkpoint/architecture.h"
#include "core/error.h"
#include "core/log.h"
#include "image/fit.h"
#include "sample/rng.h"
#include "sample/schedule.h"

#include <stdbool.h>

#define BL_MAX_SIDE 65535 /* pixels: far above what machines hold, far below what overflows */

/* How a second pass gets its start. */
typedef struct bl_upscaler {
    const char *name; /* as A1111 shows it, and as it is found (case, blanks and '-' do not count) */
    bool latent;      /* interpolate latents; else decode, resize the picture, encode it */
    bl_interpolation interpolation;
    bl_resize_filter filter;
} bl_upscaler;

typedef enum bl_preview_kind { BL_PREVIEW_NONE, BL_PREVIEW_LINEAR, BL_PREVIEW_TAESD } bl_preview_kind;

typedef struct bl_request {
    const ballast_generate_options *o; /* borrowed: texts, pixels, callbacks */
    int width, height;                 /* of the first pass, pixels */
    int images;                        /* batch * count */
    bool taesd;                        /* decodes, not the VAE */
    bl_preview_kind previews;
    bool own_shape; /* the start picture's shape made the size */
    bl_fit fit;     /* of a start picture of another shape */
    bl_compat compat;
    bl_sampler_id sampler;
    double cfg;          /* guidance as everybody counts it: 1 is none */
    double guidance;     /* that the network reads as a number; 0: it reads none */
    bool unguided;       /* that was asked for was left out, as diffusers does it */
    bool plain;          /* the reader takes prompts as they are: no brackets, no weights, no AND */
    bl_schedule *base;   /* first pass */
    bl_schedule *second; /* NULL without hires */
    bl_rng_kind rng;
    bool padded;               /* the shorter text was, see bl_condition_parse */
    int64_t ensd;              /* what the seed is raised by for the noise between steps */
    int clip_skip;             /* of the encoders, as bl_clip_text_outputs counts */
    bool negative_own_context; /* the negative prompt is encoded without it */
    const bl_upscaler *upscaler;
    int hires_width, hires_height;
    int hires_told_width, hires_told_height; /* what SDXL is told of them */
} bl_request;

/* Checks everything that can be checked without the device. BL_E_ARGUMENT and BL_E_NOT_FOUND name the option
 * and say what it takes. Owner: caller, bl_request_clear. `o` is borrowed until then. */
int bl_request_check(bl_request *out, const ballast_generate_options *o, const bl_architecture *arch,
                     int native_size, bl_error *err);
void bl_request_clear(bl_request *r);

/* A line for what was chosen that nobody asked for, the size, and for what is not as it may seem. */
void bl_request_tell(const bl_request *r, const bl_family *family, const bl_log *log);

/* Evaluations of the denoiser in the first or in the second pass. */
int bl_request_evaluations(const bl_request *r, bool second);

/* Name of an upscaler, or NULL past the last. Static storage. */
const char *bl_upscaler_name(int index);
/* BL_E_NOT_FOUND lists the names. */
int bl_upscaler_find(const bl_upscaler **out, const char *name, bl_error *err);

#endif
