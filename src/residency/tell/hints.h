/* One sentence with a number in it: what setting would have made this generation how much faster. */
#ifndef BALLAST_RESIDENCY_HINTS_H
#define BALLAST_RESIDENCY_HINTS_H

#include "residency/plan/modes.h"

#include <stddef.h>

/* The same generation with modules in bf16 that were in f32. */
typedef struct bl_hint_bf16 {
    const bl_problem *problem; /* finished; modules in the same order, `dtype` says which differ */
    const char *flag;          /* what makes it so: "--dtype bf16" */
} bl_hint_bf16;

/* Asks the planner what other settings would do to generations like this one and says the best that changes
 * no picture, if it saves more than 5% of `wall_seconds`; if none does, what bf16 would (`bf16` may be NULL:
 * there is none). out[0] is 0 when nothing is wrong. `plan`: the one that was run. */
int bl_hint(char *out, size_t bytes, const bl_problem *p, const bl_plan *plan, const bl_offload_settings *s,
            const bl_hint_bf16 *bf16, double wall_seconds, bl_error *err);

#endif
