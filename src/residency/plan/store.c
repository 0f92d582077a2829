#include "residency/plan/store.h"

#include "core/checked.h"
#include "residency/plan/replay.h"
#include "residency/plan/space.h"
#include "residency/problem/follow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A copy of a block, of this generation or of a later one. */
typedef struct use {
    double at; /* seconds of compute before the run that waits for it */
    int next;  /* the next one of the same block; -1: none */
    int module, block;
} use;

/* What is known of a block. */
typedef struct shelf {
    uint64_t at;       /* offset in the store, or BL_NOWHERE */
    int last;          /* the move behind which its place may be given up; -1: at once */
    int use, last_use; /* its next copy, and the last one known; -1: none */
    bool used;         /* it has been copied */
    double next;       /* seconds before its next copy; INFINITY: none is known */
    bool begins, ends; /* on the device when the plan begins, and when it ends */
} shelf;

typedef struct filler {
    const bl_problem *p;
    bl_plan *plan;
    const bl_store_options *o;
    bl_move *moves; /* [move_count] the plan's, without loads */
    int move_count;
    double *before;                /* [run_count + 1] seconds of compute before each run */
    use *uses;                     /* [use_count] */
    int use_count, own_uses;       /* own_uses: of this generation */
    shelf *blocks;                 /* of all modules, one after the other */
    int first[BL_PROBLEM_MODULES]; /* where a module's blocks begin */
    int block_count;
    bl_space space;
    uint64_t held_bytes; /* of what it has */
    uint64_t ring;       /* bytes of it */
    int emitted;         /* moves that are in the plan again */
    double soon;         /* seconds of a pass of the phase at hand */
    int last;            /* the move behind which the last load stands */
} filler;

/* Items [first, last) of the space that make way for a block. */
typedef struct gap {
    int first, last;
    uint64_t offset;
    double price; /* seconds of loads, by how soon they come, that their going costs */
    int after;    /* the move behind which they may go */
} gap;

static shelf *shelf_of(const filler *g, int module, int block) {
    return &g->blocks[g->first[module] + block];
}

static const bl_problem_block *block_of(const filler *g, const bl_move *v) {
    return &g->p->modules[v->module].blocks[v->block];
}

static void filler_close(filler *g) {
    free(g->moves);
    free(g->before);
    free(g->uses);
    free(g->blocks);
    bl_space_free(&g->space);
}

static void find_seconds(filler *g) {
    const bl_problem *p = g->p;
    double sum = 0;
    for (int i = 0, run = 0; i < p->phase_count; i++) {
        const bl_problem_phase *f = &p->phases[i];
        const double *seconds = f->levels[g->plan->phases[i].level].block_seconds;
        int blocks = p->modules[f->module].block_count;
        for (int k = 0; k < f->passes * blocks; k++) {
            g->before[run++] = sum;
            sum += seconds[k % blocks];
        }
    }
    g->before[p->run_count] = sum;
}

static void add_use(filler *g, int module, int block, double at) {
    shelf *x = shelf_of(g, module, block);
    g->uses[g->use_count] = (use){.at = at, .next = -1, .module = module, .block = block};
    if (x->last_use >= 0) {
        g->uses[x->last_use].next = g->use_count;
    } else {
        x->use = g->use_count;
    }
    x->last_use = g->use_count++;
}

/* The copies that the same generation makes next time: what is on the device when this one begins and not
 * when it ends is copied at its first use; what came to stay is not copied first of all. */
static void uses_again(filler *g, int generation, double base) {
    const bl_problem *p = g->p;
    const bl_problem_generation *x = &p->generations[generation];
    bool seen[BL_PROBLEM_MODULES] = {false};
    for (int i = x->first_phase; i < x->first_phase + x->phase_count; i++) {
        const bl_problem_phase *f = &p->phases[i];
        double at = base;
        for (int b = 0; b < p->modules[f->module].block_count && !seen[f->module]; b++) {
            const shelf *s = shelf_of(g, f->module, b);
            if (!s->ends && (s->begins || generation)) {
                add_use(g, f->module, b, at);
            }
        }
        seen[f->module] = true;
        base += f->passes * f->levels[0].pass_seconds;
    }
}

static void find_uses(filler *g) {
    const bl_problem *p = g->p;
    for (int i = 0; i < g->move_count; i++) {
        const bl_move *v = &g->moves[i];
        if (v->kind == BL_MOVE_COPY) {
            add_use(g, v->module, v->block, g->before[v->before]);
        }
        shelf_of(g, v->module, v->block)->ends = v->kind == BL_MOVE_COPY;
    }
    g->own_uses = g->use_count;
    double base = g->before[p->run_count];
    for (int k = 0; k < p->follower_count; k++) {
        uses_again(g, p->followers[k].generation, base);
        if (p->followers[k].generation) {
            continue;
        }
        for (int i = 0; i < g->move_count; i++) {
            const bl_move *v = &g->moves[i];
            const shelf *s = shelf_of(g, v->module, v->block);
            bool first = s->use >= 0 && g->uses[s->use].at == g->before[v->before];
            if (v->kind == BL_MOVE_COPY && !(first && s->ends && !s->begins)) {
                add_use(g, v->module, v->block, base + g->before[v->before]);
            }
        }
        return;
    }
}

/* A plan without moves has no array of them. */
static void copy_moves(bl_move *to, const bl_move *from, size_t count) {
    if (count) {
        memcpy(to, from, count * sizeof *to);
    }
}

static int filler_open(filler *g, bl_plan *plan, const bl_problem *p, const bl_store_options *o,
                       bl_error *err) {
    memset(g, 0, sizeof *g);
    g->p = p;
    g->plan = plan;
    g->o = o;
    g->last = g->emitted = -1;
    for (int m = 0; m < p->module_count; m++) {
        g->first[m] = g->block_count;
        g->block_count += p->modules[m].block_count;
    }
    size_t blocks = (size_t)g->block_count, moves = (size_t)plan->move_count;
    size_t uses = 2 * moves + blocks * (BL_PROBLEM_FOLLOWERS + 1);
    int rc = bl_space_init(&g->space, g->block_count, err);
    g->moves = malloc((moves + 1) * sizeof *g->moves);
    g->before = malloc(((size_t)p->run_count + 1) * sizeof *g->before);
    g->uses = malloc(uses * sizeof *g->uses);
    g->blocks = malloc(blocks * sizeof *g->blocks);
    if (!rc && (!g->moves || !g->before || !g->uses || !g->blocks)) {
        rc = bl_fail_memory(err, "the host store's plan", uses * sizeof *g->uses);
    }
    for (int m = 0; m < p->module_count && !rc; m++) {
        for (int b = 0; b < p->modules[m].block_count; b++) {
            const bl_problem_block *x = &p->modules[m].blocks[b];
            bool begins = !plan->reopen && x->resident_at != BL_NOWHERE;
            *shelf_of(g, m, b) = (shelf){
                .at = x->stored_at, .last = -1, .use = -1, .last_use = -1, .begins = begins, .ends = begins};
            if (x->stored_at != BL_NOWHERE) {
                bl_space_insert(&g->space, (bl_space_item){x->stored_at, x->bytes, m, b});
                g->held_bytes += x->bytes;
            }
        }
    }
    if (!rc) {
        copy_moves(g->moves, plan->moves, moves);
        g->move_count = plan->move_count;
        find_seconds(g);
        find_uses(g);
        for (int i = 0; i < g->block_count; i++) {
            shelf *x = &g->blocks[i];
            x->next = x->use >= 0 ? g->uses[x->use].at : INFINITY;
        }
    }
    return rc;
}

/* What it costs that a block goes which is copied again `at`: its load, the less the later. */
static double price_of(const shelf *x, double load_seconds, double now) {
    double seconds = x->next - now;
    return load_seconds / (seconds > 1e-9 ? seconds : 1e-9);
}

/* Whether a block's place among those that are kept is another one. */
static bool has_shelf(const filler *g, const bl_space_item *item) {
    const uint64_t *places = g->o->shelf ? g->o->shelf[item->module] : NULL;
    return places && places[item->block] != BL_NOWHERE;
}

/* The items that reach into [offset, offset + bytes), of which number `first` is the first; no further than
 * their price is `limit`. */
static gap gap_from(const filler *g, int first, uint64_t offset, uint64_t bytes, double now, double limit) {
    const bl_space *s = &g->space;
    gap x = {.first = first, .offset = offset, .after = -1};
    for (x.last = first; x.last < s->count && s->items[x.last].offset < offset + bytes && x.price <= limit;
         x.last++) {
        const bl_space_item *item = &s->items[x.last];
        const shelf *y = shelf_of(g, item->module, item->block);
        /* The ring keeps nothing. */
        bool through = item->offset < g->ring && (y->used || y->next > now + g->soon || has_shelf(g, item));
        x.price +=
            through ? 0 : price_of(y, g->p->modules[item->module].blocks[item->block].load_seconds, now);
        x.after = y->last > x.after ? y->last : x.after;
    }
    return x;
}

static gap gap_at(const filler *g, uint64_t offset, uint64_t bytes, double now) {
    return gap_from(g, bl_space_find(&g->space, offset), offset, bytes, now, INFINITY);
}

/* The cheapest place in [low, high), of equals the one that is free soonest. False: there is none. */
static bool cheapest_place(const filler *g, uint64_t low, uint64_t high, uint64_t bytes, double now,
                           gap *out) {
    const bl_space *s = &g->space;
    bool found = false;
    int first = bl_space_find(s, low);
    for (int i = first - 1; i < s->count && (i < first || s->items[i].offset < high); i++) {
        /* Behind item i; and so that it ends where item i ends. */
        uint64_t end = i >= first ? s->items[i].offset + s->items[i].bytes : low;
        for (int k = 0; k < 2; k++) {
            uint64_t offset = k ? end - bytes : end;
            if ((k && end < bytes) || offset < low || offset > high || bytes > high - offset) {
                continue;
            }
            int at = i + 1; /* the first that reaches beyond the offset */
            while (at > 0 && s->items[at - 1].offset + s->items[at - 1].bytes > offset) {
                at--;
            }
            gap x = gap_from(g, at, offset, bytes, now, found ? out->price : INFINITY);
            if (!found || x.price < out->price || (x.price == out->price && x.after < out->after)) {
                *out = x;
                found = true;
            }
        }
    }
    return found;
}

/* Puts the plan's moves back up to number `until`. */
static int emit(filler *g, int until, bl_error *err) {
    int rc = 0;
    while (g->emitted < until && !rc) {
        rc = bl_plan_add_move(g->plan, g->moves[++g->emitted], err);
    }
    return rc;
}

/* Loads what move v copies, to the place, as early as that is free. */
static int load(filler *g, const bl_move *v, const gap *x, bl_error *err) {
    g->last = x->after > g->last ? x->after : g->last;
    int rc = emit(g, g->last, err), after = g->last >= 0 ? g->moves[g->last].after : -1;
    for (int i = x->first; i < x->last && !rc; i++) {
        const bl_space_item item = g->space.items[x->first];
        rc = bl_plan_add_move(g->plan,
                              (bl_move){.kind = BL_MOVE_LEAVE,
                                        .module = item.module,
                                        .block = item.block,
                                        .offset = item.offset,
                                        .after = after,
                                        .before = after + 1,
                                        .why = BL_WHY_LATER},
                              err);
        shelf_of(g, item.module, item.block)->at = BL_NOWHERE;
        g->held_bytes -= item.bytes;
        bl_space_remove(&g->space, x->first);
    }
    if (!rc) {
        rc = bl_plan_add_move(g->plan,
                              (bl_move){.kind = BL_MOVE_LOAD,
                                        .module = v->module,
                                        .block = v->block,
                                        .offset = x->offset,
                                        .after = after,
                                        .before = v->before,
                                        .why = v->before < g->p->run_count ? BL_WHY_NEEDED : BL_WHY_NEXT},
                              err);
    }
    bl_space_insert(&g->space, (bl_space_item){x->offset, block_of(g, v)->bytes, v->module, v->block});
    g->held_bytes += block_of(g, v)->bytes;
    shelf_of(g, v->module, v->block)->at = x->offset;
    return rc;
}

static int phase_of(const filler *g, const bl_move *v) {
    return v->before < g->p->run_count ? bl_problem_phase_of(g->p, v->before) : 0;
}

/* Seconds in which what goes through the ring is as much as the ring holds: at most those of a pass. */
static double ring_seconds(const filler *g, const bl_move *v) {
    int phase = phase_of(g, v);
    const bl_problem_module *m = &g->p->modules[g->p->phases[phase].module];
    const double *load = g->o->load ? g->o->load[phase] : NULL;
    double pass = g->p->phases[phase].levels[g->plan->phases[phase].level].pass_seconds, through = 0;
    for (int b = 0; b < m->block_count && g->o->ring && load; b++) {
        through += load[m->block_count + b] > 0 ? (double)m->blocks[b].bytes : 0;
    }
    return through > (double)g->ring ? pass * ((double)g->ring / through) : pass;
}

/* Whether the options want the block to pass through when it is copied for this run. */
static bool passes(const filler *g, const bl_move *v) {
    int phase = phase_of(g, v);
    return g->o->pass && g->o->pass[phase] && g->p->phases[phase].module == v->module &&
           g->o->pass[phase][v->block];
}

/* Whether an item of the ring has made way when move `move` has been made. */
static bool has_gone(const filler *g, const bl_space_item *item, int move, double now) {
    const shelf *x = shelf_of(g, item->module, item->block);
    return x->last <= move && (x->used || x->next > now + g->soon || has_shelf(g, item));
}

/* The lowest place in the ring, as soon as there is one, at its upper end if that is the ring's: as split.h
 * counts.
 */
static bool ring_place(const filler *g, uint64_t bytes, double now, gap *out) {
    const bl_space *s = &g->space;
    for (int move = g->last; bytes <= g->ring && move < INT32_MAX;) {
        uint64_t low = 0;
        int next = INT32_MAX;
        bool found = false;
        for (int i = 0; i < s->count && s->items[i].offset < g->ring && !found; i++) {
            int last = shelf_of(g, s->items[i].module, s->items[i].block)->last;
            if (has_gone(g, &s->items[i], move, now)) {
                continue;
            }
            next = last > move && last < next ? last : next;
            found = s->items[i].offset >= low + bytes;
            low = found ? low : s->items[i].offset + s->items[i].bytes;
        }
        if (found || (low <= g->ring && g->ring - low >= bytes)) {
            *out = gap_at(g, found || low == 0 ? low : g->ring - bytes, bytes, now);
            return true;
        }
        move = next;
    }
    return false;
}

/* Where a block goes that is worth so much: among those that are kept, where it is worth more than what makes
 * way, or into the ring. */
static bool choose(const filler *g, int module, int block, double worth, double now, gap *out) {
    uint64_t bytes = g->p->modules[module].blocks[block].bytes;
    const uint64_t *fixed = g->o->shelf ? g->o->shelf[module] : NULL;
    if (fixed && fixed[block] != BL_NOWHERE) {
        *out = gap_at(g, fixed[block], bytes, now);
        return true;
    }
    gap kept, ring;
    bool through = cheapest_place(g, 0, g->ring, bytes, now, &ring);
    if (g->o->ring && worth <= 0 && ring_place(g, bytes, now, out)) {
        return true;
    }
    bool full = g->held_bytes + bytes > g->p->host_bytes;
    if (!(through && worth <= 0 && full) && cheapest_place(g, g->ring, g->p->host_bytes, bytes, now, &kept) &&
        (!through || kept.price < worth || (kept.price == 0 && kept.after < ring.after))) {
        *out = kept;
        return true;
    }
    *out = ring;
    /* Where neither is large enough, anywhere. */
    return through || cheapest_place(g, 0, g->p->host_bytes, bytes, now, out);
}

/* Later copies, the earliest first. */
static int by_time(const void *a, const void *b) {
    const use *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Loads for the first copies after this generation, as far as their seconds and places that are worth less
 * allow. */
static int load_ahead(filler *g, bl_error *err) {
    g->ring = bl_store_ring(g->o, 0);
    double left = g->o->ahead_seconds, now = g->before[g->p->run_count];
    qsort(g->uses + g->own_uses, (size_t)(g->use_count - g->own_uses), sizeof *g->uses, by_time);
    int rc = 0;
    for (int i = g->own_uses; i < g->use_count && !rc; i++) {
        const use *u = &g->uses[i];
        const bl_problem_block *b = &g->p->modules[u->module].blocks[u->block];
        shelf *x = shelf_of(g, u->module, u->block);
        if (x->at != BL_NOWHERE) {
            continue;
        }
        bl_move v = {.module = u->module, .block = u->block, .before = g->p->run_count};
        double seconds = u->at - now, worth = b->load_seconds / (seconds > 1e-9 ? seconds : 1e-9);
        gap place;
        worth = g->o->firm && passes(g, &v) ? 0 : worth;
        if (b->load_seconds > left || !choose(g, u->module, u->block, worth, now, &place) ||
            (place.price >= worth && place.price > 0)) {
            return 0;
        }
        left -= b->load_seconds;
        rc = load(g, &v, &place, err);
        x->next = u->at;
        x->used = false;
    }
    return rc;
}

uint64_t bl_store_usual_ring(const bl_problem *p) {
    uint64_t largest = 0;
    for (int m = 0; m < p->module_count; m++) {
        largest = p->modules[m].largest_block > largest ? p->modules[m].largest_block : largest;
    }
    uint64_t ring = p->host_bytes / 8 > 2 * largest ? p->host_bytes / 8 : 2 * largest;
    ring = ring < 4 * largest ? ring : 4 * largest;
    ring = bl_align_up(ring, p->alignment); /* blocks lie down from its end, too */
    return ring < p->host_bytes ? ring : p->host_bytes;
}

int bl_store_fill(bl_plan *plan, const bl_problem *p, const bl_store_options *o, bl_error *err) {
    filler g;
    int rc = filler_open(&g, plan, p, o, err);
    plan->move_count = rc ? plan->move_count : 0;
    for (int i = 0; i < g.move_count && !rc; i++) {
        const bl_move *v = &g.moves[i];
        if (v->kind != BL_MOVE_COPY) {
            continue;
        }
        shelf *x = shelf_of(&g, v->module, v->block);
        x->use = x->use >= 0 ? g.uses[x->use].next : -1; /* the next one after this */
        x->next = x->use >= 0 ? g.uses[x->use].at : INFINITY;
        if (x->at == BL_NOWHERE) {
            double now = g.before[v->before];
            g.ring = bl_store_ring(o, phase_of(&g, v));
            g.soon = (1 - o->less_soon) * ring_seconds(&g, v);
            double worth = passes(&g, v) ? 0 : price_of(x, block_of(&g, v)->load_seconds, now);
            gap place;
            rc = choose(&g, v->module, v->block, worth, now, &place)
                     ? load(&g, v, &place, err)
                     : bl_fail(err, BL_E_INTERNAL, "the planner found no place in the host store");
        }
        x->last = i;
        x->used = true;
    }
    rc = rc || !(o->ahead_seconds > 0) ? rc : load_ahead(&g, err);
    rc = rc ? rc : emit(&g, g.move_count - 1, err);
    filler_close(&g);
    return rc;
}

/* How long no load is under way at the end. */
static double idle_seconds(const bl_plan *plan) {
    return plan->seconds - plan->load_end_seconds;
}

int bl_store_plan(bl_plan *plan, const bl_problem *p, const bl_store_options *o, bl_error *err) {
    size_t count = (size_t)plan->move_count, bytes = (count + 1) * sizeof *plan->moves;
    bl_move *moves = malloc(bytes);
    if (!moves) {
        return bl_fail_memory(err, "the host store's plan", bytes);
    }
    copy_moves(moves, plan->moves, count);
    int rc = bl_store_fill(plan, p, o, err);
    rc = rc ? rc : bl_replay(plan, p, err);
    double without = plan->end_seconds;
    bl_store_options more = *o;
    more.ahead_seconds = rc ? 0 : idle_seconds(plan);
    /* Ahead as much as there is time for, half of it where copies hold the places too long, or nothing. */
    for (int i = 0; i < 3 && !rc && p->follower_count && more.ahead_seconds > 0; i++) {
        copy_moves(plan->moves, moves, count);
        plan->move_count = (int)count;
        rc = bl_store_fill(plan, p, i < 2 ? &more : o, err);
        rc = rc ? rc : bl_replay(plan, p, err);
        more.ahead_seconds = plan->end_seconds > without * (1 + 1e-9) ? more.ahead_seconds / 2 : 0;
    }
    free(moves);
    return rc;
}
