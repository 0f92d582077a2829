#include "residency/planner.h"

#include "core/checked.h"
#include "core/clock.h"
#include "residency/bound.h"
#include "residency/builder.h"
#include "residency/pager.h"
#include "residency/replay.h"
#include "residency/spread.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Windows for streamed blocks that are tried, in halves of the module's largest block; 0: no residents are
 * fixed. */
enum { windows = 7 };
static const int window_halves[windows] = {0, 2, 4, 5, 6, 8, 12};

/* Candidates cost about this much each: runs + moves. What the planner spends on one problem is counted and
 * not timed, so that the same problem always gets the same plan. */
static const int work_limit = 30000;
/* Of residents with homes, counted as bl_homes_find counts; a candidate's run or move costs so many of that.
 */
static const long homes_work_limit = 4500000, homes_candidate_weight = 60;

typedef struct search {
    const bl_problem *p;
    const bl_plan *levels; /* the arena levels in force */
    bool reopen;
    uint64_t region_bytes;
    bl_bound bound;
    uint8_t *pins[windows];                /* the modules of all phases, one after the other */
    const uint8_t *pin[BL_PROBLEM_PHASES]; /* of the candidate at hand */
    int window[BL_PROBLEM_PHASES];
    double best_seconds[BL_PROBLEM_PHASES]; /* over all candidates */
    int best_window[BL_PROBLEM_PHASES];
    int work;
    bl_plan *best;
} search;

static uint64_t largest_block(const bl_problem *p, int phase) {
    return p->modules[p->phases[phase].module].largest_block;
}

/* Seconds decide; within a ten-thousandth bytes do, then moves. */
static bool better(const bl_plan *a, const bl_plan *b) {
    if (fabs(a->seconds - b->seconds) > 1e-4 * b->seconds) {
        return a->seconds < b->seconds;
    }
    return a->moved_bytes != b->moved_bytes ? a->moved_bytes < b->moved_bytes
                                            : a->onload_count < b->onload_count;
}

static void offer(search *s, bl_plan *plan) {
    if (!s->best || better(plan, s->best)) {
        bl_plan_free(&s->best);
        s->best = plan;
    } else {
        bl_plan_free(&plan);
    }
}

static int candidate(search *s, const char *method, double margin, int distance, bool keep,
                     const bl_homes *layout, bl_error *err) {
    bl_plan *plan;
    int rc = bl_plan_new(&plan, s->p, BL_OFFLOAD_AUTO, err);
    if (rc) {
        return rc;
    }
    size_t at = 0;
    for (int i = 0; i < s->p->phase_count; i++) {
        plan->phases[i].level = s->levels->phases[i].level;
        plan->phases[i].arena_bytes = s->levels->phases[i].arena_bytes;
        s->pin[i] = s->window[i] ? s->pins[s->window[i]] + at : NULL;
        at += (size_t)s->p->modules[s->p->phases[i].module].block_count;
    }
    plan->reopen = s->reopen;
    plan->region_bytes = s->region_bytes;
    plan->method = method;
    bl_pager_options o = {.margin = margin,
                          .distance = distance,
                          .keep = keep ? s->bound.keep : NULL,
                          .pin = s->pin,
                          .layout = layout};
    rc = bl_pager_plan(plan, s->p, &o, err);
    rc = rc ? rc : bl_replay(plan, s->p, err);
    if (rc) {
        bl_plan_free(&plan);
        return rc;
    }
    if (plan->reopen) {
        plan->region_bytes = plan->peak_bytes; /* nothing lies above: the region is opened no larger */
    }
    s->work += plan->run_count + 4 * plan->move_count;
    for (int i = 0; i < s->p->phase_count && !layout; i++) {
        if (plan->phases[i].seconds < s->best_seconds[i]) {
            s->best_seconds[i] = plan->phases[i].seconds;
            s->best_window[i] = s->window[i];
        }
    }
    offer(s, plan);
    return 0;
}

static int make_pins(search *s, bl_error *err) {
    const bl_problem *p = s->p;
    size_t bytes = 0;
    for (int i = 0; i < p->phase_count; i++) {
        bytes += (size_t)p->modules[p->phases[i].module].block_count;
    }
    for (int w = 1; w < windows; w++) {
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

/* Near enough not to look further, and not to look for an order that pays off later. */
static const double near = 1.01, good = 1.02;

static bool near_bound(const search *s) {
    return s->best->seconds <= s->bound.seconds * near;
}

/* Fixed residents of several extents, then for each phase the one that did best there. */
static int try_spread(search *s, bl_error *err) {
    int rc = make_pins(s, err);
    for (int w = 1; w < windows && !rc && !near_bound(s) && s->work < work_limit; w++) {
        for (int i = 0; i < s->p->phase_count; i++) {
            s->window[i] = w;
        }
        rc = candidate(s, "spread residents", 1.05, 1, false, NULL, err);
    }
    /* Other prices for places, other haste: each is best somewhere. */
    static const struct {
        double margin;
        int distance;
    } variants[] = {{1.05, 1}, {1.05, 2}, {1.05, 4}, {1, 1}, {1, 0}, {1.5, 2}, {1, 8}, {1.2, 3}};
    for (size_t i = 0;
         i < sizeof variants / sizeof *variants && !rc && !near_bound(s) && s->work < work_limit; i++) {
        memcpy(s->window, s->best_window, sizeof s->window);
        rc = candidate(s, "spread residents by phase", variants[i].margin, variants[i].distance, false, NULL,
                       err);
        memset(s->window, 0, sizeof s->window);
        if (!rc && i) {
            rc = candidate(s, "paged", variants[i].margin, variants[i].distance, false, NULL, err);
        }
    }
    return rc;
}

/* Seconds of the generation after the plan's. */
static int next_seconds(search *s, const bl_plan *plan, const bl_homes *layout, double *seconds,
                        bl_error *err) {
    bl_problem *after;
    int rc = bl_problem_copy(&after, s->p, err);
    if (rc) {
        return rc;
    }
    bl_replay_after(after, plan);
    search next = {.p = after, .levels = s->levels, .region_bytes = after->open_bytes};
    rc = candidate(&next, "", 1.05, 1, false, layout, err);
    if (!rc) {
        *seconds = next.best->seconds;
    }
    bl_plan_free(&next.best);
    bl_problem_free(&after);
    return rc;
}

/* What a plan with homes, or any other, is worth: its seconds and, where the same comes again, those of the
 * generation after: what the first one spends on order comes back. */
static int both_seconds(search *s, const bl_plan *plan, const bl_homes *homes, double *seconds,
                        bl_error *err) {
    double later = 0;
    int rc = s->p->cyclic ? next_seconds(s, plan, homes, &later, err) : 0;
    *seconds = plan->seconds + later;
    return rc;
}

/* Residents chosen for each phase, at fixed addresses, if they are better than the best so far. *worth: what
 * that is worth, below 0 if not known; *work grows by what was spent, or stays where there is nothing to
 * choose. */
static int try_homes(search *s, int seed, double *worth, long *work, bl_error *err) {
    int levels[BL_PROBLEM_PHASES];
    for (int i = 0; i < s->p->phase_count; i++) {
        levels[i] = s->levels->phases[i].level;
    }
    bl_homes homes;
    int rc = bl_homes_find(&homes, s->p, levels, s->region_bytes, seed, err);
    if (rc || !homes.any) {
        return rc;
    }
    bl_plan *others = s->best;
    s->best = NULL;
    double here = 0;
    rc = candidate(s, "residents with homes", 1.05, 1, false, &homes, err);
    bool better = false;
    if (!rc && s->p->open_bytes && s->best->seconds < others->seconds) {
        better = true; /* in order already: it stays as it is */
        here = 2 * s->best->seconds;
    } else if (!rc) {
        rc = *worth < 0 ? both_seconds(s, others, NULL, worth, err) : 0;
        rc = rc ? rc : both_seconds(s, s->best, &homes, &here, err);
        better = !rc && here < *worth;
    }
    if (!rc) {
        *work += homes.work + 2 * homes_candidate_weight * (s->p->run_count + 4L * s->best->move_count);
    }
    bl_homes_free(&homes);
    if (!better) {
        bl_plan_free(&s->best);
        s->best = others;
        return rc;
    }
    bl_plan_free(&others);
    *worth = here;
    return 0;
}

/* Looks at residents with homes where there is something to gain. */
static int settle(search *s, bl_error *err) {
    double worth = -1;
    bool well = s->best->seconds <= s->bound.seconds * good;
    if (well && s->p->cyclic && !s->p->open_bytes) {
        bl_bound steady;
        int rc = both_seconds(s, s->best, NULL, &worth, err);
        rc = rc ? rc : bl_bound_find(&steady, s->p, true, err);
        if (rc) {
            return rc;
        }
        free(steady.keep);
        well = worth - s->best->seconds <= steady.seconds * good;
    }
    long work = 0, before = 0;
    for (int seed = 1; !well && work + (work - before) <= homes_work_limit; seed++) {
        before = work;
        int rc = try_homes(s, seed, &worth, &work, err);
        if (rc || work == before) {
            return rc;
        }
    }
    return 0;
}

/* The modes that do not plan, so that planning is never worse than not to. */
static int try_modes(search *s, bl_error *err) {
    static const bl_offload modes[] = {BL_OFFLOAD_NONE, BL_OFFLOAD_MODEL, BL_OFFLOAD_BALANCED,
                                       BL_OFFLOAD_SEQUENTIAL};
    double one_by_one = 0;
    for (int i = 0; i < s->p->phase_count; i++) {
        const bl_problem_phase *f = &s->p->phases[i];
        one_by_one += f->passes * (f->levels[0].pass_seconds + s->p->modules[f->module].copy_seconds);
    }
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (modes[i] == BL_OFFLOAD_SEQUENTIAL && one_by_one > s->best->seconds) {
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
        offer(s, plan);
    }
    return 0;
}

static int search_run(search *s, bl_error *err) {
    for (int i = 0; i < s->p->phase_count; i++) {
        s->best_seconds[i] = INFINITY;
    }
    int rc = candidate(s, "paged", 1.05, 1, false, NULL, err);
    if (rc || near_bound(s)) {
        rc = rc ? rc : try_modes(s, err);
        return rc || s->p->open_bytes ? rc : settle(s, err);
    }
    /* The quick bound may be too low to be reached. */
    rc = bl_bound_refine(&s->bound.seconds, s->p, s->p->cyclic && s->p->open_bytes, err);
    if (!rc && !near_bound(s)) {
        rc = candidate(s, "paged, keeping what the bound keeps", 1.05, 1, true, NULL, err);
    }
    rc = rc || near_bound(s) ? rc : try_spread(s, err);
    rc = rc ? rc : try_modes(s, err);
    return rc ? rc : settle(s, err);
}

/* The region that is open, or a new one. */
static int auto_plan(bl_plan **out, const bl_problem *p, const bl_plan *levels, bool reopen, bl_error *err) {
    search s = {.p = p, .levels = levels, .reopen = reopen};
    uint64_t all = 0, arena = 0, budget = p->budget_bytes / BL_ALIGN * BL_ALIGN;
    bool used[BL_PROBLEM_MODULES] = {false};
    for (int i = 0; i < p->phase_count; i++) {
        all += used[p->phases[i].module] ? 0 : p->modules[p->phases[i].module].bytes;
        used[p->phases[i].module] = true;
        arena = levels->phases[i].arena_bytes > arena ? levels->phases[i].arena_bytes : arena;
    }
    s.region_bytes = !reopen ? p->open_bytes : all + arena < budget ? all + arena : budget;
    int rc = bl_bound_find(&s.bound, p, p->cyclic && p->open_bytes, err);
    rc = rc ? rc : search_run(&s, err);
    for (int w = 0; w < windows; w++) {
        free(s.pins[w]);
    }
    free(s.bound.keep);
    if (rc) {
        bl_plan_free(&s.best);
        return rc;
    }
    s.best->bound_seconds = s.bound.seconds;
    s.best->bound_moved_bytes = s.bound.moved_bytes;
    *out = s.best;
    return 0;
}

/* Whether the region that is open can be worked in: every phase's arena at its level and one block fit. */
static bool open_region_works(const bl_problem *p, const bl_plan *levels) {
    if (!p->open_bytes || p->open_bytes > p->budget_bytes) {
        return false;
    }
    for (int i = 0; i < p->phase_count; i++) {
        if (levels->phases[i].arena_bytes + largest_block(p, i) > p->open_bytes) {
            return false;
        }
    }
    return true;
}

/* A larger region has this generation and so many after it to earn what it costs to open it, which is to copy
 * everything anew. */
static const int later_generations = 4;

/* Seconds of this generation and those after it, which find what it leaves. */
static int long_seconds(double *seconds, const bl_problem *p, const bl_plan *levels, const bl_plan *plan,
                        bl_error *err) {
    bl_problem *after;
    bl_plan *next;
    int rc = bl_problem_copy(&after, p, err);
    if (rc) {
        return rc;
    }
    bl_replay_after(after, plan);
    rc = auto_plan(&next, after, levels, !open_region_works(after, levels), err);
    if (!rc) {
        *seconds = plan->seconds + later_generations * next->seconds;
        bl_plan_free(&next);
    }
    bl_problem_free(&after);
    return rc;
}

/* How many times as long the open region has to take for a new one to be opened. Where everything fits,
 * moving nothing any more is worth as much as elsewhere the doubt. */
static double doubt(const bl_problem *p) {
    return p->budget_bytes >= bl_problem_working_set(p) ? 1 / near : near;
}

/* Whether there is more room than the open region has, and a generation with all of it might be faster by
 * more than the doubt. */
static int could_grow(bool *could, const bl_problem *p, const bl_plan *kept, bl_error *err) {
    bl_bound steady;
    *could = false;
    if (kept->moved_bytes == 0 || p->open_bytes >= bl_problem_working_set(p) ||
        p->open_bytes / BL_ALIGN >= p->budget_bytes / BL_ALIGN) {
        return 0;
    }
    int rc = bl_bound_find(&steady, p, true, err);
    if (!rc) {
        *could = kept->seconds > steady.seconds * doubt(p);
        free(steady.keep);
    }
    return rc;
}

/* The better of the open region's plan and that of a new one, over this generation and those after it. Frees
 * the other. */
static int choose_region(bl_plan **out, const bl_problem *p, const bl_plan *levels, bl_plan *kept,
                         bl_plan *fresh, bl_error *err) {
    double with_kept, with_fresh = 0;
    bool grow = kept->seconds > fresh->seconds * doubt(p); /* pays off at once */
    int rc = grow ? 0 : long_seconds(&with_kept, p, levels, kept, err);
    if (!rc && !grow) {
        rc = long_seconds(&with_fresh, p, levels, fresh, err);
        grow = !rc && with_kept > with_fresh * doubt(p);
    }
    *out = grow ? fresh : kept;
    bl_plan_free(grow ? &kept : &fresh);
    return rc;
}

static int plan_auto(bl_plan **out, const bl_problem *p, bl_error *err) {
    bl_plan *levels, *kept = NULL, *fresh = NULL;
    bool grow = true;
    int rc = bl_plan_new(&levels, p, BL_OFFLOAD_AUTO, err);
    if (rc) {
        return rc;
    }
    if (!bl_builder_levels(levels, p, largest_block)) {
        rc = bl_mode_refuse(p, BL_OFFLOAD_AUTO, err);
    } else if (open_region_works(p, levels)) {
        rc = auto_plan(&kept, p, levels, false, err);
        rc = rc ? rc : could_grow(&grow, p, kept, err);
    }
    if (!rc && grow) {
        rc = auto_plan(&fresh, p, levels, true, err);
    }
    if (!rc && kept && fresh) {
        rc = choose_region(&kept, p, levels, kept, fresh, err);
        fresh = NULL;
    }
    bl_plan_free(&levels);
    *out = kept ? kept : fresh;
    if (rc) {
        bl_plan_free(out);
    }
    return rc;
}

int bl_plan_make(bl_plan **out, const bl_problem *p, const bl_offload_settings *s, bl_error *err) {
    double began = bl_now();
    bl_plan *plan;
    int rc = s->mode == BL_OFFLOAD_AUTO ? plan_auto(&plan, p, err) : bl_mode_plan(&plan, p, s, err);
    if (rc) {
        return rc;
    }
    if (s->mode != BL_OFFLOAD_AUTO) {
        bl_bound bound;
        rc = bl_bound_find(&bound, p, p->cyclic && p->open_bytes, err);
        if (rc) {
            bl_plan_free(&plan);
            return rc;
        }
        plan->bound_seconds = bound.seconds;
        plan->bound_moved_bytes = bound.moved_bytes;
        free(bound.keep);
    }
    plan->planning_seconds = bl_now() - began;
    *out = plan;
    return 0;
}
