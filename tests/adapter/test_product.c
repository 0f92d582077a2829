/* The product of factors: every version against the sum in the order that product.h says, and each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adapter/product.h"
#include "drawn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 21 /* whole tiles of every version, and rows behind them */
#define STRIDE (BL_PANEL + 3)
#define MOST_RANK 128

static float expected(float out, const float *a, const float *b, float scale, bool add, int64_t rank) {
    float sum = 0;
    for (int64_t k = 0; k < rank; k++) {
        sum = fmaf(b[k * BL_PANEL], a[k], sum);
    }
    return add ? fmaf(sum, scale, out) : sum;
}

static void hold(bl_product_fn *product, int64_t rows, int64_t rank, bool add) {
    static float a[ROWS * MOST_RANK], b[MOST_RANK * BL_PANEL], out[ROWS * STRIDE], before[ROWS * STRIDE];
    fill(a, rows * rank);
    fill(b, rank * BL_PANEL);
    fill(out, ROWS * STRIDE);
    memcpy(before, out, sizeof out);
    product(out, STRIDE, a, b, 0.7f, add, rows, rank);
    for (int64_t r = 0; r < ROWS; r++) {
        for (int64_t c = 0; c < STRIDE; c++) {
            float was = before[r * STRIDE + c], is = out[r * STRIDE + c];
            float want = r < rows && c < BL_PANEL ? expected(was, a + r * rank, b + c, 0.7f, add, rank) : was;
            assert_memory_equal(&is, &want, sizeof want);
        }
    }
}

static void every_version(bl_product_fn *product) {
    for (int64_t rows = 0; rows <= ROWS; rows++) {
        for (int64_t rank = 0; rank <= 33; rank += rank < 5 ? 1 : 7) {
            hold(product, rows, rank, false);
            hold(product, rows, rank, true);
        }
    }
    hold(product, ROWS, MOST_RANK, true);
}

static void versions_agree(void **test_state) {
    (void)test_state;
    every_version(bl_product_plain);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        every_version(bl_product_avx2);
    }
    if (__builtin_cpu_supports("avx512f")) {
        every_version(bl_product_avx512);
    }
#endif
}

/* Whatever rows are asked for together, and with columns that fill no panel. */
static void slices_agree(void **test_state) {
    (void)test_state;
    enum { COLUMNS = 2 * BL_PANEL + 5, RANK = 9 };
    float a[ROWS * RANK], b[RANK * COLUMNS], whole[ROWS * COLUMNS], sliced[ROWS * COLUMNS];
    size_t floats;
    assert_true(bl_panel_floats(&floats, RANK, COLUMNS));
    float *panels = malloc(floats * sizeof *panels);
    assert_non_null(panels);
    fill(a, ROWS * RANK);
    fill(b, RANK * COLUMNS);
    fill(whole, ROWS * COLUMNS);
    memcpy(sliced, whole, sizeof whole);
    bl_panels(panels, b, RANK, COLUMNS);
    bl_product(whole, a, panels, -0.3f, true, ROWS, RANK, COLUMNS);
    for (int64_t begin = 0, step = 1; begin < ROWS; begin += step, step++) {
        int64_t rows = begin + step < ROWS ? step : ROWS - begin;
        bl_product(sliced + begin * COLUMNS, a + begin * RANK, panels, -0.3f, true, rows, RANK, COLUMNS);
    }
    assert_memory_equal(sliced, whole, sizeof whole);
    free(panels);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(versions_agree), cmocka_unit_test(slices_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
