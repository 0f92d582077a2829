/* What no schedule can beat: a linear program that every schedule satisfies (docs/planner.md has the proof),
 * solved by COIN-OR Clp. */
#ifndef BALLAST_RESIDENCY_BOUND_H
#define BALLAST_RESIDENCY_BOUND_H

#include "residency/problem/problem.h"

typedef struct bl_bound {
    double seconds;       /* no schedule under the budget is faster */
    uint64_t moved_bytes; /* no schedule under the budget moves fewer; not at the same time as `seconds` */
    /* [phase_count * module_count] bytes of each module that the fastest relaxed schedule (of those the one
     * that moves least) keeps on the device through each phase. Caller frees. */
    uint64_t *keep;
} bl_bound;

/* `steady`: the average of generations without end, whatever is resident now. Otherwise one generation from
 * what is resident now. Arenas count at their smallest level and seconds at the fastest. */
int bl_bound_find(bl_bound *out, const bl_problem *p, bool steady, bl_error *err);

/* The steady state's seconds alone. */
int bl_bound_steady(double *seconds, const bl_problem *p, bl_error *err);

/* What counts as a module's share of the store: the least that it has there through a phase of another, and
 * when its own begin and end; the same, but no more than its own passes find there; or what stays where it is
 * in a schedule that brings all else anew for each phase. */
typedef enum bl_shares_of { BL_SHARES_LEAST, BL_SHARES_SERVED, BL_SHARES_STILL } bl_shares_of;

/* Bytes of each module that never leave the device, and of the rest those that never leave the host store. */
typedef struct bl_shares {
    bool found; /* false: with so little room there is no such schedule */
    uint64_t device[BL_PROBLEM_MODULES], store[BL_PROBLEM_MODULES];
} bl_shares;

/* What the fastest relaxed schedule of the steady state (of those the one that moves least) keeps all the
 * while, where so much of the device and of the store is left for what is under way. `p` has a store. */
int bl_bound_shares(bl_shares *out, const bl_problem *p, uint64_t device_spare, uint64_t store_spare,
                    bl_shares_of of, bl_error *err);

/* Raises *seconds to what is found by looking at whole blocks, at where in a pass they are copied, and at the
 * first and last pass of a phase by themselves: higher, and slower to find. */
int bl_bound_refine(double *seconds, const bl_problem *p, bool steady, bl_error *err);

#endif
