/* Walks a plan on its clocks, one for compute, one for copies and one for loads, exactly as the executor
 * walks it on a device, and checks on the way that it is sound. */
#ifndef BALLAST_RESIDENCY_REPLAY_H
#define BALLAST_RESIDENCY_REPLAY_H

#include "residency/plan/plan.h"

/* Fills the plan's seconds, moved and loaded bytes, peaks and its phases' figures, by the rules of plan.h.
 * Without asynchronous copies there is one clock and everything adds up. BL_E_INTERNAL, with the place, when
 * a block is missing at its run or a copy finds none in the store, two things that are alive at the same time
 * overlap, or something lies outside the region or the store. */
int bl_replay(bl_plan *plan, const bl_problem *p, bl_error *err);
/* The same, and looks at each copy for blocks that may still be read where it writes: slower. */
int bl_replay_check(bl_plan *plan, const bl_problem *p, bl_error *err);

/* Sets what is resident and what is stored in `p`, and the size of the open region, to what they will be
 * after the plan. */
void bl_replay_after(bl_problem *p, const bl_plan *plan);

#endif
