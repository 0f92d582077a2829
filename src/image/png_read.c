#include "image/png.h"

#include "image/exif.h"
#include "image/file.h"
#include "image/latin1.h"
#include "image/orientation.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE_BYTES ((size_t)512 << 20)
#define MAX_CHUNK_BYTES ((size_t)8 << 20) /* of one chunk that is no image data, unpacked */
#define MAX_CHUNKS 32 /* of text: together they stay below 256 MB, however well they pack */

typedef struct reader {
    const uint8_t *data;
    size_t bytes, at;
    int64_t height, width;
    uint8_t *pixels; /* [height, width, 4] */
    png_bytep *rows; /* [height] */
    int code;        /* of the failure */
    char message[160];
} reader;

static void on_error(png_structp png, png_const_charp message) {
    reader *r = png_get_error_ptr(png);
    if (!r->message[0]) {
        strncpy(r->message, message, sizeof r->message - 1);
    }
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep out, size_t bytes) {
    reader *r = png_get_io_ptr(png);
    if (bytes > r->bytes - r->at) {
        png_error(png, "the file is cut short");
    }
    memcpy(out, r->data + r->at, bytes);
    r->at += bytes;
}

/* Everything becomes 8-bit RGBA; what has no alpha gets an opaque one. */
static void set_transforms(png_structp png) {
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_gray_to_rgb(png);
    png_set_add_alpha(png, 0xff, PNG_FILLER_AFTER);
    png_set_interlace_handling(png);
}

static void check_size(reader *r, png_structp png) {
    if (r->height > BL_PNG_MAX_SIDE || r->width > BL_PNG_MAX_SIDE ||
        r->height * r->width > BL_PNG_MAX_READ_PIXELS) {
        r->code = BL_E_UNSUPPORTED;
        snprintf(r->message, sizeof r->message, "it has %lld x %lld pixels, more than can be used",
                 (long long)r->width, (long long)r->height);
        png_error(png, r->message);
    }
}

static void allocate(reader *r, png_structp png) {
    r->pixels = malloc((size_t)(r->height * r->width) * 4);
    r->rows = malloc((size_t)r->height * sizeof *r->rows);
    if (!r->pixels || !r->rows) {
        r->code = BL_E_MEMORY;
        png_error(png, "out of memory");
    }
    for (int64_t y = 0; y < r->height; y++) {
        r->rows[y] = r->pixels + y * r->width * 4;
    }
}

/* A frame of its own for setjmp: what it leaves behind is all in *r. */
static bool read_png(reader *r, png_structp png, png_infop info) {
    if (setjmp(png_jmpbuf(png))) {
        return false;
    }
    png_set_read_fn(png, r, on_read);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* ours come with a better message */
    png_set_chunk_malloc_max(png, MAX_CHUNK_BYTES);
    png_set_chunk_cache_max(png, MAX_CHUNKS);
    png_read_info(png, info);
    r->height = (int64_t)png_get_image_height(png, info);
    r->width = (int64_t)png_get_image_width(png, info);
    check_size(r, png);
    set_transforms(png);
    png_read_update_info(png, info);
    if (png_get_rowbytes(png, info) != (size_t)r->width * 4) {
        png_error(png, "unknown colour type");
    }
    allocate(r, png);
    png_read_image(png, r->rows);
    png_read_end(png, info);
    return true;
}

/* The text chunk "parameters" as UTF-8 in *out; NULL if there is none or it is no text. */
static int find_parameters(char **out, png_structp png, png_infop info, bl_error *err) {
    *out = NULL;
    png_textp text = NULL;
    int count = png_get_text(png, info, &text, NULL);
    for (int i = 0; i < count; i++) {
        if (strcmp(text[i].key, "parameters") != 0 || !text[i].text) {
            continue;
        }
        if (text[i].compression < PNG_ITXT_COMPRESSION_NONE) {
            *out = bl_from_latin1(text[i].text, strlen(text[i].text));
        } else if (bl_charset_of(text[i].text) != BL_CHARSET_NEITHER) {
            *out = strdup(text[i].text);
        } else {
            continue;
        }
        return *out ? BL_OK : bl_fail_memory(err, "the PNG's parameters", strlen(text[i].text));
    }
    return BL_OK;
}

/* The division rounds; no halves can occur. */
bool bl_lay_over_white(uint8_t *pixels, int64_t n) {
    bool any = false;
    for (int64_t i = 0; i < n; i++) {
        unsigned alpha = pixels[4 * i + 3];
        any = any || alpha < 255;
        for (int c = 0; c < 3; c++) {
            pixels[3 * i + c] = (uint8_t)((pixels[4 * i + c] * alpha + 255 * (255 - alpha) + 127) / 255);
        }
    }
    return any;
}

int bl_picture_turn(bl_picture *p, int orientation, bl_error *err) {
    if (orientation == 1) {
        return BL_OK;
    }
    size_t size = (size_t)(p->height * p->width) * 3;
    uint8_t *turned = malloc(size);
    if (!turned) {
        return bl_fail_memory(err, "the picture, turned upright", size);
    }
    if (orientation >= 5) {
        int64_t height = p->height;
        p->height = p->width;
        p->width = height;
    }
    bl_turn_upright(turned, p->rgb, p->height, p->width, orientation);
    free(p->rgb);
    p->rgb = turned;
    return BL_OK;
}

static int stand_upright(bl_picture *p, png_structp png, png_infop info, bl_error *err) {
    png_bytep exif = NULL;
    png_uint_32 bytes = 0;
    int orientation = png_get_eXIf_1(png, info, &bytes, &exif) ? bl_exif_orientation(exif, bytes) : 1;
    return bl_picture_turn(p, orientation, err);
}

static int fail_format(const reader *r, const char *name, bl_error *err) {
    if (r->code == BL_E_MEMORY) {
        return bl_fail_memory(err, name, (unsigned long long)(r->height * r->width) * 4);
    }
    return bl_fail(err, r->code, "%s cannot be read as PNG: %s", name, r->message);
}

/* Whether every chunk lies inside the file, up to IEND. libpng makes room for a chunk before it reads it: a
 * length that is a lie would cost up to 2 GB. */
static bool chunks_fit(const uint8_t *data, size_t bytes) {
    for (size_t at = 8; bytes - at >= 12;) {
        const uint8_t *c = data + at;
        size_t length = (size_t)c[0] << 24 | (size_t)c[1] << 16 | (size_t)c[2] << 8 | c[3];
        if (length > bytes - at - 12) {
            return false;
        }
        if (!memcmp(c + 4, "IEND", 4)) {
            return true;
        }
        at += length + 12;
    }
    return false;
}

int bl_png_decode(bl_picture *out, const uint8_t *data, size_t bytes, const char *name, bl_error *err) {
    reader r = {.data = data, .bytes = bytes, .code = BL_E_FORMAT};
    if (bytes < 8 || png_sig_cmp(data, 0, 8)) {
        bool jpeg = bytes >= 3 && !memcmp(data, "\xff\xd8\xff", 3);
        snprintf(r.message, sizeof r.message, "%s",
                 jpeg ? "it is a JPEG: convert it first" : "it is something else");
        return fail_format(&r, name, err);
    }
    if (!chunks_fit(data, bytes)) {
        snprintf(r.message, sizeof r.message, "it is cut short or damaged");
        return fail_format(&r, name, err);
    }
    int rc = BL_OK;
    char *parameters = NULL;
    png_infop info = NULL;
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    if (png) {
        info = png_create_info_struct(png);
    }
    if (!info) {
        rc = bl_fail_memory(err, "the PNG decoder", 0);
        goto done;
    }
    if (!read_png(&r, png, info)) {
        rc = fail_format(&r, name, err);
        goto done;
    }
    rc = find_parameters(&parameters, png, info, err);
    if (rc) {
        goto done;
    }
    bool transparent = bl_lay_over_white(r.pixels, r.height * r.width);
    uint8_t *rgb = realloc(r.pixels, (size_t)(r.height * r.width) * 3);
    *out = (bl_picture){.rgb = rgb ? rgb : r.pixels,
                        .height = r.height,
                        .width = r.width,
                        .parameters = parameters,
                        .transparent = transparent};
    r.pixels = NULL;
    rc = stand_upright(out, png, info, err);
    if (rc) {
        bl_picture_clear(out);
    }
done:
    png_destroy_read_struct(&png, &info, NULL);
    free(r.rows);
    free(r.pixels);
    return rc;
}

int bl_png_read(bl_picture *out, const char *path, bl_error *err) {
    uint8_t *data;
    size_t bytes;
    int rc = bl_file_read(&data, &bytes, path, MAX_FILE_BYTES, err);
    if (rc) {
        return rc;
    }
    rc = bl_png_decode(out, data, bytes, path, err);
    free(data);
    return rc;
}

void bl_picture_clear(bl_picture *picture) {
    free(picture->rgb);
    free(picture->parameters);
    *picture = (bl_picture){0};
}
