#include "image/orientation.h"

#include <stdbool.h>
#include <string.h>

#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT 3

static uint32_t number(const uint8_t *p, int bytes, bool big) {
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++) {
        v = v << 8 | p[big ? i : bytes - 1 - i];
    }
    return v;
}

int bl_exif_orientation(const uint8_t *exif, size_t bytes) {
    if (bytes >= 6 && !memcmp(exif, "Exif\0\0", 6)) {
        exif += 6;
        bytes -= 6;
    }
    if (bytes < 8 || (memcmp(exif, "MM\0*", 4) && memcmp(exif, "II*\0", 4))) {
        return 1;
    }
    bool big = exif[0] == 'M';
    size_t at = number(exif + 4, 4, big);
    if (at > bytes - 2) {
        return 1;
    }
    uint32_t entries = number(exif + at, 2, big);
    for (at += 2; entries && bytes - at >= 12; entries--, at += 12) {
        const uint8_t *e = exif + at;
        if (number(e, 2, big) == TAG_ORIENTATION && number(e + 2, 2, big) == TYPE_SHORT) {
            uint32_t orientation = number(e + 8, 2, big);
            return orientation >= 1 && orientation <= 8 ? (int)orientation : 1;
        }
    }
    return 1;
}

void bl_turn_upright(uint8_t *out, const uint8_t *rgb, int64_t height, int64_t width, int orientation) {
    bool swapped = orientation >= 5;
    int64_t rows = swapped ? width : height, columns = swapped ? height : width; /* of rgb */
    bool from_last_row = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    bool from_last_column = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            int64_t row = swapped ? x : y, column = swapped ? y : x;
            row = from_last_row ? rows - 1 - row : row;
            column = from_last_column ? columns - 1 - column : column;
            memcpy(out + 3 * (y * width + x), rgb + 3 * (row * columns + column), 3);
        }
    }
}
