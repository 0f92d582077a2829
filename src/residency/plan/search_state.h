/* What the search for a plan knows: search.c makes candidates, search_store.c those that a host store asks
 * for. */
#ifndef BALLAST_RESIDENCY_SEARCH_STATE_H
#define BALLAST_RESIDENCY_SEARCH_STATE_H

#include "residency/bound/bound.h"
#include "residency/plan/later.h"

enum { bl_search_windows = 7, bl_search_shares = 16 };

/* What the planner spends on one problem is counted and not timed, so that the same problem always gets the
 * same plan. The unit is what bl_homes_find counts. */
static const long bl_search_spread_work = 900000, bl_search_work_most = 3500000,
                  bl_search_store_work = 2200000;

/* Near enough not to look further, and not to give residents homes. */
static const double bl_search_near = 1.01, bl_search_good = 1.02;

typedef struct bl_search {
    const bl_problem *p;
    bl_later later;        /* generations that are looked at beside this one */
    const bl_plan *levels; /* the arena levels in force */
    bool reopen;
    uint64_t region_bytes;
    bl_bound bound;
    double next_bound; /* where the same follows: seconds of each ahead, in the mean */
    double least;      /* no plan is worth less */
    bl_pager_options usual;
    double *load[BL_PROBLEM_PHASES];       /* what is expected of the host store: behind usual.store.load */
    uint8_t *pins[bl_search_windows];      /* the modules of all phases, one after the other */
    const uint8_t *pin[BL_PROBLEM_PHASES]; /* of the candidate at hand */
    int window[BL_PROBLEM_PHASES];
    double best_seconds[BL_PROBLEM_PHASES]; /* over all candidates */
    int best_window[BL_PROBLEM_PHASES];
    bl_shares seen[bl_search_shares]; /* [seen_count] that kinds were chosen for */
    int seen_count;
    bl_plan *best;
    double ends[bl_later_most]; /* of those generations, behind the best */
    double worth;               /* of the best: its seconds and those of the generations ahead */
} bl_search;

/* Whether the best plan is within a factor of the least that any is worth. Where there is a host store, whose
 * later generations count more, the plan itself has to be, too. */
static inline bool bl_search_within(const bl_search *s, double factor) {
    return s->worth <= s->least * factor &&
           (!s->p->has_store || s->best->end_seconds <= s->bound.seconds * factor);
}

/* Plans with these options, and keeps the plan if it is the best so far. `method`: static storage. */
int bl_search_candidate(bl_search *s, const char *method, bl_pager_options o, bl_error *err);

/* Candidates for a problem with a host store, once there is a first plan. */
int bl_search_store(bl_search *s, bl_error *err);

/* And where modules take turns, once all others have been tried: what each keeps all the while. */
int bl_search_turns(bl_search *s, bl_error *err);

#endif
