/* The cpu device, on which one piece of work fails late: of every second round, the first packing or run, and
 * with "faulty:N" each time the Nth after the one that failed before. It is taken, as by a card; what it
 * writes is garbage, what stands behind it on its stream or waits for it does not happen, and who waits for
 * its event, or syncs, learns. */
#include "over_cpu.h"

static int round_number, works, step; /* works of this round; from a round's fault to the next */
static bool failed[BL_STREAM_COUNT], any;

struct bl_event {
    bl_event *inner;
    bool failed;
};

/* Which work of this round is to fail, from 1. */
static int failing(void) {
    return round_number / 2 * step + 1;
}

/* Whether this piece of work happens. */
static bool happens(bl_stream stream) {
    if (++works == failing() && round_number % 2 == 0) {
        failed[stream] = any = true;
    }
    return !failed[stream];
}

static int pack(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                bl_error *err) {
    bool fine = happens(stream);
    int rc = cpu_ops()->pack(m, block, to, offset, stream, err);
    if (!fine && !rc) {
        memset(to->region->base + offset, 0xa5, (size_t)cpu_ops()->module_costs(m)[block].packed_bytes);
    }
    return rc;
}

static int run(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err) {
    return happens(stream) ? cpu_ops()->run(x, block, b, stream, err) : 0;
}

static int event_open(bl_event **out, bl_device *d, bl_error *err) {
    (void)d;
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return bl_fail_memory(err, "an event", sizeof **out);
    }
    int rc = cpu_ops()->event_open(&(*out)->inner, over.cpu, err);
    if (rc) {
        free(*out);
        *out = NULL;
    }
    return rc;
}

static void event_close(bl_event *e) {
    cpu_ops()->event_close(e->inner);
    free(e);
}

static int event_record(bl_event *e, bl_stream stream, bl_error *err) {
    e->failed = failed[stream];
    return cpu_ops()->event_record(e->inner, stream, err);
}

static int stream_wait(bl_device *d, bl_stream stream, bl_event *e, bl_error *err) {
    (void)d;
    (void)err;
    failed[stream] = failed[stream] || e->failed;
    return 0;
}

static int event_wait(bl_event *e, bl_error *err) {
    return e->failed ? bl_fail(err, BL_E_DEVICE, "work %d failed late", failing()) : 0;
}

static double event_seconds(const bl_event *e) {
    return cpu_ops()->event_seconds(e->inner);
}

static int sync(bl_device *d, bool *lost, bl_error *err) {
    (void)d;
    int rc = any ? bl_fail(err, BL_E_DEVICE, "work %d failed late", failing()) : 0;
    memset(failed, 0, sizeof failed);
    any = *lost = false;
    works = 0;
    round_number++;
    return rc;
}

static int open_faulty(bl_device **out, const char *which, const bl_log *log, bl_error *err) {
    round_number = works = 0;
    step = which && *which ? atoi(which) : 1;
    int rc = over_open(out, "faulty", log, err);
    over.ops.pack = pack;
    over.ops.run = run;
    over.ops.event_open = event_open;
    over.ops.event_close = event_close;
    over.ops.event_record = event_record;
    over.ops.stream_wait = stream_wait;
    over.ops.event_wait = event_wait;
    over.ops.event_seconds = event_seconds;
    over.ops.sync = sync;
    return rc;
}

__attribute__((visibility("default"))) bl_plugin_entry ballast_plugin;

const bl_plugin *ballast_plugin(void) {
    static const bl_plugin plugin = {.version = BL_DEVICE_VERSION, .open = open_faulty};
    return &plugin;
}
