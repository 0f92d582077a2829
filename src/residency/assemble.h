/* Problems from a device's modules and executables: how a pipeline describes its generation. */
#ifndef BALLAST_RESIDENCY_ASSEMBLE_H
#define BALLAST_RESIDENCY_ASSEMBLE_H

#include "device/device.h"
#include "residency/problem.h"

/* What a device is taken to reach until it was measured. */
typedef struct bl_rates {
    double flops;       /* operations a second in the modules' dtype */
    double memory_rate; /* bytes of weights a second: what bounds small batches */
} bl_rates;

/* Adds a device's module with its blocks' names (of any graph of it), packed and source bytes. */
int bl_assemble_module(int *out, bl_problem *p, const char *name, const bl_graph *graph, bl_device *d,
                       const bl_device_module *m, bl_error *err);

/* Adds a phase that runs levels[0] or, where memory is short, levels[1] ...: executables of the same module
 * at rising arena levels. Those whose arena is no smaller than the last one's are left out; *level_count is
 * what remains, and the levels that the plan speaks of are the remaining ones in order: kept[i] is the index
 * in `levels` (may be NULL). Seconds of a block: the longer of operations / flops and packed bytes /
 * memory_rate; a calibration replaces them. */
int bl_assemble_phase(int *out, int kept[BL_PROBLEM_LEVELS], int *level_count, bl_problem *p,
                      const char *name, const char *stage, int module, int passes, bl_device *d,
                      bl_executable *const *levels, int count, const bl_rates *rates, bl_error *err);

/* Memory, budget and kind of copies from what the device says now: budget 0 means all that is free, the open
 * region counted; `reserve` comes off it. The copy rate is set by the caller or by a calibration. */
void bl_assemble_memory(bl_problem *p, bl_device *d, uint64_t open_bytes, uint64_t budget, uint64_t reserve);

#endif
