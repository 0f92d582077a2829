/* What a plan is worth to the generations after it: they are walked from what it leaves. A plan may be fast
 * because it leaves the work to them, or slow because it puts things in order. */
#ifndef BALLAST_RESIDENCY_LATER_H
#define BALLAST_RESIDENCY_LATER_H

#include "residency/plan/pager.h"

enum { bl_later_most = BL_PROBLEM_FOLLOWERS + 2 };

/* A generation that is looked at. */
typedef struct bl_later_step {
    bl_problem *p;     /* in which it is this generation; the same again shares one with the step before */
    bl_plan *levels;   /* its arena levels */
    double likelihood; /* how likely it is */
    int before;        /* the step that it follows; -1: the plan itself */
    bool again;        /* the same as the planned one: all options hold for it */
} bl_later_step;

typedef struct bl_later {
    const bl_problem *p;
    const bl_plan *levels;
    bl_later_step steps[bl_later_most];
    int count;
    double weight;              /* where the same follows: generations that the steps stand for */
    double ends[bl_later_most]; /* seconds of each step behind the last plan that bl_later_worth saw */
    long work;                  /* spent on walks, in the search's unit */
} bl_later;

/* `p` and its `levels` are borrowed. `reopen`: a region is opened for the plan. */
int bl_later_open(bl_later *l, const bl_problem *p, const bl_plan *levels, bool reopen, bl_error *err);
void bl_later_close(bl_later *l);

/* A plan by the pager, replayed. Adds to the work. Caller owns *out. */
int bl_later_walk(bl_plan **out, bl_later *l, const bl_problem *p, const bl_plan *levels, bool reopen,
                  uint64_t region_bytes, const bl_pager_options *o, bl_error *err);

/* Seconds of the plan and of those after it, by their likelihoods, planned in the same way. Where each of
 * them takes `least` seconds at the least, and it is seen from that that all take more than `limit`, more
 * than that. */
int bl_later_worth(double *worth, bl_later *l, const bl_plan *plan, const bl_pager_options *o, double least,
                   double limit, bl_error *err);

/* What no plan is worth less than, where not just the same follows. `alone`: the least of the plan's own
 * seconds. `fine`: by the finer bound. */
int bl_later_bound(double *least, bl_later *l, double alone, bool fine, bl_error *err);

#endif
