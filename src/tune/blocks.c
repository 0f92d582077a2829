/* Single blocks of a phase, in memory of their own: the cheap stage. */
#include "tune/bench_parts.h"

#include "core/checked.h"

#include <math.h>
#include <stdlib.h>

/* Groups blocks by their work, and keeps the groups that have the most of it. */
static void make_groups(bl_bench *b, const bl_exec_info *info, const bl_block_cost *costs) {
    bl_bench_group all[256];
    int count = 0;
    double sum = 0, covered = 0;
    for (int k = 0; k < info->block_count; k++) {
        int i = 0;
        sum += info->block_flops[k];
        while (i < count && (all[i].flops != info->block_flops[k] || all[i].bytes != costs[k].packed_bytes)) {
            i++;
        }
        if (i < count) {
            all[i].members++;
        } else if (count < 256) {
            all[count++] = (bl_bench_group){
                .block = k, .members = 1, .flops = info->block_flops[k], .bytes = costs[k].packed_bytes};
        }
    }
    for (b->group_count = 0; b->group_count < BL_BENCH_GROUPS && b->group_count < count; b->group_count++) {
        int most = 0;
        for (int i = 1; i < count; i++) {
            most = all[i].flops * all[i].members > all[most].flops * all[most].members ? i : most;
        }
        if (!(all[most].flops > 0)) {
            break;
        }
        b->groups[b->group_count] = all[most];
        b->groups[b->group_count].least = INFINITY;
        covered += all[most].flops * all[most].members;
        all[most].flops = 0;
    }
    b->covered = sum > 0 ? covered / sum : 1;
}

/* The way of this tuning, prepared; NULL: there is no room to remember it. */
static bl_bench_way *way_of(bl_bench *b, const bl_tuning *t) {
    for (int i = 0; i < b->way_count; i++) {
        if (bl_tuning_same(&b->ways[i].tuning, t)) {
            return &b->ways[i];
        }
    }
    if (b->way_count == BL_BENCH_WAYS) {
        return NULL;
    }
    bl_bench_way *w = &b->ways[b->way_count++];
    bl_error why = {0}; /* a tuning that the device cannot prepare is one less to try */
    w->tuning = *t;
    if (bl_modules_take(&w->prepared, b->o.modules, b->o.phase->module, b->o.phase->key, t, &why)) {
        w->prepared = NULL;
    }
    for (int i = 0; i < BL_BENCH_GROUPS; i++) {
        w->seconds[i] = INFINITY;
    }
    return w;
}

/* Where blocks are while they are measured. */
typedef struct place {
    bl_region *region;
    bl_host *host; /* NULL: the region is host memory */
    bl_event *begin, *end;
    uint64_t *at; /* [block_count] */
} place;

static void leave(bl_bench *b, place *p) {
    bool lost;
    bl_error ignored = {0};
    (void)bl_device_sync(b->device, &lost, &ignored);
    bl_device_event_close(b->device, p->begin);
    bl_device_event_close(b->device, p->end);
    if (p->host) {
        bl_device_host_close(b->device, p->host);
    }
    bl_device_region_close(b->device, p->region);
    free(p->at);
    *p = (place){0};
}

/* Whoever waits may stop it: BL_E_CANCELLED. */
static int ask(const bl_bench *b, bl_error *err) {
    return b->o.poll && b->o.poll(b->o.payload) ? bl_fail(err, BL_E_CANCELLED, "stopped") : 0;
}

/* Brings in the weights of one block of each group. Each is there before the next takes its place in host
 * memory. */
static int pack(bl_bench *b, place *p, bl_device_module *m, bl_error *err) {
    bl_host *own = bl_device_region_host(b->device, p->region);
    int result = 0;
    bool lost;
    for (int i = 0; i < b->group_count && !result; i++) {
        const bl_bench_group *g = &b->groups[i];
        result = ask(b, err);
        result = result ? result
                        : bl_device_pack(b->device, m, g->block, own ? own : p->host, own ? g->at : 0,
                                         BL_STREAM_LOAD, err);
        result = result ? result : bl_device_sync(b->device, &lost, err);
        if (!result && !own) {
            result =
                bl_device_copy(b->device, m, g->block, p->host, 0, p->region, g->at, BL_STREAM_COPY, err);
            result = result ? result : bl_device_sync(b->device, &lost, err);
        }
    }
    return result;
}

/* A region with the arena first and the blocks behind it. */
static int enter(bl_bench *b, place *p, const bl_prepared *any, uint64_t arena, bl_error *err) {
    bl_device_caps caps = bl_device_caps_of(b->device);
    uint64_t end = bl_align_up(arena, caps.alignment), largest = 0;
    *p = (place){0};
    for (int i = 0; i < b->group_count; i++) {
        b->groups[i].at = end;
        end += bl_align_up(b->groups[i].bytes, caps.alignment);
        largest = b->groups[i].bytes > largest ? b->groups[i].bytes : largest;
    }
    p->at = calloc((size_t)any->info[0].block_count + 1, sizeof *p->at);
    int result = p->at ? 0 : bl_fail_memory(err, "what is measured", 0);
    result = result ? result : bl_device_region_open(&p->region, b->device, end, err);
    if (!result && caps.host_store) {
        result = bl_device_host_open(&p->host, b->device, largest, false, err);
    }
    for (int i = 0; i < b->group_count; i++) {
        if (p->at) {
            p->at[b->groups[i].block] = b->groups[i].at;
        }
    }
    result = result ? result : bl_device_event_open(&p->begin, b->device, err);
    result = result ? result : bl_device_event_open(&p->end, b->device, err);
    return result ? result : pack(b, p, any->opened->device, err);
}

/* Seconds of one run of a block. */
static int time_block(double *seconds, bl_bench *b, const place *p, bl_executable *x, int block,
                      bl_error *err) {
    bl_binding binding = {.region = p->region,
                          .block_offset = p->at,
                          .inputs = (const void *const *)b->ports.in,
                          .outputs = b->ports.out};
    int result = bl_device_event_record(b->device, p->begin, BL_STREAM_COMPUTE, err);
    result = result ? result : bl_device_run(b->device, x, block, &binding, BL_STREAM_COMPUTE, err);
    result = result ? result : bl_device_event_record(b->device, p->end, BL_STREAM_COMPUTE, err);
    result = result ? result : bl_device_event_wait(b->device, p->end, err);
    *seconds =
        result ? INFINITY
               : bl_device_event_seconds(b->device, p->end) - bl_device_event_seconds(b->device, p->begin);
    return result;
}

/* One turn of a way: its groups, each once to warm up and once that counts. */
static int time_way(bl_bench *b, const place *p, bl_bench_way *w, bl_error *err) {
    int result = 0;
    for (int i = 0; i < b->group_count && !result; i++) {
        double seconds = 0;
        for (int k = 0; k < 2 && !result; k++) {
            result = ask(b, err);
            result = result ? result
                            : time_block(&seconds, b, p, w->prepared->executable[0], b->groups[i].block, err);
        }
        if (!result) {
            w->seconds[i] = seconds < w->seconds[i] ? seconds : w->seconds[i];
            b->groups[i].least = seconds < b->groups[i].least ? seconds : b->groups[i].least;
        }
    }
    return result;
}

static double sum(const bl_bench *b, const bl_bench_way *w) {
    double seconds = 0;
    for (int i = 0; i < b->group_count; i++) {
        seconds += b->groups[i].members * (w ? w->seconds[i] : b->groups[i].least);
    }
    return seconds / b->covered;
}

int bl_bench_blocks(bl_bench *b, double *seconds, const bl_tuning *tunings, int count, int effort,
                    bl_error *err) {
    bl_bench_way *ways[BL_BENCH_WAYS] = {NULL};
    const bl_prepared *any = NULL;
    uint64_t arena = 0;
    place p;
    if (count > BL_BENCH_WAYS) {
        return bl_fail(err, BL_E_INTERNAL, "more than %d ways to run one phase", BL_BENCH_WAYS);
    }
    int result = 0;
    for (int i = 0; i < count; i++) { /* each may be a new one, whose kernels are chosen now */
        if ((result = ask(b, err))) {
            return result;
        }
        bl_bench_way *w = ways[i] = way_of(b, &tunings[i]);
        if (w && w->prepared) {
            any = any ? any : w->prepared;
            arena = w->prepared->info[0].arena_bytes > arena ? w->prepared->info[0].arena_bytes : arena;
        }
    }
    if (!any) {
        return bl_fail(err, BL_E_DEVICE, "%s: no way to run it", b->o.phase->name);
    }
    if (!b->group_count) {
        make_groups(b, &any->info[0], bl_device_module_costs(b->device, any->opened->device));
    }
    result = enter(b, &p, any, arena, err);
    for (int turn = 0; turn < effort && !result; turn++) {
        for (int i = 0; i < count && !result; i++) {
            if (ways[i] && ways[i]->prepared) {
                result = time_way(b, &p, ways[i], err);
            }
        }
    }
    leave(b, &p);
    for (int i = 0; i < count && !result; i++) {
        seconds[i] = ways[i] && ways[i]->prepared ? sum(b, ways[i]) : INFINITY;
    }
    return result;
}

double bl_bench_bound(const bl_bench *b, const bl_tuning *t) {
    for (int i = 0; i < b->way_count; i++) {
        if (bl_tuning_same(&b->ways[i].tuning, t)) {
            double own = sum(b, &b->ways[i]), least = sum(b, NULL);
            return isfinite(own) && own > 0 ? least / own : 1;
        }
    }
    return 1;
}
