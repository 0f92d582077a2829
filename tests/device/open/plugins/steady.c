/* The cpu device on a clock of its own, which goes on by what is done and not by how long that takes: so
 * plans, which hang on measured seconds, are the same every time. */
#include "over_cpu.h"

#define PACKED_BYTES 2e9   /* a second */
#define BLOCK_SECONDS 1e-3 /* of a block's run */

struct bl_event {
    double seconds;
};

static double clock_seconds;

static int pack(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                bl_error *err) {
    clock_seconds += (double)cpu_ops()->module_costs(m)[block].packed_bytes / PACKED_BYTES;
    return cpu_ops()->pack(m, block, to, offset, stream, err);
}

static int run(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err) {
    clock_seconds += BLOCK_SECONDS;
    return cpu_ops()->run(x, block, b, stream, err);
}

static int event_open(bl_event **out, bl_device *d, bl_error *err) {
    (void)d;
    *out = calloc(1, sizeof **out);
    return *out ? 0 : bl_fail_memory(err, "an event", sizeof **out);
}

static void event_close(bl_event *e) {
    free(e);
}

static int event_record(bl_event *e, bl_stream stream, bl_error *err) {
    (void)stream;
    (void)err;
    e->seconds = clock_seconds;
    return 0;
}

static double event_seconds(const bl_event *e) {
    return e->seconds;
}

static double now(bl_device *d) {
    (void)d;
    return clock_seconds;
}

static int open_steady(bl_device **out, const char *which, const bl_log *log, bl_error *err) {
    (void)which;
    int rc = over_open(out, "steady", log, err);
    over.ops.pack = pack;
    over.ops.run = run;
    over.ops.event_open = event_open;
    over.ops.event_close = event_close;
    over.ops.event_record = event_record;
    over.ops.event_seconds = event_seconds;
    over.ops.now = now;
    return rc;
}

__attribute__((visibility("default"))) bl_plugin_entry ballast_plugin;

const bl_plugin *ballast_plugin(void) {
    static const bl_plugin plugin = {.version = BL_DEVICE_VERSION, .open = open_steady};
    return &plugin;
}
