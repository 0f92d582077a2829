/* What follows: the generations that are likely to come after the one that is planned. A list of this one
 * again is what a batch has; of others in turn a queue; of several that may be next, each with its
 * likelihood, what a server knows of its habits. */
#ifndef BALLAST_RESIDENCY_FOLLOW_H
#define BALLAST_RESIDENCY_FOLLOW_H

#include "residency/problem/problem.h"

/* Phases added from now on belong to a new generation, which is none that follows until it is named as one.
 * Its number is generation_count - 1. */
int bl_problem_add_generation(bl_problem *p, bl_error *err);

/* Adds what follows: `generation`, 0 for this one again, with `likelihood` above 0 and at most 1. Certain
 * ones (likelihood 1) come in the order in which they are added. Where the last of them is this one again
 * they come round and round. Others are added after the certain ones; their likelihoods add up to 1 at most.
 */
int bl_problem_add_follower(bl_problem *p, int generation, double likelihood, bl_error *err);

/* Nothing but this one again, for certain; or (false) nothing is known. */
void bl_problem_set_repeats(bl_problem *p, bool repeats);
bool bl_problem_repeats(const bl_problem *p);

/* How many of the followers are certain. */
int bl_problem_certain(const bl_problem *p);
/* Whether they come round and round. */
bool bl_problem_comes_round(const bl_problem *p);

/* An independent problem in which follower number `follower`, the first or one that is not certain, is this
 * generation, and what follows is what is known then. What is resident is that of `p`. Caller owns *out. */
int bl_problem_next(bl_problem **out, const bl_problem *p, int follower, bl_error *err);

/* An independent problem of one generation: this one of each in `list`, [count], one after the other. All
 * must have the same modules; what is resident is that of the first. BL_E_ARGUMENT when these are more than
 * BL_PROBLEM_PHASES phases. Caller owns *out. */
int bl_problem_join(bl_problem **out, const bl_problem *const *list, int count, bl_error *err);
/* One round of what comes in turn, this one included, as one generation. */
int bl_problem_round(bl_problem **out, const bl_problem *p, bl_error *err);

/* For problem.c and follow.c. All but the phases; and one generation's phases, added to the last generation.
 */
int bl_problem_copy_modules(bl_problem **out, const bl_problem *from, bl_error *err);
int bl_problem_copy_phases(bl_problem *p, const bl_problem *from, int generation, bl_error *err);
/* BL_E_ARGUMENT names what is wrong with what follows. */
int bl_problem_check_followers(const bl_problem *p, bl_error *err);

#endif
