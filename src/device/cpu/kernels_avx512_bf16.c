#include "device/cpu/vec_avx512.h"
#include "device/cpu/kernels_impl.h"

const bl_kernels bl_kernels_avx512_bf16 = {.name = "avx512_bf16", .f32 = TYPED(f32), .bf16 = TYPED(bf16)};
