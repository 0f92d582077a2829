#include "device/cpu/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>

bl_cpu_isa bl_cpu_isa_find(bl_cpu_isa max) {
    bl_cpu_isa isa = BL_ISA_PLAIN;
    /* The compiler's runtime also asks whether the system saves the registers. */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        isa = BL_ISA_AVX2;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
            unsigned a, b, c, d;
            bool bf16 = __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1u);
            isa = bf16 ? BL_ISA_AVX512_BF16 : BL_ISA_AVX512;
        }
    }
    return max != BL_ISA_BEST && isa > max ? max : isa;
}

bool bl_cpu_has_amx(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1u) && (d >> 24 & 1u);
}

const bl_kernels *bl_kernels_for(bl_cpu_isa isa) {
    switch (isa) {
    case BL_ISA_AVX2:
        return &bl_kernels_avx2;
    case BL_ISA_AVX512:
        return &bl_kernels_avx512;
    case BL_ISA_AVX512_BF16:
        return &bl_kernels_avx512_bf16;
    default:
        return &bl_kernels_plain;
    }
}
#else
bl_cpu_isa bl_cpu_isa_find(bl_cpu_isa max) {
    (void)max;
    return BL_ISA_PLAIN;
}

bool bl_cpu_has_amx(void) {
    return false;
}

const bl_kernels *bl_kernels_for(bl_cpu_isa isa) {
    (void)isa;
    return &bl_kernels_plain;
}
#endif
