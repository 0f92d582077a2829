/* One graph, run once with everything resident: for single modules and for tests. */
#ifndef BALLAST_DEVICE_RUN_ONCE_H
#define BALLAST_DEVICE_RUN_ONCE_H

#include "device/device.h"

/* Opens the graph's module, allocates weights and arena, onloads every block, runs every block, releases all.
 * inputs and outputs as in bl_binding. `options` may be NULL. */
int bl_run_once(bl_device *d, const bl_graph *graph, const bl_source *source,
                const bl_prepare_options *options, const void *const *inputs, void *const *outputs,
                bl_error *err);

#endif
