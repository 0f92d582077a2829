#include "device/cpu/vec_plain.inc"

#include "device/cpu/kernels_impl.inc"

const bl_kernels bl_kernels_plain = {.name = "plain",
                                     .transpose = transpose,
                                     .widen_q8_0 = widen_q8_0,
                                     .f32 = TYPED(f32, f32),
                                     .bf16 = TYPED(bf16, bf16)};
