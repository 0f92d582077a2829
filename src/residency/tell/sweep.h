/* What other settings would do, without running anything: a row for each mode, a row for each budget. */
#ifndef BALLAST_RESIDENCY_SWEEP_H
#define BALLAST_RESIDENCY_SWEEP_H

#include "core/stop.h"
#include "residency/plan/modes.h"

#include <jansson.h>
#include <stdio.h>

typedef struct bl_sweep_row {
    bl_offload mode;
    bool fit_check; /* of balanced */
    uint64_t budget_bytes;
    bool works; /* false: this mode refuses this budget, and the rest is 0 */
    uint64_t peak_bytes, moved_bytes, bound_moved_bytes;
    double seconds, bound_seconds;
    bool has_store;        /* weights come through a host store; if not, no loads are told */
    uint64_t loaded_bytes; /* from the file into it, in one generation */
    double load_seconds;   /* that these loads take, one after the other */
} bl_sweep_row;

/* The plan of a generation that follows others like it (bl_problem_repeats) or stands alone. `p` is left as
 * it is; what is resident in it now does not count. The plan's bounds are those of the steady state. Caller
 * owns *out. */
int bl_plan_steady(bl_plan **out, const bl_problem *p, const bl_offload_settings *s, bl_error *err);

/* The same for a row: a budget that a mode refuses is no error. */
int bl_sweep_plan(bl_sweep_row *out, const bl_problem *p, const bl_offload_settings *s, uint64_t budget_bytes,
                  bl_error *err);

/* One row for each mode at the problem's budget: none, model, sequential, balanced without and with fit
 * check, auto. rows[BL_COMPARE_ROWS]. */
#define BL_COMPARE_ROWS 6
int bl_compare(bl_sweep_row *rows, const bl_problem *p, const bl_offload_settings *s, bl_error *err);

/* `count` (at least 2) budgets from low to high, evenly spaced; rows[count]. BL_E_CANCELLED when `stop`,
 * which may be NULL, says so between two budgets. */
int bl_sweep(bl_sweep_row *rows, int count, const bl_problem *p, const bl_offload_settings *s, uint64_t low,
             uint64_t high, const bl_stop *stop, bl_error *err);

/* The same in each mode of bl_compare; rows[BL_COMPARE_ROWS][count]. */
int bl_sweep_modes(bl_sweep_row *rows, int count, const bl_problem *p, const bl_offload_settings *s,
                   uint64_t low, uint64_t high, const bl_stop *stop, bl_error *err);

/* "auto", "balanced, reactive", ... Static storage. */
const char *bl_sweep_label(const bl_sweep_row *row);

/* Text table, and JSON array (NULL: no memory; caller owns it). */
void bl_sweep_print(FILE *file, const bl_sweep_row *rows, int count);
json_t *bl_sweep_json(const bl_sweep_row *rows, int count);

#endif
