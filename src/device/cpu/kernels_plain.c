#include "device/cpu/vec_plain.inc"

#include "device/cpu/kernels_impl.inc"

const bl_kernels bl_kernels_plain = {
    .name = "plain", .transpose = transpose, .f32 = TYPED(f32, f32), .bf16 = TYPED(bf16, bf16)};
