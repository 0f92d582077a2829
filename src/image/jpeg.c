#include "image/decode.h"

#include "image/exif.h"

#include <setjmp.h>
#include <stdio.h>
#include <jpeglib.h>
#include <jerror.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MOST_SCANS 200 /* each goes over the whole picture: a small file could ask for thousands */
#define EXIF_MARKER (JPEG_APP0 + 1)

/* What libjpeg calls in place of exit(). */
struct trouble {
    struct jpeg_error_mgr manager; /* first */
    jmp_buf back;
    char message[JMSG_LENGTH_MAX];
    bool memory;
};

struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_progress_mgr progress;
    struct trouble trouble;
    uint8_t *rgb;
    JSAMPLE *row; /* of a picture in four colours */
    bool too_large;
    size_t most_pixels;
    int orientation;
    char *parameters; /* owned */
};

static void on_error(j_common_ptr jpeg) {
    struct trouble *t = (struct trouble *)(void *)jpeg->err;
    t->memory = jpeg->err->msg_code == JERR_OUT_OF_MEMORY;
    jpeg->err->format_message(jpeg, t->message);
    longjmp(t->back, 1);
}

static void on_message(j_common_ptr jpeg, int level) {
    jpeg->err->num_warnings += level < 0;
}

static void on_progress(j_common_ptr common) {
    j_decompress_ptr jpeg = (j_decompress_ptr)common;
    struct trouble *t = (struct trouble *)(void *)common->err;
    if (jpeg->input_scan_number > MOST_SCANS) {
        snprintf(t->message, sizeof t->message, "it has more than %d scans", MOST_SCANS);
        longjmp(t->back, 1);
    }
}

static void watch(struct jpeg_error_mgr *manager) {
    jpeg_std_error(manager);
    manager->error_exit = on_error;
    manager->emit_message = on_message;
}

/* What the first EXIF marker says; the list of markers lasts until the picture is finished. */
static bool use_exif(struct decoder *d) {
    jpeg_saved_marker_ptr m = d->jpeg.marker_list;
    while (m && (m->marker != EXIF_MARKER || m->data_length <= 6 || memcmp(m->data, "Exif\0\0", 6) != 0)) {
        m = m->next;
    }
    d->orientation = m ? bl_exif_orientation(m->data, m->data_length) : 1;
    return !m || !bl_exif_comment(&d->parameters, m->data, m->data_length, NULL);
}

/* Inks on white; Adobe's programs, whose files carry a marker, write them the other way round. */
static void from_inks(uint8_t *rgb, const JSAMPLE *inks, size_t width, bool inverted) {
    for (size_t x = 0; x < width; x++) {
        for (int c = 0; c < 3; c++) {
            unsigned ink = inks[4 * x + (size_t)c], black = inks[4 * x + 3];
            unsigned light = inverted ? ink : 255 - ink, rest = inverted ? black : 255 - black;
            rgb[3 * x + (size_t)c] = (uint8_t)((light * rest + 127) / 255);
        }
    }
}

/* A frame of its own for setjmp: what it leaves behind is all in *d. */
static bool decode(struct decoder *d, const uint8_t *data, size_t bytes) {
    if (setjmp(d->trouble.back)) {
        return false;
    }
    struct jpeg_decompress_struct *jpeg = &d->jpeg;
    jpeg_create_decompress(jpeg);
    d->progress.progress_monitor = on_progress;
    jpeg->progress = &d->progress;
    jpeg_mem_src(jpeg, data, bytes);
    jpeg_save_markers(jpeg, EXIF_MARKER, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    if ((uint64_t)jpeg->image_width * jpeg->image_height > d->most_pixels) {
        d->too_large = true;
        return false;
    }
    if (!use_exif(d)) {
        d->trouble.memory = true;
        return false;
    }
    bool inks = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->out_color_space = inks ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(jpeg);
    size_t width = jpeg->output_width;
    d->rgb = malloc(width * jpeg->output_height * 3);
    d->row = inks ? malloc(width * 4) : NULL;
    if (!d->rgb || (inks && !d->row)) {
        d->trouble.memory = true;
        return false;
    }
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *rgb = d->rgb + jpeg->output_scanline * width * 3;
        JSAMPROW row = inks ? d->row : rgb;
        jpeg_read_scanlines(jpeg, &row, 1);
        if (inks) {
            from_inks(rgb, d->row, width, jpeg->saw_Adobe_marker);
        }
    }
    jpeg_finish_decompress(jpeg);
    if (jpeg->err->num_warnings) {
        snprintf(d->trouble.message, sizeof d->trouble.message, "it is cut short or damaged");
        return false;
    }
    return true;
}

int bl_jpeg_decode(bl_picture *out, const uint8_t *data, size_t bytes, size_t most_pixels, const char *name,
                   bl_error *err) {
    struct decoder d = {.most_pixels = most_pixels};
    int rc = BL_OK;
    watch(&d.trouble.manager);
    d.jpeg.err = &d.trouble.manager;
    if (!decode(&d, data, bytes)) {
        rc = d.too_large
                 ? bl_picture_too_large(name, d.jpeg.image_width, d.jpeg.image_height, most_pixels, err)
             : d.trouble.memory
                 ? bl_fail_memory(err, name, (unsigned long long)d.jpeg.image_width * d.jpeg.image_height * 3)
                 : bl_fail(err, BL_E_FORMAT, "%s cannot be read as JPEG: %s", name, d.trouble.message);
        free(d.rgb);
        free(d.parameters);
    } else {
        *out = (bl_picture){.rgb = d.rgb,
                            .height = d.jpeg.output_height,
                            .width = d.jpeg.output_width,
                            .parameters = d.parameters};
        rc = bl_picture_turn(out, d.orientation, err);
        if (rc) {
            bl_picture_clear(out);
        }
    }
    free(d.row);
    jpeg_destroy_decompress(&d.jpeg);
    return rc;
}

struct encoder {
    struct jpeg_compress_struct jpeg;
    struct trouble trouble;
    unsigned char *file;
    unsigned long bytes;
    uint8_t *exif; /* the marker's bytes, or NULL */
    size_t exif_bytes;
};

static bool encode(struct encoder *e, const uint8_t *rgb, int64_t height, int64_t width, int quality) {
    if (setjmp(e->trouble.back)) {
        return false;
    }
    jpeg_create_compress(&e->jpeg);
    jpeg_mem_dest(&e->jpeg, &e->file, &e->bytes);
    e->jpeg.image_width = (JDIMENSION)width;
    e->jpeg.image_height = (JDIMENSION)height;
    e->jpeg.input_components = 3;
    e->jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&e->jpeg);
    jpeg_set_quality(&e->jpeg, quality, TRUE);
    jpeg_start_compress(&e->jpeg, TRUE);
    if (e->exif) {
        jpeg_write_marker(&e->jpeg, EXIF_MARKER, e->exif, (unsigned)e->exif_bytes);
    }
    while (e->jpeg.next_scanline < e->jpeg.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(rgb + (size_t)e->jpeg.next_scanline * (size_t)width * 3);
        jpeg_write_scanlines(&e->jpeg, &row, 1);
    }
    jpeg_finish_compress(&e->jpeg);
    return true;
}

/* The marker that carries the parameters. */
static int make_marker(struct encoder *e, const char *parameters, bl_error *err) {
    uint8_t *block;
    size_t n;
    int rc = bl_exif_encode(&block, &n, parameters, err);
    if (rc) {
        return rc;
    }
    e->exif_bytes = n + 6;
    e->exif = malloc(e->exif_bytes);
    if (e->exif) {
        memcpy(e->exif, "Exif\0\0", 6);
        memcpy(e->exif + 6, block, n);
    }
    free(block);
    return e->exif ? BL_OK : bl_fail_memory(err, "the picture's parameters", n);
}

int bl_jpeg_encode(uint8_t **out, size_t *bytes, const uint8_t *rgb, int64_t height, int64_t width,
                   int quality, const char *parameters, bl_error *err) {
    struct encoder e = {.file = NULL};
    *out = NULL;
    if (width < 1 || height < 1 || width > 65500 || height > 65500) {
        return bl_fail(err, BL_E_ARGUMENT, "a JPEG cannot have %lld x %lld pixels", (long long)width,
                       (long long)height);
    }
    int rc = parameters ? make_marker(&e, parameters, err) : BL_OK;
    if (rc) {
        return rc;
    }
    watch(&e.trouble.manager);
    e.jpeg.err = &e.trouble.manager;
    bool good = encode(&e, rgb, height, width, quality);
    jpeg_destroy_compress(&e.jpeg);
    free(e.exif);
    if (!good) {
        free(e.file);
        return bl_fail_memory(err, "a JPEG", 0);
    }
    *out = e.file;
    *bytes = e.bytes;
    return BL_OK;
}
