#define PRODUCT bl_product_avx512
#define LANES 16
#include "adapter/product.inc"
