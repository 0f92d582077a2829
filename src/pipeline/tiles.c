#include "pipeline/tiles.h"

#include <stddef.h>
#include <string.h>

#define SIDE 64    /* latents of a tile's side */
#define OVERLAP 16 /* at least; over so many the next tile fades in */
#define SCALE 8    /* pixels of a latent's side */

/* So many that neighbours overlap enough. Three or more are then at least 24 apart, so that one has faded in
 * before the next begins. */
static int count_of(int side) {
    return side <= SIDE ? 1 : (side - OVERLAP + SIDE - OVERLAP - 1) / (SIDE - OVERLAP);
}

bl_tiles bl_tiles_of(int height, int width, int tiled) {
    bl_tiles t = {.height = height, .width = width, .rows = height, .columns = width, .down = 1, .across = 1};
    if (tiled) {
        t.rows = height < SIDE ? height : SIDE;
        t.columns = width < SIDE ? width : SIDE;
        t.down = count_of(height);
        t.across = count_of(width);
    }
    return t;
}

int bl_tiles_count(const bl_tiles *t) {
    return t->down * t->across;
}

/* First latent of the i-th of `count` tiles along a side. */
static int start_of(int i, int count, int side, int tile) {
    return count == 1 ? 0 : (int)((long long)i * (side - tile) / (count - 1));
}

/* How far the i-th tile has faded in at a pixel; 1 before the first has an edge, 0 behind the last. */
static float faded(int i, int count, int side, int tile, int pixel) {
    float v = i == 0       ? 1.0f
              : i == count ? 0.0f
                           : (float)(pixel - SCALE * start_of(i, count, side, tile)) / (SCALE * OVERLAP);
    return v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
}

static float weight_of(int i, int count, int side, int tile, int pixel) {
    return faded(i, count, side, tile, pixel) * (1.0f - faded(i + 1, count, side, tile, pixel));
}

void bl_tiles_take(float *out, const bl_tiles *t, int tile, const float *z, int channels) {
    int top = start_of(tile / t->across, t->down, t->height, t->rows);
    int left = start_of(tile % t->across, t->across, t->width, t->columns);
    for (int k = 0; k < channels * t->rows; k++) {
        int c = k / t->rows, y = top + k % t->rows;
        memcpy(out + (size_t)k * (size_t)t->columns,
               z + ((size_t)c * (size_t)t->height + (size_t)y) * (size_t)t->width + left,
               (size_t)t->columns * sizeof *out);
    }
}

void bl_tiles_add(float *image, const bl_tiles *t, int tile, const float *decoded) {
    int down = tile / t->across, across = tile % t->across;
    int top = SCALE * start_of(down, t->down, t->height, t->rows);
    int left = SCALE * start_of(across, t->across, t->width, t->columns);
    int height = SCALE * t->height, width = SCALE * t->width, rows = SCALE * t->rows,
        columns = SCALE * t->columns;
    for (int x = 0; x < columns; x++) {
        float column = weight_of(across, t->across, t->width, t->columns, left + x);
        for (int k = 0; column > 0 && k < 3 * rows; k++) {
            int c = k / rows, y = top + k % rows;
            float weight = column * weight_of(down, t->down, t->height, t->rows, y);
            image[((size_t)c * (size_t)height + (size_t)y) * (size_t)width + (size_t)(left + x)] +=
                weight * decoded[(size_t)k * (size_t)columns + (size_t)x];
        }
    }
}
