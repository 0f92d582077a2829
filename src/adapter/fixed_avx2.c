#include <immintrin.h>

#include <stdint.h>

#define PRODUCT bl_fixed_avx2
#define LANES 8
#define HIGH 4
typedef __m256 vector;
typedef __m256i integers;

static inline vector fused(vector a, vector b, vector c) {
    return _mm256_fmadd_ps(a, b, c);
}

static inline vector real(integers v) {
    return _mm256_cvtepi32_ps(v);
}

static inline integers spread(int32_t x) {
    return _mm256_set1_epi32(x);
}

static inline integers pairs(integers sum, integers a, integers b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

#include "adapter/fixed.inc"
