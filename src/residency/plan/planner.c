#include "residency/plan/planner.h"

#include "core/checked.h"
#include "core/clock.h"
#include "core/size_text.h"
#include "residency/bound/bound.h"
#include "residency/plan/builder.h"
#include "residency/plan/replay.h"
#include "residency/plan/search.h"
#include "residency/problem/follow.h"

#include <stdlib.h>

static bool open_region_works(const bl_problem *p, const bl_plan *levels) {
    return p->open_bytes && p->open_bytes <= p->budget_bytes &&
           bl_builder_region_works(p, levels, p->open_bytes);
}

/* A larger region has this generation and so many after it to earn what it costs to open it, which is to copy
 * everything anew. */
static const int later_generations = 4;

/* Plans what `p` has as this generation, in the open region if that works. BL_E_BUDGET: it cannot. */
static int plan_next(bl_plan **out, const bl_problem *p, bl_error *err) {
    *out = NULL;
    bl_plan *levels;
    int rc = bl_plan_new(&levels, p, BL_OFFLOAD_AUTO, err);
    if (rc) {
        return rc;
    }
    rc = bl_builder_levels(levels, p, bl_builder_one_block) ? 0 : BL_E_BUDGET;
    rc = rc ? rc : bl_search_plan(out, p, levels, !open_region_works(p, levels), err);
    bl_plan_free(&levels);
    return rc;
}

/* Seconds of follower number `follower`, once it has begun; `*after` (may be NULL): the problem then. One
 * that the budget is too small for takes none. */
static int follower_seconds(double *seconds, bl_problem **after, const bl_problem *p, int follower,
                            bl_error *err) {
    bl_problem *next;
    bl_plan *plan;
    int rc = bl_problem_next(&next, p, follower, err);
    if (rc) {
        return rc;
    }
    rc = plan_next(&plan, next, err);
    *seconds = rc ? 0 : plan->end_seconds;
    if (!rc) {
        bl_replay_after(next, plan);
        bl_plan_free(&plan);
    }
    rc = rc == BL_E_BUDGET ? 0 : rc;
    if (!rc && after) {
        *after = next;
    } else {
        bl_problem_free(&next);
    }
    return rc;
}

/* Seconds of so many generations after `p`'s, whose residents `p` has: in turn, or by likelihood. */
static int others_seconds(double *seconds, const bl_problem *p, int count, bl_error *err) {
    bl_problem *at = NULL;
    int rc = 0, done = 0;
    *seconds = 0;
    for (; done < count && !rc && bl_problem_certain(at ? at : p); done++) {
        bl_problem *next = NULL;
        double one = 0;
        rc = follower_seconds(&one, &next, at ? at : p, 0, err);
        *seconds += one;
        bl_problem_free(&at);
        at = next;
    }
    for (int i = 0; !rc && done < count && i < (at ? at : p)->follower_count; i++) {
        double one = 0;
        rc = follower_seconds(&one, NULL, at ? at : p, i, err);
        *seconds += (count - done) * (at ? at : p)->followers[i].likelihood * one;
    }
    bl_problem_free(&at);
    return rc;
}

/* Seconds of this generation and those after it, which find what it leaves. Where nothing is known of them
 * they are taken to be the same again. */
static int long_seconds(double *seconds, const bl_problem *p, const bl_plan *plan, bl_error *err) {
    bl_problem *after;
    bl_plan *next;
    int rc = bl_problem_copy(&after, p, err);
    if (rc) {
        return rc;
    }
    bl_replay_after(after, plan);
    if (p->follower_count && !bl_problem_repeats(p)) {
        rc = others_seconds(seconds, after, later_generations, err);
        *seconds += plan->end_seconds;
    } else {
        rc = plan_next(&next, after, err);
        if (!rc) {
            *seconds = plan->end_seconds + later_generations * next->end_seconds;
            bl_plan_free(&next);
        }
    }
    bl_problem_free(&after);
    return rc;
}

/* How many times as long the open region has to take for a new one to be opened. Where everything fits,
 * moving nothing any more is worth as much as elsewhere the doubt. */
static double doubt(const bl_problem *p) {
    return p->budget_bytes >= bl_problem_working_set(p) ? 1 / 1.01 : 1.01;
}

/* Whether there is more room than the open region has, and a generation with all of it might be faster by
 * more than the doubt. */
static int could_grow(bool *could, const bl_problem *p, const bl_plan *kept, bl_error *err) {
    double steady;
    *could = false;
    if (kept->moved_bytes == 0 || p->open_bytes >= bl_problem_working_set(p) ||
        p->open_bytes >= bl_problem_most_region(p)) {
        return 0;
    }
    int rc = bl_bound_steady(&steady, p, err);
    *could = !rc && kept->end_seconds > steady * doubt(p);
    return rc;
}

/* The better of the open region's plan and that of a new one, over this generation and those after it. Frees
 * the other. */
static int choose_region(bl_plan **out, const bl_problem *p, bl_plan *kept, bl_plan *fresh, bl_error *err) {
    *out = NULL;
    double with_kept, with_fresh = 0;
    bool grow = kept->end_seconds > fresh->end_seconds * doubt(p); /* pays off at once */
    int rc = grow ? 0 : long_seconds(&with_kept, p, kept, err);
    if (!rc && !grow) {
        rc = long_seconds(&with_fresh, p, fresh, err);
        grow = !rc && with_kept > with_fresh * doubt(p);
    }
    *out = grow ? fresh : kept;
    bl_plan_free(grow ? &kept : &fresh);
    return rc;
}

static int plan_auto(bl_plan **out, const bl_problem *p, bl_error *err) {
    *out = NULL;
    bl_plan *levels, *kept = NULL, *fresh = NULL;
    bool grow = true;
    int rc = bl_plan_new(&levels, p, BL_OFFLOAD_AUTO, err);
    if (rc) {
        return rc;
    }
    if (!bl_builder_levels(levels, p, bl_builder_one_block)) {
        rc = bl_mode_refuse(p, BL_OFFLOAD_AUTO, err);
    } else if (open_region_works(p, levels)) {
        rc = bl_search_plan(&kept, p, levels, false, err);
        rc = rc ? rc : could_grow(&grow, p, kept, err);
    }
    if (!rc && grow) {
        rc = bl_search_plan(&fresh, p, levels, true, err);
    }
    if (!rc && kept && fresh) {
        rc = choose_region(&kept, p, kept, fresh, err);
        fresh = NULL;
    }
    bl_plan_free(&levels);
    *out = kept ? kept : fresh;
    if (rc) {
        bl_plan_free(out);
    }
    return rc;
}

/* A host store that some block does not fit. */
static int refuse_host(const bl_problem *p, bl_error *err) {
    uint64_t least = bl_problem_min_host(p);
    return bl_fail(
        err, BL_E_BUDGET,
        "host budget: too small: the smallest that works is %llu bytes (%s), the largest block, which "
        "goes through it",
        (unsigned long long)least, bl_size_of(least).text);
}

int bl_plan_make(bl_plan **out, const bl_problem *p, const bl_offload_settings *s, bl_error *err) {
    *out = NULL;
    double began = bl_now();
    bl_plan *plan;
    if (p->has_store && p->host_bytes < bl_problem_min_host(p)) {
        return refuse_host(p, err);
    }
    int rc = s->mode == BL_OFFLOAD_AUTO ? plan_auto(&plan, p, err) : bl_mode_plan(&plan, p, s, err);
    if (rc) {
        return rc;
    }
    if (s->mode != BL_OFFLOAD_AUTO) {
        bl_bound bound;
        rc = bl_bound_find(&bound, p, bl_problem_repeats(p) && p->open_bytes, err);
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
