#include "device/cpu/vec_avx512.inc"

#include "device/cpu/kernels_impl.inc"

/* Attention on pairs of bf16: twice the products of F32 for each instruction. */

static inline vf pairs_of(const uint16_t *p, int n) {
    __mmask32 lanes = n < 32 ? ((__mmask32)1 << n) - 1 : ~(__mmask32)0;
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(lanes, p));
}

static inline vf pairs_across(const uint16_t *p, const uint16_t *q, int n) {
    __mmask16 lanes = vf_lanes_below(n);
    __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, p));
    __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(q ? lanes : 0, q ? q : p));
    return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

static inline __m512i pairs_load(const uint32_t *p) {
    return _mm512_loadu_si512(p);
}

static inline __m512i pairs_set(uint32_t x) {
    return _mm512_set1_epi32((int)x);
}

static inline vf pairs_mac(__m512i x, __m512i w, vf s) {
    return _mm512_dpbf16_ps(s, (__m512bh)x, (__m512bh)w);
}

/* 2^x with a relative error of 1e-4, a twentieth of what rounding to bf16 does. vf_scale2 makes 0 of what is
 * far below zero, however far. */
static inline vf exp2_coarse(vf x) {
    vf n = vf_round(x), f = vf_sub(x, n);
    vf p = vf_fma(vf_set(5.5002462e-2f), f, vf_set(2.4219791e-1f));
    p = vf_fma(p, f, vf_set(6.9328219e-1f));
    return vf_scale2(vf_fma(p, f, vf_set(1.0f)), n);
}

/* In each lane the weight of one key, then that of the next. */
static inline void pairs_put(uint32_t *p, const vf *e) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                           7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    _mm512_storeu_si512(p, _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(e[1], e[0])));
}

#define OPERAND uint32_t
#define TILES tiles_pairs
#define TILE_VECTOR __m512i
#define TILE_LOAD pairs_load
#define TILE_SET pairs_set
#define TILE_MAC pairs_mac
#include "device/cpu/kernels_tiles.inc"

#define T uint16_t
#define STORE vf_store_bf16
#define STORE_PART vf_store_bf16_part
#define ATT(f) f##_pairs
#define PER 2
#define OPERANDS pairs_of
#define ACROSS pairs_across
#define EXP2 exp2_coarse
#define PUT_WEIGHTS pairs_put
#include "device/cpu/kernels_attention.inc"

const bl_kernels bl_kernels_avx512_bf16 = {.name = "avx512_bf16",
                                           .transpose = transpose,
                                           .widen_q8_0 = widen_q8_0,
                                           .f32 = TYPED(f32, f32),
                                           .bf16 = TYPED(bf16, pairs)};
