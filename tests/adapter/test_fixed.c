/* The product of factors in integers: every version against sums without error, what rounding the factors may
 * change, and slices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adapter/fixed.h"
#include "core/dtype.h"
#include "drawn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 21 /* whole tiles of every version, and rows behind them */
#define STRIDE (BL_FIXED_PANEL + 3)
#define MOST_RANK 130

/* One element: each run of the rank without error, then added in one rounding. */
static float expected(float out, const int16_t *a, float a_scale, const int16_t *panel, int64_t column,
                      float b_scale, float scale, int64_t rank) {
    for (int64_t first = 0; first < rank; first += BL_FIXED_RUN) {
        int64_t sum = 0;
        for (int64_t k = first; k < rank && k < first + BL_FIXED_RUN; k++) {
            sum += (int64_t)a[k] * panel[(k / 2 * BL_FIXED_PANEL + column) * 2 + k % 2];
        }
        assert_true(llabs(sum) <= INT32_MAX);
        out = fmaf((float)sum, b_scale * (a_scale * scale), out);
    }
    return out;
}

static void hold(bl_fixed_fn *add, int64_t rows, int64_t given) {
    static float a[ROWS * MOST_RANK], b[MOST_RANK * BL_FIXED_PANEL], out[ROWS * STRIDE],
        before[ROWS * STRIDE];
    static int16_t fixed_a[ROWS * MOST_RANK], panel[MOST_RANK * BL_FIXED_PANEL];
    float a_scales[ROWS], b_scales[BL_FIXED_PANEL];
    const int64_t rank = bl_fixed_rank(given);
    fill(a, rows * given);
    fill(b, given * BL_FIXED_PANEL);
    for (int64_t k = 0; k < given && rows; k++) { /* the largest that there can be, of either sign */
        a[k] = 0.99999f;
        b[k * BL_FIXED_PANEL] = k % 3 ? 0.99999f : -0.99999f;
        b[k * BL_FIXED_PANEL + 1] = 0.99999f;
    }
    fill(out, ROWS * STRIDE);
    memcpy(before, out, sizeof out);
    bl_fixed_rows(fixed_a, a_scales, a, rows, given);
    bl_fixed_panels(panel, b_scales, b, given, BL_FIXED_PANEL);
    add(out, STRIDE, fixed_a, a_scales, panel, b_scales, 0.7f, rows, rank);
    for (int64_t r = 0; r < ROWS; r++) {
        for (int64_t c = 0; c < STRIDE; c++) {
            float want = before[r * STRIDE + c], is = out[r * STRIDE + c];
            if (r < rows && c < BL_FIXED_PANEL) {
                want = expected(want, fixed_a + r * rank, a_scales[r], panel, c, b_scales[c], 0.7f, rank);
            }
            assert_memory_equal(&is, &want, sizeof want);
        }
    }
}

static void every_version(bl_fixed_fn *add) {
    for (int64_t rows = 0; rows <= ROWS; rows++) {
        for (int64_t rank = 1; rank <= 36; rank += rank < 5 ? 1 : 7) {
            hold(add, rows, rank);
        }
    }
    hold(add, ROWS, 32);
    hold(add, ROWS, 97);
    hold(add, ROWS, MOST_RANK);
}

static void versions_agree(void **test_state) {
    (void)test_state;
    every_version(bl_fixed_plain);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        every_version(bl_fixed_avx2);
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")) {
        every_version(bl_fixed_vnni);
    }
#endif
}

/* What F16 has is taken over exactly down to an eighth of the largest; all else within half a unit. Zeros,
 * and what is as good as zero, are zeros. */
static void rounding(void **test_state) {
    (void)test_state;
    enum { N = 64 };
    float v[N], scale;
    int16_t out[N];
    for (int i = 0; i < N; i++) {
        float x = i % 2 ? 0.125f + 0.8f * fabsf(drawn()) : 0.01f * drawn();
        uint16_t half;
        bl_convert(&half, BL_F16, &x, BL_F32, 1);
        bl_convert(&v[i], BL_F32, &half, BL_F16, 1);
    }
    bl_fixed_rows(out, &scale, v, 1, N);
    assert_true(scale == 0x1p-13f);
    for (int i = 0; i < N; i++) {
        assert_true(fabsf((float)out[i] * scale - v[i]) <= (i % 2 ? 0 : scale / 2));
    }
    float small[4] = {0, -0.0f, 0x1p-120f, -0x1p-140f};
    bl_fixed_rows(out, &scale, small, 1, 4);
    assert_true(scale == 0 && !out[0] && !out[1] && !out[2] && !out[3]);
    float large[2] = {3.4e38f, -3.4e38f};
    bl_fixed_rows(out, &scale, large, 1, 2);
    assert_true(out[0] == -out[1] && out[0] > 8000 && isfinite(scale));
}

/* Factors that are multiplied first, as a Tucker core is, may leave what F32 has: that is no number
 * afterwards either, in the row or column of it alone. */
static void no_number_stays_none(void **test_state) {
    (void)test_state;
    enum { RANK = 3 };
    const float wrong[] = {INFINITY, -INFINITY, NAN};
    for (int i = 0; i < 3 * RANK; i++) {
        float a[2 * RANK] = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f}, b[RANK * 2] = {1, 1, 1, 1, 1, 1};
        float a_scales[2], b_scales[BL_FIXED_PANEL], out[4] = {0};
        int16_t fixed_a[2 * (RANK + 1)], panels[(RANK + 1) * BL_FIXED_PANEL];
        const bl_fixed_b factor = {panels, b_scales, RANK, 2};
        bl_fixed_panels(panels, b_scales, b, RANK, 2);
        a[RANK + i % RANK] = wrong[i / RANK];
        bl_fixed_rows(fixed_a, a_scales, a, 2, RANK);
        bl_fixed_add(out, fixed_a, a_scales, &factor, 1, 2);
        assert_true(out[0] == 1.5f && out[1] == 1.5f && !isfinite(out[2]) && !isfinite(out[3]));
        b[i % RANK * 2] = wrong[i / RANK];
        bl_fixed_panels(panels, b_scales, b, RANK, 2);
        memset(out, 0, sizeof out);
        bl_fixed_add(out, fixed_a, a_scales, &factor, 1, 1);
        assert_true(!isfinite(out[0]) && out[1] == 1.5f);
    }
}

/* What a weight that is rounded to bf16 in the end gets: base and delta of like size, as no adapter has it,
 * are within a twentieth of that rounding from the exact sum. */
static void far_below_bf16(void **test_state) {
    (void)test_state;
    enum { RANK = 32, COLUMNS = 300, SHORT = 40 };
    static float a[SHORT * RANK], b[RANK * COLUMNS], out[SHORT * COLUMNS], base[SHORT * COLUMNS];
    static int16_t fixed_a[SHORT * RANK], panels[RANK * 320];
    float a_scales[SHORT], b_scales[320];
    fill(a, SHORT * RANK);
    fill(b, RANK * COLUMNS);
    fill(base, SHORT * COLUMNS);
    memcpy(out, base, sizeof out);
    bl_fixed_rows(fixed_a, a_scales, a, SHORT, RANK);
    bl_fixed_panels(panels, b_scales, b, RANK, COLUMNS);
    bl_fixed_add(out, fixed_a, a_scales, &(bl_fixed_b){panels, b_scales, RANK, COLUMNS}, 0.5f, SHORT);
    double squares = 0, errors = 0;
    for (int r = 0; r < SHORT; r++) {
        for (int c = 0; c < COLUMNS; c++) {
            double exact = base[r * COLUMNS + c];
            for (int k = 0; k < RANK; k++) {
                exact += 0.5 * (double)a[r * RANK + k] * (double)b[k * COLUMNS + c];
            }
            double e = fabs((double)out[r * COLUMNS + c] - exact);
            assert_true(e <= 0.5 * RANK * 0x1p-13);
            squares += exact * exact;
            errors += e * e;
        }
    }
    assert_true(sqrt(errors / squares) < 0x1p-9 / 20);
}

/* Whatever rows are asked for together, and with columns that fill no panel. */
static void slices_agree(void **test_state) {
    (void)test_state;
    enum { COLUMNS = 2 * BL_FIXED_PANEL + 5, RANK = 9 };
    float a[ROWS * RANK], b[RANK * COLUMNS], whole[ROWS * COLUMNS], sliced[ROWS * COLUMNS], scales[ROWS],
        one[ROWS];
    static int16_t all[ROWS * (RANK + 1)], some[ROWS * (RANK + 1)], panels[(RANK + 1) * 3 * BL_FIXED_PANEL];
    float b_scales[3 * BL_FIXED_PANEL];
    fill(a, ROWS * RANK);
    fill(b, RANK * COLUMNS);
    fill(whole, ROWS * COLUMNS);
    memcpy(sliced, whole, sizeof whole);
    bl_fixed_panels(panels, b_scales, b, RANK, COLUMNS);
    const bl_fixed_b factor = {panels, b_scales, RANK, COLUMNS};
    bl_fixed_rows(all, scales, a, ROWS, RANK);
    bl_fixed_add(whole, all, scales, &factor, -0.3f, ROWS);
    for (int64_t begin = 0, step = 1; begin < ROWS; begin += step, step++) {
        int64_t rows = begin + step < ROWS ? step : ROWS - begin;
        bl_fixed_rows(some, one, a + begin * RANK, rows, RANK);
        bl_fixed_add(sliced + begin * COLUMNS, some, one, &factor, -0.3f, rows);
    }
    assert_memory_equal(sliced, whole, sizeof whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(versions_agree), cmocka_unit_test(rounding),
                                       cmocka_unit_test(no_number_stays_none),
                                       cmocka_unit_test(far_below_bf16), cmocka_unit_test(slices_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
