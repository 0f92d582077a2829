#include "residency/plan/siding.h"

#include "residency/plan/arrivals.h"
#include "residency/plan/builder.h"
#include "residency/problem/follow.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum road { road_through, road_siding, roads } road;

enum { phases_most = 2 * BL_PROBLEM_PHASES };

/* A run whose block is not there. Phases and runs of the next generation are counted on. */
typedef struct need {
    int phase, run, module, block;
} need;

typedef struct walk {
    const bl_problem *p;
    bl_plan *plan;
    const bl_pager_options *o;
    bl_builder b;
    double *end, *gate;                        /* [run_count] when a run ends, and the copy it waits for */
    bool *copied[BL_PROBLEM_MODULES];          /* [block_count] in this generation */
    int phases;                                /* of this generation and of the next */
    int first[phases_most + 1];                /* run of each phase */
    int next[BL_PROBLEM_MODULES][phases_most]; /* the module's next phase behind one, or -1 */
    int phase, run;                            /* the run that is next */
    need at[roads];                            /* nothing is missing before */
    int after;                                 /* of the last move */
    int entered;                               /* phases whose arenas have been cleared */
    double compute, copy;                      /* clocks */
    bl_arrivals arrivals;
} walk;

/* Where a block may be put. */
typedef struct spot {
    uint64_t offset;
    int after;
    double start, price; /* of its copy; seconds that bringing back what makes way takes */
} spot;

static const bl_problem_phase *phase_at(const walk *g, int phase) {
    return &g->p->phases[phase % g->p->phase_count];
}

static uint64_t arena_of(const walk *g, int phase) {
    return g->plan->phases[phase % g->p->phase_count].arena_bytes;
}

/* The largest of phases `from` to `to`. */
static uint64_t arena_until(const walk *g, int from, int to) {
    uint64_t most = 0;
    for (int i = from; i <= to; i++) {
        most = arena_of(g, i) > most ? arena_of(g, i) : most;
    }
    return most;
}

/* The end of the smallest window of these phases. */
static uint64_t window_until(const walk *g, int from, int to) {
    uint64_t least = g->plan->region_bytes;
    for (int i = from; i <= to; i++) {
        uint64_t end = g->o->homes->window[i % g->p->phase_count];
        least = end < least ? end : least;
    }
    return least;
}

static const bl_problem_block *block_of(const walk *g, int module, int block) {
    return &g->p->modules[module].blocks[block];
}

/* The block's next run from the present one on, and its phase; INT_MAX: none. */
static int next_use(const walk *g, int module, int block, int *phase) {
    int i = g->phase, n = g->p->modules[module].block_count;
    i = phase_at(g, i)->module == module ? i : g->next[module][i];
    for (; i >= 0; i = g->next[module][i]) {
        int from = g->run > g->first[i] ? g->run : g->first[i];
        int use = g->first[i] + (from - g->first[i]) / n * n + block;
        use += use < from ? n : 0;
        if (use < g->first[i + 1]) {
            *phase = i;
            return use;
        }
    }
    *phase = g->phases;
    return INT_MAX;
}

/* The last run before the present one that used it; -1: none. */
static int last_use(const walk *g, int module, int block) {
    int n = g->p->modules[module].block_count;
    for (int i = g->phase < g->p->phase_count ? g->phase : g->p->phase_count - 1; i >= 0; i--) {
        int to = g->run < g->first[i + 1] ? g->run : g->first[i + 1];
        if (phase_at(g, i)->module != module || to <= g->first[i]) {
            continue;
        }
        int use = g->first[i] + (to - 1 - g->first[i]) / n * n + block;
        use -= use >= to ? n : 0;
        if (use >= g->first[i]) {
            return use;
        }
    }
    return -1;
}

static bool is_pinned(const walk *g, int phase, int block) {
    return g->o->homes->pin[phase % g->p->phase_count][block];
}

/* Seconds of the load that a copy waits for; 0: it is in the store. */
static double load_of(const walk *g, const need *x) {
    const bl_problem_block *b = block_of(g, x->module, x->block);
    const double *load = g->o->store.load[x->phase % g->p->phase_count];
    int n = g->p->modules[x->module].block_count;
    if (!g->copied[x->module][x->block] && b->stored_at != BL_NOWHERE) {
        return 0;
    }
    return load[x->run - g->first[x->phase] < n ? x->block : n + x->block];
}

/* Whether the block lies where it can run. */
static bool present(const walk *g, const need *x) {
    uint64_t at = g->b.at[x->module][x->block];
    int from = g->entered ? g->entered - 1 : 0;
    from = g->phase < from ? g->phase : from;
    return at != BL_NOWHERE && at >= arena_until(g, from < x->phase ? from : x->phase, x->phase);
}

/* The next run that misses a block of the road; false: there is none. */
static bool find_need(walk *g, road r) {
    need *x = &g->at[r];
    if (x->run < g->run) {
        *x = (need){.run = g->run, .phase = g->phase};
    }
    for (; x->phase < g->phases; x->run++) {
        x->phase += x->run == g->first[x->phase + 1];
        if (x->phase == g->phases) {
            break;
        }
        x->module = phase_at(g, x->phase)->module;
        x->block = (x->run - g->first[x->phase]) % g->p->modules[x->module].block_count;
        if ((load_of(g, x) > 0) == (r == road_siding) && !present(g, x)) {
            return true;
        }
    }
    return false;
}

/* The run behind which no arena lies at the offset; false: it has not ended. */
static bool clear_arenas(const walk *g, uint64_t offset, int *after) {
    int last = g->phase < g->p->phase_count ? g->phase : g->p->phase_count - 1;
    int from = *after + 1 < g->p->run_count ? bl_problem_phase_of(g->p, *after + 1) : last;
    for (int i = last; i >= from; i--) {
        int end = g->first[i + 1] - 1;
        if (offset < arena_of(g, i)) {
            *after = end > *after ? end : *after;
            return end < g->run;
        }
    }
    return true;
}

/* A place, and what lies there makes way. False: some of it is needed sooner, or stays. `must`: so be it. */
static bool look_at(const walk *g, const need *x, uint64_t offset, bool must, spot *out) {
    uint64_t bytes = block_of(g, x->module, x->block)->bytes;
    const bl_space *s = &g->b.space;
    *out = (spot){.offset = offset, .after = g->after};
    for (int i = bl_space_find(s, offset); i < s->count && s->items[i].offset < offset + bytes; i++) {
        const bl_space_item *k = &s->items[i];
        need y = {.module = k->module, .block = k->block};
        y.run = next_use(g, k->module, k->block, &y.phase);
        bool stays = y.phase == g->phase && is_pinned(g, y.phase, k->block) &&
                     k->offset == g->o->homes->home[k->module][k->block];
        if (k->module == x->module && k->block == x->block) {
            continue;
        }
        if (!must && (y.run <= x->run || stays)) {
            return false;
        }
        if (y.run != INT_MAX) {
            out->price += block_of(g, y.module, y.block)->copy_seconds + load_of(g, &y);
        }
        int last = last_use(g, k->module, k->block);
        out->after = last > out->after ? last : out->after;
    }
    bool clear = clear_arenas(g, offset, &out->after);
    out->start = fmax(g->copy, clear && out->after >= 0 ? g->end[out->after] : 0);
    return clear;
}

/* The earliest of two places, of those as early the one that costs less. */
static void try_spot(const walk *g, const need *x, uint64_t offset, bool must, spot *best, bool *found) {
    static const double equal = 1e-12;
    spot one;
    if (look_at(g, x, offset, must, &one) &&
        (!*found || one.start < best->start - equal ||
         (one.start < best->start + equal && one.price < best->price - equal))) {
        *best = one;
        *found = true;
    }
}

/* A place between: at either end, or beside one of those that lie there. */
static bool search_between(const walk *g, const need *x, uint64_t low, uint64_t high, bool must, spot *best) {
    uint64_t bytes = block_of(g, x->module, x->block)->bytes;
    const bl_space *s = &g->b.space;
    bool found = false;
    if (high < low + bytes) {
        return false;
    }
    try_spot(g, x, low, must, best, &found);
    for (int i = bl_space_find(s, low); i < s->count && s->items[i].offset < high; i++) {
        uint64_t begin = s->items[i].offset, end = begin + s->items[i].bytes;
        if (begin > low && begin + bytes <= high) {
            try_spot(g, x, begin, must, best, &found);
        }
        if (end + bytes <= high) {
            try_spot(g, x, end, must, best, &found);
        }
        if (begin >= low + bytes) {
            try_spot(g, x, begin - bytes, must, best, &found);
        }
    }
    try_spot(g, x, high - bytes, must, best, &found);
    return found;
}

/* Where a block goes. What runs next goes anywhere rather than nowhere. */
static bool find_spot(const walk *g, const need *x, road r, spot *out) {
    bool due = x->run == g->run;
    uint64_t bytes = block_of(g, x->module, x->block)->bytes;
    uint64_t low = arena_until(g, g->phase, x->phase), high = window_until(g, g->phase, x->phase);
    if (is_pinned(g, x->phase, x->block)) {
        uint64_t home = g->o->homes->home[x->module][x->block];
        return home >= low && look_at(g, x, home, due, out);
    }
    uint64_t split = low + g->o->through;
    bool shared = high < split + bytes;
    uint64_t begin = r == road_siding && !shared ? split : low;
    if (search_between(g, x, begin, r == road_siding || shared ? high : split, false, out)) {
        return true;
    }
    return due && (search_between(g, x, low, high, false, out) || search_between(g, x, low, high, true, out));
}

/* Moves may be made behind this run from now on: phases that begin by then take their arenas. */
static int go_to(walk *g, int after, bl_error *err) {
    int rc = 0;
    while (g->entered < g->p->phase_count && g->first[g->entered] - 1 <= after && !rc) {
        rc = bl_builder_clear_below(&g->b, arena_of(g, g->entered), g->first[g->entered] - 1, err);
        g->entered++;
    }
    g->after = after;
    return rc;
}

/* The block is missing again. */
static void look_again(walk *g, int module, int block) {
    need x = {.module = module, .block = block};
    x.run = next_use(g, module, block, &x.phase);
    for (int r = 0; r < roads; r++) {
        g->at[r] = x.run < g->at[r].run ? x : g->at[r];
    }
}

/* When the copy can begin. */
static double start_of(const walk *g, const need *x, const spot *at) {
    double load = load_of(g, x);
    uint64_t bytes = block_of(g, x->module, x->block)->bytes;
    return load > 0 ? fmax(at->start, bl_arrivals_ready(&g->arrivals, bytes, load)) : at->start;
}

static int fetch(walk *g, const need *x, const spot *at, bl_error *err) {
    const bl_problem_block *k = block_of(g, x->module, x->block);
    const bl_space *s = &g->b.space;
    int rc = go_to(g, at->after, err);
    g->b.why = BL_WHY_LATER;
    for (int i = bl_space_find(s, at->offset);
         !rc && i < s->count && s->items[i].offset < at->offset + k->bytes;) {
        int module = s->items[i].module, block = s->items[i].block;
        rc = bl_builder_drop(&g->b, module, block, at->after, err);
        look_again(g, module, block);
    }
    g->b.why = BL_WHY_PLACE;
    rc = rc ? rc : bl_builder_drop(&g->b, x->module, x->block, at->after, err);
    int before = x->run < g->p->run_count ? x->run : g->p->run_count;
    g->b.why = x->run < g->p->run_count ? BL_WHY_IN_TIME : BL_WHY_NEXT;
    rc = rc ? rc : bl_builder_onload(&g->b, x->module, x->block, at->offset, at->after, before, err);
    double load = load_of(g, x);
    g->copy = start_of(g, x, at) + k->copy_seconds;
    if (load > 0) {
        bl_arrivals_take(&g->arrivals, k->bytes, load, g->copy);
    }
    g->copied[x->module][x->block] = true;
    g->gate[before] = g->copy;
    return rc;
}

/* The next copy: of the two roads' the one that begins first. False: none can be made. */
static bool choose(walk *g, need *out, spot *at) {
    static const double equal = 1e-12;
    double best = INFINITY;
    for (int r = 0; r < roads; r++) {
        spot here;
        if (!find_need(g, (road)r) || !find_spot(g, &g->at[r], (road)r, &here)) {
            continue;
        }
        double start = start_of(g, &g->at[r], &here);
        if (start < best - equal || (start < best + equal && g->at[r].run < out->run)) {
            best = start;
            *out = g->at[r];
            *at = here;
        }
    }
    return best < INFINITY;
}

/* Runs until a block is missing. */
static void run_on(walk *g) {
    while (g->run < g->p->run_count) {
        const bl_problem_phase *f = phase_at(g, g->phase);
        need x = {.phase = g->phase, .run = g->run, .module = f->module};
        x.block = (g->run - g->first[g->phase]) % g->p->modules[f->module].block_count;
        if (!present(g, &x)) {
            return;
        }
        g->compute = fmax(g->compute, g->gate[g->run]) +
                     f->levels[g->plan->phases[g->phase].level].block_seconds[x.block];
        g->end[g->run++] = g->compute;
        g->phase += g->run == g->first[g->phase + 1];
    }
}

static int walk_all(walk *g, bool *fits, bl_error *err) {
    for (;;) {
        need x = {0};
        spot at = {0};
        run_on(g);
        g->arrivals.ring_bytes = bl_store_ring(&g->o->store, g->phase % g->p->phase_count);
        bool found = choose(g, &x, &at);
        if (g->run == g->p->run_count) { /* for the next generation: what arrives before this one ends */
            double end = fmax(g->compute, g->copy);
            if (!found || start_of(g, &x, &at) + block_of(g, x.module, x.block)->copy_seconds > end) {
                return go_to(g, g->p->run_count - 1, err);
            }
        } else if (!found) {
            *fits = false;
            return 0;
        }
        int rc = fetch(g, &x, &at, err);
        if (rc) {
            return rc;
        }
    }
}

static void walk_close(walk *g) {
    for (int m = 0; m < g->p->module_count; m++) {
        free(g->copied[m]);
    }
    free(g->end);
    free(g->gate);
    bl_builder_close(&g->b);
}

static int walk_open(walk *g, bl_error *err) {
    const bl_problem *p = g->p;
    size_t runs = (size_t)p->run_count + 1;
    int rc = bl_builder_open(&g->b, p, g->plan, err);
    g->phases = 2 * p->phase_count;
    for (int i = 0; i < g->phases; i++) {
        const bl_problem_phase *f = phase_at(g, i);
        g->first[i + 1] = g->first[i] + f->passes * p->modules[f->module].block_count;
    }
    g->end = calloc(runs, sizeof *g->end);
    g->gate = calloc(runs, sizeof *g->gate);
    bool enough = g->end && g->gate;
    for (int m = 0; m < p->module_count; m++) {
        g->copied[m] = calloc((size_t)p->modules[m].block_count, sizeof *g->copied[m]);
        enough = enough && g->copied[m];
        for (int i = g->phases - 1, next = -1; i >= 0; i--) {
            g->next[m][i] = next;
            next = phase_at(g, i)->module == m ? i : next;
        }
    }
    rc = rc || enough ? rc : bl_fail_memory(err, "the planner's tables", 2 * runs * sizeof *g->end);
    return rc ? rc : go_to(g, -1, err);
}

int bl_siding_plan(bool *fits, bl_plan *plan, const bl_problem *p, const bl_pager_options *options,
                   bl_error *err) {
    *fits = options->homes && options->store.load && bl_problem_repeats(p);
    for (int i = 0; i < p->phase_count && *fits; i++) {
        *fits = options->homes->pin[i] && options->store.load[i];
    }
    walk *g = *fits ? calloc(1, sizeof *g) : NULL;
    if (!g) {
        return *fits ? bl_fail_memory(err, "the planner's tables", sizeof *g) : 0;
    }
    *g = (walk){.p = p, .plan = plan, .o = options, .after = -1};
    int rc = walk_open(g, err);
    rc = rc ? rc : walk_all(g, fits, err);
    walk_close(g);
    free(g);
    return rc;
}
