#include "residency/run/start.h"

#include "core/size_text.h"
#include "residency/plan/planner.h"

enum { tries = 4 };

/* What to plan with after a region of `wanted` bytes was refused. The device's own word counts only if it
 * explains the refusal; a little is left for what others take meanwhile. */
static uint64_t smaller_budget(uint64_t free_bytes, uint64_t wanted) {
    uint64_t budget = free_bytes < wanted ? free_bytes : wanted;
    return free_bytes < wanted ? budget - budget / 64 : budget - budget / 8;
}

int bl_start(bl_plan **plan, bl_executor *e, bl_problem *p, const bl_offload_settings *s,
             bl_prepare_fn *prepare, void *payload, bl_ledger *ledger, const bl_log *log, bl_error *err) {
    *plan = NULL;
    bl_offload_settings settings = *s;
    int opened = p->has_store ? bl_executor_open_store(e, p, log, err) : 0;
    if (opened) {
        return opened;
    }
    for (int i = 0;; i++) {
        bl_plan *next;
        bl_executable *const *executables = NULL;
        bl_executor_resident(e, p);
        int rc = bl_plan_make(&next, p, &settings, err);
        if (rc == BL_E_BUDGET && i > 0 && settings.mode != BL_OFFLOAD_AUTO) {
            settings.mode = BL_OFFLOAD_AUTO;
            rc = bl_plan_make(&next, p, &settings, err);
        }
        if (rc) {
            return rc;
        }
        rc = prepare(payload, &executables, next, err);
        if (!rc) {
            rc = bl_executor_start(e, p, next, executables, ledger, err);
        }
        if (!rc) {
            *plan = next;
            return 0;
        }
        uint64_t wanted = next->region_bytes;
        bl_plan_free(&next);
        /* Only a refused region is worth another try: it left the executor without one. */
        bl_executor_resident(e, p);
        if (rc != BL_E_MEMORY || p->open_bytes || i + 1 == tries) {
            return rc;
        }
        uint64_t left = bl_executor_free_bytes(e);
        p->budget_bytes = smaller_budget(left > p->process_bytes ? left - p->process_bytes : 0, wanted);
        bl_log_line(log, BL_LOG_WARNING,
                    "the device refused %s that were there when this was planned: planning again with %s",
                    bl_size_of(wanted).text, bl_size_of(p->budget_bytes).text);
    }
}
