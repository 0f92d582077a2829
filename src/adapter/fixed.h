/* The product of an adapter's factors in integers, for weights that are rounded to bf16 behind it: twice as
 * fast as in F32 where a CPU multiplies 16 bits in pairs (AVX512_VNNI).
 *
 * Each row of a [rows, rank] and each column of b [rank, columns] is rounded to 14 bits, sign included, of
 * the power of two above its largest: values of F16 not below an eighth of that are as they were, and an
 * error is at most 2^-14 of it, 32 times finer than bf16's own. Products are summed without error over
 * BL_FIXED_RUN of the rank, the sums of runs are added in F32 from the first on. So it has the same bits on
 * every CPU and whatever rows are asked for together. A row or column with an infinity or a NaN is NaN. */
#ifndef BALLAST_ADAPTER_FIXED_H
#define BALLAST_ADAPTER_FIXED_H

#include <stdint.h>

#define BL_FIXED_PANEL 32  /* columns that b is laid out in */
#define BL_FIXED_RUN 32    /* 32 * 8191 * 8191 is below 2^31 */
#define BL_FIXED_MOST 8191 /* of a rounded value */

/* A factor's rank as both are laid out: the next even number, zeros behind the last. */
int64_t bl_fixed_rank(int64_t rank);

/* v [rows, rank] to out [rows, bl_fixed_rank(rank)], v ~ out * scales [rows]. */
void bl_fixed_rows(int16_t *out, float *scales, const float *v, int64_t rows, int64_t rank);

/* v [rank, columns] to panels [columns / 32][bl_fixed_rank / 2][32][2], zeros behind the last column; scales
 * [columns], with room for whole panels. */
void bl_fixed_panels(int16_t *out, float *scales, const float *v, int64_t rank, int64_t columns);

/* out [rows, columns] += scale * (a b). a, panels: as the two above make them. */
typedef struct bl_fixed_b {
    const int16_t *panels;
    const float *scales;
    int64_t rank, columns;
} bl_fixed_b;
void bl_fixed_add(float *out, const int16_t *a, const float *a_scales, const bl_fixed_b *b, float scale,
                  int64_t rows);

/* One panel of it, [rows, 32] at `out`, whose rows are `stride` floats apart. `rank`: of those laid out. In
 * one version for each instruction set; bl_fixed_add takes the best that the CPU has. */
typedef void bl_fixed_fn(float *out, int64_t stride, const int16_t *a, const float *a_scales,
                         const int16_t *panel, const float *b_scales, float scale, int64_t rows,
                         int64_t rank);
bl_fixed_fn bl_fixed_plain, bl_fixed_avx2, bl_fixed_vnni;

#endif
