/* Turning pictures upright. */
#ifndef BALLAST_IMAGE_ORIENTATION_H
#define BALLAST_IMAGE_ORIENTATION_H

#include <stdint.h>

/* out [height, width, 3] from rgb, turned and mirrored so that it stands upright. `height` and `width` are
 * those of `out`; `orientation` is EXIF's, 1 to 8: from 5 on rgb is [width, height, 3], before [height,
 * width, 3].
 */
void bl_turn_upright(uint8_t *out, const uint8_t *rgb, int64_t height, int64_t width, int orientation);

#endif
