/* A linear program in the making, solved by COIN-OR Clp. Rows and columns are only ever added. */
#ifndef BALLAST_RESIDENCY_LP_H
#define BALLAST_RESIDENCY_LP_H

#include "core/error.h"

#include <stdbool.h>

typedef struct bl_lp {
    double *low, *high, *cost; /* [columns] */
    int columns, column_room;
    double *row_low, *row_high; /* [rows] */
    int *starts;                /* [rows + 1] */
    int rows, row_room;
    int *index; /* [entries] */
    double *values;
    int entries, entry_room;
    bool no_memory; /* an addition failed: bl_lp_solve says so */
    void *clp;      /* the solver's own copy, kept between solves */
    int solver_rows;
} bl_lp;

/* All zero is an empty program. */
void bl_lp_free(bl_lp *l);

/* Number of the new column, the first of `count` alike. Both limits are finite. */
int bl_lp_columns(bl_lp *l, int count, double low, double high);
/* Begins a row; bl_lp_add adds to it. */
void bl_lp_row(bl_lp *l, double low, double high);
void bl_lp_add(bl_lp *l, int column, double value);

/* Minimises the present cost. *value: nothing that satisfies all rows costs less; it is the least cost, to
 * rounding, where Clp found that. *proved: it did. x (may be NULL) is borrowed
 * until the next call. Rows may be added between solves, columns may not. BL_E_MEMORY only. */
int bl_lp_solve(bl_lp *l, double *value, bool *proved, const double **x, bl_error *err);

#endif
