#include "adapter/fixed.h"

#include <math.h>
#include <string.h>

int64_t bl_fixed_rank(int64_t rank) {
    return rank + rank % 2;
}

/* The larger of most and |v|, NaN if either is. */
static float larger(float most, float v) {
    v = fabsf(v);
    return v > most || isnan(v) ? v : most;
}

/* What a unit of the rounded values stands for where `most` is the largest. What lies below all that weights
 * have is nothing. Where there is none the product is no number. */
static float unit_of(float most) {
    int exponent;
    if (!isfinite(most)) {
        return NAN;
    }
    frexpf(most, &exponent);
    return most < 0x1p-100f ? 0 : ldexpf(1, exponent - 13);
}

static int16_t rounded(float v, float per) {
    float x = rintf(v * per);
    return (int16_t)(x > BL_FIXED_MOST ? BL_FIXED_MOST : x > -BL_FIXED_MOST ? x : -BL_FIXED_MOST);
}

void bl_fixed_rows(int16_t *out, float *scales, const float *v, int64_t rows, int64_t rank) {
    const int64_t whole = bl_fixed_rank(rank);
    for (int64_t r = 0; r < rows; r++, v += rank, out += whole) {
        float most = 0;
        for (int64_t k = 0; k < rank; k++) {
            most = larger(most, v[k]);
        }
        scales[r] = unit_of(most);
        float per = scales[r] > 0 ? 1 / scales[r] : 0;
        for (int64_t k = 0; k < whole; k++) {
            out[k] = k < rank ? rounded(v[k], per) : 0;
        }
    }
}

void bl_fixed_panels(int16_t *out, float *scales, const float *v, int64_t rank, int64_t columns) {
    const int64_t whole = bl_fixed_rank(rank);
    for (int64_t first = 0; first < columns; first += BL_FIXED_PANEL, scales += BL_FIXED_PANEL) {
        const int64_t n = columns - first < BL_FIXED_PANEL ? columns - first : BL_FIXED_PANEL;
        float per[BL_FIXED_PANEL];
        memset(scales, 0, BL_FIXED_PANEL * sizeof *scales);
        for (int64_t k = 0; k < rank; k++) {
            for (int64_t c = 0; c < n; c++) {
                scales[c] = larger(scales[c], v[k * columns + first + c]);
            }
        }
        for (int64_t c = 0; c < n; c++) {
            scales[c] = unit_of(scales[c]);
            per[c] = scales[c] > 0 ? 1 / scales[c] : 0;
        }
        memset(out, 0, (size_t)(whole * BL_FIXED_PANEL) * sizeof *out);
        for (int64_t k = 0; k < rank; k++) {
            int16_t *at = out + k / 2 * 2 * BL_FIXED_PANEL + k % 2;
            for (int64_t c = 0; c < n; c++) {
                at[2 * c] = rounded(v[k * columns + first + c], per[c]);
            }
        }
        out += whole * BL_FIXED_PANEL;
    }
}

static bl_fixed_fn *best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")) {
        return bl_fixed_vnni;
    }
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? bl_fixed_avx2 : bl_fixed_plain;
#else
    return bl_fixed_plain;
#endif
}

void bl_fixed_add(float *out, const int16_t *a, const float *a_scales, const bl_fixed_b *b, float scale,
                  int64_t rows) {
    bl_fixed_fn *add = best();
    const int64_t rank = bl_fixed_rank(b->rank);
    const int16_t *panel = b->panels;
    for (int64_t first = 0; first < b->columns; first += BL_FIXED_PANEL, panel += rank * BL_FIXED_PANEL) {
        int64_t n = b->columns - first;
        if (n >= BL_FIXED_PANEL) {
            add(out + first, b->columns, a, a_scales, panel, b->scales + first, scale, rows, rank);
            continue;
        }
        for (int64_t r = 0; r < rows; r++) { /* the last columns, through a row that has all of a panel */
            float whole[BL_FIXED_PANEL] = {0}, *at = out + r * b->columns + first;
            memcpy(whole, at, (size_t)n * sizeof *whole);
            add(whole, BL_FIXED_PANEL, a + r * rank, a_scales + r, panel, b->scales + first, scale, 1, rank);
            memcpy(at, whole, (size_t)n * sizeof *whole);
        }
    }
}
