#include "core/dtype.h"

#include <stdbool.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

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

/* Weights pass through here by the gigabyte, so the 16-bit types have a vector version too; it gives the same
 * bits. */
#if defined(__x86_64__)
#define HAVE_VECTORS 1
#define VECTORS __attribute__((target("avx2,f16c")))

static bool vectors_usable(void) {
    return __builtin_cpu_supports("avx2"); /* F16C is older: every CPU with AVX2 has it */
}

/* Eight at a time; returns how many were done. */
VECTORS static size_t f16_to_f32_vectors(float *dst, const uint16_t *src, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + i))));
    }
    return i;
}

VECTORS static size_t bf16_to_f32_vectors(float *dst, const uint16_t *src, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(src + i)));
        _mm256_storeu_ps(dst + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
    return i;
}

/* Rounds the lanes of v to nearest even BF16 in their low halves; NaN stays NaN. */
VECTORS static __m256i round_bf16(__m256 v) {
    __m256i u = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, quiet, nan);
}

VECTORS static void store_bf16(uint16_t *dst, __m256 low, __m256 high) {
    __m256i packed = _mm256_packus_epi32(round_bf16(low), round_bf16(high));
    _mm256_storeu_si256((__m256i *)(void *)dst, _mm256_permute4x64_epi64(packed, 0xd8));
}

VECTORS static size_t f32_to_bf16_vectors(uint16_t *dst, const float *src, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        store_bf16(dst + i, _mm256_loadu_ps(src + i), _mm256_loadu_ps(src + i + 8));
    }
    return i;
}

VECTORS static size_t f16_to_bf16_vectors(uint16_t *dst, const uint16_t *src, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        store_bf16(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + i))),
                   _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + i + 8))));
    }
    return i;
}
#endif

/* How many of the elements a vector version has converted: 0 where there is none. */
static size_t convert_vectors(void *dst, bl_dtype dst_type, const void *src, bl_dtype src_type, size_t n) {
#if HAVE_VECTORS
    if (vectors_usable()) {
        if (dst_type == BL_F32 && src_type == BL_F16) {
            return f16_to_f32_vectors(dst, src, n);
        }
        if (dst_type == BL_F32 && src_type == BL_BF16) {
            return bf16_to_f32_vectors(dst, src, n);
        }
        if (dst_type == BL_BF16 && src_type == BL_F32) {
            return f32_to_bf16_vectors(dst, src, n);
        }
        if (dst_type == BL_BF16 && src_type == BL_F16) {
            return f16_to_bf16_vectors(dst, src, n);
        }
    }
#else
    (void)dst, (void)dst_type, (void)src, (void)src_type, (void)n;
#endif
    return 0;
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
    size_t done = convert_vectors(dst, dst_type, src, src_type, n);
    if (done) {
        dst = (char *)dst + done * bl_dtype_size(dst_type);
        src = (const char *)src + done * bl_dtype_size(src_type);
        n -= done;
    }
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
