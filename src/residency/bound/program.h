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

typedef struct bl_program {
    bl_lp lp;
    const bl_problem *p; /* with phases in sections, where the finer bound is asked for */
    int cluster_count[3 * BL_PROBLEM_PHASES]; /* of a section; 0: its blocks are not looked at */
    int block_first[3 * BL_PROBLEM_PHASES];   /* first column of a section's clusters */
    bool steady;
} bl_program;

static inline int column(const bl_program *l, int kind, int phase, int module) {
    return (phase * col_kinds + kind) * l->p->module_count + module;
}

/* Bytes of the phase's module that are kept from one pass to the next, summed over passes. */
static inline int column_kept(const bl_program *l, int phase) {
    return l->p->phase_count * col_kinds * l->p->module_count + phase;
}

/* Seconds from the first run of a phase to that of the next. */
static inline int column_seconds(const bl_program *l, int phase) {
    return column_kept(l, phase) + l->p->phase_count;
}

/* Seconds before the first run of all. */
static inline int column_initial(const bl_program *l) {
    return column_kept(l, 0) + 2 * l->p->phase_count;
}

/* Bytes of m copied before the first run of all. */
static inline int column_before(const bl_program *l, int module) {
    return column_initial(l) + 1 + module;
}

/* Least copy seconds of 10^9 bytes of a module: those of its cheapest block. */
static inline double cheapest(const bl_problem *p, int module) {
    double best = INFINITY;
    for (int b = 0; b < p->modules[module].block_count; b++) {
        double x = p->modules[module].blocks[b].copy_seconds /
                   ((double)p->modules[module].blocks[b].bytes / bl_unit);
        best = x < best ? x : best;
    }
    return best;
}

static inline double phase_room(const bl_problem *p, int phase) {
    uint64_t arena = bl_problem_least_arena(p, phase);
    return arena < p->budget_bytes ? (double)(p->budget_bytes - arena) / bl_unit : 0;
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

#endif
