/* Which way up a picture is, as cameras note it: EXIF's tag 0x0112. */
#ifndef BALLAST_IMAGE_ORIENTATION_H
#define BALLAST_IMAGE_ORIENTATION_H

#include <stddef.h>
#include <stdint.h>

/* The orientation, 1 to 8, that an EXIF block (TIFF's header and first directory, "Exif\0\0" may stand
 * before) gives; 1, which is upright, where it gives none or is damaged. */
int bl_exif_orientation(const uint8_t *exif, size_t bytes);

/* out [height, width, 3] from rgb, turned and mirrored so that it stands upright. `height` and `width` are
 * those of `out`: from orientation 5 on rgb is [width, height, 3], before [height, width, 3]. */
void bl_turn_upright(uint8_t *out, const uint8_t *rgb, int64_t height, int64_t width, int orientation);

#endif
