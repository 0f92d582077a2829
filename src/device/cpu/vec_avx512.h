/* Vectors of sixteen floats, AVX-512. See kernels_impl.h for what each function means. */
#ifndef BALLAST_DEVICE_CPU_VEC_AVX512_H
#define BALLAST_DEVICE_CPU_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#define VW 16
#define TILE_ROWS 6
#define TILE_VECS 4
typedef __m512 vf;

static inline vf vf_set(float x) {
    return _mm512_set1_ps(x);
}
static inline vf vf_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline void vf_store(float *p, vf x) {
    _mm512_storeu_ps(p, x);
}
static inline __mmask16 vf_lanes_below(int n) {
    return (__mmask16)((1u << n) - 1u);
}
static inline vf vf_load_part(const float *p, int n) {
    return _mm512_maskz_loadu_ps(vf_lanes_below(n), p);
}
static inline void vf_store_part(float *p, vf x, int n) {
    _mm512_mask_storeu_ps(p, vf_lanes_below(n), x);
}
static inline vf vf_widen_bf16(__m256i h) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
static inline vf vf_load_bf16(const uint16_t *p) {
    return vf_widen_bf16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline vf vf_load_bf16_part(const uint16_t *p, int n) {
    return vf_widen_bf16(_mm256_maskz_loadu_epi16(vf_lanes_below(n), p));
}
static inline vf vf_load_pair(const uint16_t *p, int which) {
    __m512i both = _mm512_loadu_si512(p), high = _mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000u));
    return _mm512_castsi512_ps(which ? high : _mm512_slli_epi32(both, 16));
}
static inline __m256i vf_narrow_bf16(vf x) {
    /* nearest even by adding 0x7fff and the last kept bit; NaN made quiet instead */
    __m512i u = _mm512_castps_si512(x), high = _mm512_srli_epi32(u, 16);
    __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    __m512i near =
        _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(near, nan, high, _mm512_set1_epi32(0x40)));
}
static inline void vf_store_bf16(uint16_t *p, vf x) {
    _mm256_storeu_si256((__m256i *)(void *)p, vf_narrow_bf16(x));
}
static inline void vf_store_bf16_part(uint16_t *p, vf x, int n) {
    _mm256_mask_storeu_epi16(p, vf_lanes_below(n), vf_narrow_bf16(x));
}
static inline vf vf_add(vf a, vf b) {
    return _mm512_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b) {
    return _mm512_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b) {
    return _mm512_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b) {
    return _mm512_div_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf vf_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b) {
    return _mm512_min_ps(a, b);
}
static inline vf vf_round(vf a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vf_scale2(vf a, vf n) {
    return _mm512_scalef_ps(a, n);
}
static inline vf vf_below_zero(vf x, vf if_below, vf if_not) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), if_not, if_below);
}
static inline float vf_sum(vf a) {
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float vf_highest(vf a) {
    return _mm512_reduce_max_ps(a);
}
static inline vf vf_load_words(const void *p) {
    return _mm512_castsi512_ps(_mm512_loadu_si512(p));
}
static inline vf vf_load_words_part(const void *p, int n) {
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi32(vf_lanes_below(n), p));
}
static inline void vf_store_words(void *p, vf x) {
    _mm512_storeu_si512(p, _mm512_castps_si512(x));
}
static inline void vf_store_words_part(void *p, vf x, int n) {
    _mm512_mask_storeu_epi32(p, vf_lanes_below(n), _mm512_castps_si512(x));
}
static inline void vf_transpose(vf m[VW]) {
    vf pair[16], four[16]; /* four[4 g + c]: in quarter q, column 4 q + c of rows 4 g .. 4 g + 3 */
    for (int i = 0; i < 16; i += 2) {
        pair[i] = _mm512_unpacklo_ps(m[i], m[i + 1]);
        pair[i + 1] = _mm512_unpackhi_ps(m[i], m[i + 1]);
    }
    for (int g = 0; g < 16; g += 4) {
        for (int i = 0; i < 2; i++) {
            __m512d a = _mm512_castps_pd(pair[g + i]), b = _mm512_castps_pd(pair[g + 2 + i]);
            four[g + 2 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            four[g + 2 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    for (int c = 0; c < 4; c++) {
        vf even0 = _mm512_shuffle_f32x4(four[c], four[4 + c], 0x88);
        vf even1 = _mm512_shuffle_f32x4(four[8 + c], four[12 + c], 0x88);
        vf odd0 = _mm512_shuffle_f32x4(four[c], four[4 + c], 0xdd);
        vf odd1 = _mm512_shuffle_f32x4(four[8 + c], four[12 + c], 0xdd);
        m[c] = _mm512_shuffle_f32x4(even0, even1, 0x88);
        m[4 + c] = _mm512_shuffle_f32x4(odd0, odd1, 0x88);
        m[8 + c] = _mm512_shuffle_f32x4(even0, even1, 0xdd);
        m[12 + c] = _mm512_shuffle_f32x4(odd0, odd1, 0xdd);
    }
}

#endif
