#include "residency/plan/march.h"

#include "core/spans.h"
#include "residency/plan/arrivals.h"
#include "residency/plan/builder.h"
#include "residency/problem/follow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct march {
    const bl_problem *p;
    bl_plan *plan;
    const bl_pager_options *o;
    bl_builder b;
    double *end;                        /* [run_count] when a run ends */
    uint64_t floor[BL_PROBLEM_MODULES]; /* the largest arena of the module's phases */
    int after;                          /* of the last move */
    int entered;                        /* phases whose arenas have been cleared */
    double copy;                        /* end of the last copy */
    bl_spans copies;                    /* when copies are under way, where compute feels them */
    double drag;
    bl_arrivals arrivals;
} march;

/* What is needed: a block for a run of a phase; behind the last run for the next generation. */
typedef struct need {
    int module, block, phase, run;
} need;

static uint64_t arena_of(const march *g, int phase) {
    return g->plan->phases[phase].arena_bytes;
}

static double end_of(const march *g, int run) {
    return run < 0 ? 0 : g->end[run];
}

/* The block's last run before another one, which is of this phase or, phase_count, behind all; -1: none. */
static int last_use(const march *g, int module, int block, int phase, int run) {
    for (int i = phase < g->p->phase_count ? phase : g->p->phase_count - 1; i >= 0; i--) {
        const bl_problem_phase *f = &g->p->phases[i];
        int n = g->p->modules[module].block_count;
        if (f->module != module) {
            continue;
        }
        int pass = i == phase ? (run - f->first_run) / n : f->passes - 1,
            use = f->first_run + pass * n + block;
        use -= use >= run ? n : 0;
        if (use >= f->first_run) {
            return use;
        }
    }
    return -1;
}

static uint64_t bytes_of(const march *g, const need *x) {
    return g->p->modules[x->module].blocks[x->block].bytes;
}

/* The run that must have ended before the block can be put there. */
static int after_for(const march *g, const need *x, uint64_t offset) {
    const bl_space *s = &g->b.space;
    int after = g->after, last = x->phase < g->p->phase_count ? x->phase : g->p->phase_count - 1;
    for (int i = bl_space_find(s, offset); i < s->count && s->items[i].offset < offset + bytes_of(g, x);
         i++) {
        int use = last_use(g, s->items[i].module, s->items[i].block, x->phase, x->run);
        after = use > after ? use : after;
    }
    int from = after + 1 < g->p->run_count ? bl_problem_phase_of(g->p, after + 1) : last;
    for (int i = last; i >= from; i--) {
        int end = i + 1 < g->p->phase_count ? g->p->phases[i + 1].first_run - 1 : g->p->run_count - 1;
        if (offset < arena_of(g, i)) {
            return end > after ? end : after;
        }
    }
    return after;
}

/* It came for its first run in this generation, which is to be before the window has been gone through, or
 * for the next one. */
static bool waits(const march *g, const bl_space_item *item, const need *x, int use, uint64_t window) {
    if (item->module != x->module || (use >= 0 && x->phase < g->p->phase_count)) {
        return false;
    }
    if (x->phase) {
        return x->phase == g->p->phase_count;
    }
    uint64_t between = 0;
    for (int b = x->block; b < item->block && between <= window; b++) {
        between += g->o->homes->pin[0][b] ? 0 : g->p->modules[x->module].blocks[b].bytes;
    }
    return item->block > x->block && between <= window;
}

/* Where the arenas of phases before end that still run then; *next: when the first of these phases ends, if
 * that is sooner. */
static uint64_t floor_at(const march *g, const need *x, uint64_t floor, double now, double *next) {
    uint64_t high = floor;
    for (int i = 0; i < g->p->phase_count && i < x->phase; i++) {
        int last = (i + 1 < g->p->phase_count ? g->p->phases[i + 1].first_run : g->p->run_count) - 1;
        double end = end_of(g, last);
        if (end > now && arena_of(g, i) > floor) {
            high = arena_of(g, i) > high ? arena_of(g, i) : high;
            *next = end < *next ? end : *next;
        }
    }
    return high;
}

/* The lowest place in the window, as soon as there is one; at its upper end if that is the window's. Returns
 * false when there is none. `spare`: what waits for its run keeps its place. */
static bool find_in_window(const march *g, const need *x, uint64_t floor, uint64_t top, bool spare,
                           uint64_t *offset) {
    const bl_space *s = &g->b.space;
    uint64_t bytes = bytes_of(g, x);
    double start = end_of(g, g->after), now = g->copy > start ? g->copy : start;
    while (top >= floor + bytes && now < INFINITY) {
        double next = INFINITY;
        uint64_t bottom = floor_at(g, x, floor, now, &next), low = bottom;
        for (int i = bl_space_find(s, low); i < s->count && s->items[i].offset < top; i++) {
            const bl_space_item *item = &s->items[i];
            int use = last_use(g, item->module, item->block, x->phase, x->run);
            double gone = spare && waits(g, item, x, use, top - floor) ? INFINITY : end_of(g, use);
            if (gone <= now) {
                continue;
            }
            next = gone < next ? gone : next;
            if (item->offset >= low + bytes) {
                *offset = low;
                return true;
            }
            low = item->offset + item->bytes;
        }
        if (low <= top && top - low >= bytes) {
            *offset = low > bottom ? top - bytes : low;
            return true;
        }
        now = next;
    }
    return false;
}

/* Where a block goes. */
static bool find_place(const march *g, const need *x, uint64_t *offset) {
    const bl_homes *h = g->o->homes;
    int phase = x->phase < g->p->phase_count ? x->phase : 0;
    if (!h->pin[phase]) {
        *offset = g->floor[x->module];
        for (int b = 0; b < x->block; b++) {
            *offset += g->p->modules[x->module].blocks[b].bytes;
        }
        return *offset + bytes_of(g, x) <= g->plan->region_bytes;
    }
    if (h->pin[phase][x->block]) {
        *offset = h->home[x->module][x->block];
        return *offset >= arena_of(g, phase);
    }
    return find_in_window(g, x, arena_of(g, phase), h->window[phase], true, offset) ||
           find_in_window(g, x, arena_of(g, phase), h->window[phase], false, offset);
}

/* Moves may be made behind this run from now on: phases that begin by then take their arenas. */
static int go_to(march *g, int after, bl_error *err) {
    int rc = 0;
    while (g->entered < g->p->phase_count && g->p->phases[g->entered].first_run - 1 <= after && !rc) {
        int run = g->p->phases[g->entered].first_run - 1;
        rc = bl_builder_clear_below(&g->b, arena_of(g, g->entered), run, err);
        g->entered++;
    }
    g->after = after;
    return rc;
}

/* Seconds of the load that a copy waits for; 0: it is in the store. */
static double load_of(const march *g, const need *x) {
    int phase = x->phase < g->p->phase_count ? x->phase : 0, n = g->p->modules[x->module].block_count;
    const double *const *load = g->o->store.load;
    if (!load || !load[phase]) {
        return g->p->modules[x->module].blocks[x->block].stored_at == BL_NOWHERE
                   ? g->p->modules[x->module].blocks[x->block].load_seconds
                   : 0;
    }
    bool first = x->phase == g->p->phase_count || x->run - g->p->phases[phase].first_run < n;
    return load[phase][first ? x->block : n + x->block];
}

/* Copies a block to its place. */
static int fetch(march *g, const need *x, uint64_t offset, int after, bl_error *err) {
    uint64_t bytes = bytes_of(g, x);
    int rc = go_to(g, after, err), at = 0;
    g->b.why = BL_WHY_LATER;
    for (at = bl_space_find(&g->b.space, offset);
         !rc && at < g->b.space.count && g->b.space.items[at].offset < offset + bytes;) {
        rc = bl_builder_drop(&g->b, g->b.space.items[at].module, g->b.space.items[at].block, after, err);
    }
    g->b.why = BL_WHY_PLACE;
    rc = rc ? rc : bl_builder_drop(&g->b, x->module, x->block, after, err);
    g->b.why = x->phase < g->p->phase_count ? BL_WHY_IN_TIME : BL_WHY_NEXT;
    rc = rc ? rc : bl_builder_onload(&g->b, x->module, x->block, offset, after, x->run, err);
    double load = load_of(g, x), start = fmax(g->copy, end_of(g, after));
    double ready = load > 0 ? bl_arrivals_ready(&g->arrivals, bytes, load) : 0;
    double began = fmax(start, ready);
    g->copy = began + g->p->modules[x->module].blocks[x->block].copy_seconds;
    rc = rc || !(g->drag > 0) ? rc : bl_spans_add(&g->copies, began, g->copy, err);
    if (load > 0) {
        bl_arrivals_take(&g->arrivals, bytes, load, g->copy);
    }
    return rc;
}

/* Whether the block lies where it can run. */
static bool present(const march *g, const need *x) {
    uint64_t at = g->b.at[x->module][x->block];
    int last = x->phase < g->p->phase_count ? x->phase : 0;
    bool fine = at != BL_NOWHERE && at >= arena_of(g, last);
    for (int i = g->entered; i < (x->phase < g->p->phase_count ? x->phase : g->p->phase_count) && fine; i++) {
        fine = at >= arena_of(g, i);
    }
    return fine;
}

/* All runs of a phase, each behind the copy that it needs. */
static int walk_phase(march *g, bool *fits, int phase, double *compute, bl_error *err) {
    const bl_problem_phase *f = &g->p->phases[phase];
    const double *seconds = f->levels[g->plan->phases[phase].level].block_seconds;
    int n = g->p->modules[f->module].block_count, rc = 0;
    g->arrivals.ring_bytes = bl_store_ring(&g->o->store, phase);
    for (int k = 0; k < f->passes * n && !rc; k++) {
        need x = {f->module, k % n, phase, f->first_run + k};
        uint64_t offset;
        double gate = 0;
        if (!present(g, &x)) {
            if (!find_place(g, &x, &offset)) {
                *fits = false;
                return 0;
            }
            rc = fetch(g, &x, offset, after_for(g, &x, offset), err);
            gate = g->copy;
        }
        double began = fmax(*compute, gate);
        *compute = g->drag > 0 ? bl_spans_end(&g->copies, began, seconds[x.block], g->drag)
                               : began + seconds[x.block];
        g->end[x.run] = *compute;
    }
    return rc;
}

/* What the same generation begins with next time, as far as it has arrived when this one ends. */
static int walk_next(march *g, double end, bl_error *err) {
    const bl_problem *p = g->p;
    const bl_problem_module *m = &p->modules[p->phases[0].module];
    int rc = 0;
    for (int b = 0; b < m->block_count && !rc && bl_problem_repeats(p); b++) {
        need x = {p->phases[0].module, b, p->phase_count, p->run_count};
        uint64_t offset;
        if (present(g, &x)) {
            continue;
        }
        if (!find_place(g, &x, &offset)) {
            return 0;
        }
        int after = after_for(g, &x, offset);
        double load = load_of(g, &x),
               ready = load > 0 ? bl_arrivals_ready(&g->arrivals, m->blocks[b].bytes, load) : 0;
        if (fmax(fmax(g->copy, end_of(g, after)), ready) + m->blocks[b].copy_seconds > end * (1 - 1e-9)) {
            return 0;
        }
        rc = fetch(g, &x, offset, after, err);
    }
    return rc;
}

int bl_march_plan(bool *fits, bl_plan *plan, const bl_problem *p, const bl_pager_options *options,
                  bl_error *err) {
    march g = {.p = p, .plan = plan, .o = options, .after = -1, .drag = bl_problem_drag(p)};
    double compute = 0;
    *fits = true;
    int rc = bl_builder_open(&g.b, p, plan, err);
    if (rc) {
        return rc;
    }
    g.end = malloc((size_t)p->run_count * sizeof *g.end);
    if (!g.end) {
        rc = bl_fail_memory(err, "the planner's tables", (size_t)p->run_count * sizeof *g.end);
    }
    for (int i = 0; i < p->phase_count; i++) {
        uint64_t *floor = &g.floor[p->phases[i].module];
        *floor = arena_of(&g, i) > *floor ? arena_of(&g, i) : *floor;
    }
    rc = rc ? rc : go_to(&g, -1, err);
    for (int i = 0; i < p->phase_count && !rc && *fits; i++) {
        rc = walk_phase(&g, fits, i, &compute, err);
    }
    if (!rc && *fits) {
        rc = walk_next(&g, compute, err);
        rc = rc ? rc : go_to(&g, p->run_count - 1, err);
    }
    free(g.end);
    bl_spans_free(&g.copies);
    bl_builder_close(&g.b);
    return rc;
}
