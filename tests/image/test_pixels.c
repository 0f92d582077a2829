/* Floats to bytes and back, with the rounding of each program. */
#include "image/pixels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint8_t one(float x, bl_pixel_rounding rounding) {
    uint8_t rgb[3];
    bl_pixels_from_float(rgb, (const float[]){x, x, x}, 1, 1, rounding);
    assert_int_equal(rgb[0], rgb[1]);
    assert_int_equal(rgb[0], rgb[2]);
    return rgb[0];
}

static void rounding_is_that_of_each_program(void **state) {
    (void)state;
    static const struct {
        float x;
        int truncated, nearest;
    } cases[] = {
        {-1.0f, 0, 0},      {1.0f, 255, 255}, {0.0f, 127, 128}, /* 127.5: halves go to even */
        {-0.99f, 1, 1},                                         /* 1.275 */
        {-0.985f, 1, 2},                                        /* 1.9125 */
        {0.999f, 254, 255},                                     /* 254.87 */
        {2.0f, 255, 255},   {-7.0f, 0, 0},    {INFINITY, 255, 255}, {-INFINITY, 0, 0}, {NAN, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(one(cases[i].x, BL_PIXELS_TRUNCATE), cases[i].truncated);
        assert_int_equal(one(cases[i].x, BL_PIXELS_NEAREST), cases[i].nearest);
    }
    assert_int_equal(one(2.0f * 126.5f / 255.0f - 1.0f, BL_PIXELS_NEAREST), 126);
}

static void every_byte_survives(void **state) {
    (void)state;
    uint8_t rgb[256 * 3], back[256 * 3];
    float image[3 * 256];
    for (int i = 0; i < 256 * 3; i++) {
        rgb[i] = (uint8_t)(i * 7);
    }
    bl_pixels_to_float(image, rgb, 16, 16);
    assert_true(image[0] == -1.0f);
    for (int i = 0; i < 256; i++) { /* planes: the second pixel's green is the second of plane 1 */
        assert_true(image[256 + i] == (float)rgb[3 * i + 1] / 255.0f * 2.0f - 1.0f);
    }
    bl_pixels_from_float(back, image, 16, 16, BL_PIXELS_NEAREST);
    assert_memory_equal(rgb, back, sizeof rgb);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_is_that_of_each_program),
        cmocka_unit_test(every_byte_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
