/* A request's picture made in two ways: how much it changes, and how long each way takes. */
#ifndef BALLAST_TUNE_PICTURES_H
#define BALLAST_TUNE_PICTURES_H

#include "pipeline/generate.h"
#include "tune/paired.h"

typedef struct bl_tune_pictures {
    double psnr; /* dB between the two, the peak being the largest value of a pixel; 0: the same */
    double seconds,
        other;        /* of a picture, without prompts and weights: medians of the pairs, or of the one */
    double low, high; /* interval of other / seconds; 0: too few pairs for one */
    int pairs;        /* beside the first picture of each, which alone is looked at */
} bl_tune_pictures;

/* When what is made of them has to end. */
typedef struct bl_tune_until {
    double begin; /* a pair that would last longer is not begun */
    double end;   /* what is under way then is given up */
} bl_tune_until;

/* Makes the request's first picture by `one` and by `other`, and as many pairs more as there is time for, up
 * to `pairs`, in turn. 1: there was no time for the first of each; BL_E_CANCELLED: somebody stopped it. */
int bl_tune_pictures_make(bl_tune_pictures *out, const bl_pipeline *one, const bl_pipeline *other,
                          const ballast_generate_options *o, int pairs, bl_tune_until until, bl_error *err);

/* What the same pictures are in the other type, beside the one that the model was opened with: weights of
 * their own, so it is an offer, and nothing that is kept. */
typedef struct bl_tune_type {
    bl_dtype own, other;
    bool tried;
    bl_tune_pictures pictures;
    char why[200]; /* why it could not be measured; "": it was, or was not tried */
} bl_tune_type;

/* The other type, where the device computes in both; else false. */
bool bl_tune_type_find(bl_tune_type *out, const bl_modules *m);
/* Measures it, with up to so many pairs: `why` has what failed. BL_E_CANCELLED alone is an error. */
int bl_tune_type_try(bl_tune_type *x, const bl_pipeline *p, const ballast_generate_options *o, int pairs,
                     bl_tune_until until, bl_error *err);

#endif
