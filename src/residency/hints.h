/* One sentence with a number in it: what setting would have made this generation how much faster. */
#ifndef BALLAST_RESIDENCY_HINTS_H
#define BALLAST_RESIDENCY_HINTS_H

#include "residency/planner.h"

#include <stddef.h>

/* Asks the planner what other settings would do to generations like this one and says the best that changes
 * no picture, if it saves more than 5% of `wall_seconds`. out[0] is 0 when nothing is wrong. `plan`: the one
 * that was run. */
int bl_hint(char *out, size_t bytes, const bl_problem *p, const bl_plan *plan, const bl_offload_settings *s,
            double wall_seconds, bl_error *err);

#endif
