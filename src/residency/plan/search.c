#include "residency/plan/search.h"

#include "residency/plan/builder.h"
#include "residency/plan/modes.h"
#include "residency/plan/search_state.h"
#include "residency/plan/spread.h"
#include "residency/problem/follow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Windows for streamed blocks that are tried, in halves of the module's largest block; 0: no residents are
 * fixed. */
static const int window_halves[bl_search_windows] = {0, 2, 4, 5, 6, 8, 12};

/* Seconds decide; within a ten-thousandth bytes do, then moves. */
static bool better(const bl_search *s, const bl_plan *plan, double worth) {
    if (!s->best || fabs(worth - s->worth) > 1e-4 * s->worth) {
        return !s->best || worth < s->worth;
    }
    return plan->moved_bytes != s->best->moved_bytes ? plan->moved_bytes < s->best->moved_bytes
                                                     : plan->onload_count < s->best->onload_count;
}

/* Takes the plan, whose generations ahead were the last to be looked at, if `so`; else frees it. */
static void take_if(bool so, bl_search *s, bl_plan *plan, double worth) {
    if (so) {
        bl_plan_free(&s->best);
        s->best = plan;
        s->worth = worth;
        memcpy(s->ends, s->later.ends, sizeof s->ends);
    } else {
        bl_plan_free(&plan);
    }
}

static void offer(bl_search *s, bl_plan *plan, double worth) {
    take_if(better(s, plan, worth), s, plan, worth);
}

int bl_search_candidate(bl_search *s, const char *method, bl_pager_options o, bl_error *err) {
    size_t at = 0;
    for (int i = 0; i < s->p->phase_count; i++) {
        s->pin[i] = s->window[i] ? s->pins[s->window[i]] + at : NULL;
        at += (size_t)s->p->modules[s->p->phases[i].module].block_count;
    }
    o.pin = s->pin;
    bl_plan *plan;
    double worth;
    int rc = bl_later_walk(&plan, &s->later, s->p, s->levels, s->reopen, s->region_bytes, &o, err);
    if (rc) {
        return rc;
    }
    plan->method = method;
    if (plan->reopen && s->p->generation_count == 1) {
        plan->region_bytes = plan->peak_bytes; /* nothing lies above: the region is opened no larger */
    }
    double limit = s->best && s->p->has_store && bl_problem_repeats(s->p) ? s->worth : INFINITY;
    rc = bl_later_worth(&worth, &s->later, plan, &o, s->next_bound, limit, err);
    if (rc) {
        bl_plan_free(&plan);
        return rc;
    }
    for (int i = 0; i < s->p->phase_count && !o.homes; i++) {
        if (plan->phases[i].seconds < s->best_seconds[i]) {
            s->best_seconds[i] = plan->phases[i].seconds;
            s->best_window[i] = s->window[i];
        }
    }
    offer(s, plan, worth);
    return 0;
}

static int make_pins(bl_search *s, bl_error *err) {
    const bl_problem *p = s->p;
    size_t bytes = 0;
    for (int i = 0; i < p->phase_count; i++) {
        bytes += (size_t)p->modules[p->phases[i].module].block_count;
    }
    for (int w = 1; w < bl_search_windows; w++) {
        s->pins[w] = malloc(bytes);
        if (!s->pins[w]) {
            return bl_fail_memory(err, "the planner's residents", bytes);
        }
        size_t at = 0;
        for (int i = 0; i < p->phase_count; i++) {
            const bl_problem_phase *f = &p->phases[i];
            const bl_problem_module *m = &p->modules[f->module];
            bl_spread(s->pins[w] + at, m, f->levels[s->levels->phases[i].level].block_seconds,
                      s->region_bytes - s->levels->phases[i].arena_bytes,
                      m->largest_block * (uint64_t)window_halves[w] / 2);
            at += (size_t)m->block_count;
        }
    }
    return 0;
}

/* Fixed residents of several extents, then for each phase the one that did best there. */
static int try_spread(bl_search *s, bl_error *err) {
    int rc = make_pins(s, err);
    for (int w = 1; w < bl_search_windows && !rc && !bl_search_within(s, bl_search_near) &&
                    s->later.work < bl_search_spread_work;
         w++) {
        for (int i = 0; i < s->p->phase_count; i++) {
            s->window[i] = w;
        }
        rc = bl_search_candidate(s, "spread residents", s->usual, err);
    }
    /* Other prices for places, other haste: each is best somewhere. */
    static const bl_pager_options variants[] = {
        {.margin = 1.05, .distance = 1}, {.margin = 1.05, .distance = 2}, {.margin = 1.05, .distance = 4},
        {.margin = 1, .distance = 1},    {.margin = 1, .distance = 0},    {.margin = 1.5, .distance = 2},
        {.margin = 1, .distance = 8},    {.margin = 1.2, .distance = 3}};
    for (size_t i = 0; i < sizeof variants / sizeof *variants && !rc &&
                       !bl_search_within(s, bl_search_near) && s->later.work < bl_search_spread_work;
         i++) {
        bl_pager_options o = variants[i];
        o.unsure = s->usual.unsure;
        o.store = s->usual.store;
        memcpy(s->window, s->best_window, sizeof s->window);
        rc = bl_search_candidate(s, "spread residents by phase", o, err);
        memset(s->window, 0, sizeof s->window);
        if (!rc && i) {
            rc = bl_search_candidate(s, "paged", o, err);
        }
    }
    return rc;
}

/* Residents chosen for each phase, at fixed addresses: several choices, as long as the work allows. */
static int try_homes(bl_search *s, bl_error *err) {
    int levels[BL_PROBLEM_PHASES], rc = 0;
    for (int i = 0; i < s->p->phase_count; i++) {
        levels[i] = s->levels->phases[i].level;
    }
    long last = 0, most = s->best->load_count ? bl_search_store_work : bl_search_work_most;
    for (int seed = 1; !rc && !bl_search_within(s, bl_search_good) && s->later.work + last <= most; seed++) {
        bl_homes homes;
        rc = bl_homes_find(&homes, s->p, levels, s->region_bytes, seed, err);
        if (rc || !homes.any) {
            return rc;
        }
        bl_pager_options o = s->usual;
        o.homes = &homes;
        long before = s->later.work;
        rc = bl_search_candidate(s, "residents with homes", o, err);
        s->later.work += homes.work;
        last = s->later.work - before;
        bl_homes_free(&homes);
    }
    return rc;
}

/* The modes that do not plan: this generation is never slower than with one of them. */
static int try_modes(bl_search *s, bl_error *err) {
    static const bl_offload modes[] = {BL_OFFLOAD_NONE, BL_OFFLOAD_MODEL, BL_OFFLOAD_BALANCED,
                                       BL_OFFLOAD_SEQUENTIAL};
    double one_by_one = bl_problem_one_by_one(s->p);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (modes[i] == BL_OFFLOAD_SEQUENTIAL && one_by_one > s->best->end_seconds) {
            continue;
        }
        bl_offload_settings settings = bl_offload_defaults();
        settings.mode = modes[i];
        bl_plan *plan;
        int rc = bl_mode_plan(&plan, s->p, &settings, err);
        if (rc == BL_E_BUDGET) {
            continue;
        }
        if (rc) {
            return rc;
        }
        plan->mode = BL_OFFLOAD_AUTO;
        double worth = plan->end_seconds, best = s->best->end_seconds;
        if (s->p->generation_count > 1 || s->p->has_store) { /* what is left for others counts */
            rc = bl_later_worth(&worth, &s->later, plan, &s->usual, 0, INFINITY, err);
            best = s->worth;
        }
        take_if(!rc && worth < best * (1 - 1e-4), s, plan, worth);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* Where the same again is all that follows its mean is known. */
static int find_least(bl_search *s, bool steady, bool fine, bl_error *err) {
    if (!bl_problem_repeats(s->p)) {
        return bl_later_bound(&s->least, &s->later, s->bound.seconds, fine, err);
    }
    if (steady || !fine) {
        s->next_bound = s->bound.seconds;
    }
    int rc = steady || fine ? 0 : bl_bound_steady(&s->next_bound, s->p, err);
    s->least = s->bound.seconds + s->later.weight * s->next_bound;
    return rc;
}

/* A plan for each of those that may come, as if it did; the best one's opinion holds from then on. */
static int try_first(bl_search *s, bl_error *err) {
    int likely = 0, rc = 0, unsure = s->p->follower_count - bl_problem_certain(s->p);
    for (int i = 0; i < (unsure > 1 ? unsure : 1) && !rc; i++) {
        const bl_plan *best = s->best;
        s->usual.unsure = i;
        rc = bl_search_candidate(s, "paged", s->usual, err);
        likely = s->best != best ? i : likely;
    }
    s->usual.unsure = likely;
    return rc;
}

static int search_run(bl_search *s, bl_error *err) {
    const bl_problem *p = s->p;
    for (int i = 0; i < p->phase_count; i++) {
        s->best_seconds[i] = INFINITY;
    }
    bool steady = bl_problem_repeats(p) && p->open_bytes;
    int rc = bl_bound_find(&s->bound, p, steady, err);
    rc = rc ? rc : bl_later_open(&s->later, p, s->levels, s->reopen, err);
    rc = rc ? rc : find_least(s, steady, false, err);
    rc = rc ? rc : try_first(s, err);
    rc = rc || !p->has_store ? rc : bl_search_store(s, err);
    if (!rc && !bl_search_within(s, bl_search_near)) {
        /* The quick bound may be too low to be reached. */
        rc = bl_bound_refine(&s->bound.seconds, p, steady, err);
        rc = rc ? rc : find_least(s, steady, true, err);
    }
    if (!rc && !bl_search_within(s, bl_search_near)) {
        bl_pager_options o = s->usual;
        o.keep = s->bound.keep;
        rc = bl_search_candidate(s, "paged, keeping what the bound keeps", o, err);
    }
    rc = rc || bl_search_within(s, bl_search_near) ? rc : try_spread(s, err);
    rc = rc ? rc : try_homes(s, err);
    rc = rc ? rc : try_modes(s, err);
    return rc || !p->has_store ? rc : bl_search_turns(s, err);
}

int bl_search_plan(bl_plan **out, const bl_problem *p, const bl_plan *levels, bool reopen, bl_error *err) {
    *out = NULL;
    bl_search s = {.p = p, .levels = levels, .reopen = reopen, .usual = {.margin = 1.05, .distance = 1}};
    s.usual.store.ring_bytes = p->has_store ? bl_store_usual_ring(p) : 0;
    s.region_bytes = reopen ? bl_builder_region(p, levels) : p->open_bytes;
    int rc = search_run(&s, err);
    for (int w = 0; w < bl_search_windows; w++) {
        free(s.pins[w]);
    }
    for (int i = 0; i < p->phase_count; i++) {
        free(s.load[i]);
    }
    free(s.bound.keep);
    bl_later_close(&s.later);
    if (rc) {
        bl_plan_free(&s.best);
        return rc;
    }
    s.best->bound_seconds = s.bound.seconds;
    s.best->bound_moved_bytes = s.bound.moved_bytes;
    *out = s.best;
    return 0;
}
