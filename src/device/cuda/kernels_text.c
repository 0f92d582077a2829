#include "device/cuda/kernels_text.h"

/* The files one behind the other, as they are. */
__asm__(".pushsection .rodata\n"
        ".globl bl_cuda_kernels_text\n"
        ".hidden bl_cuda_kernels_text\n"
        "bl_cuda_kernels_text:\n"
        ".incbin \"" BALLAST_CUDA_FOLDER "/kernels_begin.cu\"\n"
        ".incbin \"" BALLAST_CUDA_FOLDER "/args.h\"\n"
        ".incbin \"" BALLAST_CUDA_FOLDER "/kernels_rows.cu\"\n"
        ".incbin \"" BALLAST_CUDA_FOLDER "/kernels_sums.cu\"\n"
        ".incbin \"" BALLAST_CUDA_FOLDER "/kernels_small.cu\"\n"
        ".byte 0\n"
        ".popsection\n");
