#include "residency/plan/cycle.h"

#include "residency/plan/split.h"
#include "residency/plan/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct cycle {
    const bl_problem *p;
    const int *levels;
    uint64_t region;
    bl_shares shares; /* of modules that were chosen for: what they keep all the while */
    int seed;
    uint8_t *kind[BL_PROBLEM_PHASES];    /* [block_count] of the phase's module */
    uint8_t *always[BL_PROBLEM_MODULES]; /* [block_count] the kind that a block is of all the while, or
                                            BL_KIND_FILE */
    uint64_t device_top, store_top;      /* below what is kept all the while */
} cycle;

/* What choosing for all phases may cost: blocks walked over; and how many of bl_homes' units one is. */
static const long work_most = 60000, walk_weight = 4;

static void cycle_free(cycle *c) {
    for (int i = 0; i < BL_PROBLEM_PHASES; i++) {
        free(c->kind[i]);
    }
    for (int m = 0; m < BL_PROBLEM_MODULES; m++) {
        free(c->always[m]);
    }
}

static uint64_t arena_of(const cycle *c, int phase) {
    return c->p->phases[phase].levels[c->levels[phase]].arena_bytes;
}

/* Of what modules keep all the while, all but one module's. */
static uint64_t kept_by_others(const cycle *c, const uint64_t *share, int module) {
    uint64_t sum = 0;
    for (int m = 0; m < c->p->module_count; m++) {
        sum += m == module ? 0 : share[m];
    }
    return sum;
}

static int count_phases(const bl_problem *p, int module) {
    int count = 0;
    for (int i = 0; i < p->phase_count; i++) {
        count += p->phases[i].module == module;
    }
    return count;
}

/* Kinds for one phase; `last`: those of one with less room, or NULL. */
static int choose(cycle *c, bl_kinds *k, int phase, const uint8_t *last, bl_error *err) {
    const bl_problem_phase *f = &c->p->phases[phase];
    int m = f->module;
    bool once = f->passes == 1;
    bl_split split = {.p = c->p,
                      .m = &c->p->modules[m],
                      .seconds = f->levels[c->levels[phase]].block_seconds,
                      .room = bl_kinds_less(bl_kinds_less(c->region, arena_of(c, phase)),
                                            kept_by_others(c, c->shares.device, m)),
                      .host = bl_kinds_less(c->p->host_bytes, kept_by_others(c, c->shares.store, m)),
                      .device_most = once ? c->shares.device[m] : UINT64_MAX,
                      .host_most = once ? c->shares.store[m] : UINT64_MAX,
                      .less = last,
                      .seed = c->seed,
                      .tries = 1,
                      .work = work_most / c->p->phase_count};
    double pass = 0;
    long spent = 0;
    c->kind[phase] = malloc((size_t)split.m->block_count);
    if (!c->kind[phase]) {
        return bl_fail_memory(err, "the planner's residents", (size_t)split.m->block_count);
    }
    int rc = bl_split_choose(c->kind[phase], &pass, &spent, &split, err);
    k->work += walk_weight * spent;
    k->fits = k->fits && pass < INFINITY;
    return rc;
}

/* The module's phase of several passes (of one, if `once`) with the least room above `above`'s. */
static int next_phase(const cycle *c, int module, bool once, int above) {
    int i = bl_homes_next_tighter(c->p, c->levels, module, above);
    while (i >= 0 && (c->p->phases[i].passes == 1) != once) {
        i = bl_homes_next_tighter(c->p, c->levels, module, i);
    }
    return i;
}

/* The first blocks of a kind that are not kept yet, as many as what is left of the share takes. */
static void keep_always(uint8_t *always, const bl_problem_module *m, const uint8_t *kind, int of, int as,
                        uint64_t share, uint64_t *sum) {
    for (int b = 0; b < m->block_count; b++) {
        if (kind[b] == of && always[b] == BL_KIND_FILE && *sum + m->blocks[b].bytes <= share) {
            always[b] = (uint8_t)as;
            *sum += m->blocks[b].bytes;
        }
    }
}

/* What stays on the device in a phase may wait in the store for the next time, as far as the phase leaves
 * room there. */
static void keep_shares(cycle *c, int module, const uint8_t *kind) {
    const bl_problem_module *m = &c->p->modules[module];
    uint8_t *always = c->always[module];
    uint64_t device = 0, store = 0, share = c->shares.store[module];
    keep_always(always, m, kind, BL_KIND_DEVICE, BL_KIND_DEVICE, c->shares.device[module], &device);
    keep_always(always, m, kind, BL_KIND_STORE, BL_KIND_STORE, share, &store);
    uint64_t taken = kept_by_others(c, c->shares.store, module) + 2 * m->largest_block;
    for (int b = 0; b < m->block_count; b++) {
        taken += kind[b] == BL_KIND_STORE && always[b] != BL_KIND_STORE ? m->blocks[b].bytes : 0;
    }
    uint64_t room = bl_kinds_less(c->p->host_bytes, taken);
    share = share < room ? share : room;
    keep_always(always, m, kind, BL_KIND_DEVICE, BL_KIND_STORE, share, &store);
    c->shares.device[module] = device;
    c->shares.store[module] = store;
}

/* Kinds in all phases of a module: first where several passes ask for what they need, from the least room
 * on. A single pass takes what it finds. */
static int choose_module(cycle *c, bl_kinds *k, int module, bl_error *err) {
    const bl_problem_module *m = &c->p->modules[module];
    size_t n = (size_t)m->block_count;
    const uint8_t *last = NULL;
    bool once = next_phase(c, module, false, -1) < 0;
    int rc = 0;
    c->always[module] = malloc(n);
    if (!c->always[module]) {
        return bl_fail_memory(err, "the planner's residents", n);
    }
    memset(c->always[module], BL_KIND_FILE, n);
    for (int i = next_phase(c, module, once, -1); i >= 0 && !rc && k->fits && !(once && last);
         i = next_phase(c, module, once, i)) {
        rc = choose(c, k, i, last, err);
        if (!rc && !last && k->fits) {
            keep_shares(c, module, c->kind[i]);
        }
        last = c->kind[i];
    }
    for (int i = 0; i < c->p->phase_count && !rc && k->fits; i++) {
        if (c->p->phases[i].module == module && !c->kind[i]) {
            c->kind[i] = malloc(n);
            if (!c->kind[i]) {
                return bl_fail_memory(err, "the planner's residents", n);
            }
            memcpy(c->kind[i], last, n);
        }
    }
    return rc;
}

static int open_module(bl_kinds *k, int module, size_t n, bl_error *err) {
    k->homes.home[module] = malloc(n * sizeof *k->homes.home[module]);
    k->shelf[module] = malloc(n * sizeof *k->shelf[module]);
    if (!k->homes.home[module] || !k->shelf[module]) {
        return bl_fail_memory(err, "the planner's residents", n * sizeof *k->shelf[module]);
    }
    for (size_t b = 0; b < n; b++) {
        k->homes.home[module][b] = k->shelf[module][b] = BL_NOWHERE;
    }
    return 0;
}

/* Places of what is kept all the while: from the top down, of all modules beside each other. */
static int lay_always(cycle *c, bl_kinds *k, bl_error *err) {
    int rc = 0;
    c->device_top = c->region;
    c->store_top = c->p->host_bytes;
    for (int m = 0; m < c->p->module_count && !rc; m++) {
        if (!c->always[m]) {
            continue;
        }
        rc = open_module(k, m, (size_t)c->p->modules[m].block_count, err);
        for (int b = 0; b < c->p->modules[m].block_count && !rc; b++) {
            uint64_t bytes = c->p->modules[m].blocks[b].bytes;
            if (c->always[m][b] == BL_KIND_DEVICE) {
                c->device_top -= bytes;
                k->homes.home[m][b] = c->device_top;
            } else if (c->always[m][b] == BL_KIND_STORE) {
                c->store_top -= bytes;
                k->shelf[m][b] = c->store_top;
            }
        }
    }
    return rc;
}

/* What a phase adds on the device and in the store. */
static int lay_phase(cycle *c, bl_kinds *k, int phase, uint64_t *top, uint64_t *shelf, bl_error *err) {
    const bl_problem_phase *f = &c->p->phases[phase];
    const bl_problem_module *m = &c->p->modules[f->module];
    size_t n = (size_t)m->block_count;
    uint64_t *home = k->homes.home[f->module], *place = k->shelf[f->module];
    k->homes.pin[phase] = calloc(n, 1);
    k->pass[phase] = malloc(n);
    k->load[phase] = malloc(2 * n * sizeof *k->load[phase]);
    if (!k->homes.pin[phase] || !k->pass[phase] || !k->load[phase]) {
        return bl_fail_memory(err, "the planner's residents", 2 * n * sizeof *k->load[phase]);
    }
    bool once = f->passes == 1;
    uint64_t low = arena_of(c, phase) + (once ? 2 * m->largest_block : 0), window = c->device_top;
    for (size_t b = 0; b < n; b++) {
        const bl_problem_block *x = &m->blocks[b];
        uint8_t kind = c->kind[phase][b], always = c->always[f->module][b];
        if (kind == BL_KIND_DEVICE && home[b] == BL_NOWHERE && !once) {
            *top -= x->bytes;
            home[b] = *top;
        }
        if (kind == BL_KIND_STORE && place[b] == BL_NOWHERE && !once) {
            *shelf -= x->bytes;
            place[b] = *shelf;
        }
        bool there = home[b] != BL_NOWHERE && (home[b] >= low || always == BL_KIND_DEVICE);
        k->homes.pin[phase][b] = there;
        window = there && home[b] < window ? home[b] : window;
        k->pass[phase][b] = place[b] == BL_NOWHERE;
        k->load[phase][b] = always != BL_KIND_FILE && x->stored_at != BL_NOWHERE ? 0 : x->load_seconds;
        k->load[phase][n + b] = kind == BL_KIND_FILE ? x->load_seconds : 0;
    }
    k->homes.window[phase] = window;
    return 0;
}

static int lay_module(cycle *c, bl_kinds *k, int module, bl_error *err) {
    uint64_t top = c->device_top, shelf = c->store_top;
    int rc = 0;
    for (int once = 0; once < 2; once++) {
        for (int i = next_phase(c, module, once, -1); i >= 0 && !rc; i = next_phase(c, module, once, i)) {
            rc = lay_phase(c, k, i, &top, &shelf, err);
        }
    }
    for (int i = 0; i < c->p->phase_count; i++) {
        k->ring[i] = c->p->phases[i].module == module ? shelf : k->ring[i];
    }
    return rc;
}

int bl_cycle_find(bl_kinds *out, const bl_problem *p, const int *levels, uint64_t region_bytes,
                  const bl_shares *shares, int seed, bl_error *err) {
    cycle c = {.p = p, .levels = levels, .region = region_bytes, .shares = *shares, .seed = seed};
    memset(out, 0, sizeof *out);
    out->fits = out->any = true;
    int rc = 0;
    for (int m = 0; m < p->module_count && !rc && out->fits; m++) {
        rc = count_phases(p, m) ? choose_module(&c, out, m, err) : 0;
    }
    rc = rc || !out->fits ? rc : lay_always(&c, out, err);
    for (int m = 0; m < p->module_count && !rc && out->fits; m++) {
        rc = count_phases(p, m) ? lay_module(&c, out, m, err) : 0;
    }
    cycle_free(&c);
    if (rc) {
        bl_kinds_free(out);
    }
    return rc;
}
