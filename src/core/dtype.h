/* Element types and the conversions between them. */
#ifndef BALLAST_CORE_DTYPE_H
#define BALLAST_CORE_DTYPE_H

#include <stddef.h>
#include <stdint.h>

typedef enum bl_dtype {
    BL_F32 = 0,
    BL_F16,
    BL_BF16,
    BL_F64,
    BL_I64,
    BL_I32,
    BL_I16,
    BL_I8,
    BL_U8,
    BL_BOOL,
    BL_DTYPE_COUNT
} bl_dtype;

/* Bytes of one element. */
size_t bl_dtype_size(bl_dtype t);

/* The name that safetensors uses: "F32", "BF16", ... Static storage. */
const char *bl_dtype_name(bl_dtype t);

/* Nearest-even conversions of single values. NaN stays NaN, overflow becomes infinity. */
float bl_f16_to_f32(uint16_t h);
uint16_t bl_f32_to_f16(float f);

static inline float bl_bf16_to_f32(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)h << 16};
    return v.f;
}

static inline uint16_t bl_f32_to_bf16(float f) {
    union {
        float f;
        uint32_t u;
    } v = {.f = f};
    if ((v.u & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(v.u >> 16 | 0x40u);
    }
    return (uint16_t)((v.u + 0x7fffu + (v.u >> 16 & 1u)) >> 16);
}

/* Converts n elements between F32, F16 and BF16 (any pair; F64 as a source too). Other types: returns -1.
 * Source and destination must not overlap. */
int bl_convert(void *dst, bl_dtype dst_type, const void *src, bl_dtype src_type, size_t n);

#endif
