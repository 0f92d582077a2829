#include <immintrin.h>

#define PRODUCT bl_product_avx512
#define LANES 16
#define HIGH 8
typedef __m512 vector;

static inline vector fused(vector a, vector b, vector c) {
    return _mm512_fmadd_ps(a, b, c);
}

#include "adapter/product.inc"
