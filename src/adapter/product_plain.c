#define PRODUCT bl_product_plain
#define LANES 4
#include "adapter/product.inc"
