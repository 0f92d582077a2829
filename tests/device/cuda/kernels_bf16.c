#define ELEMENT_BF16 1
#include "kernels_host.inc"
