#include "residency/plan/store_walk.h"

#include <stdlib.h>
#include <string.h>

void bl_store_walk_close(bl_store_walk *w) {
    bl_space_free(&w->space);
    free(w->blocks);
    free(w->left);
    memset(w, 0, sizeof *w);
}

static bl_store_place *find(const bl_store_walk *w, const bl_move *v) {
    return &w->blocks[w->first[v->module] + v->block];
}

static const char *name_of(const bl_store_walk *w, const bl_move *v) {
    return w->p->modules[v->module].blocks[v->block].name;
}

/* False when the place overlaps another, leaves the store or lies between two multiples of the alignment. */
static bool put(bl_store_walk *w, int module, int block, uint64_t offset) {
    uint64_t bytes = w->p->modules[module].blocks[block].bytes;
    if (offset % w->p->alignment || offset > w->p->host_bytes || bytes > w->p->host_bytes - offset ||
        !bl_space_insert(&w->space, (bl_space_item){offset, bytes, module, block})) {
        return false;
    }
    w->peak_bytes = offset + bytes > w->peak_bytes ? offset + bytes : w->peak_bytes;
    w->blocks[w->first[module] + block] = (bl_store_place){.at = offset};
    return true;
}

int bl_store_walk_open(bl_store_walk *w, const bl_problem *p, bl_error *err) {
    memset(w, 0, sizeof *w);
    w->p = p;
    int count = 0;
    for (int m = 0; m < p->module_count; m++) {
        w->first[m] = count;
        count += p->modules[m].block_count;
    }
    int rc = bl_space_init(&w->space, count, err);
    w->blocks = malloc((size_t)count * sizeof *w->blocks);
    if (!rc && !w->blocks) {
        rc = bl_fail_memory(err, "the host store's places", (size_t)count * sizeof *w->blocks);
    }
    for (int i = 0; i < count && !rc; i++) {
        w->blocks[i] = (bl_store_place){.at = BL_NOWHERE};
    }
    for (int m = 0; m < p->module_count && !rc; m++) {
        for (int b = 0; b < p->modules[m].block_count && !rc; b++) {
            const bl_problem_block *x = &p->modules[m].blocks[b];
            if (x->stored_at != BL_NOWHERE && !put(w, m, b, x->stored_at)) {
                rc = bl_fail(err, BL_E_INTERNAL, "block %s overlaps another in the host store, or leaves it",
                             x->name);
            }
        }
    }
    if (rc) {
        bl_store_walk_close(w);
    }
    return rc;
}

/* Until when any of [low, high) is read by copies under way. Forgets those that no later load can meet. */
static double busy_until(bl_store_walk *w, uint64_t low, uint64_t high) {
    double until = 0;
    int kept = 0;
    for (int i = 0; i < w->left_count; i++) {
        bl_store_left x = w->left[i];
        if (x.low < high && low < x.high && x.quiet > until) {
            until = x.quiet;
        }
        if (x.quiet > w->clock) {
            w->left[kept++] = x;
        }
    }
    w->left_count = kept;
    return until;
}

int bl_store_walk_load(bl_store_walk *w, const bl_move *v, double ready, bl_error *err) {
    bl_store_place *x = find(w, v);
    const bl_problem_block *b = &w->p->modules[v->module].blocks[v->block];
    if (x->at != BL_NOWHERE || v->before <= v->after || !put(w, v->module, v->block, v->offset)) {
        return bl_fail(
            err, BL_E_INTERNAL,
            "block %s is loaded twice, at no time, or to %llu in the host store, where it overlaps "
            "another, leaves it or lies between two multiples of the alignment",
            b->name, (unsigned long long)v->offset);
    }
    double quiet = busy_until(w, v->offset, v->offset + b->bytes);
    ready = quiet > ready ? quiet : ready;
    w->clock = (ready > w->clock ? ready : w->clock) + b->load_seconds;
    x->loaded = w->clock;
    return 0;
}

int bl_store_walk_leave(bl_store_walk *w, const bl_move *v, bl_error *err) {
    bl_store_place *x = find(w, v);
    int at = x->at == BL_NOWHERE ? -1 : bl_space_index(&w->space, x->at, v->module, v->block);
    if (at < 0 || x->at != v->offset) {
        return bl_fail(err, BL_E_INTERNAL, "block %s leaves a place in the host store that it does not have",
                       name_of(w, v));
    }
    if (w->left_count == w->left_room) {
        int room = w->left_room ? 2 * w->left_room : 64;
        bl_store_left *more = realloc(w->left, (size_t)room * sizeof *more);
        if (!more) {
            return bl_fail_memory(err, "the host store's places", (size_t)room * sizeof *more);
        }
        w->left = more;
        w->left_room = room;
    }
    const bl_space_item *item = &w->space.items[at];
    w->left[w->left_count++] = (bl_store_left){item->offset, item->offset + item->bytes, x->quiet};
    bl_space_remove(&w->space, at);
    x->at = BL_NOWHERE;
    return 0;
}

int bl_store_walk_ready(double *ready, bl_store_walk *w, const bl_move *v, bl_error *err) {
    const bl_store_place *x = find(w, v);
    if (x->at == BL_NOWHERE) {
        return bl_fail(err, BL_E_INTERNAL, "block %s is copied from the host store, where it is not",
                       name_of(w, v));
    }
    *ready = x->loaded;
    return 0;
}

void bl_store_walk_copied(bl_store_walk *w, const bl_move *v, double end) {
    bl_store_place *x = find(w, v);
    x->quiet = end > x->quiet ? end : x->quiet;
}
