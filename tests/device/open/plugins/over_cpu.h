/* A device that is the cpu device but for some of its entries: one a process, because the contract's calls
 * without a device need to know it. */
#ifndef BALLAST_TESTS_DEVICE_PLUGINS_OVER_CPU_H
#define BALLAST_TESTS_DEVICE_PLUGINS_OVER_CPU_H

#include "device/cpu/cpu.h"
#include "device/cpu/internal.h"
#include "device/plugin.h"

#include <stdlib.h>
#include <string.h>

static struct over_cpu {
    bl_device head;
    bl_device *cpu;
    bl_device_ops ops;
} over;

static const bl_device_ops *cpu_ops(void) {
    return over.cpu->ops;
}

static void over_caps(bl_device *d, bl_device_caps *out) {
    (void)d;
    cpu_ops()->caps(over.cpu, out);
}

static int over_module_open(bl_device_module **out, bl_device *d, const bl_graph *graph,
                            const bl_source *source, bl_error *err) {
    (void)d;
    return cpu_ops()->module_open(out, over.cpu, graph, source, err);
}

static int over_region_open(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err) {
    (void)d;
    return cpu_ops()->region_open(out, over.cpu, bytes, err);
}

static double over_now(bl_device *d) {
    (void)d;
    return cpu_ops()->now(over.cpu);
}

static void over_close(bl_device *d) {
    (void)d;
    bl_device_close(&over.cpu);
}

/* Opens it; what is different goes into over.ops. */
static int over_open(bl_device **out, const char *name, const bl_log *log, bl_error *err) {
    *out = NULL;
    if (over.cpu) {
        return bl_fail(err, BL_E_DEVICE, "%s: one a process", name);
    }
    int rc = bl_cpu_open(&over.cpu, &(bl_cpu_options){.log = log}, err);
    if (rc) {
        return rc;
    }
    over.ops = *cpu_ops();
    over.ops.name = name;
    over.ops.close = over_close;
    over.ops.caps = over_caps;
    over.ops.module_open = over_module_open;
    over.ops.region_open = over_region_open;
    over.ops.now = over_now;
    over.head = (bl_device){.ops = &over.ops, .log = log};
    *out = &over.head;
    return 0;
}

#endif
