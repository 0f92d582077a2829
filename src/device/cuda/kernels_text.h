/* The text of our kernels, for NVRTC: C with CUDA's few words, chosen in kernels_begin.cu. Static storage. */
#ifndef BALLAST_DEVICE_CUDA_KERNELS_TEXT_H
#define BALLAST_DEVICE_CUDA_KERNELS_TEXT_H

extern const char bl_cuda_kernels_text[]; /* ends in a zero */

/* The same for F32 and for BF16 as PTX for SM 8.0, which the driver translates for any newer card; NULL:
 * there was no compiler for it where this was built. */
extern const char *const bl_cuda_kernels_ptx[2];

#endif
