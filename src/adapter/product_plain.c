#include <math.h>

#define PRODUCT bl_product_plain
#define LANES 4
#define HIGH 4
typedef float vector __attribute__((vector_size(LANES * 4)));

/* By the C library, and slow, where the CPU has no such instruction. */
static inline vector fused(vector a, vector b, vector c) {
    for (int i = 0; i < LANES; i++) {
        c[i] = fmaf(a[i], b[i], c[i]);
    }
    return c;
}

#include "adapter/product.inc"
