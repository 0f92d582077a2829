/* The text of our kernels, for NVRTC: C with CUDA's few words, chosen in kernels_begin.cu. Static storage. */
#ifndef BALLAST_DEVICE_CUDA_KERNELS_TEXT_H
#define BALLAST_DEVICE_CUDA_KERNELS_TEXT_H

extern const char bl_cuda_kernels_text[]; /* ends in a zero */

#endif
