/* The `cpu` device: weights in RAM, packed for its kernels; convolutions and matrix products by oneDNN, the
 * rest by kernels of its own. */
#ifndef BALLAST_DEVICE_CPU_CPU_H
#define BALLAST_DEVICE_CPU_CPU_H

#include "core/error.h"
#include "core/log.h"
#include "device/device.h"

/* Instruction sets that kernels come in, each holding those before it. */
typedef enum bl_cpu_isa {
    BL_ISA_BEST = 0, /* whatever this CPU has */
    BL_ISA_PLAIN,    /* C for any x86-64 */
    BL_ISA_AVX2,     /* AVX2, FMA, F16C */
    BL_ISA_AVX512,   /* AVX512 F, BW, VL, DQ */
    BL_ISA_AVX512_BF16
} bl_cpu_isa;

typedef struct bl_cpu_options {
    int threads; /* 0: all physical cores that this process may use */
    bl_cpu_isa
        isa_max; /* nothing above it is used. oneDNN takes the limit of the first device of a process. */
    const bl_log *log; /* borrowed until the device is closed; may be NULL */
} bl_cpu_options;

/* Opens the device; `options` may be NULL. Owner: caller, bl_device_close. BL_E_DEVICE when oneDNN fails. */
int bl_cpu_open(bl_device **out, const bl_cpu_options *options, bl_error *err);

/* Seconds that each op of the graph has taken in all runs so far; [op_count] of its graph, borrowed from `x`,
 * which must be of this device. */
const double *bl_cpu_op_seconds(const bl_executable *x);

#endif
