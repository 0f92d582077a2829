#include "residency/bound/program.h"

enum { clusters_most = 64, clusters_in_all = 156 };

/* Consecutive blocks of one module that the program counts as one. */
typedef struct cluster {
    double bytes;             /* all, in units */
    double smallest, largest; /* of one block */
    double cheapest, dearest; /* copy seconds of 10^9 bytes of a block */
    double running;           /* sum of bytes x share over its blocks */
    double before, after;     /* share of the pass's compute before its first block and after its last */
    double smallest_share, largest_share; /* of one of its blocks */
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
static int make_clusters(const bl_program *l, int section, int limit, cluster *out) {
    const bl_problem_phase *f = &l->p->phases[section];
    const bl_problem_module *m = &l->p->modules[f->module];
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
        cluster x = {
            .smallest = INFINITY, .cheapest = INFINITY, .before = before, .smallest_share = INFINITY};
        for (; b < end[c]; b++) {
            double bytes = (double)m->blocks[b].bytes / bl_unit,
                   rate = bring_seconds(l, &m->blocks[b]) / bytes;
            double share = all > 0 ? fastest_block(f, b) / all : 0;
            x.bytes += bytes;
            x.smallest = fmin(x.smallest, bytes);
            x.largest = fmax(x.largest, bytes);
            x.cheapest = fmin(x.cheapest, rate);
            x.dearest = fmax(x.dearest, rate);
            x.running += share * bytes;
            x.smallest_share = fmin(x.smallest_share, share);
            x.largest_share = fmax(x.largest_share, share);
            before += share;
        }
        x.after = fmax(0, 1 - before - 1e-12);
        out[c] = x;
    }
    return count;
}

/* Columns of one cluster of a section's module; behind those of all clusters the section's idle and other. */
enum {
    block_kept,   /* bytes kept from one pass to the next, summed */
    block_entry,  /* there when the section begins, and kept until the first use */
    block_exit,   /* kept from the last use to the end of the section */
    block_copied, /* copied for uses in the section */
    block_early,  /* copied in the section for uses after it */
    block_after,  /* copied between the section and the next one, which runs the same module */
    block_cover,  /* seconds of compute beside copies of the cluster */
    block_stored, /* of what is kept without a load, what the store has while it runs; of that tier alone */
    block_kinds_file,
    block_kinds_device = block_stored
};

/* Of the present tier. */
static int block_kinds(const bl_program *l) {
    return l->tier == BL_TIER_FILE ? block_kinds_file : block_kinds_device;
}

/* Number of a cluster's first column. */
static int block_column(const bl_program *l, int section, int c) {
    return l->block_first[l->tier][section] + c * block_kinds(l);
}

/* Seconds of a section in which no copy is under way. */
static int column_idle(const bl_program *l, int section) {
    return block_column(l, section, l->cluster_count[l->tier][section]);
}

/* Seconds of compute in a section beside copies of another module. */
static int column_other(const bl_program *l, int section, int module) {
    return column_idle(l, section) + 1 + module;
}

/* The section whose blocks follow those of section i, or -1: the next one, if it runs the same module. */
static int same_next(const bl_program *l, int i) {
    int next = following(l, i);
    return next >= 0 && l->p->phases[next].module == l->p->phases[i].module && l->cluster_count[l->tier][next]
               ? next
               : -1;
}

static void block_columns(bl_program *l, int i, const cluster *clusters) {
    const bl_problem *p = l->p;
    l->block_first[l->tier][i] = bl_lp_columns(
        &l->lp, l->cluster_count[l->tier][i] * block_kinds(l) + 1 + p->module_count, 0, longest(p));
    double *high = l->lp.high, passes = p->phases[i].passes;
    for (int c = 0; c < l->cluster_count[l->tier][i] && !l->lp.no_memory; c++) {
        int at = block_column(l, i, c);
        double bytes = clusters[c].bytes;
        high[at + block_kept] = (passes - 1) * bytes;
        if (l->tier == BL_TIER_FILE) {
            high[at + block_stored] = (passes - 1) * bytes;
        }
        high[at + block_entry] = high[at + block_exit] = high[at + block_early] = high[at + block_after] =
            bytes;
        high[at + block_copied] = passes * bytes;
    }
}

/* Of a module, in units. */
static double smallest_block(const bl_problem *p, int module) {
    double least = INFINITY;
    for (int b = 0; b < p->modules[module].block_count; b++) {
        least = fmin(least, (double)p->modules[module].blocks[b].bytes / bl_unit);
    }
    return least;
}

/* Adds value x the sum of one kind of column over the clusters to the row. */
static void add_blocks(bl_program *l, int i, int kind, double value) {
    for (int c = 0; c < l->cluster_count[l->tier][i]; c++) {
        bl_lp_add(&l->lp, block_column(l, i, c) + kind, value);
    }
}

/* What becomes of each cluster, and how that adds up to what becomes of the module. */
static void block_rows(bl_program *l, int i, const cluster *clusters) {
    const bl_problem *p = l->p;
    int own = p->phases[i].module, next = same_next(l, i);
    double passes = p->phases[i].passes, all = (double)p->modules[own].bytes / bl_unit, smallest = all;
    for (int c = 0; c < l->cluster_count[l->tier][i]; c++) {
        int at = block_column(l, i, c);
        smallest = fmin(smallest, clusters[c].smallest);
        bl_lp_row(&l->lp, passes * clusters[c].bytes, INFINITY); /* each use finds it */
        bl_lp_add(&l->lp, at + block_kept, 1);
        bl_lp_add(&l->lp, at + block_entry, 1);
        bl_lp_add(&l->lp, at + block_copied, 1);
        if (next >= 0) {
            bl_lp_row(&l->lp, 0, INFINITY); /* there at the begin of the next section: from this one */
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
    if (passes > 1 && all > phase_room(l, i)) { /* not all can stay: a whole block comes in each pass */
        bl_lp_row(&l->lp, -INFINITY, (passes - 1) * (all - smallest));
        add_blocks(l, i, block_kept, 1);
    }
}

/* What lies on the device and in the store at the same time: what is copied, and what the store keeps while
 * it runs.
 */
static void add_twice(bl_program *l, int i, const cluster *clusters, double all) {
    int count = l->cluster_count[BL_TIER_FILE][i];
    for (int c = 0; c < count; c++) {
        bl_lp_add(&l->lp, block_column(l, i, c) + block_stored, clusters[c].smallest_share);
    }
    l->tier = BL_TIER_DEVICE;
    for (int c = 0; c < count; c++) {
        bl_lp_add(&l->lp, block_column(l, i, c) + block_cover, clusters[c].smallest / all);
    }
    for (int k = 0; k < l->p->module_count; k++) {
        if (k != l->p->phases[i].module) {
            bl_lp_add(&l->lp, column_other(l, i, k), smallest_block(l->p, k) / all);
        }
    }
    l->tier = BL_TIER_FILE;
}

/* Kept without a load and not on the device all the while: the store has it, from the run before its next
 * copy on. */
static void stored_rows(bl_program *l, int i) {
    for (int c = 0; c < l->cluster_count[BL_TIER_FILE][i]; c++) {
        int file = block_column(l, i, c);
        l->tier = BL_TIER_DEVICE;
        int device = block_column(l, i, c);
        l->tier = BL_TIER_FILE;
        bl_lp_row(&l->lp, 0, INFINITY);
        bl_lp_add(&l->lp, file + block_stored, 1);
        bl_lp_add(&l->lp, file + block_kept, -1);
        bl_lp_add(&l->lp, device + block_kept, 1);
    }
}

/* The room at each moment of compute, averaged over its time: beside what is kept lie, whole, the block that
 * runs and the one that is copied. */
static void whole_rows(bl_program *l, int i, const cluster *clusters) {
    const bl_problem *p = l->p;
    const bl_problem_phase *f = &p->phases[i];
    bl_lp *lp = &l->lp;
    double all = fastest_pass(f), running = 0;
    for (int c = 0; c < l->cluster_count[l->tier][i]; c++) {
        running += clusters[c].running;
    }
    if (all <= 0) {
        return;
    }
    bl_lp_row(lp, -INFINITY, f->passes * (phase_room(l, i) - running));
    for (int c = 0; c < l->cluster_count[l->tier][i]; c++) {
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
        if (p->async_copy) {
            bl_lp_add(lp, column_other(l, i, k), smallest_block(p, k) / all);
        }
    }
    if (p->has_store && l->tier == BL_TIER_DEVICE) {
        bl_lp_add(lp, column_ahead(l, i), 1);
    }
    if (l->tier == BL_TIER_FILE) {
        add_twice(l, i, clusters, all);
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

/* In the store a block that is being loaded has its place, beside what is kept there. */
static void loading_row(bl_program *l, int i, const cluster *clusters) {
    const bl_problem *p = l->p;
    const bl_problem_phase *f = &p->phases[i];
    double all = fastest_pass(f);
    if (all <= 0) {
        return;
    }
    bl_lp_row(&l->lp, -INFINITY, f->passes * (double)p->host_bytes / bl_unit);
    bl_lp_add(&l->lp, column_served(l, i), 1);
    for (int c = 0; c < l->cluster_count[l->tier][i]; c++) {
        bl_lp_add(&l->lp, block_column(l, i, c) + block_cover, clusters[c].smallest / all);
    }
    for (int k = 0; k < p->module_count; k++) {
        if (k != f->module) {
            bl_lp_add(&l->lp, store_column(l, store_stay, i, k), f->passes);
        }
    }
}

/* Seconds of copies: compute beside them, as long as it takes alone, cannot be longer than what they leave of
 * it; and with the idle ones they fill the section. */
static void copy_rows(bl_program *l, int i, const cluster *clusters) {
    const bl_problem *p = l->p;
    bl_lp *lp = &l->lp;
    double left = 1 - drag_of(l);
    for (int c = 0; c < l->cluster_count[l->tier][i]; c++) {
        int at = block_column(l, i, c);
        bl_lp_row(lp, 0, INFINITY);
        bl_lp_add(lp, at + block_copied, left * clusters[c].dearest);
        bl_lp_add(lp, at + block_early, left * clusters[c].dearest);
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
            dearest = fmax(dearest, bring_seconds(l, x) / ((double)x->bytes / bl_unit));
        }
        bl_lp_row(lp, 0, INFINITY);
        bl_lp_add(lp, column(l, col_during, i, k), left * dearest);
        bl_lp_add(lp, column_other(l, i, k), -1);
    }
    bl_lp_row(lp, 0, INFINITY);
    bl_lp_add(lp, column_seconds(l, i), 1);
    bl_lp_add(lp, column_idle(l, i), -1);
    for (int c = 0; c < l->cluster_count[l->tier][i]; c++) {
        bl_lp_add(lp, block_column(l, i, c) + block_copied, -clusters[c].cheapest);
        bl_lp_add(lp, block_column(l, i, c) + block_early, -clusters[c].cheapest);
    }
    for (int k = 0; k < p->module_count; k++) {
        if (k != p->phases[i].module) {
            bl_lp_add(lp, column(l, col_during, i, k), -cheapest(l, k));
        }
        bl_lp_add(lp, column(l, col_after, i, k), -cheapest(l, k));
    }
}

/* Out of the file some must come, too, where the store falls short by what is under way. */
static bool must_stream(const bl_program *l, int section) {
    const bl_problem_module *m = &l->p->modules[l->p->phases[section].module];
    double room = phase_room(l, section), host = (double)l->p->host_bytes / bl_unit;
    double under_way = l->tier == BL_TIER_FILE ? fmin(4 * (double)m->largest_block / bl_unit, host) : 0;
    return (double)m->bytes / bl_unit > room - under_way;
}

/* The more such sections, the larger the clusters. */
void bl_bound_block_rows(bl_program *l) {
    const bl_problem *p = l->p;
    cluster clusters[2 * clusters_most];
    int sections = 0;
    for (int i = 0; i < p->phase_count; i++) {
        sections += l->tier == BL_TIER_FILE ? l->cluster_count[BL_TIER_DEVICE][i] > 0 : must_stream(l, i);
    }
    int limit = sections * clusters_most > clusters_in_all ? clusters_in_all / sections : clusters_most;
    limit = limit > 8 ? limit : 8;
    for (int i = 0; i < p->phase_count && !l->lp.no_memory; i++) {
        if (must_stream(l, i)) {
            l->cluster_count[l->tier][i] = make_clusters(l, i, limit, clusters);
            block_columns(l, i, clusters);
        }
    }
    for (int i = 0; i < p->phase_count && !l->lp.no_memory; i++) {
        if (l->cluster_count[l->tier][i]) {
            make_clusters(l, i, limit, clusters);
            block_rows(l, i, clusters);
            whole_rows(l, i, clusters);
            if (p->async_copy) {
                copy_rows(l, i, clusters);
            }
            if (l->tier == BL_TIER_FILE) {
                stored_rows(l, i);
                loading_row(l, i, clusters);
            }
        }
    }
}
