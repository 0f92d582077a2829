#include "image/png.h"

#include "image/file.h"
#include "image/latin1.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

#define COMPRESSION 4 /* as small as 6, in less time */

typedef struct writer {
    uint8_t *data;
    size_t bytes, capacity;
    char message[128];
} writer;

static void on_error(png_structp png, png_const_charp message) {
    writer *w = png_get_error_ptr(png);
    strncpy(w->message, message, sizeof w->message - 1);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static void on_write(png_structp png, png_bytep data, size_t bytes) {
    writer *w = png_get_io_ptr(png);
    if (bytes > w->capacity - w->bytes) {
        size_t capacity = 2 * (w->bytes + bytes);
        uint8_t *grown = realloc(w->data, capacity);
        if (!grown) {
            png_error(png, "out of memory");
        }
        w->data = grown;
        w->capacity = capacity;
    }
    memcpy(w->data + w->bytes, data, bytes);
    w->bytes += bytes;
}

static void on_flush(png_structp png) {
    (void)png;
}

/* A frame of its own for setjmp: nothing here changes after it that is read when libpng jumps back. */
static bool write_png(writer *w, png_structp png, png_infop info, const uint8_t *rgb, int64_t height,
                      int64_t width, png_textp text) {
    if (setjmp(png_jmpbuf(png))) {
        return false;
    }
    png_set_write_fn(png, w, on_write, on_flush);
    png_set_user_limits(png, BL_PNG_MAX_SIDE, BL_PNG_MAX_SIDE);
    png_set_compression_level(png, COMPRESSION);
    png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_ALL_FILTERS);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (text) {
        png_set_text(png, info, text, 1);
    }
    png_write_info(png, info);
    for (int64_t y = 0; y < height; y++) {
        png_write_row(png, rgb + y * width * 3);
    }
    png_write_end(png, info);
    return true;
}

static int check_size(int64_t height, int64_t width, bl_error *err) {
    if (height < 1 || width < 1 || height > BL_PNG_MAX_SIDE || width > BL_PNG_MAX_SIDE) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "cannot write a picture of %lld x %lld as PNG: sides must be 1 to %d",
                       (long long)width, (long long)height, BL_PNG_MAX_SIDE);
    }
    return BL_OK;
}

int bl_png_encode(uint8_t **out, size_t *bytes, const uint8_t *rgb, int64_t height, int64_t width,
                  const char *parameters, bl_error *err) {
    *out = NULL;
    int rc = check_size(height, width, err);
    if (rc) {
        return rc;
    }
    bl_charset charset = parameters ? bl_charset_of(parameters) : BL_CHARSET_LATIN1;
    if (charset == BL_CHARSET_NEITHER) {
        return bl_fail(err, BL_E_ARGUMENT, "the parameters to store in the PNG are not UTF-8");
    }
    writer w = {0};
    char key[] = "parameters", none[] = "";
    png_infop info = NULL;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, on_error, on_warning);
    char *value = parameters ? strdup(parameters) : NULL;
    if (png) {
        info = png_create_info_struct(png);
    }
    if (!info || (parameters && !value)) {
        rc = bl_fail_memory(err, "the PNG encoder", 0);
        goto done;
    }
    png_text text = {.compression = PNG_TEXT_COMPRESSION_NONE, .key = key, .text = value};
    if (charset == BL_CHARSET_UTF8) {
        text.compression = PNG_ITXT_COMPRESSION_NONE;
        text.lang = none;
        text.lang_key = none;
    } else if (value) {
        bl_to_latin1(value);
    }
    if (!write_png(&w, png, info, rgb, height, width, value ? &text : NULL)) {
        rc = bl_fail(err, strstr(w.message, "memory") ? BL_E_MEMORY : BL_E_INTERNAL,
                     "cannot encode the PNG: %s", w.message);
        goto done;
    }
    *out = w.data;
    *bytes = w.bytes;
    w.data = NULL;
done:
    free(value);
    png_destroy_write_struct(&png, &info);
    free(w.data);
    return rc;
}

int bl_png_write(const char *path, const uint8_t *rgb, int64_t height, int64_t width, const char *parameters,
                 bool overwrite, bl_error *err) {
    uint8_t *data;
    size_t bytes;
    int rc = bl_png_encode(&data, &bytes, rgb, height, width, parameters, err);
    if (rc) {
        return rc;
    }
    rc = bl_file_write(path, data, bytes, overwrite, err);
    free(data);
    return rc;
}
