/* How much of a picture tuning changes, where it may change bits. */
#ifndef BALLAST_TUNE_COMPARE_H
#define BALLAST_TUNE_COMPARE_H

#include "pipeline/generate.h"

/* Makes the request's first picture without what was tuned and with it. *psnr: dB between the two, the peak
 * being the largest value of a pixel; 0: they are the same. */
int bl_tune_compare(double *psnr, const bl_pipeline *p, const ballast_generate_options *o, bl_error *err);

#endif
