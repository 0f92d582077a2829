/* The bound's linear program: what its rows are written with. bound.c has the rows of whole modules,
 * groups.c and blocks.c those of the finer bound. docs/planner.md says why each holds. */
#ifndef BALLAST_RESIDENCY_BOUND_PROGRAM_H
#define BALLAST_RESIDENCY_BOUND_PROGRAM_H

#include "residency/bound/lp.h"
#include "residency/problem/problem.h"

#include <math.h>

/* Columns: for each phase p and module m, bytes in units of 10^9. */
enum {
    col_start,  /* of m on the device when the first run of p begins */
    col_stay,   /* of those, staying until the last run of p ends (modules that p does not run) */
    col_end,    /* of m on the device when the last run of p ends */
    col_during, /* of m copied between these two moments */
    col_after,  /* of m copied between the last run of p and the first of the next phase */
    col_kinds
};

static const double bl_unit = 1e9;

/* The same program is written twice where there is a host store: about the device, whose bytes are copied,
 * and about what is on the device or in the store, whose bytes are loaded from the file. Seconds are shared.
 */
typedef enum bl_tier { BL_TIER_DEVICE, BL_TIER_FILE, BL_TIERS } bl_tier;

typedef struct bl_program {
    bl_lp lp;
    bl_tier tier;        /* that rows and columns are about now */
    int base[BL_TIERS];  /* first column of each */
    int store;           /* first column of what is in the store: store.c */
    const bl_problem *p; /* with phases in sections, where the finer bound is asked for */
    int cluster_count[BL_TIERS][3 * BL_PROBLEM_PHASES]; /* of a section; 0: its blocks are not looked at */
    int block_first[BL_TIERS][3 * BL_PROBLEM_PHASES];   /* first column of a section's clusters */
    bool steady;
} bl_program;

static inline int column(const bl_program *l, int kind, int phase, int module) {
    return l->base[l->tier] + (phase * col_kinds + kind) * l->p->module_count + module;
}

/* Bytes of the phase's module that are kept from one pass to the next, summed over passes. */
static inline int column_kept(const bl_program *l, int phase) {
    return l->base[l->tier] + l->p->phase_count * col_kinds * l->p->module_count + phase;
}

/* Seconds from the first run of a phase to that of the next: the device's, for both tiers. */
static inline int column_seconds(const bl_program *l, int phase) {
    return l->p->phase_count * (col_kinds * l->p->module_count + 1) + phase;
}

/* Seconds before the first run of all, likewise. */
static inline int column_initial(const bl_program *l) {
    return column_seconds(l, l->p->phase_count);
}

/* Bytes of m copied or loaded before the first run of all. */
static inline int column_before(const bl_program *l, int module) {
    return l->base[l->tier] + column_initial(l) + 1 + module;
}

/* Where there is a store, for each phase p and module m bytes of m there: */
enum {
    store_start, /* when the first run of p begins */
    store_stay,  /* of those, staying until its last run ends (modules that p does not run) */
    store_end,   /* when its last run ends */
    store_kinds
};

static inline int store_column(const bl_program *l, int kind, int phase, int module) {
    return l->store + (phase * store_kinds + kind) * l->p->module_count + module;
}

/* Of the phase's module, kept from one pass to the next without a load, not on the device all the while;
 * summed, in passes: bytes in the store, */
static inline int column_served(const bl_program *l, int phase) {
    return l->store + l->p->phase_count * store_kinds * l->p->module_count + phase;
}

/* and bytes on the device, copied before they are due. */
static inline int column_ahead(const bl_program *l, int phase) {
    return column_served(l, phase) + l->p->phase_count;
}

/* Seconds that the tier takes to bring a block in. */
static inline double bring_seconds(const bl_program *l, const bl_problem_block *b) {
    return l->tier == BL_TIER_FILE ? b->load_seconds : b->copy_seconds;
}

/* Least seconds to bring in 10^9 bytes of a module: those of its cheapest block. */
static inline double cheapest(const bl_program *l, int module) {
    double best = INFINITY;
    for (int b = 0; b < l->p->modules[module].block_count; b++) {
        const bl_problem_block *k = &l->p->modules[module].blocks[b];
        double x = bring_seconds(l, k) / ((double)k->bytes / bl_unit);
        best = x < best ? x : best;
    }
    return best;
}

/* What compute loses of each second of bringing beside it. Loads are the host's work alone. */
static inline double drag_of(const bl_program *l) {
    return l->tier == BL_TIER_FILE ? 0 : bl_problem_drag(l->p);
}

/* Room for weights in a phase: beside its arena, and in the store where that counts. */
static inline double phase_room(const bl_program *l, int phase) {
    const bl_problem *p = l->p;
    uint64_t arena = bl_problem_least_arena(p, phase);
    double room = arena < p->budget_bytes ? (double)(p->budget_bytes - arena) / bl_unit : 0;
    return room + (l->tier == BL_TIER_FILE ? (double)p->host_bytes / bl_unit : 0);
}

static inline double fastest_pass(const bl_problem_phase *f) {
    double best = f->levels[0].pass_seconds;
    for (int l = 1; l < f->level_count; l++) {
        best = f->levels[l].pass_seconds < best ? f->levels[l].pass_seconds : best;
    }
    return best;
}

/* The phase that follows, or -1 behind the last one when nothing does. */
static inline int following(const bl_program *l, int phase) {
    int n = l->p->phase_count;
    return phase + 1 < n ? phase + 1 : l->steady ? 0 : -1;
}

/* One copy for each use, one thing at a time: nobody has to take longer, nor to copy more. */
static inline double longest(const bl_problem *p) {
    return 2 * bl_problem_one_by_one(p);
}

/* Where in the average pass of phase i its module is copied. */
void bl_bound_group_rows(bl_program *l, int i);
/* Whole blocks, in all phases where some must be streamed. */
void bl_bound_block_rows(bl_program *l);
/* What the store holds, and that copies come from there: columns before the rows of both tiers, rows behind
 * them. */
void bl_bound_store_columns(bl_program *l);
void bl_bound_store_rows(bl_program *l);
/* Of each module m, what stays where it is: on the device in column m from the one returned on, in the store
 * in those behind them. What its phase finds beside that was brought during the phase before. Not part of the
 * bound: a plan need not be like that. */
int bl_bound_still_rows(bl_program *l);

#endif
