#include "support/gguf.h"

#include "checkpoint/safetensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BLOCK 32
#define BLOCK_BYTES 34
#define ALIGNMENT 32

/* The file as it grows. */
typedef struct sink {
    FILE *f;
    uint64_t at;
} sink;

static void put(sink *s, const void *data, size_t bytes) {
    assert_int_equal(fwrite(data, 1, bytes, s->f), bytes);
    s->at += bytes;
}

static void put_u32(sink *s, uint32_t v) {
    put(s, &v, sizeof v);
}

static void put_u64(sink *s, uint64_t v) {
    put(s, &v, sizeof v);
}

static void put_text(sink *s, const char *text) {
    put_u64(s, strlen(text));
    put(s, text, strlen(text));
}

static void pad(sink *s) {
    static const char zeros[ALIGNMENT];
    put(s, zeros, (ALIGNMENT - s->at % ALIGNMENT) % ALIGNMENT);
}

static int64_t values_of(const bl_file_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) {
        n *= t->shape[i];
    }
    return n;
}

static bool small(const bl_file_tensor *t) {
    return t->rank >= 2 && values_of(t) % BLOCK == 0;
}

static bool reshaped(const bl_file_tensor *t) {
    return small(t) && t->shape[t->rank - 1] % BLOCK != 0;
}

static uint64_t bytes_of(const bl_file_tensor *t) {
    return small(t) ? (uint64_t)values_of(t) / BLOCK * BLOCK_BYTES : t->bytes;
}

static void put_shape_key(sink *s, const bl_file_tensor *t) {
    char key[256];
    snprintf(key, sizeof key, "comfy.gguf.orig_shape.%s", t->name);
    put_text(s, key);
    put_u32(s, 9); /* an array of I32 */
    put_u32(s, 5);
    put_u64(s, (uint64_t)t->rank);
    for (int i = 0; i < t->rank; i++) {
        put_u32(s, (uint32_t)t->shape[i]);
    }
}

static void put_entry(sink *s, const bl_file_tensor *t, uint64_t *offset) {
    put_text(s, t->name);
    if (reshaped(t)) {
        put_u32(s, 2);
        put_u64(s, BLOCK);
        put_u64(s, (uint64_t)values_of(t) / BLOCK);
    } else {
        put_u32(s, (uint32_t)t->rank);
        for (int i = t->rank - 1; i >= 0; i--) {
            put_u64(s, (uint64_t)t->shape[i]);
        }
    }
    put_u32(s, small(t) ? 8 : 0); /* Q8_0, F32 */
    put_u64(s, *offset);
    *offset += (bytes_of(t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_block(sink *s, const float *x) {
    float most = 0;
    for (int i = 0; i < BLOCK; i++) {
        most = fmaxf(most, fabsf(x[i]));
    }
    const uint16_t half = bl_f32_to_f16(most / 127);
    const float scale = bl_f16_to_f32(half);
    int8_t codes[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        const float q = scale > 0 ? rintf(x[i] / scale) : 0;
        codes[i] = (int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
    }
    put(s, &half, sizeof half);
    put(s, codes, sizeof codes);
}

void bl_test_write_gguf(const char *to, const char *from) {
    bl_safetensors *f;
    bl_error err;
    int count, keys = 1;
    assert_int_equal(bl_safetensors_open(&f, from, &err), 0);
    const bl_file_tensor *listed = bl_safetensors_tensors(f, &count);
    bl_file_tensor *all = calloc((size_t)count, sizeof *all);
    assert_non_null(all);
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (listed[i].dtype == BL_F32 && listed[i].rank) { /* weights are */
            all[kept++] = listed[i];
            keys += reshaped(&listed[i]);
        }
    }
    count = kept;
    sink s = {.f = fopen(to, "wbe")};
    assert_non_null(s.f);
    put(&s, "GGUF", 4);
    put_u32(&s, 3);
    put_u64(&s, (uint64_t)count);
    put_u64(&s, (uint64_t)keys);
    put_text(&s, "general.architecture");
    put_u32(&s, 8);
    put_text(&s, "sd1");
    uint64_t offset = 0;
    for (int i = 0; i < count; i++) {
        if (reshaped(&all[i])) {
            put_shape_key(&s, &all[i]);
        }
    }
    for (int i = 0; i < count; i++) {
        put_entry(&s, &all[i], &offset);
    }
    for (int i = 0; i < count; i++) {
        pad(&s);
        float *x = malloc(all[i].bytes + 1);
        assert_non_null(x);
        assert_int_equal(bl_safetensors_read(f, all[i].offset, all[i].bytes, x, &err), 0);
        for (int64_t b = 0; small(&all[i]) && b < values_of(&all[i]); b += BLOCK) {
            put_block(&s, x + b);
        }
        if (!small(&all[i])) {
            put(&s, x, all[i].bytes);
        }
        free(x);
    }
    pad(&s);
    free(all);
    assert_int_equal(fclose(s.f), 0);
    bl_safetensors_close(&f);
}

/* Does it say how others are stored, and so nothing of what is wide? */
static bool tells_storage(const char *name) {
    static const char *const ends[] = {".comfy_quant", ".scale_weight", ".weight_scale", "scaled_fp8"};
    const size_t n = strlen(name);
    bool tells = false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const size_t m = strlen(ends[i]);
        tells = tells || (n >= m && !strcmp(name + n - m, ends[i]));
    }
    return tells;
}

void bl_test_write_widened(const char *to, const char *from) {
    bl_safetensors *f;
    bl_error err;
    int count;
    if (bl_safetensors_open(&f, from, &err)) {
        fail_msg("%s", err.message);
    }
    const bl_file_tensor *all = bl_safetensors_tensors(f, &count);
    bl_tensor_data *out = calloc((size_t)count, sizeof *out);
    assert_non_null(out);
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (tells_storage(all[i].name)) {
            continue;
        }
        const bl_dtype dtype = bl_tensor_dtype(&all[i]);
        void *data = malloc((size_t)values_of(&all[i]) * bl_dtype_size(dtype) + 1);
        assert_non_null(data);
        assert_int_equal(bl_tensor_read(f, &all[i], 0, values_of(&all[i]), data, &err), 0);
        out[kept] = (bl_tensor_data){.name = all[i].name, .dtype = dtype, .rank = all[i].rank, .data = data};
        memcpy(out[kept++].shape, all[i].shape, sizeof out[0].shape);
    }
    assert_int_equal(bl_safetensors_write(to, out, kept, NULL, 0, &err), 0);
    for (int i = 0; i < kept; i++) {
        free((void *)out[i].data);
    }
    free(out);
    bl_safetensors_close(&f);
}
