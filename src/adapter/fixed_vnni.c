#include <immintrin.h>

#include <stdint.h>

#define PRODUCT bl_fixed_vnni
#define LANES 16
#define HIGH 8
typedef __m512 vector;
typedef __m512i integers;

static inline vector fused(vector a, vector b, vector c) {
    return _mm512_fmadd_ps(a, b, c);
}

static inline vector real(integers v) {
    return _mm512_cvtepi32_ps(v);
}

static inline integers spread(int32_t x) {
    return _mm512_set1_epi32(x);
}

/* Not _mm512_dpwssd_epi32, which makes GCC copy each sum once for each product. */
static inline integers pairs(integers sum, integers a, integers b) {
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

#include "adapter/fixed.inc"
