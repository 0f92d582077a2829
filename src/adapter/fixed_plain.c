#include <math.h>
#include <stdint.h>

#define PRODUCT bl_fixed_plain
#define LANES 4
#define HIGH 4
typedef float vector __attribute__((vector_size(LANES * 4)));
typedef int32_t integers __attribute__((vector_size(LANES * 4)));

/* By the C library, and slow, where the CPU has no such instruction. */
static inline vector fused(vector a, vector b, vector c) {
    for (int i = 0; i < LANES; i++) {
        c[i] = fmaf(a[i], b[i], c[i]);
    }
    return c;
}

static inline vector real(integers v) {
    return __builtin_convertvector(v, vector);
}

static inline integers spread(int32_t x) {
    integers v = {0};
    return v + x;
}

static inline integers pairs(integers sum, integers a, integers b) {
    for (int i = 0; i < LANES; i++) {
        sum[i] += (int16_t)a[i] * (int16_t)b[i] + (a[i] >> 16) * (b[i] >> 16);
    }
    return sum;
}

#include "adapter/fixed.inc"
