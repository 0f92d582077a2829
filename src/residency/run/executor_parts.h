/* What the executor's files share: executor.c walks the plan, moves.c puts its moves on streams and looks
 * what became of them. */
#ifndef BALLAST_RESIDENCY_EXECUTOR_PARTS_H
#define BALLAST_RESIDENCY_EXECUTOR_PARTS_H

#include "residency/run/executor.h"
#include "residency/run/inflight.h"
#include "residency/run/tenants.h"

struct bl_executor {
    bl_device *device;
    bl_tenants tenants;
    bl_executor_options options;
    int (*cancel)(void *payload);
    void *payload;
    bl_device_caps caps;
    bl_region *region;
    uint64_t region_bytes;
    bl_host *store; /* NULL: none is open */
    uint64_t store_bytes;
    uint64_t store_most; /* what could be pinned when more was refused; 0: nothing was */

    const bl_problem *p; /* NULL between generations */
    const bl_plan *plan;
    bl_executable *const *executables;
    bl_ledger *ledger;
    int next_move, next_decision;
    int phase, pass; /* phase -1 between phases */
    int next_phase;
    int stage; /* of the phase */
    int onload_stage, load_stage;
    int first_run; /* of the pass under way */
    double pass_began;
    const double *widened; /* of the phase's executable: values of each block; NULL: none */
    double widened_before; /* what that had spent in widening when the phase began */

    bl_flight runs, copies, loads;
    bl_event_pool pool;
};

static inline bl_tenant *bl_executor_tenant(const bl_executor *e, int module) {
    return bl_tenants_find(&e->tenants, e->p->modules[module].id);
}

/* Does the moves, in order, that only wait for runs already put on the device: those `after` runs before
 * `run`. */
int bl_moves_until(bl_executor *e, int run, bl_error *err);

/* The same where the runs before `run` are left out: drops, and what brings in a block that is still there,
 * or stored, after all of the moves. At most one pass over the weights is brought in. */
int bl_moves_skip(bl_executor *e, int run, bl_error *err);

/* Waits for the loads and copies that a run before `until` needed. After a failure the rest is looked at all
 * the same: each has ended well or has not. */
int bl_moves_harvest(bl_executor *e, int until, bl_error *err);

#endif
