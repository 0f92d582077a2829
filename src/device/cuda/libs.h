/* CUDA's libraries, opened when the program runs: which ones, from where, and their entries. */
#ifndef BALLAST_DEVICE_CUDA_LIBS_H
#define BALLAST_DEVICE_CUDA_LIBS_H

#include "core/error.h"
#include "device/cuda/abi.h"

#include <limits.h>
#include <stdbool.h>

typedef struct bl_cuda_libs {
    bl_cuda_driver cu;
    bl_cudnn dnn;
    bl_cublaslt lt;
    bl_nvrtc rtc;
    int driver;             /* the CUDA version that the driver is for: 13000 */
    size_t cudnn, cublaslt; /* versions: 91900, 130100 */
    int nvrtc;              /* 1300; 0: it is missing */
    char from[PATH_MAX];    /* where the three lie; "" where the system's loader found them */
} bl_cuda_libs;

/* Opened once a process and never closed: these libraries do not survive it. Borrowed. BL_E_NOT_FOUND:
 * there is no driver; BL_E_UNSUPPORTED: something is too old, or missing beside it. The line says what to
 * install. Any thread. */
int bl_cuda_libs_open(const bl_cuda_libs **out, bl_error *err);

/* cuDNN, cuBLASLt and NVRTC alone: what works without a driver. The same errors. */
int bl_cuda_libraries_open(bl_cuda_libs *libs, bl_error *err);

/* The driver, or the stub of one that comes with CUDA's toolkit: without either cuDNN proposes nothing, even
 * where all that it is asked for is a card that is not here. Stays open. */
bool bl_cuda_stub_open(void);

#endif
