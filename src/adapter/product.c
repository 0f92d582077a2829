#include "adapter/product.h"

#include "core/checked.h"

#include <string.h>

bool bl_panel_floats(size_t *out, int64_t rank, int64_t columns) {
    uint64_t n, bytes, whole = ((uint64_t)columns + BL_PANEL - 1) / BL_PANEL * BL_PANEL;
    if (rank < 0 || columns < 0 || !bl_mul_u64((uint64_t)rank, whole, &n) ||
        !bl_mul_u64(n, sizeof(float), &bytes) || bytes > SIZE_MAX / 2) {
        return false;
    }
    *out = (size_t)n;
    return true;
}

void bl_panels(float *out, const float *b, int64_t rank, int64_t columns) {
    for (int64_t first = 0; first < columns; first += BL_PANEL) {
        int64_t n = columns - first < BL_PANEL ? columns - first : BL_PANEL;
        for (int64_t k = 0; k < rank; k++, out += BL_PANEL) {
            memcpy(out, b + k * columns + first, (size_t)n * sizeof *out);
            memset(out + n, 0, (size_t)(BL_PANEL - n) * sizeof *out);
        }
    }
}

static bl_product_fn *best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        return bl_product_avx512;
    }
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? bl_product_avx2
                                                                           : bl_product_plain;
#else
    return bl_product_plain;
#endif
}

void bl_product(float *out, const float *a, const float *panels, float scale, bool add, int64_t rows,
                int64_t rank, int64_t columns) {
    bl_product_fn *product = best();
    for (int64_t first = 0; first < columns; first += BL_PANEL, panels += rank * BL_PANEL) {
        int64_t n = columns - first;
        if (n >= BL_PANEL) {
            product(out + first, columns, a, panels, scale, add, rows, rank);
            continue;
        }
        for (int64_t r = 0; r < rows; r++) { /* the last columns, through a row that has all of a panel */
            float whole[BL_PANEL] = {0}, *at = out + r * columns + first;
            memcpy(whole, at, add ? (size_t)n * sizeof *whole : 0);
            product(whole, BL_PANEL, a + r * rank, panels, scale, add, 1, rank);
            memcpy(at, whole, (size_t)n * sizeof *whole);
        }
    }
}
