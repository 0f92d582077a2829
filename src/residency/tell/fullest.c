#include "residency/tell/fullest.h"

#include <stdlib.h>
#include <string.h>

typedef struct walk {
    const bl_plan *plan;
    const bl_problem *p;
    int first[BL_PROBLEM_MODULES];  /* where a module's blocks begin */
    int number[BL_PROBLEM_MODULES]; /* of a module in the list that is told; -1: not yet in it */
    int block_count, moved;         /* blocks of all modules; moves that are done */
    uint64_t bytes;                 /* that lie there */
    bool *here, *streamed;          /* [block_count] */
} walk;

static void begin(walk *w) {
    w->bytes = 0;
    w->moved = 0;
    for (int m = 0; m < w->p->module_count; m++) {
        const bl_problem_module *x = &w->p->modules[m];
        for (int b = 0; b < x->block_count; b++) {
            bool here = !w->plan->reopen && x->blocks[b].resident_at != BL_NOWHERE;
            w->here[w->first[m] + b] = here;
            w->bytes += here ? x->blocks[b].bytes : 0;
        }
    }
}

static bool open_walk(walk *w, const bl_plan *plan, const bl_problem *p) {
    *w = (walk){.plan = plan, .p = p};
    for (int m = 0; m < p->module_count; m++) {
        w->number[m] = -1;
        w->first[m] = w->block_count;
        w->block_count += p->modules[m].block_count;
    }
    w->here = calloc((size_t)w->block_count, 1);
    w->streamed = calloc((size_t)w->block_count, 1);
    return w->here && w->streamed;
}

static void move_one(walk *w) {
    const bl_move *v = &w->plan->moves[w->moved++];
    uint64_t bytes = w->p->modules[v->module].blocks[v->block].bytes;
    if (v->kind == BL_MOVE_COPY || v->kind == BL_MOVE_DROP) {
        bool in = v->kind == BL_MOVE_COPY;
        w->here[w->first[v->module] + v->block] = in;
        w->bytes += in ? bytes : -bytes;
    }
}

/* Moves that are done before run r. */
static bool moves_before(const walk *w, int r) {
    return w->moved < w->plan->move_count && w->plan->moves[w->moved].after < r;
}

/* How many moves are done when most bytes lie there in each phase: into most[phase_count]. */
static void find(walk *w, int *most) {
    begin(w);
    for (int i = 0; i < w->p->phase_count; i++) {
        const bl_problem_phase *f = &w->p->phases[i];
        int blocks = w->p->modules[f->module].block_count;
        bool several = f->passes > 1; /* then what stays is there from the second pass on, until the last */
        int from = f->first_run + (several ? blocks : 0);
        int until = f->first_run + (several ? (f->passes - 1) * blocks : blocks - 1);
        while (moves_before(w, from)) {
            move_one(w);
        }
        uint64_t bytes = w->bytes;
        most[i] = w->moved;
        while (moves_before(w, until)) {
            move_one(w);
            if (w->bytes > bytes) {
                bytes = w->bytes;
                most[i] = w->moved;
            }
        }
    }
}

/* Blocks of the phase's module that are brought in again for its later passes. */
static void mark_streamed(walk *w, const bl_problem_phase *f) {
    int blocks = w->p->modules[f->module].block_count;
    memset(w->streamed, 0, (size_t)w->block_count);
    for (int i = 0; i < w->plan->move_count; i++) {
        const bl_move *v = &w->plan->moves[i];
        if (v->kind == BL_MOVE_COPY && v->module == f->module && v->before >= f->first_run + blocks &&
            v->before < f->first_run + f->passes * blocks) {
            w->streamed[w->first[v->module] + v->block] = true;
        }
    }
}

/* The module's number in the list, to which it is added when it is asked for first; -1: no memory. */
static int number_of(walk *w, int m, json_t *modules) {
    const bl_problem_module *x = &w->p->modules[m];
    if (w->number[m] < 0) {
        json_t *blocks = json_array();
        bool fine = blocks;
        for (int b = 0; b < x->block_count && fine; b++) {
            fine = !json_array_append_new(
                blocks, json_pack("[s, I]", x->blocks[b].name, (json_int_t)x->blocks[b].bytes));
        }
        json_t *one =
            fine ? json_pack("{s:s, s:s, s:O}", "model", x->model, "module", x->name, "blocks", blocks)
                 : NULL;
        json_decref(blocks);
        if (!one || json_array_append_new(modules, one)) {
            return -1;
        }
        w->number[m] = (int)json_array_size(modules) - 1;
    }
    return w->number[m];
}

/* What lies there, neighbours together. */
static bool tell(walk *w, json_t *held, json_t *modules) {
    for (int m = 0; m < w->p->module_count; m++) {
        const bool *here = w->here + w->first[m], *streamed = w->streamed + w->first[m];
        for (int b = 0, end; b < w->p->modules[m].block_count; b = end) {
            for (end = b + 1;
                 end < w->p->modules[m].block_count && here[end] == here[b] && streamed[end] == streamed[b];
                 end++) {
            }
            int number = here[b] ? number_of(w, m, modules) : 0;
            if (number < 0 ||
                (here[b] &&
                 json_array_append_new(held, json_pack("{s:i, s:i, s:i, s:b}", "module", number, "first", b,
                                                       "last", end - 1, "streamed", streamed[b])))) {
                return false;
            }
        }
    }
    return true;
}

bool bl_fullest_add(json_t *root, const bl_plan *plan, const bl_problem *p) {
    walk w;
    json_t *modules = json_array();
    int *most = calloc((size_t)p->phase_count, sizeof *most);
    bool fine = open_walk(&w, plan, p) && modules && most;
    if (fine) {
        find(&w, most);
        begin(&w);
    }
    for (int i = 0; i < p->phase_count && fine; i++) {
        while (w.moved < most[i]) {
            move_one(&w);
        }
        mark_streamed(&w, &p->phases[i]);
        json_t *held = json_array();
        fine = held && tell(&w, held, modules) &&
               !json_object_set(json_array_get(json_object_get(root, "phases"), (size_t)i), "held", held);
        json_decref(held);
    }
    fine = fine && !json_object_set(root, "modules", modules);
    json_decref(modules);
    free(most);
    free(w.here);
    free(w.streamed);
    return fine;
}
