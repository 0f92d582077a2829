/* A sweep as a picture: seconds and moved bytes against budget, a curve a mode, as SVG. */
#ifndef BALLAST_RESIDENCY_PLOT_H
#define BALLAST_RESIDENCY_PLOT_H

#include "residency/tell/sweep.h"

typedef struct bl_plot {
    const bl_sweep_row *rows; /* [BL_COMPARE_ROWS][count], as bl_sweep_modes fills them */
    int count;                /* budgets */
    uint64_t budget_bytes;    /* marked */
    const char *title;        /* of any length; may hold anything */
} bl_plot;

/* Whether all was written the file knows: ferror. BL_E_ARGUMENT when no mode works with any of the budgets.
 */
int bl_plot_svg(FILE *file, const bl_plot *plot, bl_error *err);

#endif
