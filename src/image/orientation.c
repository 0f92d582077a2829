#include "image/orientation.h"

#include <stdbool.h>
#include <string.h>

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
