/* Finds the fastest plan in a region: makes several, and takes the best. docs/planner.md says which. */
#ifndef BALLAST_RESIDENCY_SEARCH_H
#define BALLAST_RESIDENCY_SEARCH_H

#include "residency/plan/plan.h"

/* `levels`: a plan whose arena levels are those to use. In the region that is open, or (`reopen`) in a new
 * one of as much as the budget and the problem ask for. Caller owns *out. */
int bl_search_plan(bl_plan **out, const bl_problem *p, const bl_plan *levels, bool reopen, bl_error *err);

#endif
