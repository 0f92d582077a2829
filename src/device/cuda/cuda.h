/* The cuda device: a plugin (device/plugin.h) for NVIDIA cards from SM 8.0 on. Convolutions and attention by
 * cuDNN, products by cuBLASLt, all else by our own kernels, which NVRTC compiles for the card at hand. */
#ifndef BALLAST_DEVICE_CUDA_CUDA_H
#define BALLAST_DEVICE_CUDA_CUDA_H

#include "device/cuda/libs.h"
#include "device/device.h"

/* `which`: the card's number; "" is 0. `libs` is borrowed and outlives the device; whoever has another set of
 * the same entries may bring it. Owner of *out: caller, bl_device_close. */
int bl_cuda_open(bl_device **out, const bl_cuda_libs *libs, const char *which, const bl_log *log,
                 bl_error *err);

/* A card that is not here, described by a file (docs/cuda.md): graphs are prepared and plans made, nothing
 * runs. `libs`: cuDNN's entries where it is installed, all else empty; owner: the device, in any case. */
int bl_cuda_describe(bl_device **out, bl_cuda_libs *libs, const char *path, const bl_log *log, bl_error *err);

#endif
