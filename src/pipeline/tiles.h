/* Decoding and encoding in tiles: the arena of a tile instead of a picture's. Tiles overlap by a quarter of
 * their side at least, and each fades in over the end of the one before, linearly over that quarter, as
 * diffusers' AutoencoderKL does it (tiled_decode and tiled_encode: tile_overlap_factor 0.25, blend_v and
 * blend_h); but all tiles are of one size and spread evenly, where diffusers leaves smaller ones at the
 * edges. Group norms and the middle's attention see a tile alone, so the picture differs slightly from one
 * that went through whole.
 */
#ifndef BALLAST_PIPELINE_TILES_H
#define BALLAST_PIPELINE_TILES_H

typedef enum bl_tiled { BL_TILED_OFF, BL_TILED_AUTO, BL_TILED_ON } bl_tiled;

#define BL_TILES_SMALLEST 64 /* latents of the smallest tile's side */

/* Latents of a tile's side for a model trained on pictures of `native` latents: 64, 96 or 128, no more than
 * it was trained on. So does diffusers choose (sample_size of the VAE's configuration): 64 for SD 1.x, 96 for
 * SD 2.x of 768 pixels, 128 for SDXL. */
int bl_tiles_side(int native);

/* The next smaller side of a tile, for budgets that are too small for one; 0: there is none. */
int bl_tiles_smaller(int side);

/* Latents height x width cut into `down` times `across` tiles of rows x columns latents. */
typedef struct bl_tiles {
    int height, width;
    int rows, columns, down, across;
} bl_tiles;

/* One tile where they are no larger than one, or if `side`, the latents of a tile's side, is 0. */
bl_tiles bl_tiles_of(int height, int width, int side);
int bl_tiles_count(const bl_tiles *t);

/* A picture [3, scale height, scale width] or what belongs to its latents [channels, height, width]. */
typedef struct bl_tiles_plane {
    int channels, scale; /* scale: pixels along one side of a latent; 1 for latents */
} bl_tiles_plane;

/* Copies tile number `tile` of `whole` [channels, scale height, scale width] to `cut` [channels, scale rows,
 * scale columns]. */
void bl_tiles_take(float *cut, const bl_tiles *t, int tile, const float *whole, bl_tiles_plane plane);

/* Adds tile number `tile` to its place in `whole`, weighted so that all tiles together weigh 1 everywhere.
 * The whole begins with zeros. */
void bl_tiles_add(float *whole, const bl_tiles *t, int tile, const float *cut, bl_tiles_plane plane);

#endif
