/* Vectors of eight floats, AVX2 and FMA. See kernels_impl.h for what each function means. */
#ifndef BALLAST_DEVICE_CPU_VEC_AVX2_H
#define BALLAST_DEVICE_CPU_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define VW 8
#define TILE_ROWS 4
#define TILE_VECS 3
typedef __m256 vf;

static inline vf vf_set(float x) {
    return _mm256_set1_ps(x);
}
static inline vf vf_load(const float *p) {
    return _mm256_loadu_ps(p);
}
static inline void vf_store(float *p, vf x) {
    _mm256_storeu_ps(p, x);
}
static inline __m256i vf_lanes_below(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vf vf_load_part(const float *p, int n) {
    return _mm256_maskload_ps(p, vf_lanes_below(n));
}
static inline void vf_store_part(float *p, vf x, int n) {
    _mm256_maskstore_ps(p, vf_lanes_below(n), x);
}
static inline vf vf_load_bf16(const uint16_t *p) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline vf vf_load_pair(const uint16_t *p, int which) {
    __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i high = _mm256_and_si256(both, _mm256_set1_epi32((int)0xffff0000u));
    return _mm256_castsi256_ps(which ? high : _mm256_slli_epi32(both, 16));
}
static inline void vf_store_bf16(uint16_t *p, vf x) {
    /* nearest even by adding 0x7fff and the last kept bit; NaN made quiet instead */
    __m256i u = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i near =
        _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    __m256i all = _mm256_blendv_epi8(near, quiet, nan);
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(all, all), 0x08);
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_castsi256_si128(packed));
}
static inline vf vf_load_bf16_part(const uint16_t *p, int n) {
    uint16_t all[8] = {0};
    memcpy(all, p, (size_t)n * 2);
    return vf_load_bf16(all);
}
static inline void vf_store_bf16_part(uint16_t *p, vf x, int n) {
    uint16_t all[8];
    vf_store_bf16(all, x);
    memcpy(p, all, (size_t)n * 2);
}
static inline vf vf_add(vf a, vf b) {
    return _mm256_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b) {
    return _mm256_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b) {
    return _mm256_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b) {
    return _mm256_div_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf vf_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}
static inline vf vf_round(vf a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vf_scale2(vf a, vf n) {
    /* in two halves, so that the exponent of neither leaves the normal range */
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half), bias = _mm256_set1_epi32(127);
    vf x = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    vf y = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(a, x), y);
}
static inline vf vf_below_zero(vf x, vf if_below, vf if_not) {
    return _mm256_blendv_ps(if_not, if_below, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
}
static inline float vf_sum(vf a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float vf_highest(vf a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
static inline vf vf_load_words(const void *p) {
    return _mm256_castsi256_ps(_mm256_loadu_si256(p));
}
static inline vf vf_load_words_part(const void *p, int n) {
    return _mm256_castsi256_ps(_mm256_maskload_epi32(p, vf_lanes_below(n)));
}
static inline void vf_store_words(void *p, vf x) {
    _mm256_storeu_si256(p, _mm256_castps_si256(x));
}
static inline void vf_store_words_part(void *p, vf x, int n) {
    _mm256_maskstore_epi32(p, vf_lanes_below(n), _mm256_castps_si256(x));
}
static inline void vf_transpose(vf m[VW]) {
    vf pair[8], four[8]; /* four[4 g + c]: in half h, column 4 h + c of rows 4 g .. 4 g + 3 */
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps(m[i], m[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps(m[i], m[i + 1]);
    }
    for (int g = 0; g < 8; g += 4) {
        for (int i = 0; i < 2; i++) {
            __m256d a = _mm256_castps_pd(pair[g + i]), b = _mm256_castps_pd(pair[g + 2 + i]);
            four[g + 2 * i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
            four[g + 2 * i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        }
    }
    for (int c = 0; c < 4; c++) {
        m[c] = _mm256_permute2f128_ps(four[c], four[4 + c], 0x20);
        m[4 + c] = _mm256_permute2f128_ps(four[c], four[4 + c], 0x31);
    }
}

#endif
