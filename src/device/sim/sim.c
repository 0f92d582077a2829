#include "device/sim/internal.h"

#include "core/checked.h"
#include "graph/arena.h"
#include "graph/levels.h"
#include "graph/op_rows.h"

#include <stdlib.h>
#include <string.h>

static void sim_close(bl_device *d) {
    bl_spans_free(&((sim *)d)->copying);
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
    out->copy_slowdown = s->card.copy_slowdown;
    out->kind = s->card.shares_cores ? BL_DEVICE_CPU : BL_DEVICE_GPU;
    out->alignment = BL_ALIGN;
    out->host_store = s->card.host_bytes > 0;
    out->host_bytes = s->card.host_bytes;
    out->host_free_bytes = s->card.host_bytes > s->host_bytes ? s->card.host_bytes - s->host_bytes : 0;
    out->file_rate = s->card.file_rate;
    out->file_latency = s->card.file_latency;
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
    m->serial = ++m->s->modules;
    *out = m;
    return 0;
}

static void sim_module_refresh(bl_device_module *m) {
    bl_small_weight now;
    for (int b = 0; b < m->count; b++) {
        bl_block_cost *cost = &m->costs[b];
        cost->packed_bytes = cost->wide_bytes ? cost->small_bytes : cost->packed_bytes;
    }
    for (int i = 0; i < m->weight_count; i++) {
        if (!bl_source_small(&now, &m->source, &m->weights[i])) {
            m->costs[m->weights[i].block].packed_bytes = m->costs[m->weights[i].block].wide_bytes;
        }
    }
}

static void sim_module_close(bl_device_module *m) {
    free(m->weights);
    free(m->costs);
    free(m);
}

/* Notes which weights stay small, and what that makes of their blocks. */
static int keep_small(bl_device_module *m, const bl_graph *g, const bl_source *source, bl_error *err) {
    m->source = *source;
    m->weights = calloc((size_t)g->weight_count + 1, sizeof *m->weights);
    if (!m->weights) {
        return bl_fail_memory(err, "a simulated module", (size_t)g->weight_count * sizeof *m->weights);
    }
    for (int i = 0; i < g->weight_count; i++) {
        bl_small_weight small;
        const bl_weight *w = &g->weights[i];
        bl_block_cost *cost = &m->costs[w->block];
        if (bl_source_small(&small, source, w)) {
            m->weights[m->weight_count++] = *w;
            cost->wide_bytes = cost->wide_bytes ? cost->wide_bytes : cost->packed_bytes;
            cost->small_bytes = cost->small_bytes ? cost->small_bytes : cost->packed_bytes;
            cost->small_bytes += small.bytes - weight_bytes(w, g->dtype);
        }
    }
    sim_module_refresh(m);
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
        costs[w->block].source_bytes += source && source->dtype
                                            ? bl_source_bytes(source, w)
                                            : (uint64_t)bl_weight_elements(w) * bl_dtype_size(g->dtype);
    }
    int rc = bl_sim_module_describe(out, d, costs, g->block_count, err);
    free(costs);
    if (!rc && source && source->small && (rc = keep_small(*out, g, source, err))) {
        sim_module_close(*out);
        *out = NULL;
    }
    return rc;
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

static const bl_weight *small_weight(const bl_device_module *m, bl_weight_id id) {
    for (int i = 0; i < m->weight_count && id != BL_NONE; i++) {
        if (m->weights[i].number == id) {
            return &m->weights[i];
        }
    }
    return NULL;
}

/* What an op's small weights take in the scratch once they are wide. A table gives single rows. */
static uint64_t widened_bytes(const bl_executable *x, const bl_graph *g, const bl_op *op) {
    const bl_weight_id ids[2] = {op->weight, op->weight3};
    uint64_t bytes = 0;
    for (int k = 0; k < 2; k++) {
        const bl_weight *w = small_weight(x->m, ids[k]);
        if (w && w->kind != BL_W_EMBEDDING) {
            bytes += weight_bytes(w, g->dtype);
            x->widened[w->block] += (double)bl_weight_elements(w);
            x->widen[w->block] += (double)(weight_bytes(w, g->dtype) + bl_source_bytes(&x->m->source, w)) /
                                  x->m->s->card.memory_rate;
        }
    }
    return bytes;
}

/* Bytes of the arena of the graph in the form that it has at a level. */
static int find_arena(bl_executable *x, const bl_graph *g, bl_error *err) {
    bl_op_memory *memory = malloc((size_t)(g->op_count > 0 ? g->op_count : 1) * sizeof *memory);
    bl_arena_plan arena = {0};
    if (!memory) {
        return bl_fail_memory(err, "a simulated executable", (size_t)g->op_count * sizeof *memory);
    }
    for (int i = 0; i < g->op_count; i++) {
        memory[i] = bl_op_rows[g->ops[i].kind].memory(g, &g->ops[i]);
        if (x->widened) {
            memory[i].scratch_bytes =
                bl_align_up(memory[i].scratch_bytes, BL_ALIGN) + widened_bytes(x, g, &g->ops[i]);
        }
    }
    int rc = bl_arena_plan_make(&arena, g, memory, err);
    x->arena_bytes = bl_align_up(arena.bytes, BL_ALIGN);
    bl_arena_plan_free(&arena);
    free(memory);
    return rc;
}

static void sim_executable_close(bl_executable *x) {
    free(x->widen);
    free(x->widened);
    free(x->seconds);
    free(x->flops);
    free(x);
}

/* Seconds of each block: of its products, or of reading what they multiply with, and of widening that. */
static void find_seconds(bl_executable *x, const bl_graph *g, const bl_graph *changed) {
    const bl_device_module *m = x->m;
    for (int i = 0; i < g->op_count; i++) {
        x->flops[g->ops[i].block] += bl_op_flops(g, &g->ops[i]);
    }
    for (int b = 0; b < m->count; b++) {
        const bl_block_cost *cost = &m->costs[b];
        double compute = x->flops[b] / (g->dtype == BL_BF16 ? m->s->card.flops_bf16 : m->s->card.flops_f32);
        double reading =
            (double)(cost->wide_bytes ? cost->wide_bytes : cost->packed_bytes) / m->s->card.memory_rate;
        reading *= readings(changed);
        x->seconds[b] = (compute > reading ? compute : reading) + (x->widen ? x->widen[b] : 0);
    }
}

static int sim_prepare(bl_executable **out, bl_device_module *m, const bl_graph *g,
                       const bl_prepare_options *options, bl_error *err) {
    *out = NULL;
    if (g->block_count != m->count) {
        return bl_fail(err, BL_E_ARGUMENT, "a graph of %d blocks for a module of %d", g->block_count,
                       m->count);
    }
    bl_executable *x = calloc(1, sizeof *x);
    bl_graph *changed = NULL;
    if (!x) {
        return bl_fail_memory(err, "a simulated executable", sizeof *x);
    }
    x->m = m;
    x->seconds = calloc((size_t)m->count, sizeof *x->seconds);
    x->flops = calloc((size_t)m->count, sizeof *x->flops);
    x->widened = m->weight_count ? calloc((size_t)m->count, sizeof *x->widened) : NULL;
    x->widen = m->weight_count ? calloc((size_t)m->count, sizeof *x->widen) : NULL;
    bool fine = x->seconds && x->flops && (!m->weight_count || (x->widened && x->widen));
    int rc = fine ? bl_graph_at_level(&changed, g, bl_levels[options ? options->arena_level : 0], err)
                  : bl_fail_memory(err, "a simulated executable", (size_t)m->count * sizeof *x->seconds);
    rc = rc ? rc : find_arena(x, changed ? changed : g, err);
    if (rc) {
        sim_executable_close(x);
        bl_graph_free(&changed);
        return rc;
    }
    find_seconds(x, g, changed ? changed : g);
    bl_graph_free(&changed);
    *out = x;
    return 0;
}

static double sim_executable_widened(const bl_executable *x) {
    return x->widening;
}

static void sim_executable_info(const bl_executable *x, bl_exec_info *out) {
    *out = (bl_exec_info){.arena_bytes = x->arena_bytes,
                          .block_count = x->m->count,
                          .block_flops = x->flops,
                          .block_seconds = x->seconds,
                          .block_widened = x->widened,
                          .block_widen_seconds = x->widen};
}

static const bl_device_ops sim_ops = {
    .version = BL_DEVICE_VERSION,
    .name = "sim",
    .close = sim_close,
    .caps = sim_caps,
    .module_open = sim_module_open,
    .module_close = sim_module_close,
    .module_costs = sim_module_costs,
    .module_refresh = sim_module_refresh,
    .prepare = sim_prepare,
    .executable_close = sim_executable_close,
    .executable_info = sim_executable_info,
    .executable_widened = sim_executable_widened,
    .region_open = bl_sim_region_open,
    .region_close = bl_sim_region_close,
    .region_used = bl_sim_region_used,
    .region_host = bl_sim_region_host,
    .host_open = bl_sim_host_open,
    .host_close = bl_sim_host_close,
    .pack = bl_sim_pack,
    .copy = bl_sim_copy,
    .run = bl_sim_run,
    .event_open = bl_sim_event_open,
    .event_close = bl_sim_event_close,
    .event_record = bl_sim_event_record,
    .stream_wait = bl_sim_stream_wait,
    .event_wait = bl_sim_event_wait,
    .event_seconds = bl_sim_event_seconds,
    .now = bl_sim_now,
    .sync = bl_sim_sync,
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
