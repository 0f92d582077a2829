#include "core/dtype.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[BL_DTYPE_COUNT] = {
    [BL_F32] = {"F32", 4}, [BL_F16] = {"F16", 2},   [BL_BF16] = {"BF16", 2}, [BL_F64] = {"F64", 8},
    [BL_I64] = {"I64", 8}, [BL_I32] = {"I32", 4},   [BL_I16] = {"I16", 2},   [BL_I8] = {"I8", 1},
    [BL_U8] = {"U8", 1},   [BL_BOOL] = {"BOOL", 1},
};

size_t bl_dtype_size(bl_dtype t) {
    return dtypes[t].size;
}

const char *bl_dtype_name(bl_dtype t) {
    return dtypes[t].name;
}

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static uint32_t to_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

float bl_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = (uint32_t)(h & 0x7fffu) << 13;
    if (rest >= 0x0f800000u) { /* infinity and NaN keep a full exponent */
        return from_bits(sign | rest | 0x7f800000u);
    }
    /* One multiplication by 2^112 moves the exponent and makes subnormals normal. */
    return from_bits(sign | to_bits(from_bits(rest) * 0x1p112f));
}

uint16_t bl_f32_to_f16(float f) {
    uint32_t u = to_bits(f), sign = u >> 16 & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00u);
    }
    if (u >= 0x477ff000u) { /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (u < 0x38800000u) { /* below 2^-14: adding 0.5 lets the FPU round at the subnormal's last bit */
        return (uint16_t)(sign | (to_bits(from_bits(u) + 0.5f) - 0x3f000000u));
    }
    return (uint16_t)(sign | ((u + 0xc8000fffu + (u >> 13 & 1u)) >> 13));
}

static int to_f32(float *dst, const void *src, bl_dtype type, size_t n) {
    switch (type) {
    case BL_F32:
        memcpy(dst, src, n * 4);
        return 0;
    case BL_F16:
        for (size_t i = 0; i < n; i++) {
            dst[i] = bl_f16_to_f32(((const uint16_t *)src)[i]);
        }
        return 0;
    case BL_BF16:
        for (size_t i = 0; i < n; i++) {
            dst[i] = bl_bf16_to_f32(((const uint16_t *)src)[i]);
        }
        return 0;
    case BL_F64:
        for (size_t i = 0; i < n; i++) {
            dst[i] = (float)((const double *)src)[i];
        }
        return 0;
    default:
        return -1;
    }
}

static void from_f32(uint16_t *dst, bl_dtype type, const float *src, size_t n) {
    for (size_t i = 0; i < n; i++) {
        dst[i] = type == BL_F16 ? bl_f32_to_f16(src[i]) : bl_f32_to_bf16(src[i]);
    }
}

int bl_convert(void *dst, bl_dtype dst_type, const void *src, bl_dtype src_type, size_t n) {
    if (dst_type == BL_F32) {
        return to_f32(dst, src, src_type, n);
    }
    if (dst_type != BL_F16 && dst_type != BL_BF16) {
        return -1;
    }
    if (dst_type == src_type) {
        memcpy(dst, src, n * 2);
        return 0;
    }
    float block[1024];
    size_t source_size = bl_dtype_size(src_type);
    for (size_t i = 0; i < n; i += 1024) {
        size_t m = n - i < 1024 ? n - i : 1024;
        if (to_f32(block, (const char *)src + i * source_size, src_type, m)) {
            return -1;
        }
        from_f32((uint16_t *)dst + i, dst_type, block, m);
    }
    return 0;
}
