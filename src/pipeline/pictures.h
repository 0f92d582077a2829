/* Between latents and pictures: decoding, encoding, resizing, and handing pictures to the caller. */
#ifndef BALLAST_PIPELINE_PICTURES_H
#define BALLAST_PIPELINE_PICTURES_H

#include "pipeline/generation.h"
#include "pipeline/request.h"

/* Declares `batch` passes of the decoder or of the encoder, a picture each, of the autoencoder's latents
 * height x width. A pass a picture keeps the arena small; the bits are those of one batch. `side`: of tiles
 * (tiles.h), of which each is then a pass; 0: pictures go through whole. `taesd`: it decodes, as the request
 * has it. */
int bl_decode_phase(bl_generation *generation, const char *name, bool taesd, int batch, int height, int width,
                    int side, bl_error *err);
/* The same for pictures on the way, by TAESD. `kept`: as in bl_shape_key. */
int bl_preview_phase(bl_generation *generation, int batch, int height, int width, uint64_t kept,
                     bl_error *err);
int bl_encode_phase(bl_generation *generation, const char *name, int batch, int height, int width, int side,
                    bl_error *err);

/* Decodes the denoiser's latents [c, height, width] to rgb [scale height, scale width, 3], scale the family's
 * downscale, with the `side` that the phase was declared with. BL_E_NUMERIC if the decoder makes NaN. */
int bl_decode(uint8_t *rgb, bl_generation *generation, int phase, const bl_architecture *arch,
              const bl_request *r, const float *latents, int height, int width, int side, bl_error *err);

/* Encodes rgb [scale height, scale width, 3] to latents [c, height, width]: the mean of the distribution, as
 * the denoiser wants it. */
int bl_encode(float *latents, bl_generation *generation, int phase, const bl_architecture *arch,
              const uint8_t *rgb, int height, int width, int side, bl_error *err);

/* A small picture of what the denoiser's latents [c, height, width] will become, a pixel for each of the
 * autoencoder's, by the family's linear map. */
void bl_latent_preview(uint8_t *rgb, const bl_family *family, const float *latents, int height, int width);

#endif
