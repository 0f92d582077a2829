/* Between the denoiser's latents and the autoencoder's, where they are not the same: scaled and shifted, or
 * packed (bl_family.packed). Heights and widths are the denoiser's. */
#ifndef BALLAST_PIPELINE_PACKED_H
#define BALLAST_PIPELINE_PACKED_H

#include "checkpoint/architecture.h"

#include <stddef.h>

/* Where in the denoiser's latents [c, height, width] the value of the autoencoder's channel `channel` at y, x
 * is. */
size_t bl_packed_place(const bl_family *family, int height, int width, int channel, int y, int x);

/* Latents [c, height, width] in the autoencoder's order [c / packed^2, packed height, packed width], as they
 * are: normalised, which is what TAESD reads. */
void bl_latents_unpacked(float *z, const bl_family *family, const float *latents, int height, int width);

/* The same as the autoencoder's z, neither scaled nor normalised. */
void bl_latents_to_vae(float *z, const bl_architecture *arch, const float *latents, int height, int width);

/* And back. */
void bl_latents_from_vae(float *latents, const bl_architecture *arch, const float *z, int height, int width);

#endif
