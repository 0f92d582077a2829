#include "device/run_once.h"

#include <stdlib.h>

/* Places arena and blocks one behind the other, brings the blocks in and runs them. */
static int run_all(bl_device *d, bl_device_module *module, bl_executable *x, const bl_graph *graph,
                   const void *const *inputs, void *const *outputs, bl_error *err) {
    const bl_block_cost *costs = bl_device_module_costs(d, module);
    uint64_t *offsets = calloc((size_t)graph->block_count, sizeof *offsets);
    bl_region *region = NULL;
    bl_exec_info info;
    if (!offsets) {
        return bl_fail_memory(err, "the blocks' places",
                              (unsigned long long)graph->block_count * sizeof *offsets);
    }
    info = bl_device_executable_info(d, x);
    uint64_t bytes = info.arena_bytes;
    for (int b = 0; b < graph->block_count; b++) {
        offsets[b] = bytes;
        bytes += costs[b].packed_bytes;
    }
    int result = bl_device_region_open(&region, d, bytes, err);
    for (int b = 0; b < graph->block_count && !result; b++) {
        result = bl_device_pack(d, module, b, bl_device_region_host(d, region), offsets[b], BL_STREAM_COMPUTE,
                                err);
    }
    bl_binding binding = {.region = region, .block_offset = offsets, .inputs = inputs, .outputs = outputs};
    for (int b = 0; b < graph->block_count && !result; b++) {
        result = bl_device_run(d, x, b, &binding, BL_STREAM_COMPUTE, err);
    }
    bool lost;
    int late = bl_device_sync(d, &lost, result ? NULL : err); /* outputs are there behind it */
    result = result ? result : late;
    if (region) {
        bl_device_region_close(d, region);
    }
    free(offsets);
    return result;
}

int bl_run_once(bl_device *d, const bl_graph *graph, const bl_source *source,
                const bl_prepare_options *options, const void *const *inputs, void *const *outputs,
                bl_error *err) {
    bl_device_module *module = NULL;
    bl_executable *x = NULL;
    bl_prepare_options defaults = {0};
    int result = bl_device_module_open(&module, d, graph, source, err);
    if (!result) {
        result = bl_device_prepare(&x, d, module, graph, options ? options : &defaults, err);
    }
    if (!result) {
        result = run_all(d, module, x, graph, inputs, outputs, err);
    }
    if (x) {
        bl_device_executable_close(d, x);
    }
    if (module) {
        bl_device_module_close(d, module);
    }
    return result;
}
