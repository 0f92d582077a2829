#include "core/storage.h"

#include <string.h>

#define SMALL 32  /* values in a block of Q4_0 to Q8_0 */
#define LARGE 256 /* in one of the K formats */

static const bl_storage_form forms[BL_STORAGE_COUNT] = {
    [BL_STORED_Q4_0] = {"Q4_0", SMALL, 18},  [BL_STORED_Q4_1] = {"Q4_1", SMALL, 20},
    [BL_STORED_Q5_0] = {"Q5_0", SMALL, 22},  [BL_STORED_Q5_1] = {"Q5_1", SMALL, 24},
    [BL_STORED_Q8_0] = {"Q8_0", SMALL, 34},  [BL_STORED_Q4_K] = {"Q4_K", LARGE, 144},
    [BL_STORED_Q5_K] = {"Q5_K", LARGE, 176}, [BL_STORED_Q6_K] = {"Q6_K", LARGE, 210},
    [BL_STORED_F8_E4M3] = {"F8_E4M3", 1, 1}, [BL_STORED_F8_E5M2] = {"F8_E5M2", 1, 1},
    [BL_STORED_I8] = {"I8", 1, 1},
};

/* What is below is one text for every CPU: bl_widen has it compiled a second time for AVX2, into itself. The
 * bits are the same, as each value is made by the same few operations. */
#define BODY static inline __attribute__((always_inline))

const bl_storage_form *bl_storage_of(bl_storage s) {
    return &forms[s];
}

BODY float from_bits(uint32_t bits) {
    union {
        uint32_t u;
        float f;
    } v = {.u = bits};
    return v.f;
}

BODY uint32_t bits_of(float f) {
    union {
        float f;
        uint32_t u;
    } v = {.f = f};
    return v.u;
}

/* A small float of `mantissa` bits, without its sign, and the exponent of f32 that 0 stands for. One without
 * exponent gets a one before its point, which is then taken off. */
BODY float small_float(uint32_t code, int mantissa, uint32_t zero) {
    const uint32_t without = code < 1u << mantissa;
    const float one = from_bits(without ? (zero + 1) << 23 : 0);
    return from_bits((code << (23 - mantissa)) + ((zero + without) << 23)) - one;
}

/* As bl_f16_to_f32. */
BODY float half_at(const uint8_t *p) {
    const uint32_t h = p[0] | (uint32_t)p[1] << 8, code = h & 0x7fff;
    const uint32_t past = code > 0x7c00 ? 0x7fc00000u : code == 0x7c00 ? 0x7f800000u : 0;
    return from_bits(bits_of(small_float(code, 10, 112)) | past | (h & 0x8000) << 16);
}

/* ---- blocks of 32: a scale, perhaps a minimum, perhaps the fifth bits, then the codes' low halves: byte i
 * holds value i below and value i + 16 above */

BODY void widen_q4(float *dst, const uint8_t *b, bool with_minimum) {
    const float d = half_at(b), minimum = with_minimum ? half_at(b + 2) : 0;
    const uint8_t *q = b + (with_minimum ? 4 : 2);
    for (int i = 0; i < SMALL / 2; i++) {
        const int low = q[i] & 15, high = q[i] >> 4;
        dst[i] = with_minimum ? d * (float)low + minimum : d * (float)(low - 8);
        dst[i + SMALL / 2] = with_minimum ? d * (float)high + minimum : d * (float)(high - 8);
    }
}

BODY void widen_q5(float *dst, const uint8_t *b, bool with_minimum) {
    const float d = half_at(b), minimum = with_minimum ? half_at(b + 2) : 0;
    const uint8_t *h = b + (with_minimum ? 4 : 2), *q = h + 4;
    const uint32_t fifth = h[0] | (uint32_t)h[1] << 8 | (uint32_t)h[2] << 16 | (uint32_t)h[3] << 24;
    for (int i = 0; i < SMALL / 2; i++) {
        const int low = (q[i] & 15) | (int)(fifth >> i & 1) << 4;
        const int high = q[i] >> 4 | (int)(fifth >> (i + SMALL / 2) & 1) << 4;
        dst[i] = with_minimum ? d * (float)low + minimum : d * (float)(low - 16);
        dst[i + SMALL / 2] = with_minimum ? d * (float)high + minimum : d * (float)(high - 16);
    }
}

BODY void widen_q8(float *dst, const uint8_t *b) {
    const float d = half_at(b);
    for (int i = 0; i < SMALL; i++) {
        dst[i] = d * (float)(int8_t)b[2 + i];
    }
}

/* ---- blocks of 256: eight groups of 32, each with a scale and a minimum of six bits in 12 bytes */

BODY void group_scale(float *scale, float *minimum, const uint8_t *s, int group) {
    int sc, m;
    if (group < 4) {
        sc = s[group] & 63;
        m = s[group + 4] & 63;
    } else {
        sc = (s[group + 4] & 15) | s[group - 4] >> 6 << 4;
        m = s[group + 4] >> 4 | s[group] >> 6 << 4;
    }
    *scale = (float)sc;
    *minimum = (float)m;
}

/* Codes: four runs of 32 bytes, each two groups, low halves first. `fifth`: bit g of byte i belongs to value
 * i of group g; NULL where codes have four bits. */
BODY void widen_k(float *dst, const uint8_t *b, const uint8_t *fifth, const uint8_t *q) {
    const float d = half_at(b), d_minimum = half_at(b + 2);
    for (int g = 0; g < LARGE / 32; g++) {
        float scale, minimum;
        group_scale(&scale, &minimum, b + 4, g);
        const uint8_t *run = q + g / 2 * 32;
        for (int i = 0; i < 32; i++) {
            int code = g & 1 ? run[i] >> 4 : run[i] & 15;
            code |= fifth ? (fifth[i] >> g & 1) << 4 : 0;
            dst[g * 32 + i] = d * scale * (float)code - d_minimum * minimum;
        }
    }
}

/* 128 bytes of low halves, 64 of upper pairs of bits, 16 scales of eight bits (one for 16 values), the
 * block's scale. Each half of 128 values is four groups of 32: groups 0 and 2, 1 and 3 share bytes of low
 * halves. */
BODY void widen_q6(float *dst, const uint8_t *b) {
    const float d = half_at(b + 208);
    for (int run = 0; run < LARGE / 16; run++) {
        const int half = run / 8, group = run / 2 % 4, at = run % 2 * 16;
        const uint8_t *low = b + half * 64 + (group & 1) * 32 + at, *high = b + 128 + half * 32 + at;
        const int down = group & 2 ? 4 : 0, pair = 2 * group;
        const float scale = d * (float)(int8_t)b[192 + run];
        for (int i = 0; i < 16; i++) {
            const int code = (low[i] >> down & 15) | (high[i] >> pair & 3) << 4;
            dst[run * 16 + i] = scale * (float)(code - 32);
        }
    }
}

/* ---- single codes */

/* Four bits of exponent (bias 7), three of mantissa; no infinities, all ones is NaN. */
BODY float e4m3(uint32_t c) {
    const uint32_t code = c & 127, past = code == 127 ? 0x7fc00000u : 0;
    return from_bits(bits_of(small_float(code, 3, 120)) | past | (c & 128) << 24);
}

/* The upper half of an f16: five bits of exponent (bias 15), two of mantissa. */
BODY float e5m2(uint32_t c) {
    const uint32_t code = c & 127, past = code > 124 ? 0x7fc00000u : code == 124 ? 0x7f800000u : 0;
    return from_bits(bits_of(small_float(code, 2, 112)) | past | (c & 128) << 24);
}

BODY void widen_bytes(float *dst, bl_storage s, const uint8_t *src, size_t n) {
    if (s == BL_STORED_I8) {
        for (size_t i = 0; i < n; i++) {
            dst[i] = (float)(int8_t)src[i];
        }
    } else if (s == BL_STORED_F8_E5M2) {
        for (size_t i = 0; i < n; i++) {
            dst[i] = e5m2(src[i]);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            dst[i] = e4m3(src[i]);
        }
    }
}

#define EACH_BLOCK(widen)                              \
    for (size_t i = 0; i < blocks; i++) {              \
        float *y = dst + i * (size_t)f->values;        \
        const uint8_t *b = src + i * (size_t)f->bytes; \
        widen;                                         \
    }                                                  \
    break

BODY void widen_all(float *dst, bl_storage s, const uint8_t *src, size_t blocks) {
    const bl_storage_form *f = &forms[s];
    switch (s) {
    case BL_STORED_Q4_0:
        EACH_BLOCK(widen_q4(y, b, false));
    case BL_STORED_Q4_1:
        EACH_BLOCK(widen_q4(y, b, true));
    case BL_STORED_Q5_0:
        EACH_BLOCK(widen_q5(y, b, false));
    case BL_STORED_Q5_1:
        EACH_BLOCK(widen_q5(y, b, true));
    case BL_STORED_Q8_0:
        EACH_BLOCK(widen_q8(y, b));
    case BL_STORED_Q4_K:
        EACH_BLOCK(widen_k(y, b, NULL, b + 16));
    case BL_STORED_Q5_K:
        EACH_BLOCK(widen_k(y, b, b + 16, b + 48));
    case BL_STORED_Q6_K:
        EACH_BLOCK(widen_q6(y, b));
    default:
        widen_bytes(dst, s, src, blocks);
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void widen_vectors(float *dst, bl_storage s, const uint8_t *src,
                                                          size_t blocks) {
    widen_all(dst, s, src, blocks);
}
#endif

void bl_widen(float *dst, bl_storage s, const void *src, size_t blocks) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        widen_vectors(dst, s, src, blocks);
        return;
    }
#endif
    widen_all(dst, s, src, blocks);
}

void bl_unrotate(float *row, size_t values, int group) {
    float root = 1;
    for (size_t stride = 1; stride < (size_t)group; stride *= 4, root *= 2) {
        for (size_t at = 0; at < values; at += stride * 4) {
            for (size_t i = at; i < at + stride; i++) {
                float *p = row + i;
                const float a = p[0], b = p[stride], c = p[2 * stride], d = p[3 * stride];
                p[0] = a + b + c - d;
                p[stride] = a + b - c + d;
                p[2 * stride] = a - b + c + d;
                p[3 * stride] = -a + b + c + d;
            }
        }
    }
    for (size_t i = 0; i < values; i++) {
        row[i] /= root; /* a power of two */
    }
}

void bl_scale_codes(float *values, size_t count, int rotation, float scale) {
    if (rotation) {
        bl_unrotate(values, count, rotation);
    }
    for (size_t i = 0; i < count; i++) {
        values[i] *= scale;
    }
}

uint64_t bl_small_row_bytes(const bl_small *form, int64_t columns) {
    const bl_storage_form *f = &forms[form->storage];
    return (uint64_t)(columns / f->values) * (uint64_t)f->bytes;
}

void bl_widen_rows(float *dst, const bl_small *form, const void *codes, const float *scales, int64_t rows,
                   int64_t columns) {
    const size_t blocks = (size_t)(rows * columns / forms[form->storage].values);
    bl_widen(dst, form->storage, codes, blocks);
    for (int64_t i = 0; i < rows && form->scaled; i++) {
        bl_scale_codes(dst + i * columns, (size_t)columns, form->rotation, scales[i]);
    }
}
