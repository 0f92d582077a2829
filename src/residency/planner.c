#include "residency/planner.h"

#include "core/clock.h"

/* The best of the modes that do not plan. */
static int best_mode(bl_plan **out, const bl_problem *p, bl_error *err) {
    static const bl_offload tried[] = {BL_OFFLOAD_NONE, BL_OFFLOAD_MODEL, BL_OFFLOAD_BALANCED,
                                       BL_OFFLOAD_SEQUENTIAL};
    bl_plan *best = NULL;
    int rc = 0;
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        bl_offload_settings s = bl_offload_defaults();
        s.mode = tried[i];
        bl_plan *plan;
        rc = bl_mode_plan(&plan, p, &s, err);
        if (rc == BL_E_BUDGET && (best || tried[i] != BL_OFFLOAD_SEQUENTIAL)) {
            continue;
        }
        if (rc) {
            bl_plan_free(&best);
            return rc;
        }
        if (!best || plan->seconds < best->seconds) {
            bl_plan_free(&best);
            best = plan;
        } else {
            bl_plan_free(&plan);
        }
    }
    best->mode = BL_OFFLOAD_AUTO;
    *out = best;
    return 0;
}

int bl_plan_make(bl_plan **out, const bl_problem *p, const bl_offload_settings *s, bl_error *err) {
    double began = bl_now();
    bl_plan *plan;
    int rc = s->mode == BL_OFFLOAD_AUTO ? best_mode(&plan, p, err) : bl_mode_plan(&plan, p, s, err);
    if (rc) {
        return rc;
    }
    plan->planning_seconds = bl_now() - began;
    *out = plan;
    return 0;
}
