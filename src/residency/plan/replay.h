/* Walks a plan on two clocks, one for compute and one for copies, exactly as the executor walks it on a
 * device, and checks on the way that it is sound. */
#ifndef BALLAST_RESIDENCY_REPLAY_H
#define BALLAST_RESIDENCY_REPLAY_H

#include "residency/plan/plan.h"

/* Fills the plan's seconds, moved bytes, peak and its phases' figures. The rule of time: a copy starts when
 * the copy before it and the run `after` have ended; a run starts when the run before it and every copy whose
 * `before` it is have ended. Without asynchronous copies there is one clock and everything adds up.
 * BL_E_INTERNAL, with the place, when a block is missing at its run, two things that are alive at the same
 * time overlap, or something lies outside the region. */
int bl_replay(bl_plan *plan, const bl_problem *p, bl_error *err);
/* The same, and looks at each copy for blocks that may still be read where it writes: slower. */
int bl_replay_check(bl_plan *plan, const bl_problem *p, bl_error *err);

/* Sets what is resident in `p`, and the size of the open region, to what they will be after the plan. */
void bl_replay_after(bl_problem *p, const bl_plan *plan);

#endif
