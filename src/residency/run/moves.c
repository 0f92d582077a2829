#include "residency/run/executor_parts.h"
#include "residency/run/move_debug.h"

#include <string.h>

/* Lets a stream wait for the end of a run. Runs of earlier passes have ended: bl_executor_pass waits for
 * them. */
static int wait_for_run(bl_executor *e, bl_stream stream, int run, bl_error *err) {
    return run >= e->first_run && run - e->first_run < e->runs.count
               ? bl_device_stream_wait(e->device, stream, e->runs.items[run - e->first_run].end, err)
               : 0;
}

/* Lets a stream wait for the last work under way that touches these bytes of the host store. Work of a stream
 * ends in order. */
static int wait_for_place(bl_executor *e, bl_stream stream, const bl_flight *f, uint64_t low, uint64_t high,
                          bl_error *err) {
    for (int i = f->count - 1; i >= 0; i--) {
        if (f->items[i].low < high && low < f->items[i].high) {
            return bl_device_stream_wait(e->device, stream, f->items[i].end, err);
        }
    }
    return 0;
}

static bl_flight_item item_of(const bl_executor *e, const bl_move *v, bl_work work, int stage) {
    const int first = v->after + 1 < e->p->run_count ? v->after + 1 : e->p->run_count - 1;
    const bool came = bl_executor_tenant(e, v->module)->came[v->block];
    return (bl_flight_item){.before = v->before,
                            .entry = {.work = work,
                                      .stage = stage,
                                      .phase = bl_problem_phase_of(e->p, first),
                                      .module = v->module,
                                      .block = v->block,
                                      .run = v->before,
                                      .share = bl_share_of(e->p, v, came),
                                      .bytes = e->p->modules[v->module].blocks[v->block].bytes}};
}

/* Puts a block into the region: from its place in the store, or without one straight from the file. */
static int copy(bl_executor *e, const bl_move *v, bl_error *err) {
    bl_tenant *x = bl_executor_tenant(e, v->module);
    bl_flight_item item = item_of(e, v, BL_WORK_ONLOAD, e->onload_stage);
    int rc = wait_for_run(e, BL_STREAM_COPY, v->after, err);
    if (!rc && e->p->has_store) {
        item.low = x->stored[v->block];
        if (item.low == BL_NOWHERE) {
            return bl_fail(err, BL_E_INTERNAL, "block %s is not in the host store when it is copied",
                           e->p->modules[v->module].blocks[v->block].name);
        }
        item.high = item.low + item.entry.bytes;
        rc = wait_for_place(e, BL_STREAM_COPY, &e->loads, item.low, item.high, err);
    }
    rc = rc ? rc : bl_flight_begin(&e->copies, &e->pool, item, BL_STREAM_COPY, err);
    if (rc) {
        return rc;
    }
    rc = e->p->has_store
             ? bl_device_copy(e->device, x->module, v->block, e->store, item.low, e->region, v->offset,
                              BL_STREAM_COPY, err)
             : bl_device_pack(e->device, x->module, v->block, bl_device_region_host(e->device, e->region),
                              v->offset, BL_STREAM_COPY, err);
    rc = bl_flight_end(&e->copies, &e->pool, BL_STREAM_COPY, rc, err);
    if (!rc) {
        bl_tenants_put(&e->tenants, x, v->block, v->offset);
    }
    return rc;
}

/* Packs a block into the host store. */
static int load(bl_executor *e, const bl_move *v, bl_error *err) {
    bl_tenant *x = bl_executor_tenant(e, v->module);
    bl_flight_item item = item_of(e, v, BL_WORK_LOAD, e->load_stage);
    item.low = v->offset;
    item.high = v->offset + item.entry.bytes;
    int rc = wait_for_run(e, BL_STREAM_LOAD, v->after, err);
    rc = rc ? rc : wait_for_place(e, BL_STREAM_LOAD, &e->copies, item.low, item.high, err);
    rc = rc ? rc : bl_flight_begin(&e->loads, &e->pool, item, BL_STREAM_LOAD, err);
    if (rc) {
        return rc;
    }
    rc = bl_device_pack(e->device, x->module, v->block, e->store, v->offset, BL_STREAM_LOAD, err);
    rc = bl_flight_end(&e->loads, &e->pool, BL_STREAM_LOAD, rc, err);
    if (!rc) {
        x->stored[v->block] = v->offset;
    }
    return rc;
}

static int move(bl_executor *e, const bl_move *v, bl_error *err) {
    switch (v->kind) {
    case BL_MOVE_COPY:
        return copy(e, v, err);
    case BL_MOVE_LOAD:
        return load(e, v, err);
    case BL_MOVE_DROP:
        bl_tenants_drop(&e->tenants, bl_executor_tenant(e, v->module), v->block);
        return 0;
    default:
        bl_executor_tenant(e, v->module)->stored[v->block] = BL_NOWHERE;
        return 0;
    }
}

/* Of the moves i .. last - 1: is what move i copies still on the device after them? */
static bool copy_lasts(const bl_plan *plan, int i, int last) {
    const bl_move *v = &plan->moves[i];
    for (int k = i + 1; k < last; k++) {
        const bl_move *w = &plan->moves[k];
        if (w->module == v->module && w->block == v->block &&
            (w->kind == BL_MOVE_COPY || w->kind == BL_MOVE_DROP)) {
            return false;
        }
    }
    return true;
}

/* Is what move i loads still stored after them, or copied from there to where it lasts? */
static bool load_counts(const bl_plan *plan, int i, int last) {
    const bl_move *v = &plan->moves[i];
    for (int k = i + 1; k < last; k++) {
        const bl_move *w = &plan->moves[k];
        if (w->module != v->module || w->block != v->block || w->kind == BL_MOVE_DROP) {
            continue;
        }
        if (w->kind != BL_MOVE_COPY) {
            return false;
        }
        if (copy_lasts(plan, k, last)) {
            return true;
        }
    }
    return true;
}

int bl_moves_skip(bl_executor *e, int run, bl_error *err) {
    const bl_plan *plan = e->plan;
    int last = e->next_move;
    while (last < plan->move_count && plan->moves[last].after < run) {
        last++;
    }
    for (; e->next_move < last; e->next_move++) {
        const bl_move *v = &plan->moves[e->next_move];
        if ((v->kind == BL_MOVE_COPY && !copy_lasts(plan, e->next_move, last)) ||
            (v->kind == BL_MOVE_LOAD && !load_counts(plan, e->next_move, last))) {
            continue;
        }
        if (e->cancel && e->cancel(e->payload)) {
            return bl_fail(err, BL_E_CANCELLED, "stopped");
        }
        int rc = move(e, v, err);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

int bl_moves_until(bl_executor *e, int run, bl_error *err) {
    for (; e->next_move < e->plan->move_count && e->plan->moves[e->next_move].after < run; e->next_move++) {
        const bl_move *v = &e->plan->moves[e->next_move];
        bool carries = v->kind == BL_MOVE_COPY || v->kind == BL_MOVE_LOAD;
        if (e->cancel && carries && e->cancel(e->payload)) {
            return bl_fail(err, BL_E_CANCELLED, "stopped");
        }
        if (e->options.move_debug && !e->plan->decision_count) {
            bl_move_debug_block(e->options.log, e->p, e->plan, v, e->tenants.used_bytes,
                                e->caps.memory_bytes);
        }
        int rc = move(e, v, err);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* A block is where its copy or load put it once that has ended well; if it failed it is nowhere. */
static int arrive(bl_executor *e, bl_flight_item *x, bl_error *err) {
    int rc = bl_device_event_wait(e->device, x->end, err);
    if (rc) {
        bl_tenant *t = bl_executor_tenant(e, x->entry.module);
        if (x->entry.work == BL_WORK_LOAD) {
            t->stored[x->entry.block] = BL_NOWHERE;
        } else {
            bl_tenants_drop(&e->tenants, t, x->entry.block);
        }
        return rc;
    }
    double began = bl_device_event_seconds(e->device, x->begin);
    x->entry.start = began - e->ledger->began;
    x->entry.seconds = bl_device_event_seconds(e->device, x->end) - began;
    return bl_ledger_add(e->ledger, x->entry, err);
}

static int harvest(bl_executor *e, bl_flight *f, int until, int failed, bl_error *err) {
    int done = 0, rc = failed;
    while (done < f->count && (rc || f->items[done].before < until)) {
        bl_flight_item *x = &f->items[done++];
        int ended = arrive(e, x, rc ? NULL : err);
        rc = rc ? rc : ended;
        bl_event_give(&e->pool, x->begin);
        bl_event_give(&e->pool, x->end);
    }
    f->count -= done;
    if (f->count) {
        memmove(f->items, f->items + done, (size_t)f->count * sizeof *f->items);
    }
    return rc;
}

int bl_moves_harvest(bl_executor *e, int until, bl_error *err) {
    int rc = harvest(e, &e->loads, until, 0, err);
    return harvest(e, &e->copies, until, rc, err);
}
