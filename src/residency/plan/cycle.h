/* Kinds of blocks over the whole generation, where the same comes again: of each module some never leave the
 * device and some never leave the host store, beside what others keep there; in its own phases more of it may
 * stay. */
#ifndef BALLAST_RESIDENCY_CYCLE_H
#define BALLAST_RESIDENCY_CYCLE_H

#include "residency/bound/bound.h"
#include "residency/plan/kinds.h"

/* As bl_kinds_find; `shares`: what is kept all the while, at the most. All modules of this generation have
 * kinds. */
int bl_cycle_find(bl_kinds *out, const bl_problem *p, const int *levels, uint64_t region_bytes,
                  const bl_shares *shares, int seed, bl_error *err);

#endif
