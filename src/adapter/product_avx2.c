#define PRODUCT bl_product_avx2
#define LANES 8
#include "adapter/product.inc"
