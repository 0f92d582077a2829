#include "device/cpu/internal.h"

#include "core/host_memory.h"
#include "core/checked.h"

#include "core/clock.h"
#include "core/lines.h"
#include "graph/levels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STACK_BYTES                                                                         \
    (1u << 20) /* what a thread's stack and the allocator's share of it come to, rounded up \
                */

struct bl_event {
    double seconds;
};

static void device_close(bl_device *d) {
    bl_cpu *c = (bl_cpu *)d;
    bl_cpu_trials_close(&c->trials);
    bl_dnnl_close(&c->dnnl);
    free(c->staging);
    free(c);
}

static void device_caps(bl_device *d, bl_device_caps *out) {
    const bl_cpu *c = (const bl_cpu *)d;
    *out = (bl_device_caps){.kind = BL_DEVICE_CPU,
                            .alignment = BL_ALIGN,
                            .f32 = true,
                            .bf16 = c->bf16,
                            .arena_levels = BL_LEVELS};
    memcpy(out->name, c->name, sizeof out->name);
    bl_host_memory(&out->free_bytes, &out->memory_bytes);
    out->free_bytes = bl_cpu_region_room(out->free_bytes);
    out->host_memory = true;
    out->working_bytes = c->working ? 0 : (uint64_t)c->threads * (STACK_BYTES + c->staging_bytes);
    out->bf16_fast = c->isa >= BL_ISA_AVX512_BF16;
    out->convolves = out->bf16_fast && !c->amx;
}

/* There are no asynchronous copies: every call ends when its work is done, so an event has happened when it
 * is recorded and waiting for it is nothing. */
static int event_open(bl_event **out, bl_device *d, bl_error *err) {
    *out = NULL;
    (void)d;
    bl_event *e = calloc(1, sizeof *e);
    if (!e) {
        return bl_fail_memory(err, "an event", sizeof *e);
    }
    *out = e;
    return 0;
}

static void event_close(bl_event *e) {
    free(e);
}

static int event_record(bl_event *e, bl_stream stream, bl_error *err) {
    (void)stream;
    (void)err;
    e->seconds = bl_now();
    return 0;
}

static int stream_wait(bl_device *d, bl_stream stream, bl_event *e, bl_error *err) {
    (void)d;
    (void)stream;
    (void)e;
    (void)err;
    return 0;
}

static int event_wait(bl_event *e, bl_error *err) {
    (void)e;
    (void)err;
    return 0;
}

static double event_seconds(const bl_event *e) {
    return e->seconds;
}

static double device_now(bl_device *d) {
    (void)d;
    return bl_now();
}

/* Everything happens inside its call, and fails there. */
static int device_sync(bl_device *d, bool *lost, bl_error *err) {
    (void)d;
    (void)err;
    *lost = false;
    return 0;
}

static const bl_device_ops cpu_ops = {
    .version = BL_DEVICE_VERSION,
    .name = "cpu",
    .close = device_close,
    .caps = device_caps,
    .module_open = bl_cpu_module_open,
    .module_close = bl_cpu_module_close,
    .module_costs = bl_cpu_module_costs,
    .module_refresh = bl_cpu_module_refresh,
    .prepare = bl_cpu_prepare,
    .executable_close = bl_cpu_executable_close,
    .executable_info = bl_cpu_executable_info,
    .executable_widened = bl_cpu_executable_widened,
    .region_open = bl_cpu_region_open,
    .region_close = bl_cpu_region_close,
    .region_used = bl_cpu_region_used,
    .region_host = bl_cpu_region_host,
    .pack = bl_cpu_pack,
    .run = bl_cpu_run,
    .event_open = event_open,
    .event_close = event_close,
    .event_record = event_record,
    .stream_wait = stream_wait,
    .event_wait = event_wait,
    .event_seconds = event_seconds,
    .now = device_now,
    .sync = device_sync,
};

/* "AMD EPYC 9354, avx512_bf16, 2 threads, oneDNN 2.6.3" */
static void describe(bl_cpu *c) {
    char model[64] = "CPU", line[256], library[32];
    bl_lines l;
    if (bl_lines_open(&l, "/proc/cpuinfo")) {
        while (bl_lines_next(&l, line, sizeof line) &&
               !(!strncmp(line, "model name", 10) && sscanf(line, "%*[^:]: %63[^\n]", model) == 1)) {
        }
        bl_lines_close(&l);
    }
    bl_dnnl_version(library, sizeof library);
    snprintf(c->name, sizeof c->name, "%s, %s, %d thread%s, %s", model, c->kernels->name, c->threads,
             c->threads == 1 ? "" : "s", library);
}

/* oneDNN multiplies bf16 from AVX-512 on (slowly before AVX512_BF16) and not at all below it. */
static int find_bf16(bl_cpu *c, bl_error *err) {
    bl_dnnl_linear l = {.dtype = BL_BF16, .rows = 16, .c = 64, .o = 64, .bias = true};
    bl_dnnl_layout *layout = NULL;
    int rc = bl_dnnl_linear_layout(&layout, c->dnnl, &l, err);
    c->bf16 = !rc;
    bl_dnnl_layout_close(&layout);
    return rc == BL_E_MEMORY ? rc : 0;
}

int bl_cpu_open(bl_device **out, const bl_cpu_options *options, bl_error *err) {
    *out = NULL;
    static const bl_cpu_options defaults;
    options = options ? options : &defaults;
    if (options->threads < 0 || options->threads > 1024) {
        return bl_fail(err, BL_E_ARGUMENT, "the number of threads must be 0 to 1024, not %d",
                       options->threads);
    }
    bl_cpu *c = calloc(1, sizeof *c);
    if (!c) {
        return bl_fail_memory(err, "the cpu device", sizeof *c);
    }
    c->head.ops = &cpu_ops;
    c->head.log = options->log;
    c->threads = options->threads ? options->threads : bl_usable_cores();
    c->isa = bl_cpu_isa_find(options->isa_max);
    c->kernels = bl_kernels_for(c->isa);
    int rc = bl_dnnl_open(&c->dnnl, options->isa_max, err);
    rc = rc ? rc : find_bf16(c, err);
    rc = rc ? rc : bl_cpu_trials_open(&c->trials, err);
    if (rc) {
        device_close(&c->head);
        return rc;
    }
    c->amx = options->isa_max == BL_ISA_BEST && bl_cpu_has_amx();
    describe(c);
    *out = &c->head;
    return 0;
}
