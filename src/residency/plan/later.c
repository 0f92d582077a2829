#include "residency/plan/later.h"

#include "residency/plan/march.h"
#include "residency/plan/siding.h"

#include "residency/bound/bound.h"
#include "residency/plan/builder.h"
#include "residency/plan/replay.h"
#include "residency/plan/store.h"
#include "residency/problem/follow.h"

#include <stdlib.h>
#include <string.h>

/* What a walk costs in the search's unit: so much for each run, and four times as much for each move. */
static const long walk_weight = 40;

/* A generation of more runs than this hardly feels what the one before left, but where a region is opened or
 * another one follows. */
static const int few_runs = 1500;

/* Generations that the next ones stand for where there is a host store: a switch to other kinds costs one or
 * two, and pays off in the long run. */
static const double store_weight = 6;

void bl_later_close(bl_later *l) {
    for (int i = l->count - 1; i >= 0; i--) {
        if (!i || l->steps[i].p != l->steps[i - 1].p) {
            bl_problem_free(&l->steps[i].p);
        }
        bl_plan_free(&l->steps[i].levels);
    }
    l->count = 0;
}

/* The same again: one problem for all steps. What a host store is filled with pays off for long: there one
 * generation stands for several, and the last of them, which shows where it ends, for the most. */
static int open_again(bl_later *l, int steps, bl_error *err) {
    steps = l->p->has_store && !steps ? 1 : steps;
    l->weight = l->p->has_store ? store_weight : steps;
    for (int i = 0; i < steps; i++) {
        bl_later_step *x = &l->steps[i];
        double share = l->p->has_store ? 2 * (i + 1) / (steps + 1.0) : 1;
        *x = (bl_later_step){.likelihood = share * l->weight / steps, .before = i - 1, .again = true};
        int rc = 0;
        if (i) {
            x->p = l->steps[0].p;
        } else {
            rc = bl_problem_copy(&x->p, l->p, err);
        }
        if (rc) {
            return rc;
        }
        l->count++;
    }
    return 0;
}

/* Adds a step that is follower number `follower` of what `from` knows. One that the budget is too small for
 * is left out: it will be refused. */
static int add_step(bl_later *l, const bl_problem *from, int follower, int before, bl_error *err) {
    bl_later_step x = {.likelihood = from->followers[follower].likelihood, .before = before};
    int rc = bl_problem_next(&x.p, from, follower, err);
    if (!rc) {
        rc = bl_plan_new(&x.levels, x.p, BL_OFFLOAD_AUTO, err);
    }
    if (rc || !bl_builder_levels(x.levels, x.p, bl_builder_one_block)) {
        bl_problem_free(&x.p);
        bl_plan_free(&x.levels);
        return rc;
    }
    l->steps[l->count++] = x;
    return 0;
}

/* Others: the certain ones in turn, and each of those that may come then. */
static int open_others(bl_later *l, int most, bl_error *err) {
    const bl_problem *at = l->p;
    int certain = bl_problem_certain(at), rc = 0, before = -1;
    for (int i = 0; i < certain && i < most; i++) {
        int count = l->count;
        rc = add_step(l, at, 0, before, err);
        if (rc || l->count == count) {
            return rc;
        }
        before = count;
        at = l->steps[before].p;
    }
    for (int i = 0; certain <= most && i < at->follower_count && !rc; i++) {
        rc = at->followers[i].likelihood < 1 ? add_step(l, at, i, before, err) : 0;
    }
    return rc;
}

int bl_later_open(bl_later *l, const bl_problem *p, const bl_plan *levels, bool reopen, bl_error *err) {
    *l = (bl_later){.p = p, .levels = levels};
    bool few = p->run_count <= few_runs;
    int rc = bl_problem_repeats(p) ? open_again(l, few ? 2 : reopen, err) : open_others(l, few ? 2 : 1, err);
    if (rc) {
        bl_later_close(l);
    }
    return rc;
}

int bl_later_walk(bl_plan **out, bl_later *l, const bl_problem *p, const bl_plan *levels, bool reopen,
                  uint64_t region_bytes, const bl_pager_options *o, bl_error *err) {
    *out = NULL;
    bl_plan *plan;
    int rc = bl_plan_new(&plan, p, BL_OFFLOAD_AUTO, err);
    if (rc) {
        return rc;
    }
    for (int i = 0; i < p->phase_count; i++) {
        plan->phases[i].level = levels->phases[i].level;
        plan->phases[i].arena_bytes = levels->phases[i].arena_bytes;
    }
    plan->reopen = reopen;
    plan->region_bytes = region_bytes;
    bool fits = false;
    rc = o->through ? bl_siding_plan(&fits, plan, p, o, err) : 0;
    if (!rc && !fits && o->in_order) {
        plan->move_count = 0;
        rc = bl_march_plan(&fits, plan, p, o, err);
    }
    if (!rc && !fits) {
        plan->move_count = 0;
        rc = bl_pager_plan(plan, p, o, err);
    }
    if (!rc) {
        rc = p->has_store ? bl_store_plan(plan, p, &o->store, err) : bl_replay(plan, p, err);
    }
    if (rc) {
        bl_plan_free(&plan);
        return rc;
    }
    l->work += walk_weight * (plan->run_count + 4L * plan->move_count);
    *out = plan;
    return 0;
}

/* Sets what is resident before a step: what is after the plan, or after the step before. */
static void take_over(bl_later *l, bl_later_step *x, const bl_plan *plan) {
    const bl_problem *from = x->before < 0 ? l->p : l->steps[x->before].p;
    for (int m = 0; m < from->module_count && from != x->p; m++) {
        const bl_problem_module *k = &from->modules[m];
        memcpy(x->p->modules[m].blocks, k->blocks, (size_t)k->block_count * sizeof *k->blocks);
    }
    x->p->open_bytes = from->open_bytes;
    if (x->before < 0) {
        bl_replay_after(x->p, plan);
    }
}

int bl_later_worth(double *worth, bl_later *l, const bl_plan *plan, const bl_pager_options *o, double least,
                   double limit, bl_error *err) {
    *worth = plan->end_seconds;
    for (int i = 0; i < l->count; i++) {
        bl_later_step *x = &l->steps[i];
        double left = 0;
        for (int k = i; k < l->count; k++) {
            left += l->steps[k].likelihood * least;
        }
        if (*worth + left > limit) {
            *worth += left;
            return 0;
        }
        take_over(l, x, plan);
        const bl_plan *levels = x->again ? l->levels : x->levels;
        bl_pager_options others = {
            .margin = o->margin, .distance = o->distance, .store = {.ring_bytes = o->store.ring_bytes}};
        bool reopen = !x->again && !bl_builder_region_works(x->p, levels, x->p->open_bytes);
        uint64_t region_bytes = reopen ? bl_builder_region(x->p, levels) : x->p->open_bytes;
        bl_plan *next;
        int rc = bl_later_walk(&next, l, x->p, levels, reopen, region_bytes, x->again ? o : &others, err);
        if (rc) {
            return rc;
        }
        l->ends[i] = next->end_seconds;
        *worth += x->likelihood * next->end_seconds;
        bl_replay_after(x->p, next);
        bl_plan_free(&next);
    }
    return 0;
}

/* Least seconds of the plan and all up to a step, one after the other. */
static int bound_until(double *seconds, const bl_later *l, int step, bool fine, bl_error *err) {
    const bl_problem *list[bl_later_most + 1];
    int count = 0;
    for (int at = step; at >= 0; at = l->steps[at].before) {
        count++;
    }
    list[0] = l->p;
    for (int at = step, i = count; at >= 0; at = l->steps[at].before) {
        list[i--] = l->steps[at].p;
    }
    bl_problem *all;
    bl_bound bound;
    int rc = bl_problem_join(&all, list, count + 1, err);
    if (rc) {
        return rc;
    }
    rc = bl_bound_find(&bound, all, false, err);
    if (!rc) {
        free(bound.keep);
        rc = fine ? bl_bound_refine(&bound.seconds, all, false, err) : 0;
        *seconds = bound.seconds;
    }
    bl_problem_free(&all);
    return rc;
}

int bl_later_bound(double *least, bl_later *l, double alone, bool fine, bl_error *err) {
    double rest = 1, sum = 0;
    int chain = -1, rc = 0;
    for (int i = 0; i < l->count && !rc; i++) {
        if (l->steps[i].likelihood == 1) {
            chain = i;
        } else {
            double seconds = 0;
            rc = bound_until(&seconds, l, i, fine, err);
            sum += l->steps[i].likelihood * seconds;
            rest -= l->steps[i].likelihood;
        }
    }
    double certain = alone;
    if (!rc && chain >= 0 && rest > 1e-9) {
        rc = bound_until(&certain, l, chain, fine, err);
    }
    *least = sum + rest * certain;
    return rc;
}
