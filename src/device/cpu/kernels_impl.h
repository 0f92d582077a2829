/* The kernels, written once over a vector type and compiled for each instruction set: kernels_<isa>.c
 * includes vec_<isa>.h and then this file. A vec_*.h has: VW floats in a vf; TILE_ROWS x TILE_VECS vectors
 * are the tile of a matrix product that its registers hold; loads and stores of F32 and BF16, whole or the
 * first 0 < n < VW lanes (then the others load as 0); vf_load_pair(p, i), element i of each of VW pairs of
 * BF16; vf_fma(a, b, c) = a b + c; vf_max(a, b) and vf_min(a, b) give b where a is NaN; vf_scale2(a, n) = a
 * 2^n for whole n; vf_below_zero(x, p, q) = p where x < 0, else q; vf_load_words, vf_store_words: any VW
 * words of 32 bits, moved only; vf_transpose(m): m[i][j] and m[j][i] of VW vectors change places.
 *
 * No include guard is needed: each file includes it once. */
#include "core/dtype.h"
#include "device/cpu/kernels.h"

#include <math.h>
#include <string.h>

/* 2^x for x <= 127, relative error 2e-7; 0 below -150. Polynomial fitted to 2^f on [-1/2, 1/2]. */
static inline vf exp2_of(vf x) {
    x = vf_max(x, vf_set(-150.0f));
    vf n = vf_round(x), f = vf_sub(x, n);
    vf p = vf_fma(vf_set(1.53706321e-4f), f, vf_set(1.33998087e-3f));
    p = vf_fma(p, f, vf_set(9.61837359e-3f));
    p = vf_fma(p, f, vf_set(5.55032901e-2f));
    p = vf_fma(p, f, vf_set(2.40226477e-1f));
    p = vf_fma(p, f, vf_set(6.93147182e-1f));
    return vf_scale2(vf_fma(p, f, vf_set(1.0f)), n);
}

/* e^x for x <= 88, with x / ln 2 taken apart so that large |x| lose nothing (Cody and Waite). */
static inline vf exp_of(vf x) {
    x = vf_max(x, vf_set(-104.0f));
    vf n = vf_round(vf_mul(x, vf_set(1.44269504f)));
    vf r = vf_fma(n, vf_set(-0.693145752f), x);
    r = vf_fma(n, vf_set(-1.42860677e-6f), r);
    vf f = vf_mul(r, vf_set(1.44269504f));
    vf p = vf_fma(vf_set(1.53706321e-4f), f, vf_set(1.33998087e-3f));
    p = vf_fma(p, f, vf_set(9.61837359e-3f));
    p = vf_fma(p, f, vf_set(5.55032901e-2f));
    p = vf_fma(p, f, vf_set(2.40226477e-1f));
    p = vf_fma(p, f, vf_set(6.93147182e-1f));
    return vf_scale2(vf_fma(p, f, vf_set(1.0f)), n);
}

/* x sigmoid(k x) */
static inline vf swish(vf x, float k) {
    vf e = exp_of(vf_min(vf_mul(x, vf_set(-k)), vf_set(88.0f)));
    return vf_div(x, vf_add(vf_set(1.0f), e));
}

/* x Phi(x). erfc(z) = e^(-z^2) t P(t), t = 1 / (1 + 0.34 z): the form of Abramowitz and Stegun 7.1.26 with a
 * polynomial of degree 6 fitted anew, absolute error 1e-9 before rounding. */
static inline vf gelu(vf x) {
    vf z = vf_mul(x, vf_set(0.707106781f));
    z = vf_max(z, vf_sub(vf_set(0.0f), z));
    vf t = vf_div(vf_set(1.0f), vf_fma(vf_set(0.34f), z, vf_set(1.0f)));
    vf p = vf_fma(vf_set(-0.247293919f), t, vf_set(1.08918798f));
    p = vf_fma(p, t, vf_set(-1.25430179f));
    p = vf_fma(p, t, vf_set(1.21488941f));
    p = vf_fma(p, t, vf_set(-0.288351893f));
    p = vf_fma(p, t, vf_set(0.305828065f));
    p = vf_fma(p, t, vf_set(0.180042103f));
    vf tail = vf_mul(vf_mul(p, t), exp_of(vf_sub(vf_set(0.0f), vf_mul(z, z))));
    vf half = vf_mul(vf_set(0.5f), tail); /* 1 - Phi(|x|) */
    return vf_mul(x, vf_below_zero(x, half, vf_sub(vf_set(1.0f), half)));
}

static inline vf activate(vf x, bl_act act) {
    switch (act) {
    case BL_ACT_SILU:
        return swish(x, 1.0f);
    case BL_ACT_QUICK_GELU:
        return swish(x, 1.702f);
    case BL_ACT_GELU:
        return gelu(x);
    default:
        return x;
    }
}

/* Adds a set of `n` values with this mean and squared distance to m, which stands for `count` (Chan, Golub,
 * LeVeque). */
static void moments_join(bl_moments *m, double count, double n, double mean, double square) {
    double all = count + n, delta = mean - m->mean;
    m->mean += delta * n / all;
    m->square += square + delta * delta * count * n / all;
}

static void transpose(uint32_t *dst, const int64_t *place, const uint32_t *src, int64_t stride, int64_t n) {
    for (int64_t i = 0; i < n; i += VW) {
        int count = n - i < VW ? (int)(n - i) : VW;
        for (int r = 0; r < BL_TRANSPOSE_ROWS; r += VW) {
            vf m[VW];
            for (int k = 0; k < VW; k++) {
                const uint32_t *row = src + (r + k) * stride + i;
                m[k] = count == VW ? vf_load_words(row) : vf_load_words_part(row, count);
            }
            vf_transpose(m);
            for (int k = 0; k < count; k++) {
                vf_store_words(dst + place[i + k] + r, m[k]);
            }
        }
    }
}

#define TILES_NAME(name) name##_one
#define TILES_ONE(name) TILES_NAME(name)

#define OPERAND float
#define TILES tiles_f32
#define TILE_VECTOR vf
#define TILE_LOAD vf_load
#define TILE_SET vf_set
#define TILE_MAC vf_fma
#include "device/cpu/kernels_tiles.h"
#undef OPERAND
#undef TILES
#undef TILE_VECTOR
#undef TILE_LOAD
#undef TILE_SET
#undef TILE_MAC

static inline float one_f32(float x) {
    return x;
}

static inline float one_bf16(uint16_t x) {
    return bl_bf16_to_f32(x);
}

/* Attention in F32, for both types. */
#define OPERAND float
#define PER 1
#define OPERANDS(p, n) ((n) == VW ? LOAD(p) : LOAD_PART(p, n))
#define ACROSS(p, q, n) ((void)(q), OPERANDS(p, n))
#define TILES tiles_f32
#define EXP2 exp2_of
#define PUT_WEIGHTS(p, e) vf_store(p, (e)[0])

#define T float
#define NAME(f) f##_f32
#define ATT(f) f##_f32
#define LOAD vf_load
#define LOAD_PAIR(p, which) vf_load((p) + (which))
#define LOAD_PART vf_load_part
#define STORE vf_store
#define STORE_PART vf_store_part
#include "device/cpu/kernels_type.h"

#define T uint16_t
#define NAME(f) f##_bf16
#define ATT(f) f##_bf16
#define LOAD vf_load_bf16
#define LOAD_PAIR vf_load_pair
#define LOAD_PART vf_load_bf16_part
#define STORE vf_store_bf16
#define STORE_PART vf_store_bf16_part
#include "device/cpu/kernels_type.h"

#undef OPERAND
#undef PER
#undef OPERANDS
#undef ACROSS
#undef TILES
#undef EXP2
#undef PUT_WEIGHTS

/* clang-format off */
/* Table of type t; `att` is the way of its attention. */
#define TYPED(t, att) { \
    .from_f32 = from_f32_##t, \
    .to_f32 = to_f32_##t, \
    .add = add_##t, \
    .act = act_##t, \
    .gate = gate_##t, \
    .add_row = add_row_##t, \
    .layer_norm = layer_norm_##t, \
    .rms_norm = rms_norm_##t, \
    .group_moments = group_moments_##t, \
    .scale_shift = scale_shift_##t, \
    .attention_pack_items = pack_items_##att, \
    .attention_items = items_##att, \
    .attention_packed = packed_##att, \
    .attention_scratch = scratch_##att, \
    .attention_pack = pack_##att, \
    .attention_run = attention_##att, \
    .winograd_input = winograd_input_##t, \
    .winograd_run = winograd_run_##t, \
    .winograd_filters = winograd_filters_##t, \
    .winograd_blocks = winograd_blocks_##t, \
}
/* clang-format on */
