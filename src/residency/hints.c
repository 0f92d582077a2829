#include "residency/hints.h"

#include "residency/sweep.h"

#include <stdio.h>

static const double worth_saying = 0.05;

static double gb(uint64_t bytes) {
    return (double)bytes / 1e9;
}

/* The module that was copied most, and how many times over. */
static int busiest(const bl_problem *p, const bl_plan *plan, double *times) {
    uint64_t moved[BL_PROBLEM_MODULES] = {0};
    int worst = 0;
    for (int i = 0; i < plan->move_count; i++) {
        const bl_move *v = &plan->moves[i];
        moved[v->module] += v->drop ? 0 : p->modules[v->module].blocks[v->block].bytes;
    }
    for (int m = 1; m < p->module_count; m++) {
        worst = moved[m] > moved[worst] ? m : worst;
    }
    *times = (double)moved[worst] / (double)p->modules[worst].bytes;
    return worst;
}

/* The smallest budget up to `high` that takes at most a fiftieth longer than `seconds`. */
static int enough(uint64_t *out, const bl_problem *p, const bl_offload_settings *s, uint64_t high,
                  double seconds, bl_error *err) {
    uint64_t low = p->budget_bytes;
    for (int i = 0; i < 6; i++) {
        bl_sweep_row row;
        uint64_t middle = low + (high - low) / 2;
        int rc = bl_sweep_plan(&row, p, s, middle, err);
        if (rc) {
            return rc;
        }
        if (row.works && row.seconds <= seconds * 1.02) {
            high = middle;
        } else {
            low = middle;
        }
    }
    *out = high;
    return 0;
}

int bl_hint(char *out, size_t bytes, const bl_problem *p, const bl_plan *plan, const bl_offload_settings *s,
            double wall_seconds, bl_error *err) {
    bl_sweep_row now, other;
    double least = worth_saying * wall_seconds;
    out[0] = 0;
    int rc = bl_sweep_plan(&now, p, s, p->budget_bytes, err);
    if (rc || !now.works || (now.moved_bytes == 0 && s->mode == BL_OFFLOAD_AUTO)) {
        return rc;
    }
    bl_offload_settings tried = *s;
    double best = least;
    if (s->mode == BL_OFFLOAD_BALANCED && !s->fit_check) {
        tried.fit_check = true;
        rc = bl_sweep_plan(&other, p, &tried, p->budget_bytes, err);
        if (!rc && other.works && now.seconds - other.seconds > best) {
            double times;
            int m = busiest(p, plan, &times);
            best = now.seconds - other.seconds;
            snprintf(
                out, bytes,
                "%s (%.1f GB) was loaded %.0fx although the working set (%.1f GB) fits the budget (%.1f GB): "
                "--fit-check on saves about %.1f s of %.1f s",
                p->modules[m].name, gb(p->modules[m].bytes), times, gb(plan->working_set_bytes),
                gb(p->budget_bytes), best, wall_seconds);
        }
    }
    if (!rc && s->mode != BL_OFFLOAD_AUTO) {
        tried.mode = BL_OFFLOAD_AUTO;
        rc = bl_sweep_plan(&other, p, &tried, p->budget_bytes, err);
        /* The smaller change is named when it does nearly as well. */
        if (!rc && other.works && now.seconds - other.seconds > best * (out[0] ? 1.05 : 1)) {
            best = now.seconds - other.seconds;
            snprintf(out, bytes, "--offload auto saves about %.1f s of %.1f s with the same budget (%.1f GB)",
                     best, wall_seconds, gb(p->budget_bytes));
        }
    }
    uint64_t all = plan->working_set_bytes;
    if (!rc && p->budget_bytes < all && all <= p->memory_bytes) {
        rc = bl_sweep_plan(&other, p, s, all, err);
        if (!rc && other.works && now.seconds - other.seconds > best) {
            uint64_t budget;
            rc = enough(&budget, p, s, all, other.seconds, err);
            if (!rc) {
                snprintf(out, bytes, "%.1f GB more budget (%.1f GB) %s: %.1f s becomes about %.1f s",
                         gb(budget - p->budget_bytes), gb(budget),
                         budget == all ? "ends streaming" : "ends waiting for weights", wall_seconds,
                         wall_seconds - (now.seconds - other.seconds));
            }
        }
    }
    return rc;
}
