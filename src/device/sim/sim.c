#include "device/sim/sim.h"

#include "core/checked.h"
#include "graph/arena.h"
#include "graph/levels.h"
#include "graph/op_rows.h"

#include <stdlib.h>
#include <string.h>

typedef struct sim {
    bl_device head;
    bl_sim_card card;
    bl_sim_faults faults;
    bool vanished;                 /* a region was refused: caps show it from now on */
    double host;                   /* the host's clock */
    double clock[BL_STREAM_COUNT]; /* when each stream is done with what was put on it */
    uint64_t open_bytes, peak_bytes;
    int copies, runs;
} sim;

struct bl_device_module {
    sim *s;
    bl_block_cost *costs;
    int count;
};

struct bl_executable {
    bl_device_module *m;
    uint64_t arena_bytes;
    double *seconds, *flops; /* [m->count] each */
};

struct bl_region {
    sim *s;
    uint64_t bytes;
    bl_region_use used; /* since sim_region_used */
};

struct bl_event {
    sim *s;
    double time;
};

static void sim_close(bl_device *d) {
    free(d);
}

static void sim_caps(bl_device *d, bl_device_caps *out) {
    const sim *s = (const sim *)d;
    memset(out, 0, sizeof *out);
    memcpy(out->name, s->card.name, sizeof out->name);
    out->memory_bytes = s->card.memory_bytes;
    uint64_t taken = s->open_bytes + (s->vanished ? s->faults.vanished_bytes : 0);
    out->free_bytes = taken < s->card.memory_bytes ? s->card.memory_bytes - taken : 0;
    out->f32 = out->bf16 = out->bf16_fast = true;
    out->async_copy = !s->card.shares_cores;
    out->arena_levels = BL_LEVELS;
    out->copy_rate = s->card.copy_rate;
    out->copy_latency = s->card.copy_latency;
}

static uint64_t weight_bytes(const bl_weight *w, bl_dtype dtype) {
    size_t element = w->kind == BL_W_VECTOR ? 4 : bl_dtype_size(dtype);
    return bl_align_up((uint64_t)bl_weight_elements(w) * element, BL_ALIGN);
}

int bl_sim_module_describe(bl_device_module **out, bl_device *d, const bl_block_cost *costs, int count,
                           bl_error *err) {
    *out = NULL;
    bl_device_module *m = calloc(1, sizeof *m);
    if (!m || !(m->costs = malloc((size_t)count * sizeof *costs))) {
        free(m);
        return bl_fail_memory(err, "a simulated module", (size_t)count * sizeof *costs);
    }
    memcpy(m->costs, costs, (size_t)count * sizeof *costs);
    m->count = count;
    m->s = (sim *)d;
    *out = m;
    return 0;
}

static int sim_module_open(bl_device_module **out, bl_device *d, const bl_graph *g, const bl_source *source,
                           bl_error *err) {
    *out = NULL;
    bl_block_cost *costs = calloc((size_t)g->block_count, sizeof *costs);
    if (!costs) {
        return bl_fail_memory(err, "a simulated module", (size_t)g->block_count * sizeof *costs);
    }
    for (int i = 0; i < g->weight_count; i++) {
        const bl_weight *w = &g->weights[i];
        costs[w->block].packed_bytes += weight_bytes(w, g->dtype);
        bl_dtype stored = source && source->dtype ? source->dtype(source->payload, w, 0) : g->dtype;
        costs[w->block].source_bytes += (uint64_t)bl_weight_elements(w) * bl_dtype_size(stored);
    }
    int rc = bl_sim_module_describe(out, d, costs, g->block_count, err);
    free(costs);
    return rc;
}

static void sim_module_close(bl_device_module *m) {
    free(m->costs);
    free(m);
}

static const bl_block_cost *sim_module_costs(const bl_device_module *m) {
    return m->costs;
}

int bl_sim_executable_describe(bl_executable **out, bl_device_module *m, uint64_t arena_bytes,
                               const double *block_seconds, bl_error *err) {
    *out = NULL;
    bl_executable *x = calloc(1, sizeof *x);
    double *seconds = malloc((size_t)m->count * sizeof *seconds),
           *flops = calloc((size_t)m->count, sizeof *flops);
    if (!x || !seconds || !flops) {
        free(x);
        free(seconds);
        free(flops);
        return bl_fail_memory(err, "a simulated executable", (size_t)m->count * sizeof *seconds);
    }
    memcpy(seconds, block_seconds, (size_t)m->count * sizeof *seconds);
    *x = (bl_executable){
        .m = m, .arena_bytes = bl_align_up(arena_bytes, BL_ALIGN), .seconds = seconds, .flops = flops};
    *out = x;
    return 0;
}

/* Times that each block's weights are read: once for each share of a batch that was taken apart. */
static int readings(const bl_graph *g) {
    const bl_tensor *t = &g->tensors[g->ops[0].out];
    return t->batch ? (t->batch + t->n - 1) / t->n : 1;
}

/* Bytes of the arena of the graph in the form that it has at a level. */
static int arena_of(uint64_t *out, const bl_graph *g, bl_error *err) {
    bl_op_memory *memory = malloc((size_t)(g->op_count > 0 ? g->op_count : 1) * sizeof *memory);
    bl_arena_plan arena = {0};
    if (!memory) {
        return bl_fail_memory(err, "a simulated executable", (size_t)g->op_count * sizeof *memory);
    }
    for (int i = 0; i < g->op_count; i++) {
        memory[i] = bl_op_rows[g->ops[i].kind].memory(g, &g->ops[i]);
    }
    int rc = bl_arena_plan_make(&arena, g, memory, err);
    *out = arena.bytes;
    bl_arena_plan_free(&arena);
    free(memory);
    return rc;
}

static int sim_prepare(bl_executable **out, bl_device_module *m, const bl_graph *g,
                       const bl_prepare_options *options, bl_error *err) {
    *out = NULL;
    if (g->block_count != m->count) {
        return bl_fail(err, BL_E_ARGUMENT, "a graph of %d blocks for a module of %d", g->block_count,
                       m->count);
    }
    const sim *s = m->s;
    uint64_t arena = 0;
    bl_graph *changed = NULL;
    double *seconds = calloc((size_t)m->count, sizeof *seconds),
           *flops = calloc((size_t)m->count, sizeof *flops);
    int rc = seconds && flops
                 ? bl_graph_at_level(&changed, g, bl_levels[options ? options->arena_level : 0], err)
                 : bl_fail_memory(err, "a simulated executable", (size_t)m->count * sizeof *seconds);
    rc = rc ? rc : arena_of(&arena, changed ? changed : g, err);
    if (rc) {
        goto done;
    }
    for (int i = 0; i < g->op_count; i++) {
        flops[g->ops[i].block] += bl_op_flops(g, &g->ops[i]);
    }
    for (int b = 0; b < m->count; b++) {
        double compute = flops[b] / (g->dtype == BL_BF16 ? s->card.flops_bf16 : s->card.flops_f32);
        double reading = (double)m->costs[b].packed_bytes / s->card.memory_rate;
        reading *= readings(changed ? changed : g);
        seconds[b] = compute > reading ? compute : reading;
    }
    rc = bl_sim_executable_describe(out, m, arena, seconds, err);
    if (!rc) {
        memcpy((*out)->flops, flops, (size_t)m->count * sizeof *flops);
    }
done:
    bl_graph_free(&changed);
    free(seconds);
    free(flops);
    return rc;
}

static void sim_executable_close(bl_executable *x) {
    free(x->seconds);
    free(x->flops);
    free(x);
}

static void sim_executable_info(const bl_executable *x, bl_exec_info *out) {
    *out = (bl_exec_info){.arena_bytes = x->arena_bytes,
                          .block_count = x->m->count,
                          .block_flops = x->flops,
                          .block_seconds = x->seconds};
}

static int sim_region_open(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err) {
    *out = NULL;
    sim *s = (sim *)d;
    uint64_t taken = s->open_bytes + s->faults.vanished_bytes;
    if (taken > s->card.memory_bytes || bytes > s->card.memory_bytes - taken) {
        s->vanished = true;
        return bl_fail_memory(err, "the device's region", bytes);
    }
    bl_region *r = malloc(sizeof *r);
    if (!r) {
        return bl_fail_memory(err, "a simulated region", sizeof *r);
    }
    *r = (bl_region){.s = s, .bytes = bytes};
    s->open_bytes += bytes;
    s->peak_bytes = s->open_bytes > s->peak_bytes ? s->open_bytes : s->peak_bytes;
    *out = r;
    return 0;
}

static void sim_region_close(bl_region *r) {
    r->s->open_bytes -= r->bytes;
    free(r);
}

static void reach(uint64_t *end, uint64_t other) {
    *end = bl_align_up(other > *end ? other : *end, BL_ALIGN);
}

static void sim_region_used(bl_region *r, bl_region_use *out) {
    *out = r->used;
    r->used = (bl_region_use){0};
}

/* Puts work on a stream: it begins when the stream is free, and not before the host asked for it. */
static void work(sim *s, bl_stream stream, double seconds) {
    if (s->card.shares_cores) {
        s->host += seconds;
        s->clock[BL_STREAM_COMPUTE] = s->clock[BL_STREAM_COPY] = s->host;
        return;
    }
    double start = s->clock[stream] > s->host ? s->clock[stream] : s->host;
    s->clock[stream] = start + seconds;
}

static int sim_onload(bl_device_module *m, int block, bl_region *r, uint64_t offset, bl_stream stream,
                      bl_error *err) {
    sim *s = m->s;
    uint64_t bytes = m->costs[block].packed_bytes;
    if (offset > r->bytes || bytes > r->bytes - offset) {
        return bl_fail(err, BL_E_INTERNAL, "block %d is put outside the region", block);
    }
    if (++s->copies == s->faults.fail_copy) {
        return bl_fail(err, BL_E_DEVICE, "copy %d of block %d failed, as scripted", s->copies, block);
    }
    reach(&r->used.end, offset + bytes);
    work(s, stream, s->card.copy_latency + (double)bytes / s->card.copy_rate);
    return 0;
}

static int sim_run(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err) {
    sim *s = x->m->s;
    uint64_t offset = b->block_offset[block], bytes = x->m->costs[block].packed_bytes;
    if (x->arena_bytes > b->region->bytes || offset > b->region->bytes || bytes > b->region->bytes - offset ||
        offset < b->arena_offset + x->arena_bytes) {
        return bl_fail(err, BL_E_INTERNAL,
                       "block %d runs with its weights in the arena or outside the region", block);
    }
    if (++s->runs == s->faults.fail_run) {
        return bl_fail(err, BL_E_DEVICE, "run %d of block %d failed, as scripted", s->runs, block);
    }
    reach(&b->region->used.arena, x->arena_bytes);
    reach(&b->region->used.end, b->arena_offset + x->arena_bytes);
    reach(&b->region->used.end, offset + bytes);
    work(s, stream, x->seconds[block]);
    return 0;
}

static int sim_event_open(bl_event **out, bl_device *d, bl_error *err) {
    *out = NULL;
    bl_event *e = calloc(1, sizeof *e);
    if (!e) {
        return bl_fail_memory(err, "an event", sizeof *e);
    }
    e->s = (sim *)d;
    *out = e;
    return 0;
}

static void sim_event_close(bl_event *e) {
    free(e);
}

static int sim_event_record(bl_event *e, bl_stream stream, bl_error *err) {
    (void)err;
    e->time = e->s->clock[stream] > e->s->host ? e->s->clock[stream] : e->s->host;
    return 0;
}

static int sim_stream_wait(bl_device *d, bl_stream stream, bl_event *e, bl_error *err) {
    sim *s = (sim *)d;
    (void)err;
    if (e->time > s->clock[stream]) {
        s->clock[stream] = e->time;
    }
    return 0;
}

static int sim_event_wait(bl_event *e, bl_error *err) {
    (void)err;
    if (e->time > e->s->host) {
        e->s->host = e->time;
    }
    return 0;
}

static double sim_event_seconds(const bl_event *e) {
    return e->time;
}

static double sim_now(bl_device *d) {
    return ((sim *)d)->host;
}

static const bl_device_ops sim_ops = {
    .version = BL_DEVICE_VERSION,
    .name = "sim",
    .close = sim_close,
    .caps = sim_caps,
    .module_open = sim_module_open,
    .module_close = sim_module_close,
    .module_costs = sim_module_costs,
    .prepare = sim_prepare,
    .executable_close = sim_executable_close,
    .executable_info = sim_executable_info,
    .region_open = sim_region_open,
    .region_close = sim_region_close,
    .region_used = sim_region_used,
    .onload = sim_onload,
    .run = sim_run,
    .event_open = sim_event_open,
    .event_close = sim_event_close,
    .event_record = sim_event_record,
    .stream_wait = sim_stream_wait,
    .event_wait = sim_event_wait,
    .event_seconds = sim_event_seconds,
    .now = sim_now,
};

int bl_sim_open(bl_device **out, const bl_sim_card *card, const bl_log *log, bl_error *err) {
    *out = NULL;
    sim *s = calloc(1, sizeof *s);
    if (!s) {
        return bl_fail_memory(err, "a simulated device", sizeof *s);
    }
    s->head.ops = &sim_ops;
    s->head.log = log;
    s->card = *card;
    *out = &s->head;
    return 0;
}

void bl_sim_set_faults(bl_device *d, const bl_sim_faults *faults) {
    ((sim *)d)->faults = *faults;
}

const double *bl_sim_block_seconds(const bl_executable *x) {
    return x->seconds;
}

uint64_t bl_sim_open_bytes(const bl_device *d) {
    return ((const sim *)d)->open_bytes;
}

uint64_t bl_sim_peak_bytes(const bl_device *d) {
    return ((const sim *)d)->peak_bytes;
}
