/* One door to all plans. */
#ifndef BALLAST_RESIDENCY_PLANNER_H
#define BALLAST_RESIDENCY_PLANNER_H

#include "residency/plan/modes.h"

/* Plans a finished problem in the mode that the settings ask for. BL_E_BUDGET: no plan of this mode keeps the
 * budget; the message holds the smallest that works. So it does where the largest block does
 * not fit the host store. Caller owns *out. */
int bl_plan_make(bl_plan **out, const bl_problem *p, const bl_offload_settings *s, bl_error *err);

#endif
