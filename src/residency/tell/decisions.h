/* What a plan decided and why, as data: what moved, or stayed, in which phase. */
#ifndef BALLAST_RESIDENCY_DECISIONS_H
#define BALLAST_RESIDENCY_DECISIONS_H

#include "residency/plan/plan.h"

#include <jansson.h>

/* [{"phase", "op", "why", "model", "module", "blocks", "bytes"}]: of the phase that is at work then. Moves of
 * a module's blocks that have one reason are one entry: "op" is "onload", "drop", "load" or "leave". Mode
 * balanced decides about whole modules, and its own decisions are given: "op" is "keep", "evict", "onload" or
 * "stream", and "used_bytes" and "low" say what it looked at. "why": bl_why_name. Caller owns it; NULL: no
 * memory. */
json_t *bl_decisions_json(const bl_plan *plan, const bl_problem *p);

#endif
