/* What the host store holds when: the loads that a plan's copies need, and where they lie until then. */
#ifndef BALLAST_RESIDENCY_STORE_H
#define BALLAST_RESIDENCY_STORE_H

#include "residency/plan/plan.h"

typedef struct bl_store_options {
    uint64_t ring_bytes;  /* of the store, for blocks that only pass through it; the rest keeps blocks */
    const uint64_t *ring; /* NULL, or [phase_count] the same for each phase */
    /* NULL, or [phase_count] of NULL or [block_count]: 1 for blocks that pass through when they are copied
     * for the phase */
    const uint8_t *const *pass;
    /* NULL, or [module_count] of NULL or [block_count]: where a block is kept, or BL_NOWHERE */
    const uint64_t *const *shelf;
    /* What the pager expects: NULL, or [phase_count] of NULL or [2 * block_count]: seconds that a load takes,
     * 0 for what is in the store, when the block is copied for the phase's first pass, and for later ones */
    const double *const *load;
    /* What the ring holds stays if it is copied again within the seconds in which the ring is filled anew,
     * less this share of them: 1: nothing does */
    double less_soon;
    bool firm;            /* what passes through is not loaded ahead to where something is kept */
    double ahead_seconds; /* of loads that are made for the next generation */
    double dearness; /* how much more a place on the device is worth to what the store has not, in loads */
} bl_store_options;

/* The ring in a phase. */
static inline uint64_t bl_store_ring(const bl_store_options *o, int phase) {
    return o->ring ? o->ring[phase] : o->ring_bytes;
}

/* The ring of a store that nobody has thought about: four of the largest blocks, at most an eighth of it. */
uint64_t bl_store_usual_ring(const bl_problem *p);

/* Adds loads to a plan that has only copies and drops, `p`'s store being large enough for any block of it:
 * each block that is not in the store when it is copied is loaded, in the order of the copies and as early as
 * places come free. What is needed again soonest stays. */
int bl_store_fill(bl_plan *plan, const bl_problem *p, const bl_store_options *o, bl_error *err);

/* The same, and replays the plan; what follows is loaded ahead while no other loads are made. */
int bl_store_plan(bl_plan *plan, const bl_problem *p, const bl_store_options *o, bl_error *err);

#endif
