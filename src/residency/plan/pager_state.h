/* What the pager knows while it walks: pager.c decides when copies begin, places.c whose place they take. */
#ifndef BALLAST_RESIDENCY_PAGER_STATE_H
#define BALLAST_RESIDENCY_PAGER_STATE_H

#include "residency/plan/builder.h"
#include "residency/plan/pager.h"

enum { never = INT32_MAX }; /* a run that does not come */

/* What is known of a block. */
typedef struct page {
    uint64_t first_bytes; /* of its module's blocks before it */
    int use, use_phase;   /* first run from the present one on that uses it, those of the next generation
                             counting on, or `never`; and its phase */
    double use_seconds;   /* compute before that run, from the generation's begin */
} page;

typedef struct pager {
    const bl_problem *p;
    bl_plan *plan;
    const bl_pager_options *o;
    bl_builder b;
    double *prefix;  /* [run_count + 1] compute seconds before each run */
    double *gate;    /* [run_count + 1] when the last copy that a run waits for ends */
    int *next_phase; /* [phase * modules + module] next phase after this one with the module, counting on into
                        the next generation; -1: none */
    uint64_t *arena_to;              /* [phase * 2 phases + later] largest arena from phase to later */
    page *pages[BL_PROBLEM_MODULES]; /* [block_count] */
    int run;                         /* runs ended so far = the run under way or due */
    int phase, pass_first;           /* of `run`: its phase, and its pass's first run */
    int missing;                     /* first run whose block is neither there nor coming */
    int missing_phase;
    double compute, copy; /* clocks: end of the last run, end of the last copy */
    bool quiet;           /* nothing has changed since it was found that no copy has to begin before ... */
    double latest;        /* ... this many compute seconds from the generation's begin */
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

/* Compute seconds before a run, from the generation's begin. */
static inline double seconds_before(const pager *g, int run) {
    int n = g->p->run_count;
    return run < n ? g->prefix[run] : g->prefix[n] + (run < 2 * n ? g->prefix[run - n] : g->prefix[n]);
}

/* The block that the first missing run needs. */
static inline int bl_pager_missing_block(const pager *g) {
    const bl_problem_phase *f = &g->p->phases[g->missing_phase % g->p->phase_count];
    int run = g->missing < g->p->run_count ? g->missing : g->missing - g->p->run_count;
    return (run - f->first_run) % g->p->modules[f->module].block_count;
}

/* First run of a phase; phases count on into the next generation. */
static inline int first_run(const pager *g, int phase) {
    int n = g->p->phase_count;
    return g->p->phases[phase % n].first_run + (phase >= n ? g->p->run_count : 0);
}

/* The best place for the missing block, now. False when there is none. */
bool bl_pager_find_place(pager *g, spot *out);

#endif
