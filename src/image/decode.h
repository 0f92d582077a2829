/* Pictures in memory, of whichever form: PNG, JPEG, WebP. */
#ifndef BALLAST_IMAGE_DECODE_H
#define BALLAST_IMAGE_DECODE_H

#include "image/png.h"

/* Decodes a picture that has at most `most_pixels` (0: what its reader allows), which are counted before
 * anything is decoded. `name` is what messages call it. Of JPEG and WebP as of PNG: upright by EXIF, over
 * white, colour profiles not applied; animations are refused. The caller clears *out with bl_picture_clear.
 * Errors: those of bl_png_decode. */
int bl_picture_decode(bl_picture *out, const uint8_t *data, size_t bytes, size_t most_pixels,
                      const char *name, bl_error *err);

/* The single forms; `most_pixels` is above 0. */
int bl_jpeg_decode(bl_picture *out, const uint8_t *data, size_t bytes, size_t most_pixels, const char *name,
                   bl_error *err);
int bl_webp_decode(bl_picture *out, const uint8_t *data, size_t bytes, size_t most_pixels, const char *name,
                   bl_error *err);

/* The line for a picture that is too large. */
int bl_picture_too_large(const char *name, uint64_t width, uint64_t height, size_t most_pixels,
                         bl_error *err);

/* Encodes rgb [height, width, 3] into *out, which the caller frees; `quality` 0 to 100. `parameters` (UTF-8,
 * may be NULL) become EXIF's UserComment, as A1111 writes them. Errors: BL_E_ARGUMENT (a side that the form
 * cannot have; parameters not UTF-8, or too long), BL_E_MEMORY. */
int bl_jpeg_encode(uint8_t **out, size_t *bytes, const uint8_t *rgb, int64_t height, int64_t width,
                   int quality, const char *parameters, bl_error *err);
int bl_webp_encode(uint8_t **out, size_t *bytes, const uint8_t *rgb, int64_t height, int64_t width,
                   int quality, const char *parameters, bl_error *err);

#endif
