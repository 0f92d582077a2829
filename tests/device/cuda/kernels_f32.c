#define ELEMENT_BF16 0
#include "kernels_host.inc"
