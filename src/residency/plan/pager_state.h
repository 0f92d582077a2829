/* What the pager knows while it walks: pager.c decides when copies begin, places.c whose place they take. */
#ifndef BALLAST_RESIDENCY_PAGER_STATE_H
#define BALLAST_RESIDENCY_PAGER_STATE_H

#include "core/spans.h"
#include "residency/plan/arrivals.h"
#include "residency/plan/builder.h"
#include "residency/plan/pager.h"

enum { never = INT32_MAX }; /* a run that does not come */

/* What is known of a block. */
typedef struct page {
    uint64_t first_bytes; /* of its module's blocks before it */
    int use, use_phase;   /* first run from the present one on that uses it, those of the next generations
                             counting on, or `never`; and its phase, as one ahead */
    double use_seconds;   /* compute before that run, from the generation's begin */
} page;

/* A phase of this generation or of one that is taken to follow. */
typedef struct ahead_phase {
    int phase; /* its number in the problem */
    int shift,
        first_run; /* first run of its generation, and its own: counting on from generation to generation */
    uint64_t arena_bytes;
    double base;          /* compute seconds before its generation's begin */
    const double *prefix; /* [runs of its generation + 1] compute seconds before each run */
} ahead_phase;

/* A module that a generation uses which may come, but is not taken to. */
typedef struct chance {
    double likelihood; /* how likely; 0: none does */
    double seconds;    /* compute before the first such use, from the generation's begin */
} chance;

typedef struct pager {
    const bl_problem *p;
    bl_plan *plan;
    const bl_pager_options *o;
    bl_builder b;
    ahead_phase
        *ahead; /* [ahead_count] this generation's phases and those of the ones that are taken to follow */
    int ahead_count, last_run; /* last_run: runs of all these */
    double *seconds;           /* [runs of all listed generations + 1 for each] behind ahead.prefix */
    double *prefix;            /* [run_count + 1] this generation's: compute seconds before each run */
    double *gate;              /* [run_count + 1] when the last copy that a run waits for ends */
    int *next_phase; /* [phase * modules + module] next phase ahead of this one with the module; -1: none */
    uint64_t *arena_to;                 /* [phase * ahead_count + later] largest arena from phase to later */
    chance chances[BL_PROBLEM_MODULES]; /* of each module */
    page *pages[BL_PROBLEM_MODULES];    /* [block_count] */
    int run;                            /* runs ended so far = the run under way or due */
    int phase, pass_first;              /* of `run`: its phase, and its pass's first run */
    int missing;                        /* first run whose block is neither there nor coming */
    int missing_phase;
    double compute, copy; /* clocks: end of the last run, end of the last copy */
    bl_spans copies;      /* when copies are under way, where compute feels them */
    double drag;
    bool quiet;           /* nothing has changed since it was found that no copy has to begin before ... */
    double latest;        /* ... this many compute seconds from the generation's begin */
    bl_arrivals arrivals; /* of what comes out of the file */
    double *price;        /* [blocks] of each item that the decision at hand may move */
} pager;

/* A place for a block: the items [first, last) of the space make way. */
typedef struct spot {
    int first, last;
    uint64_t low, high; /* the room that is there then */
    bool at_low;        /* which end of it to take */
    double price;
    bool is_free; /* nothing that is known to be needed goes or is lost there */
} spot;

/* Compute seconds before a run of a phase ahead, from the generation's begin. */
static inline double seconds_before(const pager *g, int phase, int run) {
    const ahead_phase *a = &g->ahead[phase];
    return a->base + a->prefix[run - a->shift];
}

/* A phase ahead. */
static inline const bl_problem_phase *phase_ahead(const pager *g, int phase) {
    return &g->p->phases[g->ahead[phase].phase];
}

/* Largest arena from the present phase to a later one. */
static inline uint64_t arena_until(const pager *g, int phase) {
    return g->arena_to[g->phase * g->ahead_count + phase];
}

/* The block that the first missing run needs. */
static inline int bl_pager_missing_block(const pager *g) {
    const ahead_phase *a = &g->ahead[g->missing_phase];
    return (g->missing - a->first_run) % g->p->modules[phase_ahead(g, g->missing_phase)->module].block_count;
}

/* Seconds of the load that a copy for this run of a phase ahead waits for; 0: it is in the store. */
static inline double load_seconds(const pager *g, int phase, int run) {
    const ahead_phase *a = &g->ahead[phase];
    const double *const *load = g->o->store.load;
    if (!load || a->phase >= g->p->phase_count || !load[a->phase]) {
        return 0;
    }
    int blocks = g->p->modules[phase_ahead(g, phase)->module].block_count, at = run - a->first_run;
    return load[a->phase][at < blocks ? at : blocks + at % blocks];
}

/* What lies ahead, from the problem's list and the plan's levels. */
int bl_pager_look(pager *g, bl_error *err);

/* The best place for the missing block, now. False when there is none. */
bool bl_pager_find_place(pager *g, spot *out);

#endif
