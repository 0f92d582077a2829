/* Vectors of one float: the reference. See kernels_impl.h for what each function means. */
#ifndef BALLAST_DEVICE_CPU_VEC_PLAIN_H
#define BALLAST_DEVICE_CPU_VEC_PLAIN_H

#include "core/dtype.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define VW 1
#define TILE_ROWS 4
#define TILE_VECS 2
typedef float vf;

static inline vf vf_set(float x) {
    return x;
}
static inline vf vf_load(const float *p) {
    return *p;
}
static inline vf vf_load_part(const float *p, int n) {
    (void)n;
    return *p;
}
static inline void vf_store(float *p, vf x) {
    *p = x;
}
static inline void vf_store_part(float *p, vf x, int n) {
    (void)n;
    *p = x;
}
static inline vf vf_load_bf16(const uint16_t *p) {
    return bl_bf16_to_f32(*p);
}
static inline vf vf_load_bf16_part(const uint16_t *p, int n) {
    (void)n;
    return bl_bf16_to_f32(*p);
}
static inline vf vf_load_pair(const uint16_t *p, int which) {
    return bl_bf16_to_f32(p[which]);
}
static inline void vf_store_bf16(uint16_t *p, vf x) {
    *p = bl_f32_to_bf16(x);
}
static inline void vf_store_bf16_part(uint16_t *p, vf x, int n) {
    (void)n;
    *p = bl_f32_to_bf16(x);
}
static inline vf vf_add(vf a, vf b) {
    return a + b;
}
static inline vf vf_sub(vf a, vf b) {
    return a - b;
}
static inline vf vf_mul(vf a, vf b) {
    return a * b;
}
static inline vf vf_div(vf a, vf b) {
    return a / b;
}
static inline vf vf_fma(vf a, vf b, vf c) {
    return a * b + c;
}
static inline vf vf_max(vf a, vf b) {
    return a > b ? a : b;
}
static inline vf vf_min(vf a, vf b) {
    return a < b ? a : b;
}
static inline vf vf_round(vf a) {
    return nearbyintf(a);
}
static inline vf vf_scale2(vf a, vf n) {
    return ldexpf(a, (int)n);
}
static inline vf vf_below_zero(vf x, vf if_below, vf if_not) {
    return x < 0.0f ? if_below : if_not;
}
static inline float vf_sum(vf a) {
    return a;
}
static inline float vf_highest(vf a) {
    return a;
}
static inline vf vf_load_words(const void *p) {
    vf x;
    memcpy(&x, p, sizeof x);
    return x;
}
static inline vf vf_load_words_part(const void *p, int n) {
    (void)n;
    return vf_load_words(p);
}
static inline void vf_store_words(void *p, vf x) {
    memcpy(p, &x, sizeof x);
}
static inline void vf_store_words_part(void *p, vf x, int n) {
    (void)n;
    vf_store_words(p, x);
}
static inline void vf_transpose(vf m[VW]) {
    (void)m;
}

#endif
