/* Resizes against Pillow's bytes and torch's values (tests/data/common/resize). */
#include "image/png.h"
#include "image/resize.h"
#include "support/goldens.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define GOLDEN "common/resize/resize.safetensors"

static void bytes_are_those_of_pillow(void **state) {
    (void)state;
    static const char *const filters[BL_RESIZE_COUNT] = {
        [BL_RESIZE_NEAREST] = "nearest", [BL_RESIZE_BOX] = "box",         [BL_RESIZE_BILINEAR] = "bilinear",
        [BL_RESIZE_HAMMING] = "hamming", [BL_RESIZE_BICUBIC] = "bicubic", [BL_RESIZE_LANCZOS] = "lanczos",
    };
    static const int sizes[][2] = {{42, 60}, {56, 80}, {28, 60}, {17, 25}, {28, 40}};
    bl_golden g;
    bl_golden_open(&g, GOLDEN);
    uint8_t *source = bl_golden_bytes(&g, "source"); /* [40, 28, 3] */
    for (int f = 0; f < BL_RESIZE_COUNT; f++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            int width = sizes[i][0], height = sizes[i][1];
            char name[64];
            snprintf(name, sizeof name, "%s.%dx%d", filters[f], width, height);
            print_message("%s\n", name);
            uint8_t *gold = bl_golden_bytes(&g, name);
            uint8_t *mine = malloc((size_t)(width * height * 3));
            assert_non_null(mine);
            assert_int_equal(bl_resize_rgb8(mine, height, width, source, 40, 28, (bl_resize_filter)f, NULL),
                             0);
            assert_memory_equal(mine, gold, (size_t)(width * height * 3));
            free(mine);
            free(gold);
        }
    }
    free(source);
    bl_golden_close(&g);
}

/* Much lower, hardly narrower: Pillow does the columns first, and the last bits show it. Bytes of Pillow 13.
 */
static void the_order_of_passes_is_pillows(void **state) {
    (void)state;
    static const uint8_t gold[2 * 3 * 3] = {146, 133, 106, 116, 110, 108, 85,  86,  110,
                                            94,  92,  133, 126, 126, 135, 158, 159, 137};
    uint8_t in[9 * 2 * 3], out[sizeof gold];
    for (int i = 0; i < 9 * 2 * 3; i++) {
        in[i] = (uint8_t)(i * 37);
    }
    assert_int_equal(bl_resize_rgb8(out, 2, 3, in, 9, 2, BL_RESIZE_LANCZOS, NULL), 0);
    assert_memory_equal(out, gold, sizeof gold);
}

static void latents_are_those_of_torch(void **state) {
    (void)state;
    static const int sizes[][2] = {{24, 18}, {32, 24}, {19, 13}, {8, 6}};
    static const char *const modes[BL_INTERPOLATE_COUNT] = {
        [BL_INTERPOLATE_NEAREST] = "nearest",   [BL_INTERPOLATE_NEAREST_EXACT] = "nearest-exact",
        [BL_INTERPOLATE_BILINEAR] = "bilinear", [BL_INTERPOLATE_BILINEAR_ANTIALIAS] = "bilinear.antialias",
        [BL_INTERPOLATE_BICUBIC] = "bicubic",   [BL_INTERPOLATE_BICUBIC_ANTIALIAS] = "bicubic.antialias",
    };
    bl_golden g;
    bl_golden_open(&g, GOLDEN);
    float *source = bl_golden_f32(&g, "latent.source"); /* [1, 4, 16, 12] */
    for (int m = 0; m < BL_INTERPOLATE_COUNT; m++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            int height = sizes[i][0], width = sizes[i][1], count = 4 * height * width;
            char name[64];
            snprintf(name, sizeof name, "latent.%s.%dx%d", modes[m], height, width);
            float *gold = bl_golden_f32(&g, name);
            float *mine = malloc((size_t)count * sizeof *mine);
            assert_non_null(mine);
            assert_int_equal(
                bl_interpolate(mine, height, width, source, 4, 16, 12, (bl_interpolation)m, NULL), 0);
            /* Nearest copies. The others: torch rounds each position in the source to float, 1e-6 of a pixel.
             */
            bool exact = m == BL_INTERPOLATE_NEAREST || m == BL_INTERPOLATE_NEAREST_EXACT;
            bl_check_close(name, gold, mine, count, exact ? 0.0 : bl_golden_tolerance(&g, name, BL_F32));
            free(mine);
            free(gold);
        }
    }
    free(source);
    bl_golden_close(&g);
}

static void a_constant_stays_constant(void **state) {
    (void)state;
    static const int sides[][4] = {{1, 1, 7, 5}, {7, 5, 1, 1}, {3, 200, 201, 2}, {600, 4, 5, 700}};
    uint8_t in[600 * 4 * 3], out[5 * 700 * 3];
    memset(in, 77, sizeof in);
    for (int f = 0; f < BL_RESIZE_COUNT; f++) {
        for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
            const int *s = sides[i];
            memset(out, 0, sizeof out);
            assert_int_equal(bl_resize_rgb8(out, s[2], s[3], in, s[0], s[1], (bl_resize_filter)f, NULL), 0);
            for (int k = 0; k < s[2] * s[3] * 3; k++) {
                assert_int_equal(out[k], 77);
            }
        }
    }
}

static void sides_out_of_range_are_refused(void **state) {
    (void)state;
    uint8_t pixel[3] = {0};
    float value = 0;
    bl_error err;
    assert_int_equal(bl_resize_rgb8(pixel, 0, 1, pixel, 1, 1, BL_RESIZE_BOX, &err), BL_E_ARGUMENT);
    assert_int_equal(bl_resize_rgb8(pixel, 1, BL_RESIZE_MAX_SIDE + 1, pixel, 1, 1, BL_RESIZE_BOX, &err),
                     BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "65536"));
    assert_int_equal(bl_interpolate(&value, 1, 1, &value, 1, -1, 1, BL_INTERPOLATE_BICUBIC, &err),
                     BL_E_ARGUMENT);
}

static void the_source_picture_reads_back(void **state) {
    (void)state;
    bl_golden g;
    bl_golden_open(&g, GOLDEN);
    uint8_t *source = bl_golden_bytes(&g, "source");
    char path[BL_TEST_PATH];
    bl_test_data(path, "common/resize/source.png");
    bl_picture p;
    assert_int_equal(bl_png_read(&p, path, NULL), 0);
    assert_int_equal(p.height, 40);
    assert_int_equal(p.width, 28);
    assert_null(p.parameters);
    assert_memory_equal(p.rgb, source, 40 * 28 * 3);
    bl_picture_clear(&p);
    free(source);
    bl_golden_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_those_of_pillow),      cmocka_unit_test(the_order_of_passes_is_pillows),
        cmocka_unit_test(latents_are_those_of_torch),     cmocka_unit_test(a_constant_stays_constant),
        cmocka_unit_test(sides_out_of_range_are_refused), cmocka_unit_test(the_source_picture_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
