/* Pictures of another shape: the bytes that Pillow makes by the steps of A1111's three resize modes. */
#include "image/fit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct {
    int in_width, in_height, width, height;
    uint64_t fnv[BL_FIT_COUNT]; /* FNV-1a of what Pillow 12 makes: crop, stretch, pad */
} cases[] = {
    {40, 24, 16, 16, {0x89bed90576e240e8, 0xe8fb39ad8abba05d, 0x4b008c1b2be43749}},
    {40, 24, 64, 24, {0xfd0df7f2d77c2f63, 0x0cf2cefafd4b856c, 0x1f7036279e15a439}},
    {40, 24, 24, 56, {0xa568204814a663c1, 0x0c45ec9f40c0c3cf, 0xd7356968d3ba5d7f}},
    {24, 40, 16, 16, {0x22ede4a5fef9fd42, 0x561c95a79071324f, 0x66c303fd1763b319}},
    {24, 40, 64, 24, {0x1a584663dd821fdc, 0xe7193d596d682ea5, 0x419dfd6e19d5d521}},
    {24, 40, 24, 56, {0x05597ffa9e4ccebc, 0x0dd5052eece756f4, 0x3e1994859d5dfc7f}},
    {33, 7, 16, 16, {0xb6b152240ce88938, 0xf1fa1df2d8b923c0, 0xd70ccb53a80c3302}},
    {33, 7, 64, 24, {0x3c7b7a3b2de0e490, 0xb8827ab33158c53d, 0x3c0e976f3f6b4fdc}},
    {33, 7, 24, 56, {0xacc4fec57ed21df7, 0x06db6e7967772dd1, 0x3367a9735e2806ef}},
};

static uint64_t fnv(const uint8_t *p, size_t n) {
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ p[i]) * 0x100000001b3;
    }
    return h;
}

static void paint(uint8_t *rgb, int width, int height) {
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            int v = x * x * 31 + y * 57 + x * y * 13;
            uint8_t *p = rgb + 3 * (y * width + x);
            p[0] = (uint8_t)(v % 251);
            p[1] = (uint8_t)((v * 7 + 90) % 253);
            p[2] = (uint8_t)(v / 3 % 256);
        }
    }
}

static void as_pillow(void **state) {
    static uint8_t in[40 * 40 * 3], out[64 * 56 * 3];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        paint(in, cases[i].in_width, cases[i].in_height);
        for (int fit = 0; fit < BL_FIT_COUNT; fit++) {
            bl_error err = {0};
            size_t bytes = (size_t)(cases[i].width * cases[i].height) * 3;
            memset(out, 7, sizeof out);
            assert_int_equal(bl_fit_rgb8(out, cases[i].height, cases[i].width, in, cases[i].in_height,
                                         cases[i].in_width, (bl_fit)fit, BL_RESIZE_LANCZOS, &err),
                             0);
            if (fnv(out, bytes) != cases[i].fnv[fit]) {
                fail_msg("case %zu, fit %d: other bytes", i, fit);
            }
        }
    }
}

/* Pictures that are nearly lines: every byte is written, none beside it, or the picture is refused. */
static void lines(void **state) {
    static const int sides[] = {1, 2, 3, 8, 300};
    bl_error err = {0};
    (void)state;
    for (int i = 0; i < 5 * 5 * 5 * 5 * BL_FIT_COUNT; i++) {
        int in_w = sides[i % 5], in_h = sides[i / 5 % 5], w = sides[i / 25 % 5], h = sides[i / 125 % 5];
        uint8_t *in = calloc((size_t)(in_w * in_h), 3), *out = malloc((size_t)(w * h) * 3);
        assert_true(in && out);
        memset(out, 7, (size_t)(w * h) * 3);
        int rc = bl_fit_rgb8(out, h, w, in, in_h, in_w, (bl_fit)(i / 625), BL_RESIZE_LANCZOS, &err);
        assert_true(!rc || rc == BL_E_ARGUMENT);
        for (int k = 0; k < 3 * w * h && !rc; k++) {
            assert_int_equal(out[k], 0);
        }
        free(in);
        free(out);
    }
}

static void names(void **state) {
    bl_fit fit;
    bl_error err = {0};
    (void)state;
    assert_int_equal(bl_fit_find(&fit, "pad", &err), 0);
    assert_int_equal(fit, BL_FIT_PAD);
    assert_int_equal(bl_fit_find(&fit, "squash", &err), BL_E_NOT_FOUND);
    assert_non_null(strstr(err.message, "crop, stretch, pad"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_pillow),
        cmocka_unit_test(lines),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests_name("image.fit", tests, NULL, NULL);
}
