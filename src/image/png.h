/* PNG files: 8-bit RGB out, with the generation's parameters as text; any PNG in. */
#ifndef BALLAST_IMAGE_PNG_H
#define BALLAST_IMAGE_PNG_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BL_PNG_MAX_SIDE 65535
#define BL_PNG_MAX_READ_PIXELS                                                  \
    (INT64_C(1) << 26) /* 8192 x 8192; pictures we made ourselves may be larger \
                        */

typedef struct bl_picture {
    uint8_t *rgb; /* [height, width, 3], owned */
    int64_t height, width;
    char *parameters; /* PNG's text chunk "parameters", EXIF's UserComment of others, as UTF-8, owned; NULL:
                         there was none */
    bool transparent; /* it was, in places, and was laid over white */
} bl_picture;

void bl_picture_clear(bl_picture *picture);

/* Lays n pixels RGBA over white, in place: [n, 4] becomes [n, 3]. True if any of them was not opaque. */
bool bl_lay_over_white(uint8_t *pixels, int64_t n);

/* Makes a picture with this EXIF orientation stand upright, as every program shows it. BL_E_MEMORY. */
int bl_picture_turn(bl_picture *picture, int orientation, bl_error *err);

/* Encodes rgb [height, width, 3] into *out, which the caller frees. The same picture gives the same bytes:
 * fixed settings and no time in the file. `parameters` (UTF-8, may be NULL) becomes a text chunk of that
 * name, as A1111 writes it: tEXt if Latin-1 can hold it, else iTXt. Errors: BL_E_ARGUMENT (a side beyond the
 * limits, parameters not UTF-8), BL_E_MEMORY. */
int bl_png_encode(uint8_t **out, size_t *bytes, const uint8_t *rgb, int64_t height, int64_t width,
                  const char *parameters, bl_error *err);

/* The same into a file, which appears complete or not at all. Without `overwrite` a file of that name is left
 * alone. Errors: those of bl_png_encode, BL_E_ARGUMENT (exists already), BL_E_IO. */
int bl_png_write(const char *path, const uint8_t *rgb, int64_t height, int64_t width, const char *parameters,
                 bool overwrite, bl_error *err);

/* Decodes a PNG of any colour type and depth, interlaced or not, from memory; `name` is what messages call
 * it. 16-bit channels keep their upper byte, as in Pillow; what is transparent is laid over white, as A1111
 * does; it stands upright by its eXIf chunk; colour profiles and gamma are not applied. The caller clears
 * *out with bl_picture_clear. Errors: BL_E_FORMAT (damaged, or no PNG), BL_E_UNSUPPORTED (larger than the
 * limits), BL_E_MEMORY. */
int bl_png_decode(bl_picture *out, const uint8_t *data, size_t bytes, const char *name, bl_error *err);

/* The same from a file of at most 512 MB. Errors besides: BL_E_NOT_FOUND, BL_E_ARGUMENT (no regular file),
 * BL_E_IO. */
int bl_png_read(bl_picture *out, const char *path, bl_error *err);

#endif
