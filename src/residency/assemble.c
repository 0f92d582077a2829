#include "residency/assemble.h"

#include "core/checked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int bl_assemble_module(int *out, bl_problem *p, const char *name, const bl_graph *graph, bl_device *d,
                       const bl_device_module *m, bl_error *err) {
    const bl_block_cost *costs = d->ops->module_costs(m);
    bl_problem_block *blocks =
        calloc((size_t)(graph->block_count > 0 ? graph->block_count : 1), sizeof *blocks);
    if (!blocks) {
        return bl_fail_memory(err, "a module's blocks", (size_t)graph->block_count * sizeof *blocks);
    }
    for (int b = 0; b < graph->block_count; b++) {
        snprintf(blocks[b].name, sizeof blocks[b].name, "%.*s", BL_PROBLEM_NAME - 1, graph->blocks[b].name);
        blocks[b].bytes = costs[b].packed_bytes;
        blocks[b].source_bytes = costs[b].source_bytes;
        blocks[b].copy_seconds = -1;
        blocks[b].resident_at = BL_NOWHERE;
    }
    int rc = bl_problem_add_module(out, p, name, graph->dtype == BL_BF16 ? "bf16" : "f32", blocks,
                                   graph->block_count, err);
    free(blocks);
    return rc;
}

int bl_assemble_phase(int *out, int kept[BL_PROBLEM_LEVELS], int *level_count, bl_problem *p,
                      const char *name, const char *stage, int module, int passes, bl_device *d,
                      bl_executable *const *levels, int count, const bl_rates *rates, bl_error *err) {
    if (module < 0 || module >= p->module_count || count < 1 || !(rates->flops > 0) ||
        !(rates->memory_rate > 0)) {
        return bl_fail(err, BL_E_ARGUMENT, "phase %s: no such module, no executable or no rates", name);
    }
    const bl_problem_module *m = &p->modules[module];
    double *seconds = malloc((size_t)m->block_count * sizeof *seconds);
    if (!seconds) {
        return bl_fail_memory(err, "a phase's times", (size_t)m->block_count * sizeof *seconds);
    }
    int rc = 0, n = 0, phase = -1;
    uint64_t last = 0;
    for (int i = 0; i < count && n < BL_PROBLEM_LEVELS && !rc; i++) {
        bl_exec_info info;
        d->ops->executable_info(levels[i], &info);
        uint64_t arena = bl_align_up(info.arena_bytes, BL_ALIGN);
        if (info.block_count != m->block_count) {
            rc = bl_fail(err, BL_E_ARGUMENT, "phase %s: an executable of %d blocks for a module of %d", name,
                         info.block_count, m->block_count);
            break;
        }
        if (i > 0 && arena >= last) {
            continue;
        }
        for (int b = 0; b < m->block_count; b++) {
            double compute = info.block_flops[b] / rates->flops;
            double reading = (double)m->blocks[b].bytes / rates->memory_rate;
            seconds[b] = compute > reading ? compute : reading;
        }
        rc = i == 0 ? bl_problem_add_phase(&phase, p, name, stage, module, passes, arena, seconds, err)
                    : bl_problem_add_level(p, phase, arena, seconds, err);
        if (!rc && kept) {
            kept[n] = i;
        }
        n++;
        last = arena;
    }
    free(seconds);
    if (!rc) {
        *out = phase;
        if (level_count) {
            *level_count = n;
        }
    }
    return rc;
}

void bl_assemble_memory(bl_problem *p, bl_device *d, uint64_t open_bytes, uint64_t budget, uint64_t reserve) {
    bl_device_caps caps;
    d->ops->caps(d, &caps);
    uint64_t there = caps.free_bytes + open_bytes;
    p->memory_bytes = caps.memory_bytes;
    p->budget_bytes = budget ? budget : there;
    p->budget_bytes -= reserve < p->budget_bytes ? reserve : p->budget_bytes;
    p->async_copy = caps.async_copy;
}
