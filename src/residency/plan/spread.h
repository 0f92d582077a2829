/* Which blocks of a phase's module should be streamed: those that spread the copies evenly over the compute.
 */
#ifndef BALLAST_RESIDENCY_SPREAD_H
#define BALLAST_RESIDENCY_SPREAD_H

#include "residency/problem/problem.h"

/* Fills pin[block_count] with 1 for blocks that should stay through the phase so that `window` bytes of
 * `room` are left for the others: streamed bytes follow compute seconds as closely as whole blocks can (error
 * diffusion, as a line is drawn on a grid). All 1 when the module fits, all 0 when no such choice does. */
void bl_spread(uint8_t *pin, const bl_problem_module *m, const double *block_seconds, uint64_t room,
               uint64_t window);

/* The same among `candidates`, [block_count], only: 1 for those of them that stay in `room`; what comes is
 * spread over the whole pass. `loads`: it comes out of the file. */
int bl_spread_among(uint8_t *pin, const bl_problem_module *m, const double *block_seconds,
                    const uint8_t *candidates, uint64_t room, bool loads, bl_error *err);

#endif
