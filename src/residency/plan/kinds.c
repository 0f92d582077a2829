#include "residency/plan/kinds.h"

#include "residency/plan/spread.h"

#include <stdlib.h>
#include <string.h>

/* One module on the way from its phase with the least room to the one with the most. */
typedef struct kinds_work {
    const bl_problem *p;
    const bl_problem_module *m;
    const int *levels;
    uint64_t region, window, store, ring; /* bytes; `store` without the ring */
    uint8_t *stays, *file;                /* [block_count] so far: on the device; out of the file */
    uint8_t *chosen, *more;               /* [block_count] */
    uint64_t top;                         /* residents lie above it */
} kinds_work;

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

/* Of what does not stay on the device, what comes out of the file: all that there is no room for. What is
 * larger than the ring does not. */
static int choose_file(kinds_work *w, const double *seconds, uint64_t room, bl_error *err) {
    const bl_problem_module *m = w->m;
    uint64_t kept = 0;
    for (int b = 0; b < m->block_count; b++) {
        w->chosen[b] = !w->stays[b] && m->blocks[b].bytes <= w->ring;
        kept += !w->stays[b] && !w->chosen[b] ? m->blocks[b].bytes : 0;
    }
    int rc = bl_spread_among(w->file, m, seconds, w->chosen, bl_kinds_less(room, kept), true, err);
    for (int b = 0; b < m->block_count; b++) {
        w->file[b] = w->chosen[b] && !w->file[b];
    }
    return rc;
}

/* As much as there is room for stays on the device, too, of what comes out of the file or of what the store
 * keeps. */
static int choose_stays(kinds_work *w, const double *seconds, uint64_t room, bool of_file, bl_error *err) {
    const bl_problem_module *m = w->m;
    for (int b = 0; b < m->block_count; b++) {
        w->chosen[b] = !w->stays[b] && w->file[b] == of_file;
    }
    int rc = bl_spread_among(w->more, m, seconds, w->chosen, bl_kinds_less(room, bl_kinds_bytes(m, w->stays)),
                             false, err);
    for (int b = 0; b < m->block_count && !rc; b++) {
        w->stays[b] |= w->more[b];
        w->file[b] &= !w->more[b];
    }
    return rc;
}

/* What the phase adds. The first one has the least room: what is larger than the window stays, of the rest
 * what the device holds of what it and the store can keep; the store keeps what it can of the others. Where
 * there is more room later, what came out of the file has it first. False in *fits when a block is too large
 * for what is left for it. */
static int choose(bool *fits, kinds_work *w, int phase, bool first, bl_error *err) {
    const bl_problem_module *m = w->m;
    const double *seconds = w->p->phases[phase].levels[w->levels[phase]].block_seconds;
    uint64_t all = bl_kinds_less(w->region, arena_of(w, phase)), room = bl_kinds_less(all, w->window);
    for (int b = 0; b < m->block_count && first; b++) {
        w->stays[b] = m->blocks[b].bytes > w->window;
    }
    int rc = first ? choose_file(w, seconds, bl_kinds_less(room, bl_kinds_bytes(m, w->stays)) + w->store, err)
                   : choose_stays(w, seconds, room, true, err);
    rc = rc ? rc : choose_stays(w, seconds, room, false, err);
    rc = rc || !first ? rc : choose_file(w, seconds, w->store, err);
    uint64_t left = bl_kinds_less(all, bl_kinds_bytes(m, w->stays)), shelf = 0;
    for (int b = 0; b < m->block_count; b++) {
        *fits = *fits && (w->stays[b] || m->blocks[b].bytes <= left);
        shelf += w->stays[b] || w->file[b] ? 0 : m->blocks[b].bytes;
    }
    *fits = *fits && bl_kinds_bytes(m, w->stays) <= all && (!first || shelf <= w->p->host_bytes);
    return rc;
}

/* Places in the store for what neither stays on the device nor comes out of the file, from its end down. */
static int write_shelf(bl_kinds *k, const kinds_work *w, int module, bl_error *err) {
    size_t n = (size_t)w->m->block_count;
    uint64_t top = w->p->host_bytes;
    k->shelf[module] = malloc(n * sizeof *k->shelf[module]);
    if (!k->shelf[module]) {
        return bl_fail_memory(err, "the planner's residents", n * sizeof *k->shelf[module]);
    }
    for (size_t b = 0; b < n; b++) {
        bool here = !w->stays[b] && !w->file[b];
        top -= here ? w->m->blocks[b].bytes : 0;
        k->shelf[module][b] = here ? top : BL_NOWHERE;
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
    memcpy(k->homes.pin[phase], w->stays, n);
    for (size_t b = 0; b < n; b++) {
        const bl_problem_block *x = &w->m->blocks[b];
        if (w->stays[b] && k->homes.home[module][b] == BL_NOWHERE) {
            w->top -= x->bytes;
            k->homes.home[module][b] = w->top;
        }
        k->pass[phase][b] = k->shelf[module][b] == BL_NOWHERE;
        k->load[phase][b] = w->file[b] || x->stored_at == BL_NOWHERE ? x->load_seconds : 0;
        k->load[phase][n + b] = w->file[b] ? x->load_seconds : 0;
    }
    k->homes.window[phase] = w->top;
    return 0;
}

static int find_module(bl_kinds *k, kinds_work *w, int module, bl_error *err) {
    w->m = &w->p->modules[module];
    size_t n = (size_t)w->m->block_count;
    w->stays = calloc(n, 1);
    w->file = calloc(n, 1);
    w->chosen = calloc(n, 1);
    w->more = calloc(n, 1);
    k->homes.home[module] = malloc(n * sizeof *k->homes.home[module]);
    int rc = w->stays && w->file && w->chosen && w->more && k->homes.home[module]
                 ? 0
                 : bl_fail_memory(err, "the planner's residents", n * sizeof *k->homes.home[module]);
    for (size_t b = 0; b < n && !rc; b++) {
        k->homes.home[module][b] = BL_NOWHERE;
    }
    w->top = w->region;
    bool first = true;
    for (int i = rc ? -1 : bl_homes_next_tighter(w->p, w->levels, module, -1); i >= 0 && !rc;
         i = bl_homes_next_tighter(w->p, w->levels, module, i)) {
        rc = choose(&k->fits, w, i, first, err);
        if (rc || !k->fits) {
            break;
        }
        rc = first ? write_shelf(k, w, module, err) : 0;
        rc = rc ? rc : write_phase(k, w, module, i, err);
        first = false;
    }
    free(w->stays);
    free(w->file);
    free(w->chosen);
    free(w->more);
    return rc;
}

int bl_kinds_find(bl_kinds *out, const bl_problem *p, const int *levels, uint64_t region_bytes,
                  uint64_t window_bytes, uint64_t ring_bytes, bl_error *err) {
    kinds_work w = {.p = p,
                    .levels = levels,
                    .region = region_bytes,
                    .window = window_bytes,
                    .ring = ring_bytes,
                    .store = bl_kinds_less(p->host_bytes, ring_bytes)};
    memset(out, 0, sizeof *out);
    out->fits = true;
    for (int m = 0; m < p->module_count && out->fits; m++) {
        int i = bl_homes_next_tighter(p, levels, m, -1);
        if (i < 0 || p->modules[m].bytes <= bl_kinds_less(region_bytes, arena_of(&w, i))) {
            continue;
        }
        out->any = true;
        int rc = find_module(out, &w, m, err);
        if (rc) {
            bl_kinds_free(out);
            return rc;
        }
    }
    return 0;
}
