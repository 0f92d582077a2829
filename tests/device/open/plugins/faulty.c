/* The cpu device, on which one piece of work fails late: "faulty:N" is the Nth packing or run. It is taken,
 * as by a card; what it writes is garbage, what stands behind it on its stream or waits for it does not
 * happen, and who waits for its event, or syncs, learns. */
#include "device/cpu/cpu.h"
#include "device/cpu/internal.h"
#include "device/plugin.h"

#include <stdlib.h>
#include <string.h>

typedef struct faulty {
    bl_device head;
    bl_device *cpu;
    bl_device_ops ops;
    int round, works; /* works of this round */
    bool failed[BL_STREAM_COUNT], any;
} faulty;

/* One a process: what the contract's calls without a device need. */
static faulty *the;

struct bl_event {
    bl_event *inner;
    bool failed;
};

/* Whether this piece of work happens. */
static bool happens(bl_stream stream) {
    if (++the->works == the->round / 2 + 1 && the->round % 2 == 0) {
        the->failed[stream] = the->any = true;
    }
    return !the->failed[stream];
}

static int pack(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                bl_error *err) {
    bool fine = happens(stream);
    int rc = the->cpu->ops->pack(m, block, to, offset, stream, err);
    if (!fine && !rc) {
        memset(to->region->base + offset, 0xa5, (size_t)the->cpu->ops->module_costs(m)[block].packed_bytes);
    }
    return rc;
}

static int run(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err) {
    return happens(stream) ? the->cpu->ops->run(x, block, b, stream, err) : 0;
}

static int event_open(bl_event **out, bl_device *d, bl_error *err) {
    (void)d;
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return bl_fail_memory(err, "an event", sizeof **out);
    }
    int rc = the->cpu->ops->event_open(&(*out)->inner, the->cpu, err);
    if (rc) {
        free(*out);
        *out = NULL;
    }
    return rc;
}

static void event_close(bl_event *e) {
    the->cpu->ops->event_close(e->inner);
    free(e);
}

static int event_record(bl_event *e, bl_stream stream, bl_error *err) {
    e->failed = the->failed[stream];
    return the->cpu->ops->event_record(e->inner, stream, err);
}

static int stream_wait(bl_device *d, bl_stream stream, bl_event *e, bl_error *err) {
    (void)d;
    (void)err;
    the->failed[stream] = the->failed[stream] || e->failed;
    return 0;
}

static int event_wait(bl_event *e, bl_error *err) {
    return e->failed ? bl_fail(err, BL_E_DEVICE, "work %d failed late", the->round / 2 + 1) : 0;
}

static double event_seconds(const bl_event *e) {
    return the->cpu->ops->event_seconds(e->inner);
}

static int sync(bl_device *d, bool *lost, bl_error *err) {
    (void)d;
    int rc = the->any ? bl_fail(err, BL_E_DEVICE, "work %d failed late", the->round / 2 + 1) : 0;
    memset(the->failed, 0, sizeof the->failed);
    the->any = *lost = false;
    the->works = 0;
    the->round++;
    return rc;
}

static void caps(bl_device *d, bl_device_caps *out) {
    (void)d;
    the->cpu->ops->caps(the->cpu, out);
}

static int module_open(bl_device_module **out, bl_device *d, const bl_graph *graph, const bl_source *source,
                       bl_error *err) {
    (void)d;
    return the->cpu->ops->module_open(out, the->cpu, graph, source, err);
}

static int region_open(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err) {
    (void)d;
    return the->cpu->ops->region_open(out, the->cpu, bytes, err);
}

static double now(bl_device *d) {
    (void)d;
    return the->cpu->ops->now(the->cpu);
}

static void close_faulty(bl_device *d) {
    (void)d;
    bl_device_close(&the->cpu);
    free(the);
    the = NULL;
}

static int open_faulty(bl_device **out, const char *which, const bl_log *log, bl_error *err) {
    *out = NULL;
    (void)which;
    if (the || !(the = calloc(1, sizeof *the))) {
        return bl_fail(err, BL_E_DEVICE, "faulty: one a process");
    }
    int rc = bl_cpu_open(&the->cpu, &(bl_cpu_options){.log = log}, err);
    if (rc) {
        free(the);
        the = NULL;
        return rc;
    }
    the->ops = *the->cpu->ops;
    the->ops.name = "faulty";
    the->ops.close = close_faulty;
    the->ops.caps = caps;
    the->ops.module_open = module_open;
    the->ops.region_open = region_open;
    the->ops.pack = pack;
    the->ops.run = run;
    the->ops.event_open = event_open;
    the->ops.event_close = event_close;
    the->ops.event_record = event_record;
    the->ops.stream_wait = stream_wait;
    the->ops.event_wait = event_wait;
    the->ops.event_seconds = event_seconds;
    the->ops.now = now;
    the->ops.sync = sync;
    the->head = (bl_device){.ops = &the->ops, .log = log};
    *out = &the->head;
    return 0;
}

__attribute__((visibility("default"))) bl_plugin_entry ballast_plugin;

const bl_plugin *ballast_plugin(void) {
    static const bl_plugin plugin = {.version = BL_DEVICE_VERSION, .open = open_faulty};
    return &plugin;
}
