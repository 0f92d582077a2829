#include "device/cuda/kernels_text.h"

#ifdef BALLAST_CUDA_PTX
__asm__(".pushsection .rodata\n"
        ".globl bl_cuda_ptx_f32, bl_cuda_ptx_bf16\n"
        ".hidden bl_cuda_ptx_f32, bl_cuda_ptx_bf16\n"
        "bl_cuda_ptx_f32:\n"
        ".incbin \"" BALLAST_CUDA_PTX "/kernels_f32.ptx\"\n"
        ".byte 0\n"
        "bl_cuda_ptx_bf16:\n"
        ".incbin \"" BALLAST_CUDA_PTX "/kernels_bf16.ptx\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char bl_cuda_ptx_f32[], bl_cuda_ptx_bf16[];
const char *const bl_cuda_kernels_ptx[2] = {bl_cuda_ptx_f32, bl_cuda_ptx_bf16};
#else
const char *const bl_cuda_kernels_ptx[2] = {0};
#endif
