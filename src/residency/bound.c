#include "residency/bound.h"

#include "residency/lp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Columns: for each phase p and module m, bytes in units of 10^9. */
enum {
    col_start,  /* of m on the device when the first run of p begins */
    col_stay,   /* of those, staying until the last run of p ends (modules that p does not run) */
    col_end,    /* of m on the device when the last run of p ends */
    col_during, /* of m copied between these two moments */
    col_after,  /* of m copied between the last run of p and the first of the next phase */
    col_kinds
};

static const double unit = 1e9;

enum { groups_most = 8 };

typedef struct program {
    bl_lp lp;
    const bl_problem *p;                    /* with long phases in parts, if so asked */
    int phase_of[3 * BL_PROBLEM_PHASES];    /* the phase that a part belongs to */
    int block_first[3 * BL_PROBLEM_PHASES]; /* first column of a part's blocks */
    bool steady;
} program;

static int column(const program *l, int kind, int phase, int module) {
    return (phase * col_kinds + kind) * l->p->module_count + module;
}

/* Bytes of the phase's module that are kept from one pass to the next, summed over passes. */
static int column_kept(const program *l, int phase) {
    return l->p->phase_count * col_kinds * l->p->module_count + phase;
}

/* Seconds from the first run of a phase to that of the next. */
static int column_seconds(const program *l, int phase) {
    return column_kept(l, phase) + l->p->phase_count;
}

/* Seconds before the first run of all. */
static int column_initial(const program *l) {
    return column_kept(l, 0) + 2 * l->p->phase_count;
}

/* Bytes of m copied before the first run of all. */
static int column_before(const program *l, int module) {
    return column_initial(l) + 1 + module;
}

/* Least copy seconds of 10^9 bytes of a module: those of its cheapest block. */
static double cheapest(const bl_problem *p, int module) {
    double best = INFINITY;
    for (int b = 0; b < p->modules[module].block_count; b++) {
        double x =
            p->modules[module].blocks[b].copy_seconds / ((double)p->modules[module].blocks[b].bytes / unit);
        best = x < best ? x : best;
    }
    return best;
}

static double phase_room(const bl_problem *p, int phase) {
    const bl_problem_phase *f = &p->phases[phase];
    uint64_t arena = f->levels[f->level_count - 1].arena_bytes;
    return arena < p->budget_bytes ? (double)(p->budget_bytes - arena) / unit : 0;
}

static double fastest_pass(const bl_problem_phase *f) {
    double best = f->levels[0].pass_seconds;
    for (int l = 1; l < f->level_count; l++) {
        best = f->levels[l].pass_seconds < best ? f->levels[l].pass_seconds : best;
    }
    return best;
}

/* The phase that follows, or -1 behind the last one when nothing does. */
static int following(const program *l, int phase) {
    int n = l->p->phase_count;
    return phase + 1 < n ? phase + 1 : l->steady ? 0 : -1;
}

/* What lies on the device at the ends of a phase, and how it came there. */
static void memory_rows(program *l, int i) {
    const bl_problem *p = l->p;
    double room = phase_room(p, i);
    int own = p->phases[i].module, next = following(l, i);
    bl_lp_row(&l->lp, -INFINITY, room);
    for (int m = 0; m < p->module_count; m++) {
        bl_lp_add(&l->lp, column(l, col_start, i, m), 1);
    }
    bl_lp_row(&l->lp, -INFINITY, room);
    for (int m = 0; m < p->module_count; m++) {
        bl_lp_add(&l->lp, column(l, col_end, i, m), 1);
    }
    for (int m = 0; m < p->module_count; m++) {
        if (m != own) {
            bl_lp_row(&l->lp, -INFINITY, 0); /* stay <= start */
            bl_lp_add(&l->lp, column(l, col_stay, i, m), 1);
            bl_lp_add(&l->lp, column(l, col_start, i, m), -1);
            bl_lp_row(&l->lp, -INFINITY, 0); /* end <= stay + during */
            bl_lp_add(&l->lp, column(l, col_end, i, m), 1);
            bl_lp_add(&l->lp, column(l, col_stay, i, m), -1);
            bl_lp_add(&l->lp, column(l, col_during, i, m), -1);
        }
        if (next >= 0) {
            bl_lp_row(&l->lp, -INFINITY, 0); /* start of the next <= end + after */
            bl_lp_add(&l->lp, column(l, col_start, next, m), 1);
            bl_lp_add(&l->lp, column(l, col_end, i, m), -1);
            bl_lp_add(&l->lp, column(l, col_after, i, m), -1);
        }
    }
}

/* The phase's own module: each pass needs every block, there or copied. */
static void pass_rows(program *l, int i) {
    const bl_problem *p = l->p;
    const bl_problem_phase *f = &p->phases[i];
    const bl_problem_module *mod = &p->modules[f->module];
    double room = phase_room(p, i), passes = f->passes, bytes = (double)mod->bytes / unit,
           n = mod->block_count;
    bl_lp_row(&l->lp, passes * bytes, INFINITY);
    bl_lp_add(&l->lp, column(l, col_during, i, f->module), 1);
    bl_lp_add(&l->lp, column(l, col_start, i, f->module), 1);
    bl_lp_add(&l->lp, column_kept(l, i), 1);
    /* Between two passes: what is kept from one to the next lies beside what stays. */
    bl_lp_row(&l->lp, -INFINITY, (passes - 1) * room);
    bl_lp_add(&l->lp, column_kept(l, i), 1);
    for (int m = 0; m < p->module_count; m++) {
        if (m != f->module) {
            bl_lp_add(&l->lp, column(l, col_stay, i, m), passes - 1);
        }
    }
    /* The same averaged over all runs: beside the block that is running. */
    bl_lp_row(&l->lp, -INFINITY, passes * (room - bytes / n));
    bl_lp_add(&l->lp, column_kept(l, i), 1 - 1 / n);
    for (int m = 0; m < p->module_count; m++) {
        if (m != f->module) {
            bl_lp_add(&l->lp, column(l, col_stay, i, m), passes);
        }
    }
}

static void time_rows(program *l, int i) {
    const bl_problem *p = l->p;
    double compute = fastest_pass(&p->phases[i]) * p->phases[i].passes;
    if (p->async_copy) {
        bl_lp_row(&l->lp, compute, INFINITY);
        bl_lp_add(&l->lp, column_seconds(l, i), 1);
        for (int m = 0; m < p->module_count; m++) {
            bl_lp_add(&l->lp, column(l, col_after, i, m), -cheapest(p, m));
        }
        bl_lp_row(&l->lp, 0, INFINITY);
    } else {
        bl_lp_row(&l->lp, compute, INFINITY);
    }
    bl_lp_add(&l->lp, column_seconds(l, i), 1);
    for (int m = 0; m < p->module_count; m++) {
        bl_lp_add(&l->lp, column(l, col_during, i, m), -cheapest(p, m));
        bl_lp_add(&l->lp, column(l, col_after, i, m), -cheapest(p, m));
    }
}

/* Before the first run: what is resident now, and copies that nothing hides. */
static void initial_rows(program *l) {
    const bl_problem *p = l->p;
    bl_lp_row(&l->lp, 0, INFINITY);
    bl_lp_add(&l->lp, column_initial(l), 1);
    for (int m = 0; m < p->module_count; m++) {
        bl_lp_add(&l->lp, column_before(l, m), -cheapest(p, m));
    }
    for (int m = 0; m < p->module_count; m++) {
        uint64_t resident = 0;
        for (int b = 0; b < p->modules[m].block_count; b++) {
            const bl_problem_block *x = &p->modules[m].blocks[b];
            resident += x->resident_at != BL_NOWHERE ? x->bytes : 0;
        }
        bl_lp_row(&l->lp, -INFINITY, (double)resident / unit);
        bl_lp_add(&l->lp, column(l, col_start, 0, m), 1);
        bl_lp_add(&l->lp, column_before(l, m), -1);
    }
}

static void limits(program *l) {
    const bl_problem *p = l->p;
    bl_lp_columns(&l->lp, p->phase_count * (col_kinds * p->module_count + 2) + 1 + p->module_count, 0,
                  INFINITY);
    double *low = l->lp.low, *high = l->lp.high;
    if (l->lp.no_memory) {
        return;
    }
    for (int i = 0; i < p->phase_count; i++) {
        const bl_problem_phase *f = &p->phases[i];
        const bl_problem_module *own = &p->modules[f->module];
        for (int m = 0; m < p->module_count; m++) {
            double bytes = (double)p->modules[m].bytes / unit;
            high[column(l, col_start, i, m)] = high[column(l, col_end, i, m)] = bytes;
            high[column(l, col_stay, i, m)] = m == f->module ? 0 : bytes;
            if (following(l, i) < 0) {
                high[column(l, col_after, i, m)] = 0;
            }
        }
        low[column(l, col_start, i, f->module)] = (double)own->blocks[0].bytes / unit;
        low[column(l, col_end, i, f->module)] = (double)own->blocks[own->block_count - 1].bytes / unit;
        high[column_kept(l, i)] = (f->passes - 1) * (double)own->bytes / unit;
    }
    if (l->steady) {
        high[column_initial(l)] = 0;
    }
}

/* Costs: seconds, or bytes moved. */
static void set_cost(program *l, bool seconds) {
    const bl_problem *p = l->p;
    double *cost = l->lp.cost;
    memset(cost, 0, (size_t)l->lp.columns * sizeof *cost);
    cost[column_initial(l)] = seconds;
    for (int i = 0; i < p->phase_count; i++) {
        cost[column_seconds(l, i)] = seconds;
        for (int m = 0; m < p->module_count; m++) {
            cost[column(l, col_during, i, m)] = cost[column(l, col_after, i, m)] = !seconds;
        }
    }
    for (int m = 0; m < p->module_count; m++) {
        cost[column_before(l, m)] = !seconds;
    }
}

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
static void group_rows(program *l, int i) {
    const bl_problem *p = l->p;
    const bl_problem_phase *f = &p->phases[i];
    const bl_problem_module *mod = &p->modules[f->module];
    int end[groups_most + 1], n = cut(f, mod, end);
    bl_lp *lp = &l->lp;
    /* bytes of group g on the device when group t begins, t = n: when the pass ends; copied while group t
     * runs; on the device when the phase begins; seconds of group t */
    int there = bl_lp_columns(lp, n * (n + 1), 0, INFINITY), copied = bl_lp_columns(lp, n * n, 0, INFINITY);
    int entry = bl_lp_columns(lp, n, 0, INFINITY), length = bl_lp_columns(lp, n, 0, INFINITY);
    if (lp->no_memory) {
        return;
    }
    double rate = cheapest(p, f->module), room = phase_room(p, i), passes = f->passes;
    for (int g = 0, b = 0; g < n; g++) {
        double bytes = 0, seconds = 0;
        lp->low[there + g * (n + 1) + g] = (double)mod->blocks[b].bytes / unit;
        for (; b < end[g]; b++) {
            double least = f->levels[0].block_seconds[b];
            for (int v = 1; v < f->level_count; v++) {
                least = f->levels[v].block_seconds[b] < least ? f->levels[v].block_seconds[b] : least;
            }
            bytes += (double)mod->blocks[b].bytes / unit;
            seconds += least;
        }
        lp->low[there + g * (n + 1) + g + 1] = (double)mod->blocks[end[g] - 1].bytes / unit;
        for (int t = 0; t <= n; t++) {
            lp->high[there + g * (n + 1) + t] = bytes;
        }
        lp->high[entry + g] = bytes;
        lp->low[length + g] = seconds;
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
        bl_lp_add(lp, column(l, col_after, i, m), -cheapest(p, m));
    }
}

/* Columns of one block of a part's module; behind those of all blocks the part's idle and other. */
enum {
    block_kept,   /* bytes kept from one pass to the next, summed */
    block_entry,  /* there when the part begins, and kept until the first use */
    block_exit,   /* kept from the last use to the end of the part */
    block_copied, /* copied for uses in the part */
    block_early,  /* copied in the part for uses after it */
    block_after,  /* copied between the part and the next one, which runs the same module */
    block_cover,  /* seconds of compute beside copies of the block */
    block_kinds
};

/* Number of a block's first column. */
static int block_column(const program *l, int part, int block) {
    return l->block_first[part] + block * block_kinds;
}

/* Seconds of a part in which no copy is under way. */
static int column_idle(const program *l, int part) {
    return block_column(l, part, l->p->modules[l->p->phases[part].module].block_count);
}

/* Seconds of compute in a part beside copies of another module m. */
static int column_other(const program *l, int part, int module) {
    return column_idle(l, part) + 1 + module;
}

static double block_gb(const bl_problem_module *m, int block) {
    return (double)m->blocks[block].bytes / unit;
}

/* Copy seconds of 10^9 bytes of the block. */
static double block_rate(const bl_problem_module *m, int block) {
    return m->blocks[block].copy_seconds / block_gb(m, block);
}

static double fastest_block(const bl_problem_phase *f, int block) {
    double best = f->levels[0].block_seconds[block];
    for (int v = 1; v < f->level_count; v++) {
        best = fmin(best, f->levels[v].block_seconds[block]);
    }
    return best;
}

static void block_columns(program *l, int i) {
    const bl_problem *p = l->p;
    const bl_problem_module *m = &p->modules[p->phases[i].module];
    bool again = following(l, i) >= 0 && p->phases[following(l, i)].module == p->phases[i].module;
    l->block_first[i] =
        bl_lp_columns(&l->lp, m->block_count * block_kinds + 1 + p->module_count, 0, INFINITY);
    if (l->lp.no_memory) {
        return;
    }
    double *high = l->lp.high;
    for (int b = 0; b < m->block_count; b++) {
        int at = block_column(l, i, b);
        double bytes = block_gb(m, b);
        high[at + block_kept] = (p->phases[i].passes - 1) * bytes;
        high[at + block_entry] = high[at + block_exit] = high[at + block_early] = bytes;
        high[at + block_after] = again ? bytes : 0;
    }
}

/* Adds value x the sum of one kind of column over the blocks to the row. */
static void add_blocks(program *l, int i, int kind, double value) {
    for (int b = 0; b < l->p->modules[l->p->phases[i].module].block_count; b++) {
        bl_lp_add(&l->lp, block_column(l, i, b) + kind, value);
    }
}

/* What becomes of each block, and how that adds up to what becomes of the module. */
static void block_rows(program *l, int i) {
    const bl_problem *p = l->p;
    const bl_problem_module *m = &p->modules[p->phases[i].module];
    int own = p->phases[i].module, next = following(l, i);
    bool again = next >= 0 && p->phases[next].module == own;
    double passes = p->phases[i].passes, all = (double)m->bytes / unit, smallest = all;
    for (int b = 0; b < m->block_count; b++) {
        int at = block_column(l, i, b);
        smallest = fmin(smallest, block_gb(m, b));
        bl_lp_row(&l->lp, passes * block_gb(m, b), INFINITY); /* each use finds it */
        bl_lp_add(&l->lp, at + block_kept, 1);
        bl_lp_add(&l->lp, at + block_entry, 1);
        bl_lp_add(&l->lp, at + block_copied, 1);
        if (again) {
            bl_lp_row(&l->lp, 0, INFINITY); /* there at the begin of the next part: from this one */
            bl_lp_add(&l->lp, block_column(l, next, b) + block_entry, -1);
            bl_lp_add(&l->lp, at + block_exit, 1);
            bl_lp_add(&l->lp, at + block_early, 1);
            bl_lp_add(&l->lp, at + block_after, 1);
        }
    }
    bl_lp_row(&l->lp, 0, INFINITY);
    bl_lp_add(&l->lp, column(l, col_start, i, own), 1);
    add_blocks(l, i, block_entry, -1);
    bl_lp_row(&l->lp, 0, INFINITY);
    bl_lp_add(&l->lp, column(l, col_end, i, own), -1);
    add_blocks(l, i, block_exit, 1);
    add_blocks(l, i, block_early, 1);
    bl_lp_row(&l->lp, 0, INFINITY);
    bl_lp_add(&l->lp, column(l, col_during, i, own), 1);
    add_blocks(l, i, block_copied, -1);
    add_blocks(l, i, block_early, -1);
    bl_lp_row(&l->lp, 0, INFINITY);
    bl_lp_add(&l->lp, column(l, col_after, i, own), 1);
    add_blocks(l, i, block_after, -1);
    bl_lp_row(&l->lp, 0, INFINITY);
    bl_lp_add(&l->lp, column_kept(l, i), -1);
    add_blocks(l, i, block_kept, 1);
    if (passes > 1 && all > phase_room(p, i)) { /* not all can stay: a whole block comes in each pass */
        bl_lp_row(&l->lp, -INFINITY, (passes - 1) * (all - smallest));
        add_blocks(l, i, block_kept, 1);
    }
}

/* The room at each moment of compute, averaged over its time: beside what is kept lie, whole, the block that
 * runs and the one that is copied. */
static void whole_rows(program *l, int i) {
    const bl_problem *p = l->p;
    const bl_problem_phase *f = &p->phases[i];
    const bl_problem_module *m = &p->modules[f->module];
    bl_lp *lp = &l->lp;
    double all = 0, running = 0, before = 0;
    for (int b = 0; b < m->block_count; b++) {
        all += fastest_block(f, b);
        running += fastest_block(f, b) * block_gb(m, b);
    }
    if (all <= 0) {
        return;
    }
    bl_lp_row(lp, -INFINITY, f->passes * (phase_room(p, i) - running / all));
    for (int b = 0; b < m->block_count; b++) {
        int at = block_column(l, i, b);
        double share = fastest_block(f, b) / all;
        bl_lp_add(lp, at + block_kept, 1 - share);
        bl_lp_add(lp, at + block_entry, before);
        bl_lp_add(lp, at + block_exit, fmax(0, 1 - share - before));
        if (p->async_copy) {
            bl_lp_add(lp, at + block_cover, block_gb(m, b) / all);
        }
        before += share;
    }
    for (int k = 0; k < p->module_count; k++) {
        if (k == f->module) {
            continue;
        }
        bl_lp_add(lp, column(l, col_stay, i, k), f->passes);
        if (p->async_copy) {
            double least = INFINITY;
            for (int b = 0; b < p->modules[k].block_count; b++) {
                least = fmin(least, block_gb(&p->modules[k], b));
            }
            bl_lp_add(lp, column_other(l, i, k), least / all);
        }
    }
    if (!p->async_copy) {
        return;
    }
    bl_lp_row(lp, f->passes * all, INFINITY); /* compute runs beside a copy, or none is under way */
    bl_lp_add(lp, column_idle(l, i), 1);
    add_blocks(l, i, block_cover, 1);
    for (int k = 0; k < p->module_count; k++) {
        bl_lp_add(lp, column_other(l, i, k), 1);
    }
}

/* Seconds of copies: compute beside them cannot be longer, and with the idle ones they fill the part. */
static void copy_rows(program *l, int i) {
    const bl_problem *p = l->p;
    const bl_problem_module *m = &p->modules[p->phases[i].module];
    bl_lp *lp = &l->lp;
    for (int b = 0; b < m->block_count; b++) {
        int at = block_column(l, i, b);
        bl_lp_row(lp, 0, INFINITY);
        bl_lp_add(lp, at + block_copied, block_rate(m, b));
        bl_lp_add(lp, at + block_early, block_rate(m, b));
        bl_lp_add(lp, at + block_cover, -1);
    }
    for (int k = 0; k < p->module_count; k++) {
        if (k == p->phases[i].module) {
            lp->high[column_other(l, i, k)] = 0;
            continue;
        }
        double dearest = 0;
        for (int b = 0; b < p->modules[k].block_count; b++) {
            dearest = fmax(dearest, block_rate(&p->modules[k], b));
        }
        bl_lp_row(lp, 0, INFINITY);
        bl_lp_add(lp, column(l, col_during, i, k), dearest);
        bl_lp_add(lp, column_other(l, i, k), -1);
    }
    bl_lp_row(lp, 0, INFINITY);
    bl_lp_add(lp, column_seconds(l, i), 1);
    bl_lp_add(lp, column_idle(l, i), -1);
    for (int b = 0; b < m->block_count; b++) {
        bl_lp_add(lp, block_column(l, i, b) + block_copied, -block_rate(m, b));
        bl_lp_add(lp, block_column(l, i, b) + block_early, -block_rate(m, b));
    }
    for (int k = 0; k < p->module_count; k++) {
        if (k != p->phases[i].module) {
            bl_lp_add(lp, column(l, col_during, i, k), -cheapest(p, k));
        }
        bl_lp_add(lp, column(l, col_after, i, k), -cheapest(p, k));
    }
}

static int find_keep(bl_bound *out, program *l, double seconds, bl_error *err) {
    const bl_problem *p = l->p;
    size_t n = ((size_t)l->phase_of[p->phase_count - 1] + 1) * (size_t)p->module_count;
    uint64_t *keep = calloc(n, sizeof *keep);
    if (!keep) {
        return bl_fail_memory(err, "the bound's residents", n * sizeof *keep);
    }
    bl_lp_row(&l->lp, -INFINITY, seconds * (1 + 1e-6) + 1e-9);
    bl_lp_add(&l->lp, column_initial(l), 1);
    for (int i = 0; i < p->phase_count; i++) {
        bl_lp_add(&l->lp, column_seconds(l, i), 1);
    }
    double value;
    bool proved;
    const double *x;
    int rc = bl_lp_solve(&l->lp, &value, &proved, &x, err);
    for (int i = 0; i < p->phase_count && !rc && proved; i++) {
        for (int m = 0; m < p->module_count; m++) {
            /* What stays through all parts of a phase. */
            double bytes = fmax(0, x[column(l, col_stay, i, m)] * unit);
            uint64_t *at = &keep[l->phase_of[i] * p->module_count + m];
            bool first = i == 0 || l->phase_of[i - 1] != l->phase_of[i];
            *at = first || bytes < (double)*at ? (uint64_t)bytes : *at;
        }
    }
    if (rc) {
        free(keep);
        return rc;
    }
    out->keep = keep;
    return 0;
}

/* First pass, middle, last pass: what comes or goes for a neighbour does so in a pass's time. */
static int take_apart(program *l, bl_problem *parts, const bl_problem *p, bool apart, bl_error *err) {
    *parts = *p;
    l->p = parts;
    parts->phases = malloc(3 * (size_t)p->phase_count * sizeof *parts->phases);
    if (!parts->phases) {
        return bl_fail_memory(err, "the planner's bound", 3 * (size_t)p->phase_count * sizeof *parts->phases);
    }
    parts->phase_count = 0;
    for (int i = 0; i < p->phase_count; i++) {
        int passes = p->phases[i].passes, edge = apart && passes > 1;
        int part[3] = {edge, passes - 2 * edge, edge};
        for (int k = 0; k < 3; k++) {
            if (part[k] > 0) {
                l->phase_of[parts->phase_count] = i;
                parts->phases[parts->phase_count] = p->phases[i];
                parts->phases[parts->phase_count++].passes = part[k];
            }
        }
    }
    return 0;
}

int bl_bound_find(bl_bound *out, const bl_problem *p, bool steady, bool fine, bool with_keep, bl_error *err) {
    program l = {.steady = steady};
    bl_problem parts;
    int rc = take_apart(&l, &parts, p, fine, err);
    if (rc) {
        return rc;
    }
    limits(&l);
    for (int i = 0; i < parts.phase_count && !l.lp.no_memory && fine; i++) {
        block_columns(&l, i);
    }
    for (int i = 0; i < parts.phase_count && !l.lp.no_memory; i++) {
        memory_rows(&l, i);
        pass_rows(&l, i);
        time_rows(&l, i);
        if (fine && p->async_copy && parts.phases[i].passes > 1) {
            group_rows(&l, i);
        }
        if (fine) {
            block_rows(&l, i);
            whole_rows(&l, i);
        }
        if (fine && p->async_copy) {
            copy_rows(&l, i);
        }
    }
    if (!steady && !l.lp.no_memory) {
        initial_rows(&l);
    }
    bl_bound bound = {0};
    double bytes = 0, seconds = 0;
    bool proved = false;
    if (!l.lp.no_memory) {
        set_cost(&l, true);
    }
    rc = bl_lp_solve(&l.lp, &seconds, &proved, NULL, err);
    if (rc) {
        goto done;
    }
    /* Without a proof there is no bound but the trivial one: the compute, and nothing moved. Clp works to
     * 1e-7. */
    seconds -= 1e-6 * seconds;
    for (int i = 0; i < p->phase_count && !proved; i++) {
        seconds = (i ? seconds : 0) + fastest_pass(&p->phases[i]) * p->phases[i].passes;
    }
    bound.seconds = seconds;
    set_cost(&l, false);
    rc = bl_lp_solve(&l.lp, &bytes, &proved, NULL, err);
    if (rc) {
        goto done;
    }
    bytes -= 1e-6 * bytes + 1e-6;
    bound.moved_bytes = proved && bytes > 0 ? (uint64_t)(bytes * unit) : 0;
    if (with_keep) {
        rc = find_keep(&bound, &l, bound.seconds, err);
    }
    if (!rc) {
        *out = bound;
    }
done:
    free(parts.phases);
    bl_lp_free(&l.lp);
    return rc;
}
