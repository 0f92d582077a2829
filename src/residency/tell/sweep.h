/* What other settings would do, without running anything: a row for each mode, a curve of seconds against
 * budget. */
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

/* Text table, JSON array (NULL: no memory; caller owns it), and a plot of seconds against budget as SVG. */
void bl_sweep_print(FILE *file, const bl_sweep_row *rows, int count);
json_t *bl_sweep_json(const bl_sweep_row *rows, int count);
/* BL_E_IO when writing fails, BL_E_ARGUMENT when no budget works. `title` may hold anything. */
int bl_sweep_svg(FILE *file, const bl_sweep_row *rows, int count, const char *title, bl_error *err);

#endif
