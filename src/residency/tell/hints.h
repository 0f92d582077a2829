/* One sentence with a number in it: what setting would have made this generation how much faster. */
#ifndef BALLAST_RESIDENCY_HINTS_H
#define BALLAST_RESIDENCY_HINTS_H

#include "residency/plan/modes.h"

#include <jansson.h>

/* The same generation with modules in bf16 that were in f32. */
typedef struct bl_hint_bf16 {
    const bl_problem *problem; /* finished; modules in the same order, `dtype` says which differ */
    const char *flag;          /* what makes it so with "bf16": "--dtype" */
} bl_hint_bf16;

/* Something to set. */
typedef struct bl_hint {
    char text[512];           /* for people; "": there is none, and the rest is 0 */
    char flag[24], value[24]; /* "--budget" and "5213M", "--offload" and "auto"; "ballast tune" and "" */
    double saves_seconds;     /* about, of the generation's wall clock */
    bool changes_picture;     /* its bits */
} bl_hint;

/* Asks the planner what other settings would do to generations like this one and says the best that changes
 * no picture, if it saves more than 5% of `wall_seconds`; if none does, what bf16 would (`bf16` may be NULL:
 * there is none). `plan`: the one that was run. */
int bl_hint_find(bl_hint *out, const bl_problem *p, const bl_plan *plan, const bl_offload_settings *s,
                 const bl_hint_bf16 *bf16, double wall_seconds, bl_error *err);

/* The fields by their names, or null where there is none. Caller owns it; NULL: no memory. */
json_t *bl_hint_json(const bl_hint *hint);

#endif
