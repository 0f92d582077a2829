/* The comparison with goldens can fail, and knows its tolerances. */
#include "support/goldens.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void errors_are_measured(void **state) {
    (void)state;
    const float gold[4] = {1, -2, 3, 4};
    int64_t at;
    float mine[4] = {1, -2, 3, 4};
    assert_true(bl_max_abs_error(gold, mine, 4, &at) == 0);
    mine[1] = -2.5f;
    mine[3] = 4.25f;
    assert_true(bl_max_abs_error(gold, mine, 4, &at) == 0.5);
    assert_int_equal(at, 1);
    mine[2] = NAN;
    assert_true(isinf(bl_max_abs_error(gold, mine, 4, &at)));
    assert_int_equal(at, 2);
    mine[2] = INFINITY;
    assert_true(isinf(bl_max_abs_error(gold, mine, 4, &at)));
    assert_true(bl_peak(gold, 4) == 4);
}

static void tolerances_are_found(void **state) {
    static const char *const families[] = {"sd15", "sd21v", "sdxl"};
    static const char *const files[] = {"text",          "unet", "vae", "layers", "pipeline/txt2img",
                                        "pipeline/hires"};
    (void)state;
    for (int i = 0; i < 18; i++) {
        char name[128];
        bl_golden g;
        snprintf(name, sizeof name, "%s/golden/%s.safetensors", families[i / 6], files[i % 6]);
        bl_golden_open(&g, name);
        assert_true(json_object_size(g.tolerances) > 4);
        const char *tensor;
        json_t *t;
        json_object_foreach(g.tolerances, tensor, t) {
            double f32 = bl_golden_tolerance(&g, tensor, BL_F32),
                   bf16 = bl_golden_tolerance(&g, tensor, BL_BF16);
            assert_true(f32 == json_number_value(json_object_get(t, "tol_abs")));
            json_t *recorded = json_object_get(t, "bf16_abs");
            if (recorded) {
                assert_true(bf16 == fmax(f32, 4 * json_number_value(recorded)));
            }
            /* The recorded peak is that of the data (computed in F64, so not quite). */
            float *gold = bl_golden_f32(&g, tensor);
            int64_t n = (int64_t)(bl_golden_tensor(&g, tensor)->bytes / 4);
            double peak = bl_peak(gold, n);
            assert_true(fabs(peak - json_number_value(json_object_get(t, "peak"))) <= 1e-4 * peak);
            bl_golden_check(&g, tensor, gold, n, BL_F32);
            free(gold);
        }
        bl_golden_close(&g);
    }
}

static void files_without_tolerances_have_a_usual_one(void **state) {
    (void)state;
    bl_golden g;
    bl_golden_open(&g, "common/resize/resize.safetensors");
    float *gold = bl_golden_f32(&g, "latent.source");
    int64_t n = (int64_t)(bl_golden_tensor(&g, "latent.source")->bytes / 4);
    assert_true(fabs(bl_golden_tolerance(&g, "latent.source", BL_F32) - 1e-5 * bl_peak(gold, n)) < 1e-12);
    free(gold);
    bl_golden_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_measured),
        cmocka_unit_test(tolerances_are_found),
        cmocka_unit_test(files_without_tolerances_have_a_usual_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
