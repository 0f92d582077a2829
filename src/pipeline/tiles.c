#include "pipeline/tiles.h"

#include <stddef.h>
#include <string.h>

#define QUARTER \
    4 /* share of a tile's side over which the next one fades in, and by which they overlap at least */

static const int sides[] = {128, 96, BL_TILES_SMALLEST, 0};

int bl_tiles_side(int native) {
    int i = 0;
    while (sides[i] > BL_TILES_SMALLEST && sides[i] > native) {
        i++;
    }
    return sides[i];
}

int bl_tiles_smaller(int side) {
    int i = 0;
    while (sides[i] >= side) {
        i++;
    }
    return sides[i];
}

/* So many that neighbours overlap enough. Three or more are then more than a third of their side apart, so
 * that one has faded in before the next begins. */
static int count_of(int whole, int side) {
    int overlap = side / QUARTER;
    return whole <= side ? 1 : (whole - overlap + side - overlap - 1) / (side - overlap);
}

bl_tiles bl_tiles_of(int height, int width, int side) {
    bl_tiles t = {.height = height, .width = width, .rows = height, .columns = width, .down = 1, .across = 1};
    if (side) {
        t.rows = height < side ? height : side;
        t.columns = width < side ? width : side;
        t.down = count_of(height, side);
        t.across = count_of(width, side);
    }
    return t;
}

int bl_tiles_count(const bl_tiles *t) {
    return t->down * t->across;
}

/* The tiles along one side, and what `scale` makes of their latents. */
typedef struct line {
    int count, whole, tile, scale;
} line;

/* Where the i-th tile begins. */
static int start_of(const line *l, int i) {
    return l->count == 1 ? 0 : l->scale * (int)((long long)i * (l->whole - l->tile) / (l->count - 1));
}

/* How far the i-th tile has faded in at a place; 1 before the first has an edge, 0 behind the last. */
static float faded(const line *l, int i, int place) {
    float v = i == 0          ? 1.0f
              : i == l->count ? 0.0f
                              : (float)(place - start_of(l, i)) / (float)(l->scale * (l->tile / QUARTER));
    return v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
}

static float weight_of(const line *l, int i, int place) {
    return faded(l, i, place) * (1.0f - faded(l, i + 1, place));
}

static line lines_down(const bl_tiles *t, int scale) {
    return (line){t->down, t->height, t->rows, scale};
}

static line lines_across(const bl_tiles *t, int scale) {
    return (line){t->across, t->width, t->columns, scale};
}

void bl_tiles_take(float *cut, const bl_tiles *t, int tile, const float *whole, bl_tiles_plane plane) {
    line down = lines_down(t, plane.scale), across = lines_across(t, plane.scale);
    int top = start_of(&down, tile / t->across), left = start_of(&across, tile % t->across);
    int height = plane.scale * t->height, rows = plane.scale * t->rows;
    size_t width = (size_t)plane.scale * (size_t)t->width, columns = (size_t)plane.scale * (size_t)t->columns;
    for (int k = 0; k < plane.channels * rows; k++) {
        int c = k / rows, y = top + k % rows;
        memcpy(cut + (size_t)k * columns, whole + ((size_t)c * (size_t)height + (size_t)y) * width + left,
               columns * sizeof *cut);
    }
}

void bl_tiles_add(float *whole, const bl_tiles *t, int tile, const float *cut, bl_tiles_plane plane) {
    line down = lines_down(t, plane.scale), across = lines_across(t, plane.scale);
    int row = tile / t->across, column = tile % t->across;
    int top = start_of(&down, row), left = start_of(&across, column);
    int height = plane.scale * t->height, rows = plane.scale * t->rows, columns = plane.scale * t->columns;
    size_t width = (size_t)plane.scale * (size_t)t->width;
    for (int x = 0; x < columns; x++) {
        float beside = weight_of(&across, column, left + x);
        for (int k = 0; beside > 0 && k < plane.channels * rows; k++) {
            int c = k / rows, y = top + k % rows;
            whole[((size_t)c * (size_t)height + (size_t)y) * width + (size_t)(left + x)] +=
                beside * weight_of(&down, row, y) * cut[(size_t)k * (size_t)columns + (size_t)x];
        }
    }
}
