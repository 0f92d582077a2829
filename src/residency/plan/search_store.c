#include "residency/plan/cycle.h"
#include "residency/plan/search_state.h"
#include "residency/problem/follow.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* How many of a phase's first copies and of its later ones had to be loaded. */
static void count_loads(const bl_plan *plan, const bl_problem *p, bl_move_kind kind, double *const *count) {
    for (int i = 0; i < plan->move_count; i++) {
        const bl_move *v = &plan->moves[i];
        if (v->kind != kind || v->before >= p->run_count) {
            continue;
        }
        int phase = bl_problem_phase_of(p, v->before);
        const bl_problem_phase *f = &p->phases[phase];
        int blocks = p->modules[f->module].block_count;
        count[phase][v->block + (v->before - f->first_run < blocks ? 0 : blocks)] += 1;
    }
}

/* Whether a block is in the store when the best plan ends. */
static bool stored(const bl_search *s, int module, int block) {
    bool there = s->p->modules[module].blocks[block].stored_at != BL_NOWHERE;
    for (int i = 0; i < s->best->move_count; i++) {
        const bl_move *v = &s->best->moves[i];
        if (v->module == module && v->block == block &&
            (v->kind == BL_MOVE_LOAD || v->kind == BL_MOVE_LEAVE)) {
            there = v->kind == BL_MOVE_LOAD;
        }
    }
    return there;
}

/* From now on loads are expected where the best plan has them, and of what is on the device and not in the
 * store. */
static int expect_loads(bl_search *s, bl_error *err) {
    const bl_problem *p = s->p;
    double *copies[BL_PROBLEM_PHASES] = {NULL};
    int rc = 0;
    for (int i = 0; i < p->phase_count && !rc; i++) {
        size_t n = 2 * (size_t)p->modules[p->phases[i].module].block_count;
        copies[i] = calloc(n, sizeof *copies[i]);
        s->load[i] = s->load[i] ? s->load[i] : malloc(n * sizeof *s->load[i]);
        if (!copies[i] || !s->load[i]) {
            rc = bl_fail_memory(err, "the planner's loads", n * sizeof *copies[i]);
        } else {
            memset(s->load[i], 0, n * sizeof *s->load[i]);
        }
    }
    if (!rc) {
        count_loads(s->best, p, BL_MOVE_COPY, copies);
        count_loads(s->best, p, BL_MOVE_LOAD, s->load);
    }
    for (int i = 0; i < p->phase_count; i++) {
        const bl_problem_module *m = &p->modules[p->phases[i].module];
        for (int b = 0; b < 2 * m->block_count && !rc; b++) {
            double load = m->blocks[b % m->block_count].load_seconds;
            int block = b % m->block_count;
            s->load[i][b] = copies[i][b] > 0                        ? s->load[i][b] * load / copies[i][b]
                            : stored(s, p->phases[i].module, block) ? 0
                                                                    : load;
        }
        free(copies[i]);
    }
    s->usual.store.load = (const double *const *)s->load;
    return rc;
}

/* Copies after loads, and further choices of kinds, end here; of generations of more runs than these sooner:
 * all that is in their walks is not in the work. */
static const long loads_work = 1200000, kinds_work = 7600000, long_loads_work = 900000,
                  long_kinds_work = 3200000, alone_kinds_work = 9000000, /* alone: of one phase */
    turns_work = 6000000, long_turns_work = 1200000, sizes_work = 5000000, long_sizes_work = 1200000;
static const int few_runs = 1500;

static long kinds_most(const bl_search *s) {
    long few = s->p->phase_count > 1 ? kinds_work : alone_kinds_work;
    return s->p->run_count > few_runs ? long_kinds_work : few;
}

/* Whether there is something to gain, and less than so much was spent. */
static bool may_go_on(const bl_search *s, long work) {
    return !bl_search_within(s, bl_search_near) && s->later.work < work;
}

/* Once it is known what has to be loaded, copies can be made for that. */
static int try_loads(bl_search *s, bl_error *err) {
    long most = s->p->run_count > few_runs ? long_loads_work : loads_work;
    int rc = 0;
    for (int i = 0; i < 5 && !rc && may_go_on(s, most); i++) {
        rc = expect_loads(s, err);
        s->usual.store.dearness = i ? 1 : 0;
        rc = rc ? rc : bl_search_candidate(s, "paged, after loads", s->usual, err);
    }
    return rc;
}

/* From now on the kinds expect that whatever a phase's first pass copies has to be loaded, as where nothing
 * is stored yet. A plan looks at the generations that follow with what it expects for its own: with what does
 * not hang on what is stored now they are planned like that when they come. False: they expected it already.
 */
static bool expect_all(bl_kinds *kinds, const bl_problem *p) {
    bool changed = false;
    for (int i = 0; i < p->phase_count; i++) {
        const bl_problem_module *m = &p->modules[p->phases[i].module];
        for (int b = 0; b < m->block_count && kinds->load[i]; b++) {
            changed = changed || kinds->load[i][b] != m->blocks[b].load_seconds;
            kinds->load[i][b] = m->blocks[b].load_seconds;
        }
    }
    return changed;
}

/* `through`: as bl_pager_options has it. */
static int try_these(bl_search *s, const char *method, const bl_kinds *kinds, uint64_t through,
                     bl_error *err) {
    static const double less[] = {0, 0.5, 1};
    /* Such a generation hangs on what the ring still has of the one before. */
    bool once = s->p->phase_count == 1 && s->p->phases[0].passes == 1;
    bl_pager_options o = s->usual;
    o.in_order = true;
    o.through = through;
    o.homes = &kinds->homes;
    o.store = (bl_store_options){.ring_bytes = bl_store_usual_ring(s->p),
                                 .ring = kinds->ring,
                                 .shelf = (const uint64_t *const *)kinds->shelf,
                                 .pass = (const uint8_t *const *)kinds->pass,
                                 .load = (const double *const *)kinds->load,
                                 .firm = true};
    int rc = 0;
    for (int i = 0; i < (once ? 3 : 1) && !rc; i++) {
        o.store.less_soon = less[i];
        rc = bl_search_candidate(s, method, o, err);
    }
    return rc;
}

/* With all that is expected, and first, if `stored`, with what is stored taken into account. */
static int try_both(bl_search *s, const char *method, bl_kinds *kinds, bool stored, bl_error *err) {
    int rc = stored ? try_these(s, method, kinds, 0, err) : 0;
    return rc || (!expect_all(kinds, s->p) && stored) ? rc : try_these(s, method, kinds, 0, err);
}

/* Three kinds of blocks, chosen for each phase: choices number `first` to `last`. */
static int try_kinds(bl_search *s, const int *levels, int first, int last, bool by_size, long most,
                     bl_error *err) {
    int rc = 0;
    for (int seed = first; seed <= last && !rc && may_go_on(s, most); seed++) {
        bl_kinds kinds;
        rc = bl_kinds_find(&kinds, s->p, levels, s->region_bytes, seed, by_size, err);
        if (rc || !kinds.any) {
            return rc;
        }
        s->later.work += kinds.work;
        rc = kinds.fits ? try_both(s, "three kinds", &kinds, true, err) : 0;
        bl_kinds_free(&kinds);
    }
    return rc;
}

/* What is left for what is under way, on the device and in the store, in halves of the largest block; and
 * what shares are. */
typedef struct spare {
    int device, store;
    bl_shares_of of;
} spare;

static const spare spares[] = {{4, 4, BL_SHARES_SERVED}, {4, 4, BL_SHARES_LEAST},  {2, 2, BL_SHARES_SERVED},
                               {4, 8, BL_SHARES_LEAST},  {6, 4, BL_SHARES_SERVED}, {8, 16, BL_SHARES_LEAST}};
enum { spare_count = sizeof spares / sizeof *spares };

static uint64_t half_block(const bl_problem *p) {
    uint64_t half = 0;
    for (int m = 0; m < p->module_count; m++) {
        uint64_t largest = p->modules[m].largest_block;
        half = largest / 2 > half ? largest / 2 : half;
    }
    return half;
}

/* Whether these shares were chosen for already; from now on they were. */
static bool seen_before(bl_search *s, const bl_shares *shares) {
    size_t modules = (size_t)s->p->module_count;
    for (int i = 0; i < s->seen_count; i++) {
        if (!memcmp(s->seen[i].device, shares->device, modules * sizeof *shares->device) &&
            !memcmp(s->seen[i].store, shares->store, modules * sizeof *shares->store)) {
            return true;
        }
    }
    s->seen[s->seen_count] = *shares;
    s->seen_count += s->seen_count + 1 < bl_search_shares;
    return false;
}

/* Kinds for what each module keeps all the while. */
static int find_cycle(bl_kinds *out, bl_search *s, const int *levels, const spare *x, bl_error *err) {
    uint64_t half = half_block(s->p);
    bl_shares shares;
    memset(out, 0, sizeof *out);
    int rc =
        bl_bound_shares(&shares, s->p, half * (uint64_t)x->device, half * (uint64_t)x->store, x->of, err);
    if (rc || !shares.found || seen_before(s, &shares)) {
        return rc;
    }
    rc = bl_cycle_find(out, s->p, levels, s->region_bytes, &shares, 1, err);
    s->later.work += rc ? 0 : out->work;
    return rc;
}

/* Kinds over the whole generation: choices number `first` to `last`. The first is always tried. */
static int try_cycle(bl_search *s, const int *levels, int first, int last, bl_error *err) {
    int rc = 0;
    for (int i = first; i < last && !rc && may_go_on(s, i ? kinds_most(s) : LONG_MAX); i++) {
        bl_kinds kinds;
        rc = find_cycle(&kinds, s, levels, &spares[i], err);
        rc = rc || !kinds.fits ? rc
                               : try_both(s, "kinds over all phases", &kinds, s->p->phase_count == 1, err);
        bl_kinds_free(&kinds);
    }
    return rc;
}

/* Kinds that begin with other windows and rings. */
static int try_by_size(bl_search *s, const int *levels, bl_error *err) {
    static const double far = 1.1; /* from the least: nearer, a switch is not worth it */
    bool alone = s->p->phase_count == 1;
    if (bl_search_within(s, far) || (alone && s->p->phases[0].passes == 1)) {
        return 0;
    }
    long before = s->later.work;
    long most = before + (s->p->run_count > few_runs ? long_sizes_work : sizes_work);
    int rc = try_kinds(s, levels, 1, alone ? 3 : 1, true, most, err);
    s->later.work = before; /* what is tried after them is tried as without */
    return rc;
}

int bl_search_store(bl_search *s, bl_error *err) {
    int levels[BL_PROBLEM_PHASES];
    for (int i = 0; i < s->p->phase_count; i++) {
        levels[i] = s->levels->phases[i].level;
    }
    bool repeats = bl_problem_repeats(s->p);
    int rc = try_kinds(s, levels, 1, 1, false, LONG_MAX, err);
    rc = rc || !repeats ? rc : try_cycle(s, levels, 0, 1, err);
    rc = rc ? rc : try_loads(s, err);
    /* With one phase only the kinds themselves are to be chosen. */
    rc = rc || !repeats || s->p->phase_count < 2 ? rc : try_cycle(s, levels, 1, spare_count, err);
    rc = rc ? rc : try_kinds(s, levels, 2, s->p->phase_count > 1 ? 4 : 3, false, kinds_most(s), err);
    return rc ? rc : try_by_size(s, levels, err);
}

static const spare still_spares[] = {{4, 4, BL_SHARES_STILL},
                                     {2, 2, BL_SHARES_STILL},
                                     {4, 8, BL_SHARES_STILL},
                                     {4, 2, BL_SHARES_STILL},
                                     {2, 4, BL_SHARES_STILL}};

/* How much of the window no block waits in, in halves of the largest block; 0: there are no two orders. */
static const int throughs[] = {0, 2, 8};

static int try_orders(bl_search *s, const bl_kinds *kinds, long most, bl_error *err) {
    int rc = 0;
    for (size_t k = 0; k < sizeof throughs / sizeof *throughs && !rc && may_go_on(s, most); k++) {
        rc = try_these(s, throughs[k] ? "kinds in two orders" : "kinds over all phases", kinds,
                       half_block(s->p) * (uint64_t)throughs[k], err);
    }
    return rc;
}

int bl_search_turns(bl_search *s, bl_error *err) {
    int levels[BL_PROBLEM_PHASES], rc = 0;
    long most = s->later.work + (s->p->run_count > few_runs ? long_turns_work : turns_work);
    if (s->p->phase_count < 2 || !bl_problem_repeats(s->p)) {
        return 0;
    }
    s->seen_count = 0; /* other orders are tried, too */
    for (int i = 0; i < s->p->phase_count; i++) {
        levels[i] = s->levels->phases[i].level;
    }
    for (size_t i = 0; i < sizeof still_spares / sizeof *still_spares && !rc && may_go_on(s, most); i++) {
        bl_kinds kinds;
        rc = find_cycle(&kinds, s, levels, &still_spares[i], err);
        for (int all = 0; all < 2 && !rc && kinds.fits && (!all || expect_all(&kinds, s->p)); all++) {
            rc = try_orders(s, &kinds, most, err);
        }
        bl_kinds_free(&kinds);
    }
    return rc;
}
