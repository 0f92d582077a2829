#include "residency/tell/sweep.h"

#include "core/size_text.h"
#include "residency/plan/planner.h"
#include "residency/plan/replay.h"
#include "residency/problem/follow.h"

int bl_plan_steady(bl_plan **out, const bl_problem *p, const bl_offload_settings *s, bl_error *err) {
    *out = NULL;
    bl_problem *copy;
    bl_plan *plan = NULL;
    int rc = bl_problem_copy(&copy, p, err);
    if (rc) {
        return rc;
    }
    bl_problem_clear_resident(copy);
    bl_problem_clear_stored(copy);
    for (int i = 0; i < (bl_problem_repeats(p) ? 3 : 1) && !rc; i++) {
        bl_plan_free(&plan);
        rc = bl_plan_make(&plan, copy, s, err);
        if (!rc) {
            bl_replay_after(copy, plan);
        }
    }
    bl_problem_free(&copy);
    if (!rc) {
        *out = plan;
    }
    return rc;
}

int bl_sweep_plan(bl_sweep_row *out, const bl_problem *p, const bl_offload_settings *s, uint64_t budget_bytes,
                  bl_error *err) {
    bl_problem here = *p; /* shares the lists, which bl_plan_steady copies */
    here.budget_bytes = budget_bytes;
    bl_plan *plan;
    bl_error refused = {0}; /* of a budget that does not work, which is a row like the others */
    *out = (bl_sweep_row){
        .mode = s->mode, .fit_check = s->fit_check, .budget_bytes = budget_bytes, .has_store = p->has_store};
    int rc = bl_plan_steady(&plan, &here, s, &refused);
    if (rc) {
        return rc == BL_E_BUDGET ? 0 : bl_fail(err, rc, "%s", refused.message);
    }
    out->works = true;
    out->peak_bytes = plan->peak_bytes;
    out->moved_bytes = plan->moved_bytes;
    out->bound_moved_bytes = plan->bound_moved_bytes;
    out->seconds = plan->seconds;
    out->bound_seconds = plan->bound_seconds;
    out->loaded_bytes = plan->loaded_bytes;
    out->load_seconds = plan->load_seconds;
    bl_plan_free(&plan);
    return 0;
}

/* The settings in the mode of row `i` of a comparison. */
static bl_offload_settings in_mode(const bl_offload_settings *s, int i) {
    static const struct {
        bl_offload mode;
        bool fit_check;
    } kinds[BL_COMPARE_ROWS] = {{BL_OFFLOAD_NONE, true},       {BL_OFFLOAD_MODEL, true},
                                {BL_OFFLOAD_SEQUENTIAL, true}, {BL_OFFLOAD_BALANCED, false},
                                {BL_OFFLOAD_BALANCED, true},   {BL_OFFLOAD_AUTO, true}};
    bl_offload_settings settings = *s;
    settings.mode = kinds[i].mode;
    settings.fit_check = kinds[i].fit_check;
    return settings;
}

int bl_compare(bl_sweep_row *rows, const bl_problem *p, const bl_offload_settings *s, bl_error *err) {
    int rc = 0;
    for (int i = 0; i < BL_COMPARE_ROWS && !rc; i++) {
        bl_offload_settings settings = in_mode(s, i);
        rc = bl_sweep_plan(&rows[i], p, &settings, p->budget_bytes, err);
    }
    return rc;
}

int bl_sweep(bl_sweep_row *rows, int count, const bl_problem *p, const bl_offload_settings *s, uint64_t low,
             uint64_t high, const bl_stop *stop, bl_error *err) {
    if (count < 2 || low >= high) {
        return bl_fail(err, BL_E_ARGUMENT, "a sweep needs two budgets or more, from low to high");
    }
    int rc = 0;
    for (int i = 0; i < count && !rc; i++) {
        uint64_t budget = low + (uint64_t)((double)(high - low) * i / (count - 1));
        rc = bl_stopping(stop) ? bl_fail(err, BL_E_CANCELLED, "stopped at budget %d of %d", i + 1, count)
                               : bl_sweep_plan(&rows[i], p, s, budget, err);
    }
    return rc;
}

int bl_sweep_modes(bl_sweep_row *rows, int count, const bl_problem *p, const bl_offload_settings *s,
                   uint64_t low, uint64_t high, const bl_stop *stop, bl_error *err) {
    int rc = 0;
    for (int i = 0; i < BL_COMPARE_ROWS && !rc; i++) {
        bl_offload_settings settings = in_mode(s, i);
        rc = bl_sweep(&rows[i * count], count, p, &settings, low, high, stop, err);
    }
    return rc;
}

const char *bl_sweep_label(const bl_sweep_row *r) {
    return r->mode == BL_OFFLOAD_BALANCED ? r->fit_check ? "balanced + fit check" : "balanced, reactive"
                                          : bl_offload_name(r->mode);
}

void bl_sweep_print(FILE *file, const bl_sweep_row *rows, int count) {
    bool has_store = count > 0 && rows[0].has_store;
    fprintf(file, "%-22s %10s %10s %10s %10s %10s %10s%s\n", "mode", "budget", "peak", "seconds", "bound",
            "moved", "bound", has_store ? "     loaded    reading" : "");
    for (int i = 0; i < count; i++) {
        const bl_sweep_row *r = &rows[i];
        if (r->works) {
            fprintf(file, "%-22s %10s %10s %10.2f %10.2f %10s %10s", bl_sweep_label(r),
                    bl_size_of(r->budget_bytes).text, bl_size_of(r->peak_bytes).text, r->seconds,
                    r->bound_seconds, bl_size_of(r->moved_bytes).text, bl_size_of(r->bound_moved_bytes).text);
            if (has_store) {
                fprintf(file, " %10s %8.2f s", bl_size_of(r->loaded_bytes).text, r->load_seconds);
            }
            fprintf(file, "\n");
        } else {
            fprintf(file, "%-22s %10s %10s\n", bl_sweep_label(r), bl_size_of(r->budget_bytes).text,
                    "too small");
        }
    }
}

json_t *bl_sweep_json(const bl_sweep_row *rows, int count) {
    json_t *list = json_array();
    for (int i = 0; i < count && list; i++) {
        const bl_sweep_row *r = &rows[i];
        json_t *row = json_pack("{s:s, s:b, s:I, s:b}", "mode", bl_offload_name(r->mode), "fit_check",
                                r->fit_check, "budget_bytes", (json_int_t)r->budget_bytes, "works", r->works);
        if (r->works && row) {
            json_t *figures = json_pack("{s:I, s:I, s:I, s:f, s:f, s:I, s:f}", "peak_bytes",
                                        (json_int_t)r->peak_bytes, "moved_bytes", (json_int_t)r->moved_bytes,
                                        "bound_moved_bytes", (json_int_t)r->bound_moved_bytes, "seconds",
                                        r->seconds, "bound_seconds", r->bound_seconds, "loaded_bytes",
                                        (json_int_t)r->loaded_bytes, "load_seconds", r->load_seconds);
            if (json_object_update(row, figures)) { /* also where there are none */
                json_decref(row);
                row = NULL;
            }
            json_decref(figures);
        }
        if (json_array_append_new(list, row)) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}
