/* Adapters of a model's modules. */
#include "pipeline/modules_parts.h"

#include "core/parallel.h"

#include <stdlib.h>
#include <string.h>

#define GUESSED_RATE 3e10 /* multiplications and additions a second, a thread, until some were measured */

/* Gives up what was packed with other adapters. */
static int adapt_one(bl_modules *m, bl_opened *x, const bl_changes *wanted, bl_error *err) {
    const int blocks = x->reference->block_count;
    bl_merge_cost *costs = calloc((size_t)blocks + 1, sizeof *costs);
    int result = costs
                     ? bl_merge_look(costs, x->merge, wanted, err)
                     : bl_fail_memory(err, "a module's adapters", (unsigned long long)blocks * sizeof *costs);
    for (int b = 0; b < blocks && !result; b++) {
        if (costs[b].differs) {
            bl_memory_drop(m->o.memory, x->id, b);
        }
    }
    free(costs);
    result = result ? result : bl_merge_set(x->merge, wanted, err);
    if (result) { /* nobody knows any more what the others were packed with */
        bl_memory_release(m->o.memory, x->id);
    }
    bl_device_module_refresh(m->device, x->device);
    const bl_block_cost *now = bl_device_module_costs(m->device, x->device);
    for (int b = 0; b < blocks; b++) {
        bl_memory_resize(m->o.memory, x->id, b, now[b].packed_bytes);
    }
    return result;
}

int bl_modules_adapt(bl_modules *m, const bl_changes *wanted, bl_error *err) {
    bl_wanted before[BL_MOST_ADAPTERS];
    int before_count = m->adapter_count, count = wanted->adapter_count;
    bl_rows rows;
    if (count > BL_MOST_ADAPTERS) {
        return bl_fail(err, BL_E_ARGUMENT, "%d adapters at once: at most %d are merged", count,
                       BL_MOST_ADAPTERS);
    }
    int result = bl_rows_copy(&rows, wanted->rows, err);
    if (result) {
        return result;
    }
    bl_rows_clear(&m->rows);
    m->rows = rows;
    memcpy(before, m->adapters, (size_t)before_count * sizeof *before);
    m->adapter_count = count;
    for (int i = 0; i < count; i++) { /* held before the others are let go: they may be the same */
        m->adapters[i] = wanted->adapters[i];
        bl_adapter_hold(m->adapters[i].adapter);
    }
    for (int i = 0; i < m->opened_count && !result; i++) {
        result = adapt_one(m, m->opened[i], wanted, err);
    }
    for (int i = 0; i < before_count; i++) {
        bl_adapter_drop(&before[i].adapter);
    }
    return result;
}

static void spent(const bl_modules *m, double *seconds, double *flops) {
    *seconds = *flops = 0;
    for (int i = 0; i < m->opened_count; i++) {
        double s, f;
        bl_merge_spent(m->opened[i]->merge, &s, &f);
        *seconds += s;
        *flops += f;
    }
}

double bl_modules_merge_rate(const bl_modules *m) {
    double seconds, flops;
    spent(m, &seconds, &flops);
    return (seconds > 1e-4 ? flops / seconds : GUESSED_RATE) * bl_threads();
}

double bl_modules_merge_seconds(const bl_modules *m) {
    double seconds, flops;
    spent(m, &seconds, &flops);
    return seconds / bl_threads();
}
