/* The two things that pictures say in an EXIF block and that are read here: which way up they are, and what
 * made them, where A1111 puts that into JPEG and WebP. */
#ifndef BALLAST_IMAGE_EXIF_H
#define BALLAST_IMAGE_EXIF_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

#define BL_EXIF_MOST 65527 /* bytes of a block: a JPEG's marker holds it, its length and "Exif\0\0" */

/* The orientation (tag 0x0112), 1 to 8, that an EXIF block (TIFF's header and first directory, "Exif\0\0" may
 * stand before) gives; 1, which is upright, where it gives none or is damaged. */
int bl_exif_orientation(const uint8_t *exif, size_t bytes);

/* The comment of whoever made it (tag 0x9286, UserComment) as UTF-8 in *out, for the caller to free; NULL:
 * there is none, or it is no text. UTF-16 of either byte order, ASCII and UTF-8 are read. BL_E_MEMORY. */
int bl_exif_comment(char **out, const uint8_t *exif, size_t bytes, bl_error *err);

/* A block in *out, which the caller frees, whose UserComment is this UTF-8, as A1111 writes it (big-endian
 * UTF-16). BL_E_ARGUMENT (not UTF-8, or more than a block holds), BL_E_MEMORY. */
int bl_exif_encode(uint8_t **out, size_t *bytes, const char *comment, bl_error *err);

#endif
