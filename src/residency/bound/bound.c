#include "residency/bound/bound.h"

#include "residency/bound/program.h"

#include <stdlib.h>
#include <string.h>

/* What lies on the device at the ends of a phase, and how it came there. */
static void memory_rows(bl_program *l, int i) {
    const bl_problem *p = l->p;
    double room = phase_room(l, i);
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
static void pass_rows(bl_program *l, int i) {
    const bl_problem *p = l->p;
    const bl_problem_phase *f = &p->phases[i];
    const bl_problem_module *mod = &p->modules[f->module];
    double room = phase_room(l, i), passes = f->passes, bytes = (double)mod->bytes / bl_unit,
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
    if (p->has_store && l->tier == BL_TIER_DEVICE) {
        bl_lp_add(&l->lp, column_ahead(l, i), 1);
    }
    for (int m = 0; m < p->module_count; m++) {
        if (m != f->module) {
            bl_lp_add(&l->lp, column(l, col_stay, i, m), passes);
        }
    }
}

static void time_rows(bl_program *l, int i) {
    const bl_problem *p = l->p;
    double compute = fastest_pass(&p->phases[i]) * p->phases[i].passes;
    if (p->async_copy) {
        bl_lp_row(&l->lp, compute, INFINITY);
        bl_lp_add(&l->lp, column_seconds(l, i), 1);
        for (int m = 0; m < p->module_count; m++) {
            bl_lp_add(&l->lp, column(l, col_after, i, m), -cheapest(l, m));
            if (drag_of(l) > 0) {
                bl_lp_add(&l->lp, column(l, col_during, i, m), -drag_of(l) * cheapest(l, m));
            }
        }
        bl_lp_row(&l->lp, 0, INFINITY);
    } else {
        bl_lp_row(&l->lp, compute, INFINITY);
    }
    bl_lp_add(&l->lp, column_seconds(l, i), 1);
    for (int m = 0; m < p->module_count; m++) {
        bl_lp_add(&l->lp, column(l, col_during, i, m), -cheapest(l, m));
        bl_lp_add(&l->lp, column(l, col_after, i, m), -cheapest(l, m));
    }
}

/* Before the first run: what is resident now, and copies that nothing hides. */
static void initial_rows(bl_program *l) {
    const bl_problem *p = l->p;
    bl_lp_row(&l->lp, 0, INFINITY);
    bl_lp_add(&l->lp, column_initial(l), 1);
    for (int m = 0; m < p->module_count; m++) {
        bl_lp_add(&l->lp, column_before(l, m), -cheapest(l, m));
    }
    for (int m = 0; m < p->module_count; m++) {
        uint64_t resident = 0;
        for (int b = 0; b < p->modules[m].block_count; b++) {
            const bl_problem_block *x = &p->modules[m].blocks[b];
            bool stored = l->tier == BL_TIER_FILE && x->stored_at != BL_NOWHERE;
            resident += x->resident_at != BL_NOWHERE || stored ? x->bytes : 0;
        }
        bl_lp_row(&l->lp, -INFINITY, (double)resident / bl_unit);
        bl_lp_add(&l->lp, column(l, col_start, 0, m), 1);
        bl_lp_add(&l->lp, column_before(l, m), -1);
    }
}

/* Every column has a limit, so that a price that is wrong by rounding cannot spoil the proof. */
static void limits(bl_program *l) {
    const bl_problem *p = l->p;
    int count = p->phase_count * (col_kinds * p->module_count + 2) + 1 + p->module_count;
    l->base[l->tier] = bl_lp_columns(&l->lp, count, 0, longest(p));
    double *low = l->lp.low, *high = l->lp.high;
    if (l->lp.no_memory) {
        return;
    }
    for (int i = 0; i < p->phase_count; i++) {
        const bl_problem_phase *f = &p->phases[i];
        const bl_problem_module *own = &p->modules[f->module];
        for (int m = 0; m < p->module_count; m++) {
            double bytes = (double)p->modules[m].bytes / bl_unit;
            high[column(l, col_start, i, m)] = high[column(l, col_end, i, m)] = bytes;
            high[column(l, col_stay, i, m)] = m == f->module ? 0 : bytes;
            high[column(l, col_during, i, m)] = m == f->module ? (f->passes + 1) * bytes : bytes;
            high[column(l, col_after, i, m)] = following(l, i) < 0 ? 0 : bytes;
        }
        low[column(l, col_start, i, f->module)] = (double)own->blocks[0].bytes / bl_unit;
        low[column(l, col_end, i, f->module)] = (double)own->blocks[own->block_count - 1].bytes / bl_unit;
        high[column_kept(l, i)] = (f->passes - 1) * (double)own->bytes / bl_unit;
    }
    if (l->steady) {
        high[column_initial(l)] = 0;
    }
    for (int m = 0; m < p->module_count; m++) {
        high[column_before(l, m)] = (double)p->modules[m].bytes / bl_unit;
    }
}

/* Costs: seconds, or bytes moved. */
static void set_cost(bl_program *l, bool seconds) {
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

static int find_keep(bl_bound *out, bl_program *l, double seconds, bl_error *err) {
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
            double bytes = x[column(l, col_stay, i, m)] * bl_unit;
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
static int take_apart(bl_program *l, bl_problem *sections, const bl_problem *p, bl_error *err) {
    *sections = *p;
    l->p = sections;
    sections->phases = malloc(3 * (size_t)p->phase_count * sizeof *sections->phases);
    if (!sections->phases) {
        return bl_fail_memory(err, "the planner's bound",
                              3 * (size_t)p->phase_count * sizeof *sections->phases);
    }
    sections->phase_count = 0;
    for (int i = 0; i < p->phase_count; i++) {
        int passes = p->phases[i].passes, edge = passes > 1;
        int section[3] = {edge, passes - 2 * edge, edge};
        for (int k = 0; k < 3; k++) {
            if (section[k] > 0) {
                sections->phases[sections->phase_count] = p->phases[i];
                sections->phases[sections->phase_count++].passes = section[k];
            }
        }
    }
    return 0;
}

/* The rows of one tier that hold for any schedule. */
static void tier_rows(bl_program *l, bl_tier tier, bool fine) {
    const bl_problem *p = l->p;
    l->tier = tier;
    limits(l);
    if (p->has_store && tier == BL_TIER_DEVICE) {
        bl_bound_store_columns(l);
    }
    for (int i = 0; i < p->phase_count && !l->lp.no_memory; i++) {
        memory_rows(l, i);
        pass_rows(l, i);
        time_rows(l, i);
        if (fine && p->async_copy && p->phases[i].passes > 1) {
            bl_bound_group_rows(l, i);
        }
    }
    if (fine) {
        bl_bound_block_rows(l);
    }
    if (!l->steady && !l->lp.no_memory) {
        initial_rows(l);
    }
}

static void all_rows(bl_program *l, bool fine) {
    tier_rows(l, BL_TIER_DEVICE, fine);
    if (l->p->has_store) {
        tier_rows(l, BL_TIER_FILE, fine);
        if (!l->lp.no_memory) {
            bl_bound_store_rows(l);
        }
        l->tier = BL_TIER_DEVICE;
    }
}

/* Clp works to 1e-7. */
static int least_seconds(double *out, bl_program *l, bl_error *err) {
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
    bl_program l = {.p = p, .steady = steady};
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
    bound.moved_bytes = proved && bytes > 0 ? (uint64_t)(bytes * bl_unit) : 0;
    rc = find_keep(&bound, &l, bound.seconds, err);
    if (!rc) {
        bound.seconds += steady ? 0 : bl_problem_first_seconds(p);
        *out = bound;
    }
done:
    bl_lp_free(&l.lp);
    return rc;
}

int bl_bound_steady(double *seconds, const bl_problem *p, bl_error *err) {
    bl_program l = {.p = p, .steady = true};
    all_rows(&l, false);
    int rc = least_seconds(seconds, &l, err);
    bl_lp_free(&l.lp);
    return rc;
}

/* Bytes in front of the cost: a load holds up more than a copy does. */
static void set_traffic_cost(bl_program *l) {
    static const double load_weight = 5;
    memset(l->lp.cost, 0, (size_t)l->lp.columns * sizeof *l->lp.cost);
    for (int t = 0; t < BL_TIERS; t++) {
        l->tier = (bl_tier)t;
        for (int i = 0; i < l->p->phase_count; i++) {
            for (int m = 0; m < l->p->module_count; m++) {
                l->lp.cost[column(l, col_during, i, m)] = l->lp.cost[column(l, col_after, i, m)] =
                    t == BL_TIER_FILE ? load_weight : 1;
            }
        }
    }
    l->tier = BL_TIER_DEVICE;
}

static uint64_t to_bytes(double units) {
    return units > 0 ? (uint64_t)(units * bl_unit) : 0;
}

/* What never leaves: the least over all phases. */
static void read_shares(bl_shares *out, bl_program *l, bool served, const double *x) {
    const bl_problem *p = l->p;
    for (int m = 0; m < p->module_count; m++) {
        double device = INFINITY, store = INFINITY;
        for (int i = 0; i < p->phase_count; i++) {
            int passes = p->phases[i].passes;
            if (m != p->phases[i].module) {
                device = fmin(device, x[column(l, col_stay, i, m)]);
                store = fmin(store, x[store_column(l, store_stay, i, m)]);
            } else {
                device = fmin(device, fmin(x[column(l, col_start, i, m)], x[column(l, col_end, i, m)]));
                store = fmin(
                    store, fmin(x[store_column(l, store_start, i, m)], x[store_column(l, store_end, i, m)]));
                if (passes > 1) {
                    device = fmin(device, x[column_kept(l, i)] / (passes - 1));
                    store = served ? fmin(store, x[column_served(l, i)] / (passes - 1)) : store;
                }
            }
        }
        out->device[m] = to_bytes(device);
        out->store[m] = to_bytes(store);
    }
}

int bl_bound_shares(bl_shares *out, const bl_problem *p, uint64_t device_spare, uint64_t store_spare,
                    bl_shares_of of, bl_error *err) {
    bl_problem less = *p; /* shares the lists */
    memset(out, 0, sizeof *out);
    if (!p->has_store || device_spare >= p->budget_bytes || store_spare >= p->host_bytes) {
        return 0;
    }
    less.budget_bytes -= device_spare;
    less.host_bytes -= store_spare;
    bl_program l = {.p = &less, .steady = true};
    double seconds, traffic;
    bool proved = false;
    const double *x;
    all_rows(&l, false);
    int still = of == BL_SHARES_STILL && !l.lp.no_memory ? bl_bound_still_rows(&l) : -1;
    if (!l.lp.no_memory) {
        set_cost(&l, true);
    }
    int rc = bl_lp_solve(&l.lp, &seconds, &proved, NULL, err);
    if (!rc && proved) {
        bl_lp_row(&l.lp, -INFINITY, seconds * (1 + 1e-4) + 1e-9);
        for (int i = 0; i < p->phase_count; i++) {
            bl_lp_add(&l.lp, column_seconds(&l, i), 1);
        }
        set_traffic_cost(&l);
        rc = bl_lp_solve(&l.lp, &traffic, &proved, &x, err);
        if (!rc && proved) {
            out->found = true;
            read_shares(out, &l, of == BL_SHARES_SERVED, x);
            for (int m = 0; m < p->module_count && still >= 0; m++) {
                out->device[m] = to_bytes(x[still + m]);
                out->store[m] = to_bytes(x[still + p->module_count + m]);
            }
        }
    }
    bl_lp_free(&l.lp);
    return rc;
}

int bl_bound_refine(double *seconds, const bl_problem *p, bool steady, bl_error *err) {
    bl_program l = {.steady = steady};
    bl_problem sections;
    int rc = take_apart(&l, &sections, p, err);
    if (rc) {
        return rc;
    }
    all_rows(&l, true);
    double fine;
    rc = least_seconds(&fine, &l, err);
    fine += steady ? 0 : bl_problem_first_seconds(p);
    *seconds = !rc && fine > *seconds ? fine : *seconds;
    free(sections.phases);
    bl_lp_free(&l.lp);
    return rc;
}
