/* Plans and ledgers for readers: text for people, JSON for programs. */
#ifndef BALLAST_RESIDENCY_EXPLAIN_H
#define BALLAST_RESIDENCY_EXPLAIN_H

#include "residency/run/ledger.h"
#include "residency/plan/plan.h"

#include <jansson.h>

/* A few lines: what the plan does, then a row for each phase. Caller frees *out with free(). */
int bl_plan_explain(char **out, const bl_plan *plan, const bl_problem *p, bl_error *err);

/* {"mode", "method", "budget_bytes", "peak_bytes", "moved_bytes", "moves", "seconds", "bound_moved_bytes",
 * "bound_seconds", "min_budget_bytes", "working_set_bytes", "planning_seconds", "adapter_bytes",
 * "merge_seconds", "widen_seconds", each share of the seconds (bl_share_name), "phases": [{"name", "stage",
 * "module", "weights", "weight_bytes", "passes", "arena_level", "arena_bytes", "resident_bytes",
 * "streamed_bytes", "streamed_blocks", "moved_bytes", "seconds", "compute_seconds", "wait_seconds",
 * "widen_seconds", each share}], "decisions": as bl_decisions_json, and what bl_fullest_add adds}. Caller
 * owns the result; NULL: no memory. */
json_t *bl_plan_json(const bl_plan *plan, const bl_problem *p);

/* {"peak_bytes", "arena_bytes": [of each phase], "moved_bytes", "seconds", "onload_seconds", "wait_seconds",
 * "widen_seconds", each share of the seconds (bl_share_name), "phases": [{"name", each share}], "stages":
 * {name: seconds}}. `seconds` is what the plan's seconds are to be held against. Caller owns the result;
 * NULL: no memory. */
json_t *bl_ledger_json(const bl_ledger *l);

/* "planned 12.10 s, was 12.40 s (+2.5%); moved 0.000 GB of 0.000 GB planned; peak 9.340 GB of 9.340 GB
 * planned": both columns of a finished generation in one line. */
void bl_plan_against_ledger(char *out, size_t bytes, const bl_plan *plan, const bl_ledger *l);

#endif
