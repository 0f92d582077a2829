/* The planner's engine: walks the generation on the replay's two clocks and decides for each missing block
 * when its copy begins and whose place it takes. docs/planner.md says why it decides as it does. */
#ifndef BALLAST_RESIDENCY_PAGER_H
#define BALLAST_RESIDENCY_PAGER_H

#include "residency/plan/homes.h"
#include "residency/plan/plan.h"
#include "residency/plan/store.h"

typedef struct bl_pager_options {
    double margin; /* copies begin this many times their own length before they must */
    int distance; /* exponent of the price of a block's place: bytes / (seconds to its next use ^ distance) */
    /* NULL, or [phase_count * module_count]: the first bytes of each module that stay through each phase */
    const uint64_t *keep;
    /* NULL, or [phase_count] of NULL or [block_count]: 1 for blocks of the phase's module that stay through
     * it */
    const uint8_t *const *pin;
    int unsure; /* which of the followers that are not certain is taken to come, counted from the first of
                   them */
    bl_store_options store; /* where there is a host store */
    bool in_order;          /* copies are made in the order of their runs (march.h) */
    uint64_t through;       /* above 0: in two orders instead (siding.h) */
    const bl_homes *homes;  /* NULL, or where residents lie and others pass by: instead of `pin` there */
} bl_pager_options;

/* Fills a plan whose region_bytes, reopen and levels are set with moves. The region must hold each phase's
 * arena and its module's largest block. */
int bl_pager_plan(bl_plan *plan, const bl_problem *p, const bl_pager_options *options, bl_error *err);

#endif
