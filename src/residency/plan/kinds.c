#include "residency/plan/kinds.h"

#include "residency/plan/split.h"
#include "residency/plan/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One module on the way from its phase with the least room to the one with the most. */
typedef struct kinds_work {
    const bl_problem *p;
    const bl_problem_module *m;
    const int *levels;
    uint64_t region;
    int seed;
    bool by_size;
    uint8_t *kind, *last; /* [block_count] of this phase and of the one before */
    uint64_t top;         /* residents lie above it */
    bool others;          /* a module before it runs often */
    uint64_t shelf_end;   /* where the module's places in the store end */
    uint64_t shelf_low;   /* where those of the modules before begin */
} kinds_work;

/* What choosing for a phase may cost: changes that are looked into, blocks walked over; and how many of
 * bl_homes' units such a block is. */
static const long changes_most = 1500, work_most = 60000, walk_weight = 4;

/* Where a generation is one phase the kinds are all that there is to choose. */
static const int tries_alone = 8;

void bl_kinds_free(bl_kinds *k) {
    bl_homes_free(&k->homes);
    for (int m = 0; m < BL_PROBLEM_MODULES; m++) {
        free(k->shelf[m]);
    }
    for (int i = 0; i < BL_PROBLEM_PHASES; i++) {
        free(k->pass[i]);
        free(k->load[i]);
    }
    memset(k, 0, sizeof *k);
}

static uint64_t arena_of(const kinds_work *w, int phase) {
    return w->p->phases[phase].levels[w->levels[phase]].arena_bytes;
}

/* The smallest hole in the store from `low` on that a block fits; its end, or 0. */
static uint64_t hole_end(const kinds_work *w, const uint64_t *shelf, uint64_t low, uint64_t bytes) {
    uint64_t best = 0, best_room = UINT64_MAX, at = w->shelf_end;
    while (at > low) { /* from the end down: what lies next below `at` */
        uint64_t below = low, next = low;
        for (int b = 0; b < w->m->block_count; b++) {
            uint64_t end = shelf[b] == BL_NOWHERE ? 0 : shelf[b] + w->m->blocks[b].bytes;
            if (end && end <= at && end >= below) {
                below = end;
                next = shelf[b];
            }
        }
        if (at - below >= bytes && at - below < best_room) {
            best = at;
            best_room = at - below;
        }
        at = next;
    }
    return best;
}

/* Places in the store for what it keeps beside the ring: what lies there already stays where it is, and the
 * largest of the others choose first. False when one finds none. */
static bool lay_beside(const kinds_work *w, uint64_t *shelf, uint64_t ring) {
    for (int b = 0; b < w->m->block_count; b++) {
        uint64_t at = w->m->blocks[b].stored_at;
        shelf[b] = w->kind[b] == BL_KIND_STORE && at != BL_NOWHERE && at >= ring &&
                           at + w->m->blocks[b].bytes <= w->shelf_end
                       ? at
                       : BL_NOWHERE;
    }
    for (;;) {
        int most = -1;
        for (int b = 0; b < w->m->block_count; b++) {
            if (w->kind[b] == BL_KIND_STORE && shelf[b] == BL_NOWHERE &&
                (most < 0 || w->m->blocks[b].bytes > w->m->blocks[most].bytes)) {
                most = b;
            }
        }
        uint64_t end = most < 0 ? 0 : hole_end(w, shelf, ring, w->m->blocks[most].bytes);
        if (!end) {
            return most < 0;
        }
        shelf[most] = end - w->m->blocks[most].bytes;
    }
}

static uint64_t less_of(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Places in the store for what neither stays on the device nor comes out of the file; anew, from its end
 * down, where what lies there is in the way. They lie below those of other modules, if there is room and the
 * module needs no ring that large. */
static int write_shelf(bl_kinds *k, kinds_work *w, int module, bl_error *err) {
    size_t n = (size_t)w->m->block_count;
    uint64_t stored = 0, *shelf = malloc(n * sizeof *shelf);
    bool file = false;
    k->shelf[module] = shelf;
    if (!shelf) {
        return bl_fail_memory(err, "the planner's residents", n * sizeof *shelf);
    }
    for (size_t b = 0; b < n; b++) {
        stored += w->kind[b] == BL_KIND_STORE ? w->m->blocks[b].bytes : 0;
        file = file || w->kind[b] == BL_KIND_FILE;
    }
    uint64_t ring = w->p->host_bytes - stored;
    ring = file ? ring : less_of(ring, bl_store_usual_ring(w->p));
    bool below = !file && w->shelf_low >= stored + ring;
    uint64_t top = w->shelf_end = below ? w->shelf_low : w->p->host_bytes;
    if (!lay_beside(w, shelf, ring)) {
        for (size_t b = 0; b < n; b++) {
            top -= w->kind[b] == BL_KIND_STORE ? w->m->blocks[b].bytes : 0;
            shelf[b] = w->kind[b] == BL_KIND_STORE ? top : BL_NOWHERE;
        }
    }
    for (size_t b = 0; b < n; b++) {
        w->shelf_low = less_of(w->shelf_low, shelf[b]);
    }
    for (int i = 0; i < w->p->phase_count; i++) {
        k->ring[i] = w->p->phases[i].module == module ? ring : k->ring[i];
    }
    return 0;
}

/* A module that runs once in a generation, where another runs often, keeps nothing: all of it comes out of
 * the file, below what others have in the store. */
static int once(bl_kinds *k, kinds_work *w, int module, bl_error *err) {
    size_t n = (size_t)w->m->block_count;
    memset(w->kind, BL_KIND_FILE, n);
    k->shelf[module] = malloc(n * sizeof *k->shelf[module]);
    if (!k->shelf[module]) {
        return bl_fail_memory(err, "the planner's residents", n * sizeof *k->shelf[module]);
    }
    for (size_t b = 0; b < n; b++) {
        k->shelf[module][b] = BL_NOWHERE;
    }
    uint64_t least = less_of(2 * w->m->largest_block, w->p->host_bytes);
    for (int i = 0; i < w->p->phase_count; i++) {
        if (w->p->phases[i].module == module) {
            k->ring[i] = w->shelf_low > least ? w->shelf_low : least;
        }
    }
    return 0;
}

static int write_phase(bl_kinds *k, kinds_work *w, int module, int phase, bl_error *err) {
    size_t n = (size_t)w->m->block_count;
    k->homes.pin[phase] = malloc(n);
    k->pass[phase] = malloc(n);
    k->load[phase] = malloc(2 * n * sizeof *k->load[phase]);
    if (!k->homes.pin[phase] || !k->pass[phase] || !k->load[phase]) {
        return bl_fail_memory(err, "the planner's residents", 2 * n * sizeof *k->load[phase]);
    }
    for (size_t b = 0; b < n; b++) {
        const bl_problem_block *x = &w->m->blocks[b];
        bool stays = w->kind[b] == BL_KIND_DEVICE, file = w->kind[b] == BL_KIND_FILE;
        k->homes.pin[phase][b] = stays;
        if (stays && k->homes.home[module][b] == BL_NOWHERE) {
            w->top -= x->bytes;
            k->homes.home[module][b] = w->top;
        }
        k->pass[phase][b] = k->shelf[module][b] == BL_NOWHERE;
        k->load[phase][b] = file || x->stored_at == BL_NOWHERE ? x->load_seconds : 0;
        k->load[phase][n + b] = file ? x->load_seconds : 0;
    }
    k->homes.window[phase] = w->top;
    return 0;
}

/* In this generation. */
static int passes_of(const bl_problem *p, int module) {
    int passes = 0;
    for (int i = 0; i < p->phase_count; i++) {
        passes += p->phases[i].module == module ? p->phases[i].passes : 0;
    }
    return passes;
}

/* What the phase adds to what those with less room have on the device. */
static int add_phase(bl_kinds *k, kinds_work *w, int module, int phase, bool first, bl_error *err) {
    const bl_problem_level *level = &w->p->phases[phase].levels[w->levels[phase]];
    long work = changes_most * w->m->block_count;
    bl_split split = {.p = w->p,
                      .m = w->m,
                      .seconds = level->block_seconds,
                      .room = bl_kinds_less(w->region, level->arena_bytes),
                      .host = w->p->host_bytes,
                      .device_most = UINT64_MAX,
                      .host_most = UINT64_MAX,
                      .less = first ? NULL : w->last,
                      .settles = w->p->phase_count == 1 && w->p->phases[phase].passes == 1,
                      .seed = w->seed,
                      .by_size = w->by_size,
                      .tries = w->p->phase_count == 1 ? tries_alone : 1,
                      .work = work < work_most ? work : work_most};
    double pass = 0;
    long spent = 0;
    int rc = 0;
    if (w->others && passes_of(w->p, module) == 1) {
        rc = once(k, w, module, err);
        return rc ? rc : write_phase(k, w, module, phase, err);
    }
    rc = bl_split_choose(w->kind, &pass, &spent, &split, err);
    k->work += walk_weight * spent;
    k->fits = k->fits && pass < INFINITY;
    if (rc || !k->fits) {
        return rc;
    }
    rc = first ? write_shelf(k, w, module, err) : 0;
    rc = rc ? rc : write_phase(k, w, module, phase, err);
    memcpy(w->last, w->kind, (size_t)w->m->block_count);
    return rc;
}

static int find_module(bl_kinds *k, kinds_work *w, int module, bl_error *err) {
    w->m = &w->p->modules[module];
    size_t n = (size_t)w->m->block_count;
    w->kind = malloc(n);
    w->last = malloc(n);
    k->homes.home[module] = malloc(n * sizeof *k->homes.home[module]);
    int rc = w->kind && w->last && k->homes.home[module]
                 ? 0
                 : bl_fail_memory(err, "the planner's residents", n * sizeof *k->homes.home[module]);
    for (size_t b = 0; b < n && !rc; b++) {
        k->homes.home[module][b] = BL_NOWHERE;
    }
    w->top = w->region;
    bool first = true;
    for (int i = rc ? -1 : bl_homes_next_tighter(w->p, w->levels, module, -1); i >= 0 && !rc && k->fits;
         i = bl_homes_next_tighter(w->p, w->levels, module, i)) {
        rc = add_phase(k, w, module, i, first, err);
        first = false;
    }
    free(w->kind);
    free(w->last);
    return rc;
}

int bl_kinds_find(bl_kinds *out, const bl_problem *p, const int *levels, uint64_t region_bytes, int seed,
                  bool by_size, bl_error *err) {
    kinds_work w = {.p = p,
                    .levels = levels,
                    .region = region_bytes,
                    .shelf_low = p->host_bytes,
                    .seed = seed,
                    .by_size = by_size};
    memset(out, 0, sizeof *out);
    out->fits = true;
    for (int i = 0; i < p->phase_count; i++) {
        out->ring[i] = bl_store_usual_ring(p);
    }
    int order[BL_PROBLEM_MODULES];
    for (int m = 0; m < p->module_count; m++) { /* those that run most often first */
        int at = m;
        for (; at > 0 && passes_of(p, m) > passes_of(p, order[at - 1]); at--) {
            order[at] = order[at - 1];
        }
        order[at] = m;
    }
    for (int k = 0; k < p->module_count && out->fits; k++) {
        int m = order[k], i = bl_homes_next_tighter(p, levels, m, -1);
        if (i < 0 || p->modules[m].bytes <= bl_kinds_less(region_bytes, arena_of(&w, i))) {
            continue;
        }
        out->any = true;
        int rc = find_module(out, &w, m, err);
        w.others = w.others || passes_of(p, m) > 2;
        if (rc) {
            bl_kinds_free(out);
            return rc;
        }
    }
    return 0;
}
