/* Lines for people who ask why a block moved: BALLAST_MOVE_DEBUG=1. */
#ifndef BALLAST_RESIDENCY_MOVE_DEBUG_H
#define BALLAST_RESIDENCY_MOVE_DEBUG_H

#include "core/log.h"
#include "residency/plan/plan.h"

/* offload mode=balanced op=evict why=pressure gpu=8.770/31.84 used=0.28 low=0.20 module=unet dtype=bf16
 * size=4.782
 * in one line. Sizes are in GB (10^9); gpu and used are those before the decision. */
void bl_move_debug_decision(const bl_log *log, const bl_problem *p, const bl_plan *plan, const bl_decision *d,
                            uint64_t memory_bytes);

/* The same for one move, of a plan without decisions: op is onload, drop, load or leave, and `block` is named
 * instead of `low`. */
void bl_move_debug_block(const bl_log *log, const bl_problem *p, const bl_plan *plan, const bl_move *v,
                         uint64_t used_bytes, uint64_t memory_bytes);

#endif
