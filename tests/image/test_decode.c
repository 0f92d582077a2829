/* JPEG and WebP: what is encoded is read back alike, and any damage is refused. */
#include "image/decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <jpeglib.h>
#include <stdlib.h>
#include <string.h>
#include <webp/encode.h>
#include <cmocka.h>

#define WIDTH 40
#define HEIGHT 24

#define TEXT "a fox, \u72d0\nSteps: 20, Sampler: Euler"

typedef int encoder(uint8_t **out, size_t *bytes, const uint8_t *rgb, int64_t height, int64_t width,
                    int quality, const char *parameters, bl_error *err);

static uint8_t rgb[HEIGHT * WIDTH * 3];

static void paint(void) {
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++) {
            uint8_t *p = rgb + 3 * (y * WIDTH + x);
            p[0] = (uint8_t)(x * 6);
            p[1] = (uint8_t)(y * 10);
            p[2] = 90;
        }
    }
}

static void check_form(encoder *encode) {
    bl_error err = {0};
    uint8_t *file = NULL;
    size_t bytes = 0;
    bl_picture picture = {0};
    long apart = 0;
    paint();
    assert_int_equal(encode(&file, &bytes, rgb, HEIGHT, WIDTH, 95, TEXT, &err), 0);
    assert_int_equal(bl_picture_decode(&picture, file, bytes, 0, "it", &err), 0);
    assert_int_equal(picture.width, WIDTH);
    assert_int_equal(picture.height, HEIGHT);
    assert_string_equal(picture.parameters, TEXT);
    assert_false(picture.transparent);
    for (int i = 0; i < HEIGHT * WIDTH * 3; i++) {
        apart += labs((long)picture.rgb[i] - rgb[i]);
    }
    assert_true(apart < 6L * HEIGHT * WIDTH * 3);
    bl_picture_clear(&picture);
    assert_int_equal(bl_picture_decode(&picture, file, bytes, WIDTH * HEIGHT - 1, "it", &err),
                     BL_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "40 x 24"));
    for (size_t n = 0; n < bytes - 4; n++) {
        uint8_t *cut = malloc(n ? n : 1); /* its own block: a read past the end is seen */
        memcpy(cut, file, n);
        assert_int_not_equal(bl_picture_decode(&picture, cut, n, 0, "it", &err), 0);
        assert_null(picture.rgb);
        free(cut);
    }
    for (size_t i = 0; i < bytes; i++) { /* an answer or a refusal, and nothing lost */
        file[i] ^= 0x5a;
        if (!bl_picture_decode(&picture, file, bytes, 1 << 20, "it", &err)) {
            bl_picture_clear(&picture);
        }
        file[i] ^= 0x5a;
    }
    free(file);
    assert_int_equal(encode(&file, &bytes, rgb, 70000, WIDTH, 95, NULL, &err), BL_E_ARGUMENT);
}

static void test_jpeg(void **state) {
    (void)state;
    check_form(bl_jpeg_encode);
}

static void test_webp(void **state) {
    (void)state;
    check_form(bl_webp_encode);
}

/* A marker with EXIF's orientation 6 (turned to the right) behind the start of a JPEG. */
static void test_orientation(void **state) {
    static const uint8_t exif[] = {0xff, 0xe1, 0, 34, 'E', 'x', 'i', 'f', 0, 0,    'M', 'M',
                                   0,    42,   0, 0,  0,   8,   0,   1,   1, 0x12, 0,   3,
                                   0,    0,    0, 1,  0,   6,   0,   0,   0, 0,    0,   0};
    bl_error err = {0};
    uint8_t *file = NULL;
    size_t bytes = 0;
    bl_picture picture = {0};
    (void)state;
    paint();
    assert_int_equal(bl_jpeg_encode(&file, &bytes, rgb, HEIGHT, WIDTH, 95, NULL, &err), 0);
    uint8_t *turned = malloc(bytes + sizeof exif);
    memcpy(turned, file, 2);
    memcpy(turned + 2, exif, sizeof exif);
    memcpy(turned + 2 + sizeof exif, file + 2, bytes - 2);
    assert_int_equal(bl_picture_decode(&picture, turned, bytes + sizeof exif, 0, "it", &err), 0);
    assert_int_equal(picture.width, HEIGHT);
    assert_int_equal(picture.height, WIDTH);
    bl_picture_clear(&picture);
    free(turned);
    free(file);
}

/* A JPEG of these colours: grey, or inks with or without the marker of Adobe's programs, which turns them
 * round.
 */
static uint8_t *write_jpeg(unsigned long *bytes, J_COLOR_SPACE space, int components, bool adobe) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    uint8_t *file = NULL, row[WIDTH * 4];
    *bytes = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &file, bytes);
    jpeg.image_width = WIDTH;
    jpeg.image_height = HEIGHT;
    jpeg.input_components = components;
    jpeg.in_color_space = space;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 100, TRUE);
    jpeg.write_Adobe_marker = adobe;
    jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++) { /* grey 200; cyan 255, magenta 0, yellow 51, black 51 */
            static const uint8_t inks[4] = {255, 0, 51, 51};
            for (int c = 0; c < components; c++) {
                row[components * x + c] = (uint8_t)(components == 1 ? 200 : adobe ? 255 - inks[c] : inks[c]);
            }
        }
        JSAMPROW line = row;
        jpeg_write_scanlines(&jpeg, &line, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    return file;
}

static void test_colours(void **state) {
    static const struct {
        J_COLOR_SPACE space;
        int components;
        bool adobe;
        uint8_t rgb[3];
    } cases[] = {{JCS_GRAYSCALE, 1, false, {200, 200, 200}},
                 {JCS_CMYK, 4, false, {0, 204, 163}},
                 {JCS_CMYK, 4, true, {0, 204, 163}}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned long bytes;
        bl_picture picture = {0};
        uint8_t *file = write_jpeg(&bytes, cases[i].space, cases[i].components, cases[i].adobe);
        assert_int_equal(bl_picture_decode(&picture, file, bytes, 0, "it", NULL), 0);
        for (int c = 0; c < 3; c++) {
            assert_true(labs((long)picture.rgb[c] - cases[i].rgb[c]) <= 2);
        }
        bl_picture_clear(&picture);
        free(file);
    }
}

/* Half of it is seen through. */
static void test_transparent(void **state) {
    uint8_t rgba[4 * 8] = {0}, *file = NULL;
    bl_picture picture = {0};
    (void)state;
    for (int opaque = 0; opaque < 2; opaque++) {
        for (int i = 0; i < 8; i++) {
            rgba[4 * i + 3] = opaque ? 255 : 0;
        }
        size_t bytes = WebPEncodeLosslessRGBA(rgba, 8, 1, 32, &file);
        assert_int_equal(bl_picture_decode(&picture, file, bytes, 0, "it", NULL), 0);
        assert_int_equal(picture.transparent, !opaque);
        assert_int_equal(picture.rgb[0], opaque ? 0 : 255);
        bl_picture_clear(&picture);
        WebPFree(file);
    }
}

static void test_others(void **state) {
    bl_error err = {0};
    bl_picture picture = {0};
    (void)state;
    assert_int_equal(bl_picture_decode(&picture, (const uint8_t *)"GIF89a..........", 16, 0, "it", &err),
                     BL_E_FORMAT);
    assert_non_null(strstr(err.message, "PNG, JPEG or WebP"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jpeg),        cmocka_unit_test(test_webp),
        cmocka_unit_test(test_orientation), cmocka_unit_test(test_colours),
        cmocka_unit_test(test_transparent), cmocka_unit_test(test_others),
    };
    return cmocka_run_group_tests_name("image.decode", tests, NULL, NULL);
}
