/* PNG out and in: bytes, text chunks, colour types, files that are there already, damaged files. */
#include "image/png.h"

#include <dirent.h>
#include <png.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define W 13
#define H 9

static uint8_t picture[H * W * 3];
static char folder[64];

static int setup(void **state) {
    (void)state;
    uint32_t seed = 9;
    for (size_t i = 0; i < sizeof picture; i++) {
        seed = seed * 1664525u + 1013904223u;
        picture[i] = (uint8_t)(seed >> 24);
    }
    strcpy(folder, "/tmp/ballast-png-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

/* Removes what the tests wrote; a temporary file left behind is counted. */
static int teardown(void **state) {
    (void)state;
    DIR *d = opendir(folder);
    int left = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        left += strstr(e->d_name, ".tmp") != NULL;
        unlink(path);
    }
    closedir(d);
    rmdir(folder);
    return left;
}

static void what_was_encoded_decodes(void **state) {
    (void)state;
    static const char *const texts[] = {NULL, "", "a cat\nSteps: 20", "caf\xc3\xa9 \xc2\xa9",
                                        "\xe7\x8c\xab \xf0\x9f\x90\x88\nNegative prompt: x"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint8_t *data, *again;
        size_t bytes, bytes_again;
        assert_int_equal(bl_png_encode(&data, &bytes, picture, H, W, texts[i], NULL), 0);
        assert_int_equal(bl_png_encode(&again, &bytes_again, picture, H, W, texts[i], NULL), 0);
        assert_int_equal(bytes, bytes_again);
        assert_memory_equal(data, again, bytes);
        bl_picture p;
        assert_int_equal(bl_png_decode(&p, data, bytes, "test", NULL), 0);
        assert_int_equal(p.height, H);
        assert_int_equal(p.width, W);
        assert_memory_equal(p.rgb, picture, sizeof picture);
        if (texts[i]) {
            assert_string_equal(p.parameters, texts[i]);
            /* tEXt where Latin-1 can hold it, else iTXt: the kind stands before the key. */
            const char *kind = i < 4 ? "tEXtparameters" : "iTXtparameters";
            assert_non_null(memmem(data, bytes, kind, strlen(kind)));
        } else {
            assert_null(p.parameters);
        }
        bl_picture_clear(&p);
        free(again);
        free(data);
    }
}

static void unusable_pictures_are_not_encoded(void **state) {
    (void)state;
    uint8_t *data;
    size_t bytes;
    bl_error err;
    assert_int_equal(bl_png_encode(&data, &bytes, picture, 0, W, NULL, &err), BL_E_ARGUMENT);
    assert_int_equal(bl_png_encode(&data, &bytes, picture, 1, BL_PNG_MAX_SIDE + 1, NULL, &err),
                     BL_E_ARGUMENT);
    assert_int_equal(bl_png_encode(&data, &bytes, picture, H, W, "caf\xe9", &err), BL_E_ARGUMENT);
    assert_int_equal(bl_png_encode(&data, &bytes, picture, H, W, "\xed\xa0\x80", &err), BL_E_ARGUMENT);
}

static void a_file_that_is_there_is_kept(void **state) {
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/a.png", folder);
    bl_error err;
    bl_picture p;
    assert_int_equal(bl_png_write(path, picture, H, W, "first", false, &err), 0);
    assert_int_equal(bl_png_write(path, picture, H, W, "second", false, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "a.png exists already"));
    assert_int_equal(bl_png_read(&p, path, &err), 0);
    assert_string_equal(p.parameters, "first");
    bl_picture_clear(&p);
    assert_int_equal(bl_png_write(path, picture, H, W, "third", true, &err), 0);
    assert_int_equal(bl_png_read(&p, path, &err), 0);
    assert_string_equal(p.parameters, "third");
    bl_picture_clear(&p);
    struct stat st;
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666 & ~mask);
}

static void files_that_cannot_be_used_are_named(void **state) {
    (void)state;
    char path[128];
    bl_error err;
    bl_picture p;
    snprintf(path, sizeof path, "%s/no/such/folder.png", folder);
    assert_int_equal(bl_png_write(path, picture, H, W, NULL, false, &err), BL_E_IO);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(bl_png_read(&p, path, &err), BL_E_NOT_FOUND);
    assert_int_equal(bl_png_write(folder, picture, H, W, NULL, true, &err), BL_E_ARGUMENT);
    assert_int_equal(bl_png_read(&p, folder, &err), BL_E_ARGUMENT);
    assert_int_equal(bl_png_read(&p, "/dev/null", &err), BL_E_ARGUMENT);
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff, 0xe0, 0, 16, 'J', 'F', 'I', 'F'};
    assert_int_equal(bl_png_decode(&p, jpeg, sizeof jpeg, "in.jpg", &err), BL_E_FORMAT);
    assert_non_null(strstr(err.message, "JPEG"));
    assert_int_equal(bl_png_decode(&p, jpeg, 0, "empty", &err), BL_E_FORMAT);
}

typedef struct buffer {
    uint8_t data[1 << 16];
    size_t bytes;
} buffer;

static void append(png_structp png, png_bytep data, size_t n) {
    buffer *b = png_get_io_ptr(png);
    assert_true(b->bytes + n <= sizeof b->data);
    memcpy(b->data + b->bytes, data, n);
    b->bytes += n;
}

static void flush(png_structp png) {
    (void)png;
}

/* A PNG of the colour type and depth at hand; rows as they stand in the file, before filters. */
static void make(buffer *b, int width, int height, int depth, int colour, int interlace, const uint8_t *rows,
                 size_t stride) {
    static const png_color palette[3] = {{255, 0, 0}, {0, 255, 0}, {10, 20, 30}};
    static const png_byte alphas[2] = {255, 0};
    b->bytes = 0;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, b, append, flush);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, colour, interlace, 0, 0);
    if (colour == PNG_COLOR_TYPE_PALETTE) {
        png_set_PLTE(png, info, palette, 3);
        png_set_tRNS(png, info, alphas, 2, NULL);
    }
    png_write_info(png, info);
    png_bytep pointers[64];
    for (int y = 0; y < height; y++) {
        pointers[y] = (png_bytep)(uintptr_t)(rows + (size_t)y * stride);
    }
    png_write_image(png, pointers);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
}

static void check_pixels(const buffer *b, int count, const uint8_t *rgb) {
    bl_picture p;
    bl_error err = {0};
    assert_int_equal(bl_png_decode(&p, b->data, b->bytes, "test", &err), 0);
    assert_int_equal(p.width * p.height, count);
    assert_memory_equal(p.rgb, rgb, (size_t)count * 3);
    bl_picture_clear(&p);
}

static void colour_types_become_rgb(void **state) {
    (void)state;
    static buffer b;
    make(&b, 4, 1, 1, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t[]){0xa0}, 1);
    check_pixels(&b, 4, (const uint8_t[]){255, 255, 255, 0, 0, 0, 255, 255, 255, 0, 0, 0});
    make(&b, 2, 1, 4, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t[]){0x3f}, 1);
    check_pixels(&b, 2, (const uint8_t[]){51, 51, 51, 255, 255, 255});
    make(&b, 2, 1, 8, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t[]){7, 200}, 2);
    check_pixels(&b, 2, (const uint8_t[]){7, 7, 7, 200, 200, 200});
    make(&b, 2, 1, 16, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t[]){7, 255, 200, 0}, 4);
    check_pixels(&b, 2, (const uint8_t[]){7, 7, 7, 200, 200, 200});
    make(&b, 1, 1, 16, PNG_COLOR_TYPE_RGB, 0, (const uint8_t[]){1, 9, 2, 9, 3, 250}, 6);
    check_pixels(&b, 1, (const uint8_t[]){1, 2, 3});
    /* Over white: opaque, clear, and 100 of 255 of black. */
    make(&b, 3, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, 0, (const uint8_t[]){9, 255, 9, 0, 0, 100}, 6);
    check_pixels(&b, 3, (const uint8_t[]){9, 9, 9, 255, 255, 255, 155, 155, 155});
    make(&b, 2, 1, 8, PNG_COLOR_TYPE_RGB_ALPHA, 0, (const uint8_t[]){1, 2, 3, 255, 50, 60, 70, 0}, 8);
    check_pixels(&b, 2, (const uint8_t[]){1, 2, 3, 255, 255, 255});
    make(&b, 1, 1, 16, PNG_COLOR_TYPE_RGB_ALPHA, 0, (const uint8_t[]){200, 1, 100, 1, 0, 1, 128, 1}, 8);
    check_pixels(&b, 1, (const uint8_t[]){227, 177, 127});
    make(&b, 3, 1, 2, PNG_COLOR_TYPE_PALETTE, 0, (const uint8_t[]){0x18}, 1);
    check_pixels(&b, 3, (const uint8_t[]){255, 0, 0, 255, 255, 255, 10, 20, 30});
    make(&b, W, H, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_ADAM7, picture, W * 3);
    check_pixels(&b, W * H, picture);
}

static void files_cut_short_are_refused(void **state) {
    (void)state;
    uint8_t *data;
    size_t bytes;
    assert_int_equal(bl_png_encode(&data, &bytes, picture, H, W, "text", NULL), 0);
    for (size_t n = 0; n < bytes; n++) {
        uint8_t *copy = malloc(n ? n : 1); /* of the exact size, so that a byte read too far is seen */
        assert_non_null(copy);
        memcpy(copy, data, n);
        bl_picture p;
        bl_error err = {0};
        assert_int_equal(bl_png_decode(&p, copy, n, "cut.png", &err), BL_E_FORMAT);
        assert_non_null(strstr(err.message, "cut.png"));
        free(copy);
    }
    free(data);
}

static uint32_t crc(const uint8_t *p, size_t n) {
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++) {
            c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        }
    }
    return ~c;
}

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_big_endian(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> (24 - 8 * i));
    }
}

/* Makes the checksums right again, as far as the chunks can be followed. */
static void repair(uint8_t *data, size_t bytes) {
    for (size_t at = 8; at + 12 <= bytes;) {
        uint32_t length = big_endian(data + at);
        if (length > bytes - at - 12) {
            return;
        }
        put_big_endian(data + at + 8 + length, crc(data + at + 4, length + 4));
        at += length + 12;
    }
}

static void a_picture_that_is_too_large_is_refused(void **state) {
    (void)state;
    static const uint32_t sizes[][2] = {
        {0x7fffffff, 0x7fffffff}, {65535, 65535}, {65536, 1}, {1, 0x10000000}};
    uint8_t *data;
    size_t bytes;
    assert_int_equal(bl_png_encode(&data, &bytes, picture, H, W, NULL, NULL), 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        put_big_endian(data + 16, sizes[i][0]);
        put_big_endian(data + 20, sizes[i][1]);
        repair(data, bytes);
        bl_picture p;
        bl_error err;
        assert_int_equal(bl_png_decode(&p, data, bytes, "huge.png", &err), BL_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "more than can be used"));
    }
    free(data);
}

static void random_damage_is_survived(void **state) {
    (void)state;
    static buffer b, copy;
    static const uint8_t indices[64] = {0, 1, 2, 2, 1};
    uint32_t seed = 11;
    int refused = 0;
    for (int i = 0; i < 4000; i++) {
        static const int colours[] = {PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_PALETTE, PNG_COLOR_TYPE_RGB_ALPHA};
        int colour = colours[i % 3];
        if (i % 2) {
            make(&b, 8, 8, 8, colour, i & 4 ? PNG_INTERLACE_ADAM7 : 0,
                 colour == PNG_COLOR_TYPE_PALETTE ? indices : picture, 8);
        } else {
            uint8_t *data;
            assert_int_equal(
                bl_png_encode(&data, &b.bytes, picture, H, W, i & 4 ? "a: b" : "\xe7\x8c\xab", NULL), 0);
            memcpy(b.data, data, b.bytes);
            free(data);
        }
        copy = b;
        for (int k = 0; k < 1 + i % 5; k++) {
            seed = seed * 1664525u + 1013904223u;
            size_t at = 8 + (seed >> 8) % (copy.bytes - 8);
            copy.data[at] = (uint8_t)(seed >> 3);
        }
        repair(copy.data, copy.bytes);
        bl_picture p;
        bl_error err = {0};
        int rc = bl_png_decode(&p, copy.data, copy.bytes, "damaged.png", &err);
        if (rc == BL_OK) {
            bl_picture_clear(&p);
        } else {
            refused++;
            assert_true(rc == BL_E_FORMAT || rc == BL_E_UNSUPPORTED);
            assert_true(err.message[0]);
        }
    }
    assert_true(refused > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_encoded_decodes),
        cmocka_unit_test(unusable_pictures_are_not_encoded),
        cmocka_unit_test(a_file_that_is_there_is_kept),
        cmocka_unit_test(files_that_cannot_be_used_are_named),
        cmocka_unit_test(colour_types_become_rgb),
        cmocka_unit_test(files_cut_short_are_refused),
        cmocka_unit_test(a_picture_that_is_too_large_is_refused),
        cmocka_unit_test(random_damage_is_survived),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
