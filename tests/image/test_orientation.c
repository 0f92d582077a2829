/* Pictures that a camera held sideways stand upright once they are read. */
#include "image/exif.h"
#include "image/png.h"

#include <png.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* [2, 3, 3]: each pixel's first byte is its number. */
static const uint8_t picture[18] = {0, 9, 9, 1, 9, 9, 2, 9, 9, 3, 9, 9, 4, 9, 9, 5, 9, 9};

/* What is seen of 0 1 2 / 3 4 5, row by row, by the definition of the tag: where its row 0 and column 0
 * belong. */
static const struct {
    int height, width;
    uint8_t seen[6];
} right[9] = {
    [1] = {2, 3, {0, 1, 2, 3, 4, 5}}, [2] = {2, 3, {2, 1, 0, 5, 4, 3}}, /* top right */
    [3] = {2, 3, {5, 4, 3, 2, 1, 0}},                                   /* bottom right */
    [4] = {2, 3, {3, 4, 5, 0, 1, 2}},                                   /* bottom left */
    [5] = {3, 2, {0, 3, 1, 4, 2, 5}},                                   /* left top */
    [6] = {3, 2, {3, 0, 4, 1, 5, 2}},                                   /* right top */
    [7] = {3, 2, {5, 2, 4, 1, 3, 0}},                                   /* right bottom */
    [8] = {3, 2, {2, 5, 1, 4, 0, 3}},                                   /* left bottom */
};

static void make_exif(uint8_t exif[26], int orientation, int big) {
    static const uint8_t motorola[26] = "MM\0*\0\0\0\10\0\1\1\22\0\3\0\0\0\1\0\0\0\0\0\0\0";
    static const uint8_t intel[26] = "II*\0\10\0\0\0\1\0\22\1\3\0\1\0\0\0\0\0\0\0\0\0\0";
    memcpy(exif, big ? motorola : intel, 26);
    exif[big ? 19 : 18] = (uint8_t)orientation;
}

static void write_png(char **data, size_t *bytes, uint8_t *exif, png_uint_32 n) {
    FILE *f = open_memstream(data, bytes);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    assert_non_null(f);
    assert_false(setjmp(png_jmpbuf(png)));
    png_init_io(png, f);
    png_set_IHDR(png, info, 3, 2, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_set_eXIf_1(png, info, n, exif);
    png_write_info(png, info);
    for (int y = 0; y < 2; y++) {
        png_write_row(png, picture + 9 * y);
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    fclose(f);
}

static void all_eight_stand_upright(void **state) {
    (void)state;
    for (int i = 2; i < 18; i++) {
        int o = i / 2;
        uint8_t exif[26];
        char *data;
        size_t bytes;
        bl_picture p;
        make_exif(exif, o, i % 2);
        assert_int_equal(bl_exif_orientation(exif, sizeof exif), o);
        write_png(&data, &bytes, exif, sizeof exif);
        assert_int_equal(bl_png_decode(&p, (uint8_t *)data, bytes, "test", NULL), 0);
        assert_int_equal(p.height, right[o].height);
        assert_int_equal(p.width, right[o].width);
        for (int k = 0; k < 6; k++) {
            if (p.rgb[3 * k] != right[o].seen[k]) {
                fail_msg("orientation %d, pixel %d: %d", o, k, p.rgb[3 * k]);
            }
        }
        bl_picture_clear(&p);
        free(data);
    }
}

/* Whatever else it is, it stands as it lies in the file. */
static void damaged_blocks_say_nothing(void **state) {
    uint8_t exif[26];
    (void)state;
    make_exif(exif, 6, 1);
    for (size_t n = 0; n < 22; n++) {
        assert_int_equal(bl_exif_orientation(exif, n), 1);
    }
    make_exif(exif, 9, 1);
    assert_int_equal(bl_exif_orientation(exif, sizeof exif), 1);
    make_exif(exif, 6, 1);
    memset(exif + 4, 0xff, 4);
    assert_int_equal(bl_exif_orientation(exif, sizeof exif), 1);
    make_exif(exif, 6, 0);
    exif[0] = 'X';
    assert_int_equal(bl_exif_orientation(exif, sizeof exif), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_eight_stand_upright),
        cmocka_unit_test(damaged_blocks_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
