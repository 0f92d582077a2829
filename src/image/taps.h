/* What a resize reads for each place of its result along one axis: a window of the source and its weights. */
#ifndef BALLAST_IMAGE_TAPS_H
#define BALLAST_IMAGE_TAPS_H

#include "core/error.h"
#include "image/resize.h"

#include <stdint.h>

typedef struct bl_taps {
    int64_t count;   /* places of the result */
    int64_t most;    /* the widest window */
    int64_t *first;  /* [count] */
    int64_t *length; /* [count], 1 .. most */
    double *weights; /* [count, most]; of each place the first `length` */
} bl_taps;

/* Pillow's windows (precompute_coeffs in Resample.c) for any filter but nearest, and torch's with antialias.
 */
int bl_taps_filter(bl_taps *out, int64_t from, int64_t to, bl_resize_filter filter, bl_error *err);

/* Pillow's nearest: one tap. */
int bl_taps_nearest(bl_taps *out, int64_t from, int64_t to, bl_error *err);

/* torch's interpolate, any mode. */
int bl_taps_interpolate(bl_taps *out, int64_t from, int64_t to, bl_interpolation mode, bl_error *err);

void bl_taps_clear(bl_taps *taps);

#endif
