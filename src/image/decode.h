/* Pictures in memory, of whichever form. */
#ifndef BALLAST_IMAGE_DECODE_H
#define BALLAST_IMAGE_DECODE_H

#include "image/png.h"

/* Decodes a picture that has at most `most_pixels` (0: what its reader allows), which are counted before
 * anything is decoded. `name` is what messages call it. The caller clears *out with bl_picture_clear. Errors:
 * those of bl_png_decode. */
int bl_picture_decode(bl_picture *out, const uint8_t *data, size_t bytes, size_t most_pixels,
                      const char *name, bl_error *err);

#endif
