/* Decoding in tiles: the arena of a tile instead of a picture's. Tiles of 64 x 64 latents (512 x 512 pixels)
 * overlap by a quarter at least, and each fades in over the end of the one before, linearly over 128 pixels,
 * as diffusers' AutoencoderKL.tiled_decode does it (tile_overlap_factor 0.25, blend_v and blend_h); but all
 * tiles are of one size and spread evenly, where diffusers leaves smaller ones at the edges. Group norms and
 * the middle's attention see a tile alone, so the picture differs slightly from one that was decoded whole.
 */
#ifndef BALLAST_PIPELINE_TILES_H
#define BALLAST_PIPELINE_TILES_H

typedef enum bl_tiled { BL_TILED_OFF, BL_TILED_AUTO, BL_TILED_ON } bl_tiled;

/* Latents height x width cut into `down` times `across` tiles of rows x columns latents. */
typedef struct bl_tiles {
    int height, width;
    int rows, columns, down, across;
} bl_tiles;

/* One tile where they are no larger than one, or `tiled` is 0. */
bl_tiles bl_tiles_of(int height, int width, int tiled);
int bl_tiles_count(const bl_tiles *t);

/* Copies tile number `tile` of z [channels, height, width] to `out` [channels, rows, columns]. */
void bl_tiles_take(float *out, const bl_tiles *t, int tile, const float *z, int channels);

/* Adds tile number `tile`, decoded to [3, 8 rows, 8 columns], to its place in `image` [3, 8 height, 8 width],
 * weighted so that all tiles together weigh 1 everywhere. The image begins with zeros. */
void bl_tiles_add(float *image, const bl_tiles *t, int tile, const float *decoded);

#endif
