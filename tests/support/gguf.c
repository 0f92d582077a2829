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
#define LARGE 256
#define ALIGNMENT 32

/* A type: its number, values and bytes of a block, and where blocks of random codes have a half that is this,
 * so that values are about +-0.1. */
typedef struct type {
    uint32_t number;
    int values, bytes;
    int at[2]; /* -1: it has none */
    float half[2];
} type;

enum { T_F32, T_Q8_0, T_F16, T_BF16, TYPES = 11 };
static const type types[TYPES] = {{0, 1, 4, {-1, -1}, {0, 0}},
                                  {8, BLOCK, 34, {-1, -1}, {0, 0}},
                                  {1, 1, 2, {-1, -1}, {0, 0}},
                                  {30, 1, 2, {-1, -1}, {0, 0}},
                                  {2, BLOCK, 18, {0, -1}, {0.02f, 0}},
                                  {3, BLOCK, 20, {0, 2}, {0.02f, -0.15f}},
                                  {6, BLOCK, 22, {0, -1}, {0.01f, 0}},
                                  {7, BLOCK, 24, {0, 2}, {0.01f, -0.155f}},
                                  {12, LARGE, 144, {0, 2}, {5e-4f, 3.75e-3f}},
                                  {13, LARGE, 176, {0, 2}, {2.5e-4f, 3.9e-3f}},
                                  {14, LARGE, 210, {208, -1}, {7e-5f, 0}}};

/* The file as it grows. */
typedef struct sink {
    FILE *f;
    uint64_t at;
    bool all;      /* types in turn */
    uint32_t seed; /* of random codes */
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

static bool takes_turns(const sink *s, const bl_file_tensor *t) {
    return s->all && small(t) && t->shape[t->rank - 1] % LARGE == 0;
}

/* What tensor number `which` of all is stored as. */
static int type_of(const sink *s, const bl_file_tensor *all, int which) {
    int turn = 0;
    for (int i = 0; i < which; i++) {
        turn += takes_turns(s, &all[i]);
    }
    return !small(&all[which])           ? T_F32
           : takes_turns(s, &all[which]) ? T_Q8_0 + turn % (TYPES - T_Q8_0)
                                         : T_Q8_0;
}

static uint64_t bytes_of(const bl_file_tensor *t, int stored) {
    return (uint64_t)values_of(t) / (uint64_t)types[stored].values * (uint64_t)types[stored].bytes;
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

static void put_entry(sink *s, const bl_file_tensor *t, int stored, uint64_t *offset) {
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
    put_u32(s, types[stored].number);
    put_u64(s, *offset);
    *offset += (bytes_of(t, stored) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
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

static void put_random_block(sink *s, const type *k) {
    uint8_t block[LARGE];
    for (int i = 0; i < k->bytes; i++) {
        s->seed = s->seed * 1664525u + 1013904223u;
        block[i] = (uint8_t)(s->seed >> 24);
    }
    for (int i = 0; i < 2 && k->at[i] >= 0; i++) {
        const uint16_t half = bl_f32_to_f16(k->half[i]);
        memcpy(block + k->at[i], &half, sizeof half);
    }
    put(s, block, (size_t)k->bytes);
}

static void put_values(sink *s, const float *x, int64_t count, int stored) {
    const type *k = &types[stored];
    if (stored == T_F32) {
        put(s, x, (size_t)count * sizeof *x);
        return;
    }
    for (int64_t i = 0; i < count; i += k->values) {
        const uint16_t two = stored == T_F16 ? bl_f32_to_f16(x[i]) : bl_f32_to_bf16(x[i]);
        if (stored == T_Q8_0) {
            put_block(s, x + i);
        } else if (k->values == 1) {
            put(s, &two, sizeof two);
        } else {
            put_random_block(s, k);
        }
    }
}

static void write_gguf(const char *to, const char *from, bool turns) {
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
    sink s = {.f = fopen(to, "wbe"), .all = turns};
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
        put_entry(&s, &all[i], type_of(&s, all, i), &offset);
    }
    for (int i = 0; i < count; i++) {
        pad(&s);
        float *x = malloc(all[i].bytes + 1);
        assert_non_null(x);
        assert_int_equal(bl_safetensors_read(f, all[i].offset, all[i].bytes, x, &err), 0);
        put_values(&s, x, values_of(&all[i]), type_of(&s, all, i));
        free(x);
    }
    pad(&s);
    free(all);
    assert_int_equal(fclose(s.f), 0);
    bl_safetensors_close(&f);
}

void bl_test_write_gguf(const char *to, const char *from) {
    write_gguf(to, from, false);
}

void bl_test_write_gguf_all(const char *to, const char *from) {
    write_gguf(to, from, true);
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
