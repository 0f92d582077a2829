/* Beginning a generation whatever the device says: plan, prepare, open the region; and when memory has
 * vanished in between, plan again with what is there. */
#ifndef BALLAST_RESIDENCY_START_H
#define BALLAST_RESIDENCY_START_H

#include "residency/run/executor.h"
#include "residency/plan/modes.h"

/* Gives the executables of all phases, [phase_count], prepared at the levels that the plan chose. They belong
 * to the callee and stay valid until the generation ends or it is called again. */
typedef int bl_prepare_fn(void *payload, bl_executable *const **out, const bl_plan *plan, bl_error *err);

/* `p`: finished; what is resident is taken from the executor, and its budget is lowered when the device has
 * less. On success the generation has begun (bl_executor_start) and the caller owns *plan; `p` and *plan must
 * stay as they are until bl_executor_finish. A mode that cannot keep the smaller budget is left for `auto`.
 * One line to `log` says what happened. */
int bl_start(bl_plan **plan, bl_executor *e, bl_problem *p, const bl_offload_settings *s,
             bl_prepare_fn *prepare, void *payload, bl_ledger *ledger, const bl_log *log, bl_error *err);

#endif
