/* How a denoiser's output becomes the denoised picture, whatever it was trained to predict:
 *
 *     denoised(x, sigma) = skip x + out F(in x)        (Karras et al. 2022, eq. 7 and table 1)
 *
 * with x = x0 + sigma noise (of flow matching (1 - sigma) x0 + sigma noise), and F the network at sigma's
 * timestep. */
#ifndef BALLAST_SAMPLE_PRECONDITION_H
#define BALLAST_SAMPLE_PRECONDITION_H

#include "core/prediction.h"

typedef struct bl_precondition {
    double in, skip, out;
} bl_precondition;

bl_precondition bl_precondition_at(bl_prediction prediction, double sigma);

#endif
