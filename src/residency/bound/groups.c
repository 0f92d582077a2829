#include "residency/bound/program.h"

enum { groups_most = 8 };

/* Where a pass is cut into groups of consecutive blocks: as much of bytes + seconds in each. Returns how
 * many. */
static int cut(const bl_problem_phase *f, const bl_problem_module *m, int *end) {
    const double *seconds = f->levels[0].block_seconds;
    double sum = 0, pass = f->levels[0].pass_seconds;
    int groups = 0;
    for (int b = 0; b < m->block_count; b++) {
        sum += (double)m->blocks[b].bytes / (double)m->bytes + (pass > 0 ? seconds[b] / pass : 0);
        if (b == m->block_count - 1 || sum * groups_most >= 2.0 * (groups + 1)) {
            end[groups++] = b + 1;
            while (b < m->block_count - 1 && sum * groups_most >= 2.0 * (groups + 1)) {
                sum -= 2.0 / groups_most; /* one block worth several groups makes one */
            }
        }
    }
    return groups;
}

/* The average pass, group by group: what is copied while one group runs must fit into that time, and what is
 * kept for later ones into the room. Only where copies run beside compute does it matter when they are made.
 */
void bl_bound_group_rows(bl_program *l, int i) {
    const bl_problem *p = l->p;
    const bl_problem_phase *f = &p->phases[i];
    const bl_problem_module *mod = &p->modules[f->module];
    int end[groups_most + 1], n = cut(f, mod, end);
    bl_lp *lp = &l->lp;
    /* bytes of group g on the device when group t begins, t = n: when the pass ends; copied while group t
     * runs; on the device when the phase begins; seconds of group t */
    double most = (double)mod->bytes / bl_unit;
    int there = bl_lp_columns(lp, n * (n + 1), 0, most), copied = bl_lp_columns(lp, n * n, 0, 2 * most);
    int entry = bl_lp_columns(lp, n, 0, most), length = bl_lp_columns(lp, n, 0, longest(p));
    if (lp->no_memory) {
        return;
    }
    double rate = cheapest(l, f->module), room = phase_room(l, i), passes = f->passes;
    for (int g = 0, b = 0; g < n; g++) {
        double bytes = 0, seconds = 0;
        lp->low[there + g * (n + 1) + g] = (double)mod->blocks[b].bytes / bl_unit;
        for (; b < end[g]; b++) {
            double least = f->levels[0].block_seconds[b];
            for (int v = 1; v < f->level_count; v++) {
                least = f->levels[v].block_seconds[b] < least ? f->levels[v].block_seconds[b] : least;
            }
            bytes += (double)mod->blocks[b].bytes / bl_unit;
            seconds += least;
        }
        lp->low[there + g * (n + 1) + g + 1] = (double)mod->blocks[end[g] - 1].bytes / bl_unit;
        for (int t = 0; t <= n; t++) {
            lp->high[there + g * (n + 1) + t] = bytes;
        }
        lp->high[entry + g] = bytes;
        lp->low[length + g] = seconds;
        if (drag_of(l) > 0) {
            bl_lp_row(lp, seconds, INFINITY); /* compute, and what copies beside it take of that */
            bl_lp_add(lp, length + g, 1);
            for (int k = 0; k < n; k++) {
                bl_lp_add(lp, copied + k * n + g, -drag_of(l) * rate);
            }
        }
        for (int t = 0; t < n; t++) {
            if (t == g) {
                bl_lp_row(lp, bytes, INFINITY); /* it runs: there or copied */
                bl_lp_add(lp, there + g * (n + 1) + t, 1);
            } else {
                bl_lp_row(lp, 0, INFINITY); /* there afterwards: there before or copied */
                bl_lp_add(lp, there + g * (n + 1) + t + 1, -1);
                bl_lp_add(lp, there + g * (n + 1) + t, 1);
            }
            bl_lp_add(lp, copied + g * n + t, 1);
        }
        bl_lp_row(lp, 0, INFINITY); /* a pass begins with what the last one left, the first with the entry */
        bl_lp_add(lp, there + g * (n + 1), -1);
        bl_lp_add(lp, there + g * (n + 1) + n, 1);
        bl_lp_add(lp, entry + g, 1 / passes);
    }
    for (int t = 0; t <= n; t++) {
        bl_lp_row(lp, -INFINITY, room);
        for (int g = 0; g < n; g++) {
            bl_lp_add(lp, there + g * (n + 1) + t, 1);
        }
        for (int m = 0; m < p->module_count; m++) {
            if (m != f->module) {
                bl_lp_add(lp, column(l, col_stay, i, m), 1);
            }
        }
        if (t < n) {
            bl_lp_row(lp, 0, INFINITY);
            bl_lp_add(lp, length + t, 1);
            for (int g = 0; g < n; g++) {
                bl_lp_add(lp, copied + g * n + t, -rate);
            }
        }
    }
    bl_lp_row(lp, -INFINITY, 0); /* entries are part of what is there at the start */
    bl_lp_add(lp, column(l, col_start, i, f->module), -1);
    for (int g = 0; g < n; g++) {
        bl_lp_add(lp, entry + g, 1);
    }
    bl_lp_row(lp, 0, INFINITY);
    bl_lp_add(lp, column(l, col_during, i, f->module), 1);
    for (int c = 0; c < n * n; c++) {
        bl_lp_add(lp, copied + c, -passes);
    }
    bl_lp_row(lp, 0, INFINITY);
    bl_lp_add(lp, column_seconds(l, i), 1);
    for (int t = 0; t < n; t++) {
        bl_lp_add(lp, length + t, -passes);
    }
    for (int m = 0; m < p->module_count; m++) {
        bl_lp_add(lp, column(l, col_after, i, m), -cheapest(l, m));
    }
}
