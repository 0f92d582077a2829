/* Copies in the order of the runs that need them, each as early as its place is free: for residents with
 * homes and a window that the others pass through, as split.h has them. What it leaves to find is when. */
#ifndef BALLAST_RESIDENCY_MARCH_H
#define BALLAST_RESIDENCY_MARCH_H

#include "residency/plan/pager.h"

/* Fills a plan whose region_bytes, reopen and levels are set with moves; options->homes says where. Modules
 * that it says nothing of lie above the largest arena of their phases. *fits: false when there was no place
 * for a block; the plan is no plan then. */
int bl_march_plan(bool *fits, bl_plan *plan, const bl_problem *p, const bl_pager_options *options,
                  bl_error *err);

#endif
