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

/* What the planner spends on one problem is counted and not timed, so that the same problem always gets the
 * same plan. The unit is what bl_homes_find counts; a walk costs so many of it for each run and four times as
 * many for each move. */
static const long walk_weight = 40, spread_work = 900000, work_most = 3500000;

/* Near enough not to look further, and not to give residents homes. */
static const double near = 1.01, good = 1.02;

typedef struct search {
    const bl_problem *p;
    int ahead;             /* generations that are looked at beside this one */
    bl_problem *after;     /* where there are any: `p` with what is resident after this one */
    const bl_plan *levels; /* the arena levels in force */
    bool reopen;
    uint64_t region_bytes;
    bl_bound bound;
    double next_bound;                     /* seconds of each of those ahead, in the mean */
    uint8_t *pins[windows];                /* the modules of all phases, one after the other */
    const uint8_t *pin[BL_PROBLEM_PHASES]; /* of the candidate at hand */
    int window[BL_PROBLEM_PHASES];
    double best_seconds[BL_PROBLEM_PHASES]; /* over all candidates */
    int best_window[BL_PROBLEM_PHASES];
    long work;
    bl_plan *best;
    double worth; /* of the best: its seconds and those of the generations ahead */
} search;

/* A generation of more runs than this hardly feels what the one before left, but where a region is opened. */
static const int few_runs = 1500;

static const bl_pager_options usual = {.margin = 1.05, .distance = 1};

static uint64_t largest_block(const bl_problem *p, int phase) {
    return p->modules[p->phases[phase].module].largest_block;
}

static bool within(const search *s, double factor) {
    return s->worth <= (s->bound.seconds + s->ahead * s->next_bound) * factor;
}

/* Seconds decide; within a ten-thousandth bytes do, then moves. */
static bool better(const search *s, const bl_plan *plan, double worth) {
    if (!s->best || fabs(worth - s->worth) > 1e-4 * s->worth) {
        return !s->best || worth < s->worth;
    }
    return plan->moved_bytes != s->best->moved_bytes ? plan->moved_bytes < s->best->moved_bytes
                                                     : plan->onload_count < s->best->onload_count;
}

static void offer(search *s, bl_plan *plan, double worth) {
    if (better(s, plan, worth)) {
        bl_plan_free(&s->best);
        s->best = plan;
        s->worth = worth;
    } else {
        bl_plan_free(&plan);
    }
}

/* Plans `p`, which is the search's problem or the one after, and replays it. */
static int walk(bl_plan **out, search *s, const bl_problem *p, bool reopen, uint64_t region_bytes,
                const bl_pager_options *o, bl_error *err) {
    bl_plan *plan;
    int rc = bl_plan_new(&plan, p, BL_OFFLOAD_AUTO, err);
    if (rc) {
        return rc;
    }
    for (int i = 0; i < p->phase_count; i++) {
        plan->phases[i].level = s->levels->phases[i].level;
        plan->phases[i].arena_bytes = s->levels->phases[i].arena_bytes;
    }
    plan->reopen = reopen;
    plan->region_bytes = region_bytes;
    rc = bl_pager_plan(plan, p, o, err);
    rc = rc ? rc : bl_replay(plan, p, err);
    if (rc) {
        bl_plan_free(&plan);
        return rc;
    }
    s->work += walk_weight * (plan->run_count + 4L * plan->move_count);
    *out = plan;
    return 0;
}

/* What a plan is worth: its seconds and, where the same comes again, those of the next generations, planned
 * in the same way. A plan may be fast because it leaves the work to them, or slow because it puts things in
 * order. */
static int find_worth(double *worth, search *s, const bl_plan *plan, const bl_pager_options *o,
                      bl_error *err) {
    *worth = plan->seconds;
    if (!s->ahead) {
        return 0;
    }
    for (int m = 0; m < s->p->module_count; m++) {
        const bl_problem_module *x = &s->p->modules[m];
        memcpy(s->after->modules[m].blocks, x->blocks, (size_t)x->block_count * sizeof *x->blocks);
    }
    bl_replay_after(s->after, plan);
    int rc = 0;
    for (int i = 0; i < s->ahead && !rc; i++) {
        bl_plan *next;
        rc = walk(&next, s, s->after, false, plan->region_bytes, o, err);
        if (!rc) {
            *worth += next->seconds;
            bl_replay_after(s->after, next);
            bl_plan_free(&next);
        }
    }
    return rc;
}

static int candidate(search *s, const char *method, bl_pager_options o, bl_error *err) {
    size_t at = 0;
    for (int i = 0; i < s->p->phase_count; i++) {
        s->pin[i] = s->window[i] ? s->pins[s->window[i]] + at : NULL;
        at += (size_t)s->p->modules[s->p->phases[i].module].block_count;
    }
    o.pin = s->pin;
    bl_plan *plan;
    double worth;
    int rc = walk(&plan, s, s->p, s->reopen, s->region_bytes, &o, err);
    if (rc) {
        return rc;
    }
    plan->method = method;
    if (plan->reopen) {
        plan->region_bytes = plan->peak_bytes; /* nothing lies above: the region is opened no larger */
    }
    rc = find_worth(&worth, s, plan, &o, err);
    if (rc) {
        bl_plan_free(&plan);
        return rc;
    }
    for (int i = 0; i < s->p->phase_count && !o.layout; i++) {
        if (plan->phases[i].seconds < s->best_seconds[i]) {
            s->best_seconds[i] = plan->phases[i].seconds;
            s->best_window[i] = s->window[i];
        }
    }
    offer(s, plan, worth);
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

/* Fixed residents of several extents, then for each phase the one that did best there. */
static int try_spread(search *s, bl_error *err) {
    int rc = make_pins(s, err);
    for (int w = 1; w < windows && !rc && !within(s, near) && s->work < spread_work; w++) {
        for (int i = 0; i < s->p->phase_count; i++) {
            s->window[i] = w;
        }
        rc = candidate(s, "spread residents", usual, err);
    }
    /* Other prices for places, other haste: each is best somewhere. */
    static const bl_pager_options variants[] = {
        {.margin = 1.05, .distance = 1}, {.margin = 1.05, .distance = 2}, {.margin = 1.05, .distance = 4},
        {.margin = 1, .distance = 1},    {.margin = 1, .distance = 0},    {.margin = 1.5, .distance = 2},
        {.margin = 1, .distance = 8},    {.margin = 1.2, .distance = 3}};
    for (size_t i = 0;
         i < sizeof variants / sizeof *variants && !rc && !within(s, near) && s->work < spread_work; i++) {
        memcpy(s->window, s->best_window, sizeof s->window);
        rc = candidate(s, "spread residents by phase", variants[i], err);
        memset(s->window, 0, sizeof s->window);
        if (!rc && i) {
            rc = candidate(s, "paged", variants[i], err);
        }
    }
    return rc;
}

/* Residents chosen for each phase, at fixed addresses: several choices, as long as the work allows. */
static int try_homes(search *s, bl_error *err) {
    int levels[BL_PROBLEM_PHASES], rc = 0;
    for (int i = 0; i < s->p->phase_count; i++) {
        levels[i] = s->levels->phases[i].level;
    }
    long last = 0;
    for (int seed = 1; !rc && !within(s, good) && s->work + last <= work_most; seed++) {
        bl_homes homes;
        rc = bl_homes_find(&homes, s->p, levels, s->region_bytes, seed, err);
        if (rc || !homes.any) {
            return rc;
        }
        bl_pager_options o = usual;
        o.layout = &homes;
        long before = s->work;
        rc = candidate(s, "residents with homes", o, err);
        s->work += homes.work;
        last = s->work - before;
        bl_homes_free(&homes);
    }
    return rc;
}

/* The modes that do not plan: this generation is never slower than with one of them. */
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
        if (plan->seconds < s->best->seconds * (1 - 1e-4)) {
            bl_plan_free(&s->best);
            s->best = plan;
        } else {
            bl_plan_free(&plan);
        }
    }
    return 0;
}

/* Seconds that generations without end take in the mean, at least. */
static int steady_bound(double *seconds, const bl_problem *p, bl_error *err) {
    bl_bound bound;
    int rc = bl_bound_find(&bound, p, true, err);
    if (!rc) {
        *seconds = bound.seconds;
        free(bound.keep);
    }
    return rc;
}

static int search_run(search *s, bl_error *err) {
    const bl_problem *p = s->p;
    for (int i = 0; i < p->phase_count; i++) {
        s->best_seconds[i] = INFINITY;
    }
    bool steady = p->cyclic && p->open_bytes;
    int rc = bl_bound_find(&s->bound, p, steady, err);
    if (!rc && p->cyclic) {
        s->next_bound = s->bound.seconds;
        s->ahead = p->run_count <= few_runs ? 2 : s->reopen;
        rc = s->ahead ? bl_problem_copy(&s->after, p, err) : 0;
        rc = rc || steady ? rc : steady_bound(&s->next_bound, p, err);
    }
    rc = rc ? rc : candidate(s, "paged", usual, err);
    if (!rc && !within(s, near)) {
        /* The quick bound may be too low to be reached. */
        rc = bl_bound_refine(&s->bound.seconds, p, steady, err);
        s->next_bound = steady ? s->bound.seconds : s->next_bound;
    }
    if (!rc && !within(s, near)) {
        bl_pager_options o = usual;
        o.keep = s->bound.keep;
        rc = candidate(s, "paged, keeping what the bound keeps", o, err);
    }
    rc = rc || within(s, near) ? rc : try_spread(s, err);
    rc = rc ? rc : try_homes(s, err);
    return rc ? rc : try_modes(s, err);
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
    int rc = search_run(&s, err);
    for (int w = 0; w < windows; w++) {
        free(s.pins[w]);
    }
    free(s.bound.keep);
    bl_problem_free(&s.after);
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
    double steady;
    *could = false;
    if (kept->moved_bytes == 0 || p->open_bytes >= bl_problem_working_set(p) ||
        p->open_bytes / BL_ALIGN >= p->budget_bytes / BL_ALIGN) {
        return 0;
    }
    int rc = steady_bound(&steady, p, err);
    *could = !rc && kept->seconds > steady * doubt(p);
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
