#include "residency/plan/replay.h"

#include "core/spans.h"
#include "residency/plan/space.h"
#include "residency/plan/store_walk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the walk knows of one block. */
typedef struct place {
    uint64_t at;       /* BL_NOWHERE: not on the device */
    uint64_t was_at;   /* where it lay when it was dropped */
    int last_run;      /* last run that used it; -1 */
    int dropped_after; /* the run after which its place is free */
    bool came;         /* it was on the device before */
} place;

typedef struct walk {
    const bl_problem *p;
    bl_plan *plan;
    bool thorough;                 /* look for copies over blocks whose run has not ended: slow */
    place *places;                 /* of all modules, one after the other */
    int first[BL_PROBLEM_MODULES]; /* where a module's places begin */
    int place_count;
    bl_space space;
    double *end;          /* [run_count] when a run ends */
    double *gate;         /* [run_count + 1] when the last copy that a run waits for ends */
    bl_share *gate_share; /* [run_count + 1] what waiting for it belongs to */
    double compute, copy; /* the clocks; that of loads is the store's */
    bl_spans copies;      /* when copies are under way, which compute feels */
    double drag;
    bl_store_walk store; /* where the problem has one */
    bool *streamed;      /* [place_count] brought in again for the phase's later passes */
} walk;

static void walk_close(walk *w) {
    free(w->places);
    free(w->end);
    free(w->gate);
    free(w->gate_share);
    free(w->streamed);
    bl_space_free(&w->space);
    bl_spans_free(&w->copies);
    bl_store_walk_close(&w->store);
}

static int walk_open(walk *w, bl_plan *plan, const bl_problem *p, bl_error *err) {
    memset(w, 0, sizeof *w);
    w->p = p;
    w->plan = plan;
    w->drag = bl_problem_drag(p);
    for (int m = 0; m < p->module_count; m++) {
        w->first[m] = w->place_count;
        w->place_count += p->modules[m].block_count;
    }
    w->places = calloc((size_t)w->place_count, sizeof *w->places);
    w->end = malloc((size_t)p->run_count * sizeof *w->end);
    w->gate = calloc((size_t)p->run_count + 1, sizeof *w->gate);
    w->gate_share = calloc((size_t)p->run_count + 1, sizeof *w->gate_share);
    w->streamed = calloc((size_t)w->place_count, sizeof *w->streamed);
    int rc = bl_space_init(&w->space, w->place_count, err);
    rc = rc || !p->has_store ? rc : bl_store_walk_open(&w->store, p, err);
    if (!w->places || !w->end || !w->gate || !w->gate_share || !w->streamed) {
        rc = bl_fail_memory(err, "replaying a plan", (size_t)p->run_count * sizeof *w->end);
    }
    if (rc) {
        walk_close(w);
        return rc;
    }
    for (int i = 0; i < w->place_count; i++) {
        w->places[i].at = w->places[i].was_at = BL_NOWHERE;
        w->places[i].last_run = w->places[i].dropped_after = -1;
    }
    for (int m = 0; m < p->module_count; m++) {
        for (int b = 0; b < p->modules[m].block_count; b++) {
            w->places[w->first[m] + b].came = p->modules[m].blocks[b].came;
        }
    }
    return 0;
}

static const char *block_name(const walk *w, int module, int block) {
    const bl_problem_block *b = &w->p->modules[module].blocks[block];
    return b->name;
}

static void raise_peak(walk *w, uint64_t end) {
    if (end > w->plan->peak_bytes) {
        w->plan->peak_bytes = end;
    }
}

static int put(walk *w, int module, int block, uint64_t offset, bl_error *err) {
    uint64_t bytes = w->p->modules[module].blocks[block].bytes;
    if (offset % w->p->alignment || offset > w->plan->region_bytes ||
        bytes > w->plan->region_bytes - offset ||
        !bl_space_insert(&w->space, (bl_space_item){offset, bytes, module, block})) {
        return bl_fail(err, BL_E_INTERNAL,
                       "plan %s: block %s at %llu overlaps another, leaves the region or lies "
                       "between two multiples of the alignment",
                       w->plan->method, block_name(w, module, block), (unsigned long long)offset);
    }
    w->places[w->first[module] + block].at = offset;
    return 0;
}

static int drop(walk *w, const bl_move *v, bl_error *err) {
    place *x = &w->places[w->first[v->module] + v->block];
    int at = x->at == BL_NOWHERE ? -1 : bl_space_index(&w->space, x->at, v->module, v->block);
    if (at < 0 || x->at != v->offset || x->last_run > v->after) {
        return bl_fail(err, BL_E_INTERNAL, "plan %s: drops block %s, which is not there or still in use",
                       w->plan->method, block_name(w, v->module, v->block));
    }
    bl_space_remove(&w->space, at);
    x->was_at = x->at;
    x->at = BL_NOWHERE;
    x->dropped_after = v->after;
    return 0;
}

/* A copy may write from the end of run `after` on: nothing that is still read then may lie there. */
static int check_quiet(walk *w, const bl_move *v, uint64_t bytes, bl_error *err) {
    const bl_problem *p = w->p;
    int last = v->before < p->run_count ? v->before : p->run_count - 1;
    for (int i = bl_problem_phase_of(p, v->after + 1 < p->run_count ? v->after + 1 : last);
         i < p->phase_count && p->phases[i].first_run <= last; i++) {
        if (v->offset < w->plan->phases[i].arena_bytes) {
            return bl_fail(err, BL_E_INTERNAL, "plan %s: block %s is copied into the arena of phase %s",
                           w->plan->method, block_name(w, v->module, v->block), p->phases[i].name);
        }
    }
    for (int m = 0; w->thorough && m < p->module_count; m++) {
        const bl_problem_module *mod = &p->modules[m];
        for (int b = 0; b < mod->block_count; b++) {
            const place *x = &w->places[w->first[m] + b];
            if (x->was_at != BL_NOWHERE && x->dropped_after > v->after && x->last_run > v->after &&
                x->was_at < v->offset + bytes && v->offset < x->was_at + mod->blocks[b].bytes) {
                return bl_fail(err, BL_E_INTERNAL, "plan %s: block %s is copied over %s before its run ends",
                               w->plan->method, block_name(w, v->module, v->block), mod->blocks[b].name);
            }
        }
    }
    return 0;
}

static int onload(walk *w, const bl_move *v, bl_plan_phase *phase, bl_error *err) {
    const bl_problem_block *b = &w->p->modules[v->module].blocks[v->block];
    place *x = &w->places[w->first[v->module] + v->block];
    if (x->at != BL_NOWHERE || v->before <= v->after || v->before > w->p->run_count) {
        return bl_fail(err, BL_E_INTERNAL, "plan %s: block %s is brought in twice, or at no time",
                       w->plan->method, b->name);
    }
    int rc = check_quiet(w, v, b->bytes, err);
    if (!rc) {
        rc = put(w, v->module, v->block, v->offset, err);
    }
    if (rc) {
        return rc;
    }
    raise_peak(w, v->offset + b->bytes);
    const bl_share share = bl_share_of(w->p, v, x->came);
    const double copying = b->copy_seconds + (x->came ? 0 : b->first_seconds);
    x->came = true;
    if (w->p->async_copy) {
        double loaded = 0;
        rc = w->p->has_store ? bl_store_walk_ready(&loaded, &w->store, v, err) : 0;
        if (rc) {
            return rc;
        }
        w->copy = loaded > w->copy ? loaded : w->copy;
        if (v->after >= 0 && w->end[v->after] > w->copy) {
            w->copy = w->end[v->after];
        }
        double began = w->copy;
        w->copy += b->copy_seconds;
        rc = w->drag > 0 ? bl_spans_add(&w->copies, began, w->copy, err) : 0;
        if (rc) {
            return rc;
        }
        w->gate[v->before] = w->copy;
        w->gate_share[v->before] = share;
        if (w->p->has_store) {
            bl_store_walk_copied(&w->store, v, w->copy);
        }
    } else {
        w->compute += copying;
        phase->wait_seconds += copying;
        phase->shares[share] += copying;
    }
    w->plan->moved_bytes += b->bytes;
    w->plan->onload_count++;
    phase->moved_bytes += b->bytes;
    const bl_problem_phase *f =
        &w->p->phases[v->before < w->p->run_count ? bl_problem_phase_of(w->p, v->before) : 0];
    if (v->before < w->p->run_count && v->before >= f->first_run + w->p->modules[f->module].block_count) {
        w->streamed[w->first[v->module] + v->block] = true;
    }
    return 0;
}

/* From the file into the host store. */
static int load(walk *w, const bl_move *v, bl_plan_phase *phase, bl_error *err) {
    const bl_problem_block *b = &w->p->modules[v->module].blocks[v->block];
    int rc = bl_store_walk_load(&w->store, v, v->after >= 0 ? w->end[v->after] : 0, err);
    if (rc) {
        return rc;
    }
    w->plan->loaded_bytes += b->bytes;
    w->plan->load_count++;
    w->plan->load_seconds += b->load_seconds;
    phase->loaded_bytes += b->bytes;
    phase->load_count++;
    phase->load_seconds += b->load_seconds;
    return 0;
}

static int move(walk *w, const bl_move *v, bl_plan_phase *phase, bl_error *err) {
    if (!w->p->has_store && (v->kind == BL_MOVE_LOAD || v->kind == BL_MOVE_LEAVE)) {
        return bl_fail(err, BL_E_INTERNAL, "plan %s: a %s, but there is no host store", w->plan->method,
                       bl_move_name(v->kind));
    }
    switch (v->kind) {
    case BL_MOVE_COPY:
        return onload(w, v, phase, err);
    case BL_MOVE_DROP:
        return drop(w, v, err);
    case BL_MOVE_LOAD:
        return load(w, v, phase, err);
    default:
        return bl_store_walk_leave(&w->store, v, err);
    }
}

/* All moves that may happen before run r is put on the device, in order. */
static int moves_until(walk *w, int *next, int r, bl_plan_phase *phase, bl_error *err) {
    for (; *next < w->plan->move_count && w->plan->moves[*next].after < r; (*next)++) {
        const bl_move *v = &w->plan->moves[*next];
        int rc = move(w, v, phase, err);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static int run_block(walk *w, int r, int phase, int block, bl_error *err) {
    const bl_problem_phase *f = &w->p->phases[phase];
    bl_plan_phase *pp = &w->plan->phases[phase];
    place *x = &w->places[w->first[f->module] + block];
    if (x->at == BL_NOWHERE) {
        return bl_fail(err, BL_E_INTERNAL, "plan %s: block %s of phase %s is missing at run %d",
                       w->plan->method, block_name(w, f->module, block), f->name, r);
    }
    if (w->gate[r] > w->compute) {
        pp->wait_seconds += w->gate[r] - w->compute;
        pp->shares[w->gate_share[r]] += w->gate[r] - w->compute;
        w->compute = w->gate[r];
    }
    double s = f->levels[pp->level].block_seconds[block];
    double end = w->drag > 0 ? bl_spans_end(&w->copies, w->compute, s, w->drag) : w->compute + s;
    pp->compute_seconds += end - w->compute;
    pp->shares[BL_SHARE_STEADY] += end - w->compute;
    w->plan->slowed_seconds += w->drag > 0 ? end - w->compute - s : 0;
    w->compute = end;
    w->end[r] = w->compute;
    x->last_run = r;
    raise_peak(w, x->at + w->p->modules[f->module].blocks[block].bytes);
    return 0;
}

static int phase_walk(walk *w, int i, int *next, bl_error *err) {
    const bl_problem_phase *f = &w->p->phases[i];
    const bl_problem_module *m = &w->p->modules[f->module];
    bl_plan_phase *pp = &w->plan->phases[i];
    double began = w->compute;
    pp->arena_bytes = f->levels[pp->level].arena_bytes;
    raise_peak(w, pp->arena_bytes);
    memset(w->streamed, 0, (size_t)w->place_count * sizeof *w->streamed);
    for (int k = 0; k < f->passes * m->block_count; k++) {
        int rc = moves_until(w, next, f->first_run + k, pp, err);
        if (!rc && k == 0 && w->space.count && w->space.items[0].offset < pp->arena_bytes) {
            rc = bl_fail(err, BL_E_INTERNAL, "plan %s: block %s lies in the arena of phase %s",
                         w->plan->method, block_name(w, w->space.items[0].module, w->space.items[0].block),
                         f->name);
        }
        if (!rc) {
            rc = run_block(w, f->first_run + k, i, k % m->block_count, err);
        }
        if (rc) {
            return rc;
        }
    }
    for (int b = 0; b < m->block_count; b++) {
        if (w->streamed[w->first[f->module] + b]) {
            pp->streamed_bytes += m->blocks[b].bytes;
            pp->streamed_blocks++;
        } else {
            pp->resident_bytes += m->blocks[b].bytes;
        }
    }
    pp->seconds = w->compute - began;
    return 0;
}

static int replay(bl_plan *plan, const bl_problem *p, bool thorough, bl_error *err) {
    walk w;
    int rc = walk_open(&w, plan, p, err);
    if (rc) {
        return rc;
    }
    w.thorough = thorough;
    plan->moved_bytes = 0;
    plan->onload_count = 0;
    plan->slowed_seconds = 0;
    plan->peak_bytes = 0;
    plan->seconds = 0;
    plan->loaded_bytes = 0;
    plan->load_count = 0;
    plan->load_seconds = 0;
    for (int i = 0; i < p->phase_count; i++) {
        plan->phases[i] = (bl_plan_phase){.level = plan->phases[i].level};
    }
    if (!plan->reopen) {
        for (int m = 0; m < p->module_count && !rc; m++) {
            for (int b = 0; b < p->modules[m].block_count && !rc; b++) {
                if (p->modules[m].blocks[b].resident_at != BL_NOWHERE) {
                    rc = put(&w, m, b, p->modules[m].blocks[b].resident_at, err);
                }
            }
        }
    }
    int next = 0;
    for (int i = 0; i < p->phase_count && !rc; i++) {
        rc = phase_walk(&w, i, &next, err);
    }
    if (!rc) {
        rc = moves_until(&w, &next, p->run_count, &plan->phases[p->phase_count - 1], err);
    }
    if (!rc && next != plan->move_count) {
        rc = bl_fail(err, BL_E_INTERNAL, "plan %s: a move waits for a run that never happens", plan->method);
    }
    if (!rc && plan->peak_bytes > plan->region_bytes) {
        rc = bl_fail(err, BL_E_INTERNAL, "plan %s: needs %llu bytes of a region of %llu", plan->method,
                     (unsigned long long)plan->peak_bytes, (unsigned long long)plan->region_bytes);
    }
    plan->seconds = plan->end_seconds = w.compute;
    if (p->has_store) { /* what is brought for the next generation is waited for */
        plan->end_seconds = fmax(w.compute, fmax(w.copy, w.store.clock));
        plan->load_end_seconds = w.store.clock;
    }
    plan->store_peak_bytes = w.store.peak_bytes;
    walk_close(&w);
    return rc;
}

int bl_replay(bl_plan *plan, const bl_problem *p, bl_error *err) {
    return replay(plan, p, false, err);
}

int bl_replay_check(bl_plan *plan, const bl_problem *p, bl_error *err) {
    return replay(plan, p, true, err);
}

void bl_replay_after(bl_problem *p, const bl_plan *plan) {
    if (plan->reopen) {
        bl_problem_clear_resident(p);
    }
    for (int i = 0; i < plan->move_count; i++) {
        const bl_move *v = &plan->moves[i];
        bl_problem_block *b = &p->modules[v->module].blocks[v->block];
        uint64_t at = v->kind == BL_MOVE_COPY || v->kind == BL_MOVE_LOAD ? v->offset : BL_NOWHERE;
        if (v->kind == BL_MOVE_COPY || v->kind == BL_MOVE_DROP) {
            b->resident_at = at;
            b->came = b->came || v->kind == BL_MOVE_COPY;
        } else {
            b->stored_at = at;
        }
    }
    p->open_bytes = plan->region_bytes;
}
