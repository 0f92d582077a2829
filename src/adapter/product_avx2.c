#include <immintrin.h>

#define PRODUCT bl_product_avx2
#define LANES 8
#define HIGH 4
typedef __m256 vector;

static inline vector fused(vector a, vector b, vector c) {
    return _mm256_fmadd_ps(a, b, c);
}

#include "adapter/product.inc"
