#include "residency/run/executor_parts.h"

#include "core/checked.h"
#include "core/size_text.h"
#include "residency/run/move_debug.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

int bl_executor_open(bl_executor **out, bl_device *d, const bl_executor_options *options, bl_error *err) {
    bl_executor *e = calloc(1, sizeof *e);
    *out = NULL;
    if (!e) {
        return bl_fail_memory(err, "an executor", sizeof *e);
    }
    e->device = d;
    e->pool.device = d;
    if (options) {
        e->options = *options;
    }
    e->caps = bl_device_caps_of(d);
    e->phase = -1;
    *out = e;
    return 0;
}

static void region_close(bl_executor *e) {
    for (int i = 0; i < e->tenants.count; i++) {
        bl_tenants_drop_all(&e->tenants, &e->tenants.items[i]);
    }
    if (e->region) {
        bl_device_region_close(e->device, e->region);
    }
    e->region = NULL;
    e->region_bytes = 0;
}

static void store_close(bl_executor *e) {
    bl_tenants_unstore(&e->tenants);
    bl_device_host_close(e->device, e->store);
    e->store = NULL;
    e->store_bytes = 0;
}

void bl_executor_close(bl_executor **ep) {
    bl_executor *e = *ep;
    if (!e) {
        return;
    }
    bl_flight_drain(&e->runs, &e->pool);
    bl_flight_drain(&e->copies, &e->pool);
    bl_flight_drain(&e->loads, &e->pool);
    region_close(e);
    store_close(e);
    bl_event_pool_close(&e->pool);
    bl_tenants_free(&e->tenants);
    free(e->runs.items);
    free(e->copies.items);
    free(e->loads.items);
    free(e);
    *ep = NULL;
}

int bl_executor_add(int *id, bl_executor *e, bl_device_module *module, int count, bl_error *err) {
    return bl_tenants_add(id, &e->tenants, e->device, module, count, err);
}

static bool stores_anything(const bl_executor *e) {
    for (int i = 0; i < e->tenants.count; i++) {
        for (int b = 0; b < e->tenants.items[i].block_count; b++) {
            if (e->tenants.items[i].stored[b] != BL_NOWHERE) {
                return true;
            }
        }
    }
    return false;
}

void bl_executor_forget(bl_executor *e, int id) {
    bl_tenant *x = bl_tenants_find(&e->tenants, id);
    if (x) {
        bl_tenants_drop_all(&e->tenants, x);
    }
    if (!e->tenants.used_bytes) {
        region_close(e);
    }
    if (x) {
        bl_tenant_unstore(x);
    }
    if (!stores_anything(e)) {
        store_close(e);
    }
}

void bl_executor_drop(bl_executor *e, int id, int block) {
    bl_tenant *x = bl_tenants_find(&e->tenants, id);
    if (x) {
        bl_tenants_drop(&e->tenants, x, block);
        x->stored[block] = BL_NOWHERE;
        x->came[block] = false;
    }
}

void bl_executor_remove(bl_executor *e, int id) {
    bl_executor_forget(e, id);
    bl_tenants_remove(&e->tenants, id);
}

bool bl_executor_holds(const bl_executor *e, int id) {
    const bl_tenant *x = bl_tenants_find(&e->tenants, id);
    return x && bl_tenant_holds(x);
}

bool bl_executor_places(const uint64_t **at, const uint64_t **stored, const bl_executor *e, int id) {
    const bl_tenant *x = bl_tenants_find(&e->tenants, id);
    if (x) {
        *at = x->at;
        *stored = x->stored;
    }
    return x;
}

uint64_t bl_executor_region_bytes(const bl_executor *e) {
    return e->region_bytes;
}

void bl_executor_watch(bl_executor *e, int (*cancel)(void *payload), void *payload) {
    e->cancel = cancel;
    e->payload = payload;
}

int bl_executor_begun(const bl_executor *e) {
    return e->next_move;
}

void bl_executor_resident(const bl_executor *e, bl_problem *p) {
    bl_problem_clear_resident(p);
    bl_problem_clear_stored(p);
    for (int m = 0; m < p->module_count; m++) {
        const bl_tenant *x = bl_tenants_find(&e->tenants, p->modules[m].id);
        for (int b = 0; x && b < p->modules[m].block_count && b < x->block_count; b++) {
            p->modules[m].blocks[b].resident_at = x->at[b];
            p->modules[m].blocks[b].stored_at = x->stored[b];
            p->modules[m].blocks[b].came = x->came[b];
        }
    }
    p->open_bytes = e->region_bytes;
}

uint64_t bl_executor_store_bytes(const bl_executor *e) {
    return e->store ? e->store_bytes : 0;
}

uint64_t bl_executor_free_bytes(const bl_executor *e) {
    bl_device_caps caps = bl_device_caps_of(e->device);
    return caps.free_bytes;
}

/* What the problem does not have is not in the plan either, which may use its places. */
static void drop_others(bl_executor *e, const bl_problem *p) {
    for (int i = 0; i < e->tenants.count; i++) {
        bool planned = false;
        for (int m = 0; m < p->module_count; m++) {
            planned = planned || p->modules[m].id == i;
        }
        if (!planned) {
            bl_tenants_drop_all(&e->tenants, &e->tenants.items[i]);
            bl_tenant_unstore(&e->tenants.items[i]);
        }
    }
}

#define WINDOW                                                                                   \
    4 /* times the largest block: through it weights can pass while one is packed and one copied \
       */

static void tell_refusal(const bl_log *log, uint64_t asked, uint64_t got, bool pinned) {
    bl_log_line(
        log, BL_LOG_WARNING,
        pinned ? "%s of host memory cannot be pinned, %s can: weights that do not fit in are read from "
                 "the file and packed each time"
               : "%s of host memory cannot be pinned, nor can less: weights pass through %s that is not, "
                 "and are read from the file and packed each time",
        bl_size_of(asked).text, bl_size_of(got).text);
}

int bl_executor_open_store(bl_executor *e, bl_problem *p, const bl_log *log, bl_error *err) {
    uint64_t all = 0, least = bl_problem_min_host(p);
    for (int m = 0; m < p->module_count; m++) {
        all += p->modules[m].bytes;
    }
    if (e->store_most) { /* more would be refused again; nor is there use in advising it */
        p->host_bytes = p->host_bytes < e->store_most ? p->host_bytes : e->store_most;
        p->host_memory_bytes = e->store_most;
    }
    uint64_t wanted = all < p->host_bytes ? all : p->host_bytes, asked = wanted;
    if (e->store && (e->store_bytes > p->host_bytes || wanted > e->store_bytes + e->store_bytes / 4)) {
        store_close(e);
    }
    uint64_t window = WINDOW * least < wanted ? WINDOW * least : wanted;
    bool pinned = true;
    int rc = 0;
    while (!e->store && (rc = bl_device_host_open(&e->store, e->device, wanted, pinned, err)) != 0) {
        if (rc != BL_E_MEMORY || (!pinned && wanted / 2 < least)) {
            return rc;
        }
        if (pinned && wanted > window) {
            wanted = bl_align_up(wanted - wanted / 4, BL_ALIGN);
            wanted = wanted > window ? wanted : window;
        } else {
            wanted = pinned ? wanted : wanted / 2;
            pinned = false;
        }
    }
    if (rc == 0 && !e->store_bytes && (wanted < asked || !pinned)) {
        tell_refusal(log, asked, wanted, pinned);
        e->store_most = wanted;
        p->host_memory_bytes = wanted;
    }
    e->store_bytes = e->store_bytes ? e->store_bytes : wanted;
    p->host_bytes = e->store_bytes;
    return 0;
}

/* The system would rather kill the process later than refuse now. */
static int region_open(bl_executor *e, const bl_problem *p, uint64_t bytes, bl_error *err) {
    uint64_t left = p->process_bytes ? bl_executor_free_bytes(e) : UINT64_MAX;
    if (bytes > left || p->process_bytes > left - bytes) {
        return bl_fail(err, BL_E_MEMORY, "%s of memory are needed and %s beside them, but only %s are free",
                       bl_size_of(bytes).text, bl_size_of(p->process_bytes).text, bl_size_of(left).text);
    }
    int rc = bl_device_region_open(&e->region, e->device, bytes, err);
    e->region = rc ? NULL : e->region;
    e->region_bytes = rc ? 0 : bytes;
    return rc;
}

int bl_executor_start(bl_executor *e, const bl_problem *p, const bl_plan *plan,
                      bl_executable *const *executables, bl_ledger *ledger, bl_error *err) {
    if (e->p) {
        return bl_fail(err, BL_E_ARGUMENT, "a generation begins before the last one was finished");
    }
    int rc = bl_tenants_check(&e->tenants, p, err);
    if (!rc && p->has_store && (!e->store || plan->store_peak_bytes > e->store_bytes)) {
        rc = bl_fail(err, BL_E_ARGUMENT, "planned for a host store of %llu bytes, %llu are open",
                     (unsigned long long)plan->store_peak_bytes, (unsigned long long)e->store_bytes);
    }
    for (int i = 0; i < p->phase_count && !rc; i++) {
        bl_exec_info info = bl_device_executable_info(e->device, executables[i]);
        if (info.arena_bytes > plan->phases[i].arena_bytes ||
            info.block_count != p->modules[p->phases[i].module].block_count) {
            rc = bl_fail(err, BL_E_ARGUMENT,
                         "phase %s: prepared with an arena of %llu bytes and %d blocks, planned with "
                         "%llu and %d",
                         p->phases[i].name, (unsigned long long)info.arena_bytes, info.block_count,
                         (unsigned long long)plan->phases[i].arena_bytes,
                         p->modules[p->phases[i].module].block_count);
        }
    }
    if (rc) {
        return rc;
    }
    if (plan->reopen || !e->region) {
        region_close(e);
        rc = region_open(e, p, plan->region_bytes, err);
        if (rc) {
            return rc;
        }
    } else if (e->region_bytes != plan->region_bytes) {
        return bl_fail(err, BL_E_ARGUMENT, "planned for a region of %llu bytes, %llu are open",
                       (unsigned long long)plan->region_bytes, (unsigned long long)e->region_bytes);
    }
    drop_others(e, p);
    bl_device_region_used(e->device, e->region); /* begins anew */
    bl_ledger_clear(ledger);
    ledger->began = ledger->ended = bl_device_now(e->device);
    ledger->async_copy = e->caps.async_copy;
    ledger->memory_bytes = e->caps.memory_bytes;
    e->onload_stage = bl_ledger_stage_of(ledger, "onload", err);
    if (e->onload_stage < 0 || bl_ledger_stage_of(ledger, "move", err) < 0) {
        return BL_E_MEMORY;
    }
    e->load_stage = p->has_store ? bl_ledger_stage_of(ledger, "load", err) : 0;
    if (e->load_stage < 0) {
        return BL_E_MEMORY;
    }
    e->p = p;
    e->plan = plan;
    e->executables = executables;
    e->ledger = ledger;
    e->next_move = e->next_decision = 0;
    e->phase = -1;
    e->next_phase = 0;
    return 0;
}

int bl_executor_phase_begin(bl_executor *e, int phase, bl_error *err) {
    if (!e->p || e->phase >= 0 || phase != e->next_phase || phase >= e->p->phase_count) {
        return bl_fail(err, BL_E_ARGUMENT, "phase %d begins out of turn; %d is next", phase, e->next_phase);
    }
    e->stage = bl_ledger_stage_of(e->ledger, e->p->phases[phase].stage, err);
    if (e->stage < 0) {
        return e->stage;
    }
    for (; e->next_decision < e->plan->decision_count &&
           e->plan->decisions[e->next_decision].run <= e->p->phases[phase].first_run;
         e->next_decision++) {
        if (e->options.move_debug) {
            bl_move_debug_decision(e->options.log, e->p, e->plan, &e->plan->decisions[e->next_decision],
                                   e->caps.memory_bytes);
        }
    }
    e->phase = phase;
    e->pass = 0;
    memcpy(e->ledger->phases[phase].name, e->p->phases[phase].name, BL_PROBLEM_NAME);
    e->widened = bl_device_executable_info(e->device, e->executables[phase]).block_widened;
    e->widened_before = bl_device_executable_widened(e->device, e->executables[phase]);
    return 0;
}

/* The copy that this run waits for: the last one put on the stream for it. Copies end in order. */
static int wait_for_copies(bl_executor *e, int run, bl_flight_item *item, bl_error *err) {
    for (int i = e->copies.count - 1; i >= 0; i--) {
        if (e->copies.items[i].before == run) {
            item->gated = true;
            item->gate = e->copies.items[i].entry.share;
            return bl_device_stream_wait(e->device, BL_STREAM_COMPUTE, e->copies.items[i].end, err);
        }
    }
    return 0;
}

static int run_block(bl_executor *e, int block, const bl_binding *binding, bl_error *err) {
    const bl_problem_phase *f = &e->p->phases[e->phase];
    int run = e->first_run + block;
    if (e->cancel && e->cancel(e->payload)) {
        return bl_fail(err, BL_E_CANCELLED, "stopped");
    }
    int rc = bl_moves_until(e, run, err);
    if (!rc && bl_executor_tenant(e, f->module)->at[block] == BL_NOWHERE) {
        rc = bl_fail(err, BL_E_INTERNAL, "block %s is not on the device when it is due",
                     e->p->modules[f->module].blocks[block].name);
    }
    bl_flight_item item = {.entry = {.work = BL_WORK_COMPUTE,
                                     .stage = e->stage,
                                     .phase = e->phase,
                                     .module = f->module,
                                     .block = block,
                                     .run = run}};
    if (!rc) {
        rc = wait_for_copies(e, run, &item, err);
    }
    if (!rc) {
        rc = bl_flight_begin(&e->runs, &e->pool, item, BL_STREAM_COMPUTE, err);
    }
    if (rc) {
        return rc;
    }
    const bl_block_cost *cost = &bl_executor_tenant(e, f->module)->costs[block];
    if (e->widened && cost->packed_bytes == cost->small_bytes) {
        e->ledger->widened += e->widened[block];
    }
    rc = bl_device_run(e->device, e->executables[e->phase], block, binding, BL_STREAM_COMPUTE, err);
    return bl_flight_end(&e->runs, &e->pool, BL_STREAM_COMPUTE, rc, err);
}

/* Waits for all runs under way and writes them into the ledger, each behind what it waited for copies. */
static int harvest_runs(bl_executor *e, bl_error *err) {
    double last = e->pass_began;
    int rc = 0;
    for (int i = 0; i < e->runs.count && !rc; i++) {
        bl_flight_item *x = &e->runs.items[i];
        rc = bl_device_event_wait(e->device, x->end, err);
        if (rc) {
            break;
        }
        double began = bl_device_event_seconds(e->device, x->begin),
               ended = bl_device_event_seconds(e->device, x->end);
        if (x->gated && e->caps.async_copy && began > last) {
            bl_ledger_entry wait = x->entry;
            wait.work = BL_WORK_WAIT;
            wait.share = x->gate;
            wait.start = last - e->ledger->began;
            wait.seconds = began - last;
            wait.stage = bl_ledger_stage_of(e->ledger, "wait", err);
            rc = wait.stage < 0 ? wait.stage : bl_ledger_add(e->ledger, wait, err);
        }
        x->entry.start = began - e->ledger->began;
        x->entry.seconds = ended - began;
        last = ended;
        if (!rc) {
            rc = bl_ledger_add(e->ledger, x->entry, err);
        }
    }
    bl_flight_drain(&e->runs, &e->pool);
    return rc;
}

int bl_executor_pass(bl_executor *e, const void *const *inputs, void *const *outputs, bl_error *err) {
    if (!e->p || e->phase < 0 || e->pass == e->p->phases[e->phase].passes) {
        return bl_fail(err, BL_E_ARGUMENT, "a pass outside a phase, or one more than was planned");
    }
    const bl_problem_phase *f = &e->p->phases[e->phase];
    int blocks = e->p->modules[f->module].block_count, rc = 0;
    bl_binding binding = {.region = e->region,
                          .arena_offset = 0,
                          .block_offset = bl_executor_tenant(e, f->module)->at,
                          .inputs = inputs,
                          .outputs = outputs};
    e->first_run = f->first_run + e->pass * blocks;
    e->pass_began = bl_device_now(e->device);
    for (int b = 0; b < blocks && !rc; b++) {
        rc = run_block(e, b, &binding, err);
    }
    /* Copies that only wait for this pass's last runs may begin while the host works. */
    if (!rc) {
        rc = bl_moves_until(e, e->first_run + blocks, err);
    }
    int waited = harvest_runs(e, rc ? NULL : err);
    rc = rc ? rc : waited;
    e->first_run += blocks;
    if (!rc) {
        rc = bl_moves_harvest(e, e->first_run, err);
    }
    e->pass++;
    return rc;
}

int bl_executor_phase_cut(bl_executor *e, int *left_out, bl_error *err) {
    if (!e->p || e->phase < 0) {
        return bl_fail(err, BL_E_ARGUMENT, "a cut outside a phase");
    }
    const bl_problem_phase *f = &e->p->phases[e->phase];
    int rc = bl_moves_skip(e, f->first_run + f->passes * e->p->modules[f->module].block_count, err);
    int arrived = bl_moves_harvest(e, INT_MAX, rc ? NULL : err); /* no run of this phase waits for them now */
    *left_out += f->passes - e->pass;
    e->pass = f->passes;
    return rc ? rc : arrived;
}

/* What the device says was used since it was asked last. */
static void note_use(bl_executor *e) {
    bl_region_use use = bl_device_region_used(e->device, e->region);
    if (use.end > e->ledger->peak_bytes) {
        e->ledger->peak_bytes = use.end;
    }
    if (e->phase >= 0) {
        e->ledger->arena_bytes[e->phase] = use.arena;
        e->ledger->phase_count = e->phase + 1;
    }
}

/* What widening took of the phase has a name of its own in what is told. */
static void note_widening(bl_executor *e) {
    double seconds = bl_device_executable_widened(e->device, e->executables[e->phase]) - e->widened_before;
    if (seconds > 0) {
        e->ledger->widen_seconds += seconds;
        bl_ledger_split(e->ledger, e->p->phases[e->phase].stage, "widen", seconds);
    }
}

int bl_executor_phase_end(bl_executor *e, bl_error *err) {
    if (!e->p || e->phase < 0 || e->pass != e->p->phases[e->phase].passes) {
        return bl_fail(err, BL_E_ARGUMENT, "phase %s ends after %d of %d passes",
                       e->p && e->phase >= 0 ? e->p->phases[e->phase].name : "(none)", e->pass,
                       e->p && e->phase >= 0 ? e->p->phases[e->phase].passes : 0);
    }
    note_use(e);
    note_widening(e);
    e->next_phase = e->phase + 1;
    e->phase = -1;
    return 0;
}

int bl_executor_finish(bl_executor *e, bl_error *err) {
    if (!e->p) {
        return 0;
    }
    bool lost = false;
    bl_flight_drain(&e->runs, &e->pool);
    int rc = bl_moves_harvest(e, e->plan->run_count + 1, err);
    int late = bl_device_sync(e->device, &lost, rc ? NULL : err);
    note_use(e);
    if (lost) {
        region_close(e);
        store_close(e);
    }
    e->p = NULL;
    e->plan = NULL;
    e->phase = -1;
    return rc ? rc : late;
}
