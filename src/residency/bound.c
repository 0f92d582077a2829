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
    const bl_problem *p;                      /* with phases in parts, where the finer bound is asked for */
    int phase_of[3 * BL_PROBLEM_PHASES];      /* the phase that a part belongs to */
    int cluster_count[3 * BL_PROBLEM_PHASES]; /* of a part; 0: its blocks are not looked at */
    int block_first[3 * BL_PROBLEM_PHASES];   /* first column of a part's clusters */
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

/* One copy for each use, one thing at a time: nobody has to take longer, nor to copy more. */
static double longest(const bl_problem *p) {
    double sum = 0;
    for (int i = 0; i < p->phase_count; i++) {
        const bl_problem_phase *f = &p->phases[i];
        sum += f->passes * (f->levels[0].pass_seconds + p->modules[f->module].copy_seconds);
    }
    return 2 * sum;
}

/* Every column has a limit, so that a price that is wrong by rounding cannot spoil the proof. */
static void limits(program *l) {
    const bl_problem *p = l->p;
    bl_lp_columns(&l->lp, p->phase_count * (col_kinds * p->module_count + 2) + 1 + p->module_count, 0,
                  longest(p));
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
            high[column(l, col_during, i, m)] = m == f->module ? (f->passes + 1) * bytes : bytes;
            high[column(l, col_after, i, m)] = following(l, i) < 0 ? 0 : bytes;
        }
        low[column(l, col_start, i, f->module)] = (double)own->blocks[0].bytes / unit;
        low[column(l, col_end, i, f->module)] = (double)own->blocks[own->block_count - 1].bytes / unit;
        high[column_kept(l, i)] = (f->passes - 1) * (double)own->bytes / unit;
    }
    if (l->steady) {
        high[column_initial(l)] = 0;
    }
    for (int m = 0; m < p->module_count; m++) {
        high[column_before(l, m)] = (double)p->modules[m].bytes / unit;
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
    double most = (double)mod->bytes / unit;
    int there = bl_lp_columns(lp, n * (n + 1), 0, most), copied = bl_lp_columns(lp, n * n, 0, 2 * most);
    int entry = bl_lp_columns(lp, n, 0, most), length = bl_lp_columns(lp, n, 0, longest(p));
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

enum { clusters_most = 64, clusters_in_all = 192 };

/* Consecutive blocks of one module that the program counts as one. */
typedef struct cluster {
    double bytes;             /* all, in units */
    double smallest, largest; /* of one block */
    double cheapest, dearest; /* copy seconds of one unit of a block */
    double running;           /* sum of bytes x share over its blocks */
    double before, after;     /* share of the pass's compute before its first block and after its last */
    double largest_share;     /* of one of its blocks */
} cluster;

static double fastest_block(const bl_problem_phase *f, int block) {
    double best = f->levels[0].block_seconds[block];
    for (int v = 1; v < f->level_count; v++) {
        best = fmin(best, f->levels[v].block_seconds[block]);
    }
    return best;
}

/* Ends of clusters whose sizes differ by no more than `spread`; returns how many. */
static int cut_by_size(const bl_problem_module *m, double spread, int limit, int *end) {
    int count = 0, most = (3 * m->block_count + limit - 1) / limit;
    double low = 0, high = 0;
    for (int b = 0, first = 0; b < m->block_count; b++) {
        double bytes = (double)m->blocks[b].bytes;
        if (b == first || (b - first < most && fmax(high, bytes) <= spread * fmin(low, bytes))) {
            low = b == first ? bytes : fmin(low, bytes);
            high = b == first ? bytes : fmax(high, bytes);
        } else {
            end[count++] = b;
            first = b;
            low = high = bytes;
        }
    }
    end[count++] = m->block_count;
    return count;
}

/* Fills out[]; returns how many. One block each where there are few. */
static int make_clusters(const bl_problem_phase *f, const bl_problem_module *m, int limit, cluster *out) {
    static const double spreads[] = {1.1, 1.25, 1.5, 2, 4, INFINITY};
    int end[BL_PROBLEM_BLOCKS], count = 0;
    if (m->block_count <= limit) {
        for (; count < m->block_count; count++) {
            end[count] = count + 1;
        }
    }
    for (size_t i = 0; i < sizeof spreads / sizeof *spreads && (!count || count > limit); i++) {
        count = cut_by_size(m, spreads[i], limit, end);
    }
    double all = 0, before = 0;
    for (int b = 0; b < m->block_count; b++) {
        all += fastest_block(f, b);
    }
    for (int c = 0, b = 0; c < count; c++) {
        cluster x = {.smallest = INFINITY, .cheapest = INFINITY, .before = before};
        for (; b < end[c]; b++) {
            double bytes = (double)m->blocks[b].bytes / unit, rate = m->blocks[b].copy_seconds / bytes;
            double share = all > 0 ? fastest_block(f, b) / all : 0;
            x.bytes += bytes;
            x.smallest = fmin(x.smallest, bytes);
            x.largest = fmax(x.largest, bytes);
            x.cheapest = fmin(x.cheapest, rate);
            x.dearest = fmax(x.dearest, rate);
            x.running += share * bytes;
            x.largest_share = fmax(x.largest_share, share);
            before += share;
        }
        x.after = fmax(0, 1 - before - 1e-12);
        out[c] = x;
    }
    return count;
}

/* Columns of one cluster of a part's module; behind those of all clusters the part's idle and other. */
enum {
    block_kept,   /* bytes kept from one pass to the next, summed */
    block_entry,  /* there when the part begins, and kept until the first use */
    block_exit,   /* kept from the last use to the end of the part */
    block_copied, /* copied for uses in the part */
    block_early,  /* copied in the part for uses after it */
    block_after,  /* copied between the part and the next one, which runs the same module */
    block_cover,  /* seconds of compute beside copies of the cluster */
    block_kinds
};

/* Number of a cluster's first column. */
static int block_column(const program *l, int part, int c) {
    return l->block_first[part] + c * block_kinds;
}

/* Seconds of a part in which no copy is under way. */
static int column_idle(const program *l, int part) {
    return block_column(l, part, l->cluster_count[part]);
}

/* Seconds of compute in a part beside copies of another module. */
static int column_other(const program *l, int part, int module) {
    return column_idle(l, part) + 1 + module;
}

/* The part whose blocks follow those of part i, or -1: the next one, if it runs the same module. */
static int same_next(const program *l, int i) {
    int next = following(l, i);
    return next >= 0 && l->p->phases[next].module == l->p->phases[i].module && l->cluster_count[next] ? next
                                                                                                      : -1;
}

static void block_columns(program *l, int i, const cluster *clusters) {
    const bl_problem *p = l->p;
    l->block_first[i] =
        bl_lp_columns(&l->lp, l->cluster_count[i] * block_kinds + 1 + p->module_count, 0, longest(p));
    double *high = l->lp.high, passes = p->phases[i].passes;
    for (int c = 0; c < l->cluster_count[i] && !l->lp.no_memory; c++) {
        int at = block_column(l, i, c);
        double bytes = clusters[c].bytes;
        high[at + block_kept] = (passes - 1) * bytes;
        high[at + block_entry] = high[at + block_exit] = high[at + block_early] = high[at + block_after] =
            bytes;
        high[at + block_copied] = passes * bytes;
    }
}

/* Adds value x the sum of one kind of column over the clusters to the row. */
static void add_blocks(program *l, int i, int kind, double value) {
    for (int c = 0; c < l->cluster_count[i]; c++) {
        bl_lp_add(&l->lp, block_column(l, i, c) + kind, value);
    }
}

/* What becomes of each cluster, and how that adds up to what becomes of the module. */
static void block_rows(program *l, int i, const cluster *clusters) {
    const bl_problem *p = l->p;
    int own = p->phases[i].module, next = same_next(l, i);
    double passes = p->phases[i].passes, all = (double)p->modules[own].bytes / unit, smallest = all;
    for (int c = 0; c < l->cluster_count[i]; c++) {
        int at = block_column(l, i, c);
        smallest = fmin(smallest, clusters[c].smallest);
        bl_lp_row(&l->lp, passes * clusters[c].bytes, INFINITY); /* each use finds it */
        bl_lp_add(&l->lp, at + block_kept, 1);
        bl_lp_add(&l->lp, at + block_entry, 1);
        bl_lp_add(&l->lp, at + block_copied, 1);
        if (next >= 0) {
            bl_lp_row(&l->lp, 0, INFINITY); /* there at the begin of the next part: from this one */
            bl_lp_add(&l->lp, block_column(l, next, c) + block_entry, -1);
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
static void whole_rows(program *l, int i, const cluster *clusters) {
    const bl_problem *p = l->p;
    const bl_problem_phase *f = &p->phases[i];
    bl_lp *lp = &l->lp;
    double all = fastest_pass(f), running = 0;
    for (int c = 0; c < l->cluster_count[i]; c++) {
        running += clusters[c].running;
    }
    if (all <= 0) {
        return;
    }
    bl_lp_row(lp, -INFINITY, f->passes * (phase_room(p, i) - running));
    for (int c = 0; c < l->cluster_count[i]; c++) {
        int at = block_column(l, i, c);
        bl_lp_add(lp, at + block_kept, 1 - clusters[c].largest_share);
        bl_lp_add(lp, at + block_entry, clusters[c].before);
        bl_lp_add(lp, at + block_exit, clusters[c].after);
        if (p->async_copy) {
            bl_lp_add(lp, at + block_cover, clusters[c].smallest / all);
        }
    }
    for (int k = 0; k < p->module_count; k++) {
        if (k == f->module) {
            continue;
        }
        bl_lp_add(lp, column(l, col_stay, i, k), f->passes);
        double least = INFINITY;
        for (int b = 0; b < p->modules[k].block_count; b++) {
            least = fmin(least, (double)p->modules[k].blocks[b].bytes / unit);
        }
        if (p->async_copy) {
            bl_lp_add(lp, column_other(l, i, k), least / all);
        }
    }
    if (p->async_copy) {
        bl_lp_row(lp, f->passes * all, INFINITY); /* compute runs beside a copy, or none is under way */
        bl_lp_add(lp, column_idle(l, i), 1);
        add_blocks(l, i, block_cover, 1);
        for (int k = 0; k < p->module_count; k++) {
            bl_lp_add(lp, column_other(l, i, k), 1);
        }
    }
}

/* Seconds of copies: compute beside them cannot be longer, and with the idle ones they fill the part. */
static void copy_rows(program *l, int i, const cluster *clusters) {
    const bl_problem *p = l->p;
    bl_lp *lp = &l->lp;
    for (int c = 0; c < l->cluster_count[i]; c++) {
        int at = block_column(l, i, c);
        bl_lp_row(lp, 0, INFINITY);
        bl_lp_add(lp, at + block_copied, clusters[c].dearest);
        bl_lp_add(lp, at + block_early, clusters[c].dearest);
        bl_lp_add(lp, at + block_cover, -1);
    }
    for (int k = 0; k < p->module_count; k++) {
        if (k == p->phases[i].module) {
            lp->high[column_other(l, i, k)] = 0;
            continue;
        }
        double dearest = 0;
        for (int b = 0; b < p->modules[k].block_count; b++) {
            const bl_problem_block *x = &p->modules[k].blocks[b];
            dearest = fmax(dearest, x->copy_seconds / ((double)x->bytes / unit));
        }
        bl_lp_row(lp, 0, INFINITY);
        bl_lp_add(lp, column(l, col_during, i, k), dearest);
        bl_lp_add(lp, column_other(l, i, k), -1);
    }
    bl_lp_row(lp, 0, INFINITY);
    bl_lp_add(lp, column_seconds(l, i), 1);
    bl_lp_add(lp, column_idle(l, i), -1);
    for (int c = 0; c < l->cluster_count[i]; c++) {
        bl_lp_add(lp, block_column(l, i, c) + block_copied, -clusters[c].cheapest);
        bl_lp_add(lp, block_column(l, i, c) + block_early, -clusters[c].cheapest);
    }
    for (int k = 0; k < p->module_count; k++) {
        if (k != p->phases[i].module) {
            bl_lp_add(lp, column(l, col_during, i, k), -cheapest(p, k));
        }
        bl_lp_add(lp, column(l, col_after, i, k), -cheapest(p, k));
    }
}

static bool must_stream(const bl_problem *p, int part) {
    return (double)p->modules[p->phases[part].module].bytes / unit > phase_room(p, part);
}

/* Whole blocks, where some must be streamed: the more such parts, the larger the clusters. */
static void all_block_rows(program *l) {
    const bl_problem *p = l->p;
    cluster clusters[2 * clusters_most];
    int parts = 0;
    for (int i = 0; i < p->phase_count; i++) {
        parts += must_stream(p, i);
    }
    int limit = parts * clusters_most > clusters_in_all ? clusters_in_all / parts : clusters_most;
    limit = limit > 8 ? limit : 8;
    for (int i = 0; i < p->phase_count && !l->lp.no_memory; i++) {
        if (must_stream(p, i)) {
            l->cluster_count[i] =
                make_clusters(&p->phases[i], &p->modules[p->phases[i].module], limit, clusters);
            block_columns(l, i, clusters);
        }
    }
    for (int i = 0; i < p->phase_count && !l->lp.no_memory; i++) {
        if (l->cluster_count[i]) {
            make_clusters(&p->phases[i], &p->modules[p->phases[i].module], limit, clusters);
            block_rows(l, i, clusters);
            whole_rows(l, i, clusters);
            if (p->async_copy) {
                copy_rows(l, i, clusters);
            }
        }
    }
}

static int find_keep(bl_bound *out, program *l, double seconds, bl_error *err) {
    const bl_problem *p = l->p;
    size_t n = (size_t)p->phase_count * (size_t)p->module_count;
    uint64_t *keep = calloc(n, sizeof *keep);
    if (!keep) {
        return bl_fail_memory(err, "the bound's residents", n * sizeof *keep);
    }
    bl_lp_row(&l->lp, -INFINITY, seconds * (1 + 1e-5) + 1e-9);
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
            double bytes = x[column(l, col_stay, i, m)] * unit;
            keep[i * p->module_count + m] = bytes > 0 ? (uint64_t)bytes : 0;
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
static int take_apart(program *l, bl_problem *parts, const bl_problem *p, bl_error *err) {
    *parts = *p;
    l->p = parts;
    parts->phases = malloc(3 * (size_t)p->phase_count * sizeof *parts->phases);
    if (!parts->phases) {
        return bl_fail_memory(err, "the planner's bound", 3 * (size_t)p->phase_count * sizeof *parts->phases);
    }
    parts->phase_count = 0;
    for (int i = 0; i < p->phase_count; i++) {
        int passes = p->phases[i].passes, edge = passes > 1;
        int part[3] = {edge, passes - 2 * edge, edge};
        for (int k = 0; k < 3; k++) {
            if (part[k] > 0) {
                parts->phases[parts->phase_count] = p->phases[i];
                parts->phases[parts->phase_count++].passes = part[k];
            }
        }
    }
    return 0;
}

/* The rows that hold for any schedule. */
static void all_rows(program *l, bool fine) {
    const bl_problem *p = l->p;
    limits(l);
    for (int i = 0; i < p->phase_count && !l->lp.no_memory; i++) {
        memory_rows(l, i);
        pass_rows(l, i);
        time_rows(l, i);
        if (fine && p->async_copy && p->phases[i].passes > 1) {
            group_rows(l, i);
        }
    }
    if (fine) {
        all_block_rows(l);
    }
    if (!l->steady && !l->lp.no_memory) {
        initial_rows(l);
    }
}

/* Clp works to 1e-7. */
static int least_seconds(double *out, program *l, bl_error *err) {
    bool proved = false;
    if (!l->lp.no_memory) {
        set_cost(l, true);
    }
    int rc = bl_lp_solve(&l->lp, out, &proved, NULL, err);
    *out -= 1e-6 * *out;
    /* Without a proof there is no bound but the trivial one: the compute. */
    for (int i = 0; i < l->p->phase_count && !proved; i++) {
        *out = (i ? *out : 0) + fastest_pass(&l->p->phases[i]) * l->p->phases[i].passes;
    }
    return rc;
}

int bl_bound_find(bl_bound *out, const bl_problem *p, bool steady, bl_error *err) {
    program l = {.p = p, .steady = steady};
    bl_bound bound = {0};
    double bytes = 0;
    bool proved = false;
    all_rows(&l, false);
    int rc = least_seconds(&bound.seconds, &l, err);
    if (rc) {
        goto done;
    }
    set_cost(&l, false);
    rc = bl_lp_solve(&l.lp, &bytes, &proved, NULL, err);
    if (rc) {
        goto done;
    }
    bytes -= 1e-6 * bytes + 1e-6;
    bound.moved_bytes = proved && bytes > 0 ? (uint64_t)(bytes * unit) : 0;
    rc = find_keep(&bound, &l, bound.seconds, err);
    if (!rc) {
        *out = bound;
    }
done:
    bl_lp_free(&l.lp);
    return rc;
}

int bl_bound_refine(double *seconds, const bl_problem *p, bool steady, bl_error *err) {
    program l = {.steady = steady};
    bl_problem parts;
    int rc = take_apart(&l, &parts, p, err);
    if (rc) {
        return rc;
    }
    all_rows(&l, true);
    double fine;
    rc = least_seconds(&fine, &l, err);
    *seconds = !rc && fine > *seconds ? fine : *seconds;
    free(parts.phases);
    bl_lp_free(&l.lp);
    return rc;
}
