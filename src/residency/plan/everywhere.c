#include "residency/plan/kinds.h"

#include "residency/plan/spread.h"

#include <stdlib.h>
#include <string.h>

/* Modules of this generation, those that are brought in most often first. */
typedef struct everywhere {
    const bl_problem *p;
    const int *levels;
    int order[BL_PROBLEM_MODULES], count;
    double visits[BL_PROBLEM_MODULES];         /* how often its blocks would come in a generation */
    const double *seconds[BL_PROBLEM_MODULES]; /* [block_count] of a pass of its first phase */
    uint8_t *kept[BL_PROBLEM_MODULES], *stays[BL_PROBLEM_MODULES]; /* [block_count] */
    uint64_t bytes;                                                /* of all */
} everywhere;

static void everywhere_close(everywhere *e) {
    for (int m = 0; m < BL_PROBLEM_MODULES; m++) {
        free(e->kept[m]);
        free(e->stays[m]);
    }
}

static uint64_t arena_of(const everywhere *e, int phase) {
    return e->p->phases[phase].levels[e->levels[phase]].arena_bytes;
}

/* A module that fits a phase comes once for it, another one in each pass. */
static int everywhere_open(everywhere *e, uint64_t region, bl_error *err) {
    const bl_problem *p = e->p;
    for (int i = 0; i < p->phase_count; i++) {
        const bl_problem_phase *f = &p->phases[i];
        const bl_problem_module *m = &p->modules[f->module];
        e->visits[f->module] += m->bytes <= bl_kinds_less(region, arena_of(e, i)) ? 1 : f->passes;
        if (e->seconds[f->module]) {
            continue;
        }
        size_t n = (size_t)m->block_count;
        e->seconds[f->module] = f->levels[e->levels[i]].block_seconds;
        e->kept[f->module] = calloc(n, 1);
        e->stays[f->module] = calloc(n, 1);
        if (!e->kept[f->module] || !e->stays[f->module]) {
            return bl_fail_memory(err, "the planner's residents", n);
        }
        e->order[e->count++] = f->module;
        e->bytes += m->bytes;
    }
    for (int i = 1; i < e->count; i++) {
        for (int k = i; k > 0 && e->visits[e->order[k]] > e->visits[e->order[k - 1]]; k--) {
            int swap = e->order[k];
            e->order[k] = e->order[k - 1];
            e->order[k - 1] = swap;
        }
    }
    return 0;
}

/* What the device and the store keep between them, of what comes most often first; of equals alike. */
static int choose_kept(everywhere *e, uint64_t room, bl_error *err) {
    int rc = 0;
    for (int first = 0, last; first < e->count && !rc; first = last) {
        uint64_t bytes = 0;
        for (last = first; last < e->count && e->visits[e->order[last]] == e->visits[e->order[first]];
             last++) {
            bytes += e->p->modules[e->order[last]].bytes;
        }
        double share = bytes <= room ? 1 : (double)room / (double)bytes;
        for (int i = first; i < last && !rc; i++) {
            int m = e->order[i];
            const bl_problem_module *x = &e->p->modules[m];
            memset(e->stays[m], 1, (size_t)x->block_count);
            rc = bl_spread_among(e->kept[m], x, e->seconds[m], e->stays[m],
                                 (uint64_t)(share * (double)x->bytes), true, err);
            memset(e->stays[m], 0, (size_t)x->block_count);
            room = bl_kinds_less(room, bl_kinds_bytes(x, e->kept[m]));
        }
        room = last < e->count && share < 1 ? 0 : room;
    }
    return rc;
}

/* The device holds a like share of what is kept of each module, at least what the store has no room for. */
static int choose_stays(everywhere *e, uint64_t room, bl_error *err) {
    uint64_t kept = 0;
    int rc = 0;
    for (int i = 0; i < e->count; i++) {
        kept += bl_kinds_bytes(&e->p->modules[e->order[i]], e->kept[e->order[i]]);
    }
    for (int i = 0; i < e->count && !rc; i++) {
        int m = e->order[i];
        const bl_problem_module *x = &e->p->modules[m];
        uint64_t own = bl_kinds_bytes(x, e->kept[m]);
        uint64_t mine = kept <= room ? own : (uint64_t)((double)room * ((double)own / (double)kept));
        rc = bl_spread_among(e->stays[m], x, e->seconds[m], e->kept[m], mine, false, err);
        uint64_t taken = bl_kinds_bytes(x, e->stays[m]);
        room = bl_kinds_less(room, taken);
        kept -= own;
    }
    return rc;
}

static int write_module(bl_kinds *k, const everywhere *e, int m, uint64_t *top, uint64_t *shelf,
                        bl_error *err) {
    const bl_problem_module *x = &e->p->modules[m];
    size_t n = (size_t)x->block_count;
    k->homes.home[m] = malloc(n * sizeof *k->homes.home[m]);
    k->shelf[m] = malloc(n * sizeof *k->shelf[m]);
    if (!k->homes.home[m] || !k->shelf[m]) {
        return bl_fail_memory(err, "the planner's residents", n * sizeof *k->shelf[m]);
    }
    for (size_t b = 0; b < n; b++) {
        uint64_t bytes = x->blocks[b].bytes;
        bool stored = e->kept[m][b] && !e->stays[m][b] && bytes <= *shelf;
        *top -= e->stays[m][b] ? bytes : 0;
        *shelf -= stored ? bytes : 0;
        k->homes.home[m][b] = e->stays[m][b] ? *top : BL_NOWHERE;
        k->shelf[m][b] = stored ? *shelf : BL_NOWHERE;
    }
    return 0;
}

static int write_phase(bl_kinds *k, const everywhere *e, int phase, bl_error *err) {
    int m = e->p->phases[phase].module;
    const bl_problem_module *x = &e->p->modules[m];
    size_t n = (size_t)x->block_count;
    k->pass[phase] = malloc(n);
    k->load[phase] = malloc(2 * n * sizeof *k->load[phase]);
    if (!k->pass[phase] || !k->load[phase]) {
        return bl_fail_memory(err, "the planner's residents", 2 * n * sizeof *k->load[phase]);
    }
    for (size_t b = 0; b < n; b++) {
        bool file = !e->stays[m][b] && k->shelf[m][b] == BL_NOWHERE;
        bool there = x->blocks[b].stored_at != BL_NOWHERE;
        k->pass[phase][b] = k->shelf[m][b] == BL_NOWHERE;
        k->load[phase][b] = file || !there ? x->blocks[b].load_seconds : 0;
        k->load[phase][n + b] = file ? x->blocks[b].load_seconds : 0;
    }
    return 0;
}

int bl_kinds_everywhere(bl_kinds *out, const bl_problem *p, const int *levels, uint64_t region_bytes,
                        uint64_t window_bytes, uint64_t ring_bytes, bl_error *err) {
    everywhere e = {.p = p, .levels = levels};
    uint64_t arena = 0, top = region_bytes, shelf = p->host_bytes;
    memset(out, 0, sizeof *out);
    for (int i = 0; i < p->phase_count; i++) {
        arena = arena_of(&e, i) > arena ? arena_of(&e, i) : arena;
    }
    uint64_t room = bl_kinds_less(bl_kinds_less(region_bytes, arena), window_bytes),
             store = bl_kinds_less(p->host_bytes, ring_bytes);
    int rc = everywhere_open(&e, region_bytes, err);
    out->any = e.bytes > bl_kinds_less(region_bytes, arena);
    rc = rc ? rc : choose_kept(&e, room + store, err);
    rc = rc ? rc : choose_stays(&e, room, err);
    for (int i = 0; i < e.count && !rc; i++) {
        rc = write_module(out, &e, e.order[i], &top, &shelf, err);
    }
    for (int i = 0; i < p->phase_count && !rc; i++) {
        rc = write_phase(out, &e, i, err);
    }
    out->homes.everywhere = true;
    out->homes.ceiling = top;
    out->fits = top >= arena + bl_problem_min_host(p);
    everywhere_close(&e);
    if (rc) {
        bl_kinds_free(out);
    }
    return rc;
}
