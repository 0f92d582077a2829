/* The product of an adapter's factors: a [rows, rank] times b [rank, columns]. Every element is summed over
 * the rank from its begin on, each product added in one rounding, so that it has the same bits on every CPU
 * and whatever rows are asked for together. */
#ifndef BALLAST_ADAPTER_PRODUCT_H
#define BALLAST_ADAPTER_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BL_PANEL 32 /* columns that b is laid out in */

/* Floats of b laid out in panels. False: more than memory can have. */
bool bl_panel_floats(size_t *out, int64_t rank, int64_t columns);

/* b [rank, columns], row-major, to panels [columns / BL_PANEL][rank][BL_PANEL], zeros behind the last column.
 */
void bl_panels(float *out, const float *b, int64_t rank, int64_t columns);

/* out [rows, columns] = a b, or, with `add`, scale * (a b) + out in one rounding. `panels`: of b. */
void bl_product(float *out, const float *a, const float *panels, float scale, bool add, int64_t rows,
                int64_t rank, int64_t columns);

/* One panel of it, [rows, BL_PANEL] at `out`, whose rows are `stride` floats apart. In one version for each
 * instruction set; bl_product takes the best that the CPU has. */
typedef void bl_product_fn(float *out, int64_t stride, const float *a, const float *panel, float scale,
                           bool add, int64_t rows, int64_t rank);
bl_product_fn bl_product_plain, bl_product_avx2, bl_product_avx512;

#endif
