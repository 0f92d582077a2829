#include "residency/plan/pager.h"

#include "residency/plan/pager_state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void pager_close(pager *g) {
    bl_builder_close(&g->b);
    bl_spans_free(&g->copies);
    free(g->seconds);
    free(g->ahead);
    free(g->gate);
    free(g->next_phase);
    free(g->arena_to);
    free(g->price);
    for (int m = 0; m < BL_PROBLEM_MODULES; m++) {
        free(g->pages[m]);
    }
}

/* Finds the next use of a block: when the walk begins, and whenever one of its runs has ended. */
static void look_ahead(pager *g, int module, int block) {
    const bl_problem *p = g->p;
    const bl_problem_phase *f = &p->phases[g->phase];
    int blocks = p->modules[module].block_count, phase = g->phase, use = g->pass_first + block;
    use += use < g->run ? blocks : 0;
    if (f->module != module || use >= f->first_run + f->passes * blocks) {
        phase = g->next_phase[phase * p->module_count + module];
        use = phase < 0 ? never : g->ahead[phase].first_run + block;
    }
    page *x = &g->pages[module][block];
    x->use = use;
    x->use_phase = phase;
    x->use_seconds = use == never ? INFINITY : seconds_before(g, phase, use);
}

static void fill_pages(pager *g) {
    const bl_problem *p = g->p;
    for (int m = 0; m < p->module_count; m++) {
        uint64_t bytes = 0;
        for (int b = 0; b < p->modules[m].block_count; b++) {
            g->pages[m][b].first_bytes = bytes;
            look_ahead(g, m, b);
            bytes += p->modules[m].blocks[b].bytes;
        }
    }
}

static int pager_open(pager *g, bl_plan *plan, const bl_problem *p, const bl_pager_options *o,
                      bl_error *err) {
    memset(g, 0, sizeof *g);
    g->p = p;
    g->plan = plan;
    g->o = o;
    g->drag = bl_problem_drag(p);
    g->arrivals.ring_bytes = bl_store_ring(&o->store, 0);
    int rc = bl_builder_open(&g->b, p, plan, err);
    if (rc) {
        return rc;
    }
    size_t runs = (size_t)p->run_count + 1, blocks = (size_t)g->b.space.room;
    rc = bl_pager_look(g, err);
    g->gate = calloc(runs, sizeof *g->gate);
    g->price = malloc((blocks + 1) * sizeof *g->price);
    bool fine = g->gate && g->price;
    for (int m = 0; m < p->module_count && fine; m++) {
        g->pages[m] = malloc((size_t)p->modules[m].block_count * sizeof *g->pages[m]);
        fine = g->pages[m];
    }
    if (!rc && !fine) {
        rc = bl_fail_memory(err, "the planner's tables", runs * sizeof *g->gate);
    }
    if (rc) {
        pager_close(g);
        return rc;
    }
    fill_pages(g);
    return 0;
}

/* Moves on to the phase of the present run: what lies in its arena goes. */
static int enter(pager *g, bl_error *err) {
    const bl_problem *p = g->p;
    if (g->run == p->run_count) {
        return 0;
    }
    const bl_problem_phase *f = &p->phases[g->phase];
    int blocks = p->modules[f->module].block_count;
    if (g->run == g->pass_first + blocks) {
        g->pass_first = g->run;
    }
    if (g->run == f->first_run + f->passes * blocks) {
        g->phase++;
    }
    if (g->run == p->phases[g->phase].first_run) {
        g->quiet = false;
        g->arrivals.ring_bytes = bl_store_ring(&g->o->store, g->phase);
        return bl_builder_clear_below(&g->b, g->plan->phases[g->phase].arena_bytes, g->run - 1, err);
    }
    return 0;
}

/* Whether a block is there and will still be when `phase` runs: no arena takes its place before. */
static bool present(const pager *g, int phase, int block) {
    uint64_t at = g->b.at[phase_ahead(g, phase)->module][block];
    return at != BL_NOWHERE && at >= arena_until(g, phase);
}

static double run_seconds(const pager *g) {
    return g->prefix[g->run + 1] - g->prefix[g->run];
}

/* When the present run ends that begins then. */
static double end_of_run(pager *g, double start) {
    return g->drag > 0 ? bl_spans_end(&g->copies, start, run_seconds(g), g->drag) : start + run_seconds(g);
}

/* Lets compute go on up to `until`. */
static int advance(pager *g, double until, bool one, bl_error *err) {
    while (g->run < g->p->run_count && g->run < g->missing) {
        double start = g->gate[g->run] > g->compute ? g->gate[g->run] : g->compute;
        double end = end_of_run(g, start);
        if (!one && end > until) {
            return 0;
        }
        g->compute = end;
        int module = g->p->phases[g->phase].module, block = g->run - g->pass_first;
        g->run++;
        int rc = enter(g, err);
        look_ahead(g, module, block);
        if (rc || one) {
            return rc;
        }
    }
    return 0;
}

static void find_missing(pager *g) {
    const bl_problem *p = g->p;
    while (g->missing < g->last_run) {
        const bl_problem_phase *f = phase_ahead(g, g->missing_phase);
        if (g->missing ==
            g->ahead[g->missing_phase].first_run + f->passes * p->modules[f->module].block_count) {
            g->missing_phase++;
        }
        if (!present(g, g->missing_phase, bl_pager_missing_block(g))) {
            return;
        }
        g->missing++;
    }
}

/* When the first of the copies ahead must begin so that none of those now missing makes compute wait, in
 * compute seconds from the begin of the generation. Looks at the rest of this pass, one more, and the first
 * passes of later phases. */
static double latest_start(const pager *g) {
    const bl_problem *p = g->p;
    double copies = 0, latest = INFINITY;
    double loads = 0; /* that cannot begin before the ring is free of what is copied now */
    uint64_t through = 0;
    for (int i = g->missing_phase; i < g->ahead_count && i < g->missing_phase + 3; i++) {
        const ahead_phase *a = &g->ahead[i];
        const bl_problem_phase *f = phase_ahead(g, i);
        const bl_problem_module *m = &p->modules[f->module];
        int first = a->first_run, from = g->missing > first ? g->missing : first;
        int to = first + f->passes * m->block_count;
        to = to < from + m->block_count ? to : from + m->block_count;
        const uint64_t *at = g->b.at[f->module];
        uint64_t floor = arena_until(g, i);
        int b = (from - first) % m->block_count;
        for (int r = from; r < to; r++) {
            if (at[b] == BL_NOWHERE || at[b] < floor) {
                copies += m->blocks[b].copy_seconds * (1 - g->drag) * g->o->margin;
                double load = load_seconds(g, i, r);
                through += load > 0 ? m->blocks[b].bytes : 0;
                loads += through > g->arrivals.ring_bytes ? load * g->o->margin : 0;
                double start = a->base + a->prefix[r - a->shift] - (copies > loads ? copies : loads);
                latest = start < latest ? start : latest;
            }
            b = b + 1 < m->block_count ? b + 1 : 0;
        }
    }
    return latest;
}

/* Copies the missing block to the spot. */
static int fetch(pager *g, const spot *s, double start, bl_why why, bl_error *err) {
    g->quiet = false;
    const bl_problem_phase *f = phase_ahead(g, g->missing_phase);
    const bl_problem_module *m = &g->p->modules[f->module];
    int block = bl_pager_missing_block(g), rc = 0,
        before = g->missing < g->p->run_count ? g->missing : g->p->run_count;
    g->b.why = BL_WHY_LATER;
    for (int i = s->first; i < s->last && !rc; i++) {
        const bl_space_item *x = &g->b.space.items[s->first];
        rc = bl_builder_drop(&g->b, x->module, x->block, g->run - 1, err);
    }
    if (!rc) {
        /* It may lie where an arena will be. */
        g->b.why = BL_WHY_PLACE;
        rc = bl_builder_drop(&g->b, f->module, block, g->run - 1, err);
    }
    if (!rc) {
        g->b.why = g->missing < g->p->run_count ? why : BL_WHY_NEXT;
        rc = bl_builder_onload(&g->b, f->module, block, s->at_low ? s->low : s->high - m->blocks[block].bytes,
                               g->run - 1, before, err);
    }
    if (g->p->async_copy) {
        double load = load_seconds(g, g->missing_phase, g->missing);
        double ready = load > 0 ? bl_arrivals_ready(&g->arrivals, m->blocks[block].bytes, load) : 0;
        start = start > ready ? start : ready;
        g->copy = start + m->blocks[block].copy_seconds;
        g->gate[before] = g->copy;
        rc = rc || !(g->drag > 0) ? rc : bl_spans_add(&g->copies, start, g->copy, err);
        if (load > 0) {
            bl_arrivals_take(&g->arrivals, m->blocks[block].bytes, load, g->copy);
        }
    } else {
        g->compute += m->blocks[block].copy_seconds;
    }
    return rc;
}

/* One decision: begin a copy, or let compute end a run. */
static int step(pager *g, bl_error *err) {
    const bl_problem *p = g->p;
    double now = p->async_copy && g->copy > g->compute ? g->copy : g->compute;
    int rc = p->async_copy ? advance(g, now, false, err) : 0;
    find_missing(g);
    if (rc || g->run == p->run_count || g->missing == g->last_run) {
        return rc ? rc : advance(g, 0, true, err);
    }
    bool due = g->missing == g->run;
    if (!p->async_copy && !due) {
        return advance(g, 0, true, err);
    }
    if (g->quiet && !due && g->latest >= g->prefix[g->run + 1]) {
        return advance(g, 0, true, err);
    }
    const bl_problem_phase *f = phase_ahead(g, g->missing_phase);
    int block = bl_pager_missing_block(g);
    /* For the next generation only what has arrived when this one ends: nobody waits for it then. */
    double left = g->prefix[p->run_count] - g->prefix[g->run];
    if (g->missing >= p->run_count &&
        now + p->modules[f->module].blocks[block].copy_seconds > (g->compute + left) * (1 - 1e-9)) {
        return advance(g, 0, true, err);
    }
    /* Out of the file: until it has arrived in the store, its place is better used by others. */
    double load = load_seconds(g, g->missing_phase, g->missing);
    if (load > 0 && !due &&
        bl_arrivals_ready(&g->arrivals, p->modules[f->module].blocks[block].bytes, load) >
            g->compute + run_seconds(g)) {
        return advance(g, 0, true, err);
    }
    if (g->b.at[f->module][block] != BL_NOWHERE && g->pages[f->module][block].use != g->missing) {
        return advance(g, 0, true, err); /* still used where it lies */
    }
    spot s;
    bool found = bl_pager_find_place(g, &s);
    if (found && (due || s.is_free)) {
        return fetch(g, &s, now, due ? BL_WHY_NEEDED : BL_WHY_EARLY, err);
    }
    /* A copy can only begin when a run ends: if the next end is too late, now is the time. */
    g->latest = latest_start(g);
    if (found && g->latest < g->prefix[g->run + 1]) {
        return fetch(g, &s, now, BL_WHY_IN_TIME, err);
    }
    g->quiet = true;
    if (due) {
        return bl_fail(err, BL_E_INTERNAL, "the planner found no place for a block that is due");
    }
    return advance(g, 0, true, err);
}

int bl_pager_plan(bl_plan *plan, const bl_problem *p, const bl_pager_options *options, bl_error *err) {
    pager g;
    int rc = pager_open(&g, plan, p, options, err);
    if (rc) {
        return rc;
    }
    rc = bl_builder_clear_below(&g.b, plan->phases[0].arena_bytes, -1, err);
    while (!rc && g.run < p->run_count) {
        rc = step(&g, err);
    }
    pager_close(&g);
    return rc;
}
