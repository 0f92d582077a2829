#include "residency/bound/program.h"

/* The same columns of another tier. */
static int tier_column(bl_program *l, bl_tier tier, int kind, int phase, int module) {
    bl_tier now = l->tier;
    l->tier = tier;
    int c = column(l, kind, phase, module);
    l->tier = now;
    return c;
}

static int kept_column(bl_program *l, bl_tier tier, int phase) {
    bl_tier now = l->tier;
    l->tier = tier;
    int c = column_kept(l, phase);
    l->tier = now;
    return c;
}

static int before_column(bl_program *l, bl_tier tier, int module) {
    bl_tier now = l->tier;
    l->tier = tier;
    int c = column_before(l, module);
    l->tier = now;
    return c;
}

/* c <= a + b + d; d below 0: without it. */
static void at_most(bl_program *l, int c, int a, int b, int d) {
    bl_lp_row(&l->lp, 0, INFINITY);
    bl_lp_add(&l->lp, c, -1);
    bl_lp_add(&l->lp, a, 1);
    bl_lp_add(&l->lp, b, 1);
    if (d >= 0) {
        bl_lp_add(&l->lp, d, 1);
    }
}

/* What module m has in the store around phase i: it was there before or was loaded; what is on the device or
 * in the store is in one of them; and what is new on the device came from the store. */
static void module_rows(bl_program *l, int i, int m) {
    int own = l->p->phases[i].module, next = following(l, i);
    int loaded = tier_column(l, BL_TIER_FILE, col_during, i, m), start = store_column(l, store_start, i, m),
        end = store_column(l, store_end, i, m);
    int device_start = tier_column(l, BL_TIER_DEVICE, col_start, i, m),
        device_end = tier_column(l, BL_TIER_DEVICE, col_end, i, m);
    if (m == own) {
        at_most(l, end, start, loaded, -1);
    } else {
        int stay = store_column(l, store_stay, i, m);
        at_most(l, end, stay, loaded, -1);
        bl_lp_row(&l->lp, 0, INFINITY);
        bl_lp_add(&l->lp, start, 1);
        bl_lp_add(&l->lp, stay, -1);
    }
    at_most(l, tier_column(l, BL_TIER_FILE, col_start, i, m), device_start, start, -1);
    at_most(l, tier_column(l, BL_TIER_FILE, col_end, i, m), device_end, end, -1);
    int kept = m == own ? device_start : tier_column(l, BL_TIER_DEVICE, col_stay, i, m);
    at_most(l, device_end, kept, start, loaded);
    if (next >= 0) {
        int after = tier_column(l, BL_TIER_FILE, col_after, i, m);
        at_most(l, store_column(l, store_start, next, m), end, after, -1);
        at_most(l, tier_column(l, BL_TIER_DEVICE, col_start, next, m), device_end, end, after);
    }
}

/* What is copied before the first run was in the store or is loaded before. */
static void initial_rows(bl_program *l, int m) {
    double stored = 0;
    for (int b = 0; b < l->p->modules[m].block_count; b++) {
        const bl_problem_block *x = &l->p->modules[m].blocks[b];
        stored += x->stored_at != BL_NOWHERE ? (double)x->bytes / bl_unit : 0;
    }
    int loaded = before_column(l, BL_TIER_FILE, m);
    bl_lp_row(&l->lp, -INFINITY, stored);
    bl_lp_add(&l->lp, store_column(l, store_start, 0, m), 1);
    bl_lp_add(&l->lp, loaded, -1);
    bl_lp_row(&l->lp, -INFINITY, stored);
    bl_lp_add(&l->lp, before_column(l, BL_TIER_DEVICE, m), 1);
    bl_lp_add(&l->lp, loaded, -1);
}

/* What the passes of the phase's module find without a load was on the device all the while, or in the store
 * until it was copied. */
static void pass_rows(bl_program *l, int i) {
    const bl_problem *p = l->p;
    bl_lp_row(&l->lp, 0, INFINITY);
    bl_lp_add(&l->lp, kept_column(l, BL_TIER_FILE, i), -1);
    bl_lp_add(&l->lp, kept_column(l, BL_TIER_DEVICE, i), 1);
    bl_lp_add(&l->lp, column_served(l, i), 1);
    bl_lp_add(&l->lp, column_ahead(l, i), 1);
    bl_lp_row(&l->lp, -INFINITY, p->phases[i].passes * (double)p->host_bytes / bl_unit);
    bl_lp_add(&l->lp, column_served(l, i), 1);
    for (int m = 0; m < p->module_count; m++) {
        if (m != p->phases[i].module) {
            bl_lp_add(&l->lp, store_column(l, store_stay, i, m), p->phases[i].passes);
        }
    }
}

void bl_bound_store_columns(bl_program *l) {
    const bl_problem *p = l->p;
    l->store = bl_lp_columns(&l->lp, p->phase_count * (store_kinds * p->module_count + 2), 0, 0);
    for (int i = 0; i < p->phase_count && !l->lp.no_memory; i++) {
        const bl_problem_phase *f = &p->phases[i];
        for (int m = 0; m < p->module_count; m++) {
            double bytes = (double)p->modules[m].bytes / bl_unit;
            for (int kind = 0; kind < store_kinds; kind++) {
                l->lp.high[store_column(l, kind, i, m)] = bytes;
            }
        }
        double most = (f->passes - 1) * (double)p->modules[f->module].bytes / bl_unit;
        l->lp.high[column_served(l, i)] = l->lp.high[column_ahead(l, i)] = most;
    }
}

void bl_bound_store_rows(bl_program *l) {
    const bl_problem *p = l->p;
    double room = (double)p->host_bytes / bl_unit;
    for (int i = 0; i < p->phase_count && !l->lp.no_memory; i++) {
        for (int m = 0; m < p->module_count; m++) {
            module_rows(l, i, m);
        }
        bl_lp_row(&l->lp, -INFINITY, room);
        for (int m = 0; m < p->module_count; m++) {
            bl_lp_add(&l->lp, store_column(l, store_start, i, m), 1);
        }
        bl_lp_row(&l->lp, -INFINITY, room);
        for (int m = 0; m < p->module_count; m++) {
            bl_lp_add(&l->lp, store_column(l, store_end, i, m), 1);
        }
        pass_rows(l, i);
    }
    for (int m = 0; m < p->module_count && !l->steady && !l->lp.no_memory; m++) {
        initial_rows(l, m);
    }
}

/* column >= factor * still */
static void at_least(bl_program *l, int column, double factor, int still) {
    bl_lp_row(&l->lp, 0, INFINITY);
    bl_lp_add(&l->lp, column, 1);
    bl_lp_add(&l->lp, still, -factor);
}

/* In the store lies at once what stays there of the phase's module, or what its passes find there, whichever
 * is more; `most`: its column. */
static void still_store_rows(bl_program *l, int i, int most, int still) {
    const bl_problem *p = l->p;
    int own = p->phases[i].module;
    double passes = p->phases[i].passes, room = passes * (double)p->host_bytes / bl_unit;
    l->lp.high[most] = room;
    at_least(l, most, 1, column_served(l, i));
    at_least(l, most, passes - 1, still + p->module_count + own);
    bl_lp_row(&l->lp, -INFINITY, room);
    bl_lp_add(&l->lp, most, 1);
    for (int m = 0; m < p->module_count; m++) {
        if (m != own) {
            bl_lp_add(&l->lp, store_column(l, store_stay, i, m), passes);
        }
    }
}

/* What the phase's module has when it begins stays all the while, or came in the phase before. */
static void still_start_rows(bl_program *l, int i, int before, int still) {
    int own = l->p->phases[i].module;
    for (int t = 0; t < BL_TIERS; t++) {
        bl_lp_row(&l->lp, 0, INFINITY);
        bl_lp_add(&l->lp, tier_column(l, (bl_tier)t, col_start, i, own), -1);
        bl_lp_add(&l->lp, tier_column(l, (bl_tier)t, col_during, before, own), 1);
        bl_lp_add(&l->lp, tier_column(l, (bl_tier)t, col_after, before, own), 1);
        bl_lp_add(&l->lp, still + own, 1);
        if (t == BL_TIER_FILE) {
            bl_lp_add(&l->lp, still + l->p->module_count + own, 1);
        }
    }
}

int bl_bound_still_rows(bl_program *l) {
    const bl_problem *p = l->p;
    int n = p->module_count, still = bl_lp_columns(&l->lp, 2 * n + p->phase_count, 0, 0);
    for (int m = 0; m < n && !l->lp.no_memory; m++) {
        double bytes = (double)p->modules[m].bytes / bl_unit;
        l->lp.high[still + m] = l->lp.high[still + n + m] = bytes;
        bl_lp_row(&l->lp, -INFINITY, bytes);
        bl_lp_add(&l->lp, still + m, 1);
        bl_lp_add(&l->lp, still + n + m, 1);
    }
    for (int i = 0; i < p->phase_count && !l->lp.no_memory; i++) {
        int own = p->phases[i].module, before = (i ? i : p->phase_count) - 1;
        for (int m = 0; m < n; m++) {
            bool runs = m == own;
            at_least(l, tier_column(l, BL_TIER_DEVICE, runs ? col_start : col_stay, i, m), 1, still + m);
            at_least(l, tier_column(l, BL_TIER_DEVICE, col_end, i, m), 1, still + m);
            at_least(l, store_column(l, runs ? store_start : store_stay, i, m), 1, still + n + m);
            at_least(l, store_column(l, store_end, i, m), 1, still + n + m);
        }
        at_least(l, kept_column(l, BL_TIER_DEVICE, i), p->phases[i].passes - 1, still + own);
        still_store_rows(l, i, still + 2 * n + i, still);
        if (p->phases[before].module != own) {
            still_start_rows(l, i, before, still);
        }
    }
    return still;
}
