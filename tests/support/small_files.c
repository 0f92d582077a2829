#include "support/small_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "checkpoint/safetensors.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP 64
#define MOST_F8 448.0f

static const char description[] = "{\"format\": \"int8_tensorwise\"}",
                  rotated[] =
                      "{\"format\": \"int8_tensorwise\", \"convrot\": true, \"convrot_groupsize\": 64}";

/* The nearest of F8_E4M3. */
static uint8_t f8_of(float v) {
    const float a = fminf(fabsf(v), MOST_F8);
    int e = a > 0 ? ilogbf(a) : -6;
    e = e < -6 ? -6 : e;
    int m = (int)rintf(ldexpf(a, 3 - e)); /* 8 .. 16, below 8 of what is not normal */
    const int code = m < 8 ? m : (e + 6) * 8 + m;
    return (uint8_t)((code > 126 ? 126 : code) | (v < 0 ? 128 : 0));
}

typedef struct sink {
    json_t *header;
    json_t *layers; /* that the header describes */
    FILE *data;
    size_t bytes;
} sink;

static void put(sink *s, const char *name, const char *dtype, const int64_t *shape, int rank,
                const void *data, size_t bytes) {
    json_t *dims = json_array();
    for (int i = 0; i < rank; i++) {
        json_array_append_new(dims, json_integer(shape[i]));
    }
    json_object_set_new(s->header, name,
                        json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", dims, "data_offsets",
                                  (json_int_t)s->bytes, (json_int_t)(s->bytes + bytes)));
    assert_int_equal(fwrite(data, 1, bytes, s->data), bytes);
    s->bytes += bytes;
}

static float most_of(const float *x, int64_t n) {
    float most = 1e-20f;
    for (int64_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(x[i]));
    }
    return most;
}

/* `stem`: the name without ".weight". */
static void put_small(sink *s, const char *stem, const bl_file_tensor *t, const float *x,
                      bl_test_small kind) {
    const int64_t rows = t->shape[0], columns = t->shape[1];
    const bool f8 = kind <= BL_TEST_FP8_ROWS, one = kind == BL_TEST_FP8;
    uint8_t *codes = malloc((size_t)(rows * columns));
    float *scales = malloc((size_t)rows * sizeof *scales);
    char name[300];
    assert_true(codes && scales);
    const float most = one ? most_of(x, rows * columns) : 0;
    for (int64_t r = 0; r < rows; r++) {
        scales[r] = one ? most : most_of(x + r * columns, columns);
        scales[r] /= f8 ? MOST_F8 : 127;
        for (int64_t c = 0; c < columns; c++) {
            const float v = x[r * columns + c] / scales[r];
            codes[r * columns + c] = f8 ? f8_of(v) : (uint8_t)(int8_t)rintf(v);
        }
    }
    put(s, t->name, f8 ? "F8_E4M3" : "I8", t->shape, 2, codes, (size_t)(rows * columns));
    snprintf(name, sizeof name, "%s.%s", stem, one ? "scale_weight" : "weight_scale");
    put(s, name, "F32", (const int64_t[]){rows, 1}, one ? 0 : 2, scales,
        (one ? 1 : (size_t)rows) * sizeof *scales);
    if (kind == BL_TEST_SAID) {
        json_object_set_new(s->layers, stem, json_loads(description, 0, NULL));
    } else if (!f8) {
        const char *text = kind == BL_TEST_CONVROT && columns % GROUP == 0 ? rotated : description;
        snprintf(name, sizeof name, "%s.comfy_quant", stem);
        put(s, name, "U8", (const int64_t[]){(int64_t)strlen(text)}, 1, text, strlen(text));
    }
    free(codes);
    free(scales);
}

static void write_file(const char *to, sink *s) {
    char *header = json_dumps(s->header, JSON_COMPACT), *data = calloc(s->bytes + 1, 1);
    FILE *f = fopen(to, "wbe");
    assert_true(header && data && f);
    const uint64_t length = strlen(header);
    rewind(s->data);
    assert_int_equal(fread(data, 1, s->bytes, s->data), s->bytes);
    assert_int_equal(fwrite(&length, sizeof length, 1, f), 1);
    assert_int_equal(fwrite(header, 1, length, f), length);
    assert_int_equal(fwrite(data, 1, s->bytes, f), s->bytes);
    assert_int_equal(fclose(f), 0);
    free(header);
    free(data);
}

void bl_test_write_small(const char *to, const char *from, bl_test_small kind) {
    static const char leaf[] = ".weight";
    bl_safetensors *f;
    bl_error err;
    int count;
    int matrices = 0;
    sink s = {.header = json_object(), .layers = json_object(), .data = tmpfile()};
    assert_true(s.header && s.layers && s.data);
    assert_int_equal(bl_safetensors_open(&f, from, &err), 0);
    const bl_file_tensor *all = bl_safetensors_tensors(f, &count);
    for (int i = 0; i < count; i++) {
        const bl_file_tensor *t = &all[i];
        const size_t n = strlen(t->name), m = strlen(leaf);
        char stem[256];
        float *x = malloc(t->bytes + 1);
        assert_non_null(x);
        assert_int_equal(bl_safetensors_read(f, t->offset, t->bytes, x, &err), 0);
        snprintf(stem, sizeof stem, "%.*s", (int)(n > m ? n - m : 0), t->name);
        if (t->dtype == BL_F32 && t->rank == 2 && n > m && !strcmp(t->name + n - m, leaf)) {
            put_small(&s, stem, t, x, kind == BL_TEST_ALL ? (bl_test_small)(matrices++ % BL_TEST_ALL) : kind);
        } else {
            put(&s, t->name, t->dtype_name, t->shape, t->rank, x, t->bytes);
        }
        free(x);
    }
    if (kind == BL_TEST_FP8 || kind == BL_TEST_ALL) {
        put(&s, "scaled_fp8", "F8_E4M3", (const int64_t[]){2}, 1, "\0", 2);
    }
    if (json_object_size(s.layers)) {
        char *text = json_dumps(s.layers, JSON_COMPACT), *whole = NULL;
        assert_true(text && asprintf(&whole, "{\"layers\": %s}", text) > 0);
        json_object_set_new(s.header, "__metadata__", json_pack("{s:s}", "_quantization_metadata", whole));
        free(whole);
        free(text);
    }
    write_file(to, &s);
    json_decref(s.layers);
    json_decref(s.header);
    fclose(s.data);
    bl_safetensors_close(&f);
}
