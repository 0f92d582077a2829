#include "residency/bound/lp.h"

#include "core/ask.h"

#include <coin/Clp_C_Interface.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void bl_lp_free(bl_lp *l) {
    free(l->low);
    free(l->high);
    free(l->cost);
    free(l->row_low);
    free(l->row_high);
    free(l->starts);
    free(l->index);
    free(l->values);
    if (l->clp) {
        Clp_deleteModel(l->clp);
    }
    memset(l, 0, sizeof *l);
}

/* Makes an array hold `room` elements; false and unchanged when there is no memory. */
static bool resize(void *array, int room, size_t size) {
    void **at = array;
    void *bigger = realloc(*at, (size_t)room * size);
    if (bigger) {
        *at = bigger;
    }
    return bigger;
}

int bl_lp_columns(bl_lp *l, int count, double low, double high) {
    if (l->columns + count > l->column_room) {
        int room = (l->columns + count) * 2;
        void *arrays[3] = {l->low, l->high, l->cost};
        for (int i = 0; i < 3; i++) {
            l->no_memory |= !resize(&arrays[i], room, sizeof(double));
        }
        l->low = arrays[0];
        l->high = arrays[1];
        l->cost = arrays[2];
        if (l->no_memory) {
            return 0;
        }
        l->column_room = room;
    }
    for (int i = 0; i < count; i++) {
        l->low[l->columns + i] = low;
        l->high[l->columns + i] = high;
        l->cost[l->columns + i] = 0;
    }
    l->columns += count;
    return l->columns - count;
}

void bl_lp_row(bl_lp *l, double low, double high) {
    if (l->rows + 1 >= l->row_room) {
        int room = l->row_room ? l->row_room * 2 : 512;
        void *arrays[3] = {l->row_low, l->row_high, l->starts};
        l->no_memory |= !resize(&arrays[0], room, sizeof(double)) ||
                        !resize(&arrays[1], room, sizeof(double)) ||
                        !resize(&arrays[2], room + 1, sizeof(int));
        l->row_low = arrays[0];
        l->row_high = arrays[1];
        l->starts = arrays[2];
        if (l->no_memory) {
            return;
        }
        l->row_room = room;
    }
    if (l->no_memory) {
        return;
    }
    l->row_low[l->rows] = low;
    l->row_high[l->rows] = high;
    l->starts[l->rows++] = l->entries;
    l->starts[l->rows] = l->entries;
}

void bl_lp_add(bl_lp *l, int column, double value) {
    if (l->entries == l->entry_room) {
        int room = l->entry_room ? l->entry_room * 2 : 4096;
        void *arrays[2] = {l->index, l->values};
        l->no_memory |= !resize(&arrays[0], room, sizeof(int)) || !resize(&arrays[1], room, sizeof(double));
        l->index = arrays[0];
        l->values = arrays[1];
        if (!l->no_memory) {
            l->entry_room = room;
        }
    }
    if (l->no_memory) {
        return;
    }
    l->index[l->entries] = column;
    l->values[l->entries++] = value;
    l->starts[l->rows] = l->entries;
}

/* What the rows' prices prove, whatever tolerance or scale they were found with: no point that satisfies all
 * rows and limits costs less (weak duality, which holds for any prices; one for a side that a row does not
 * have counts as 0). */
static double proved_value(const bl_lp *l, const double *price, double *reduced) {
    double value = 0;
    memcpy(reduced, l->cost, (size_t)l->columns * sizeof *reduced);
    for (int r = 0; r < l->rows; r++) {
        double side = price[r] > 0 ? l->row_low[r] : l->row_high[r];
        if (price[r] == 0 || isinf(side)) {
            continue;
        }
        value += price[r] * side;
        for (int e = l->starts[r]; e < l->starts[r + 1]; e++) {
            reduced[l->index[e]] -= price[r] * l->values[e];
        }
    }
    for (int c = 0; c < l->columns; c++) {
        value += reduced[c] * (reduced[c] > 0 ? l->low[c] : l->high[c]);
    }
    return value;
}

/* Clp ends the process where it has no memory; nothing in it looks for that (its issue 41). Measured: 1.2 MB,
 * and 80 bytes for each row, column and entry. */
static int ask(const bl_lp *l, bl_error *err) {
    size_t sizes = (size_t)l->rows + (size_t)l->columns + (size_t)l->entries;
    return bl_ask_memory((4u << 20) + 1024 * sizes, "a linear program", err);
}

int bl_lp_solve(bl_lp *l, double *value, bool *proved, const double **x, bl_error *err) {
    *value = 0;
    *proved = false;
    int rc = ask(l, err);
    if (rc) {
        return rc;
    }
    if (!l->no_memory && !l->clp) {
        l->clp = Clp_newModel();
        if (l->clp) {
            Clp_setLogLevel(l->clp, 0);
            Clp_scaling(l->clp, 0); /* its scales end in optima that are none; ours are near 1 already */
            Clp_resize(l->clp, 0, l->columns);
            Clp_chgColumnLower(l->clp, l->low);
            Clp_chgColumnUpper(l->clp, l->high);
        }
    }
    if (l->no_memory || !l->clp) {
        return bl_fail_memory(err, "a linear program", (unsigned long long)l->columns * sizeof(double));
    }
    if (l->solver_rows < l->rows) {
        /* Clp wants starts that begin at 0. */
        int first = l->solver_rows, base = l->starts[first], more = l->rows - first;
        int *starts = malloc((size_t)(more + 1) * sizeof *starts);
        if (!starts) {
            return bl_fail_memory(err, "a linear program", (unsigned long long)more * sizeof *starts);
        }
        for (int i = 0; i <= more; i++) {
            starts[i] = l->starts[first + i] - base;
        }
        Clp_addRows(l->clp, more, l->row_low + first, l->row_high + first, starts, l->index + base,
                    l->values + base);
        free(starts);
        l->solver_rows = l->rows;
    }
    Clp_chgObjCoefficients(l->clp, l->cost);
    rc = Clp_dual(l->clp, 0);
    if (rc || Clp_secondaryStatus(l->clp)) {
        rc = Clp_primal(l->clp, 0); /* from where the other one left it */
    }
    double *reduced = malloc(((size_t)l->columns + 1) * sizeof *reduced);
    if (!reduced) {
        return bl_fail_memory(err, "a linear program", (unsigned long long)l->columns * sizeof *reduced);
    }
    *value = rc ? -INFINITY : proved_value(l, Clp_dualRowSolution(l->clp), reduced);
    *proved = isfinite(*value);
    free(reduced);
    if (x) {
        *x = Clp_getColSolution(l->clp);
    }
    return 0;
}
