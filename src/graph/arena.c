#include "graph/arena.h"

#include "core/checked.h"

#include <stdlib.h>
#include <string.h>

/* Something that needs bytes from its first op to its last. Items that follow each other at one address are a
 * chain, led by the item that was there first. */
typedef struct item {
    uint64_t bytes, offset;
    int first, last;
    int owner; /* the item that leads its chain, or itself */
    int next;  /* the item that takes over its address, or BL_NONE */
    /* of a whole chain, kept by its leader: */
    uint64_t most; /* bytes of its largest item */
    int end;       /* last op of its last item */
} item;

/* An item that needs a place of its own. */
typedef struct turn {
    int item;
    int before; /* its turn under the rule before: of equals it stays first */
    double rank;
} turn;

/* An item that has its place: what is asked of it most often, side by side. */
typedef struct spot {
    int first, end; /* of its whole chain */
    int item;
} spot;

/* Items 0 .. tensor_count-1 are tensors, then one for each op's scratch. */
typedef struct planner {
    const bl_graph *g;
    item *items;
    turn *order;  /* in the order in which they are placed */
    spot *placed; /* those placed so far, by rising offset */
    int count, order_count;
} planner;

/* Lets op i's output lie where one of its inputs was, if that one dies here and is as large. */
static bool share_place(planner *p, int i, const bl_op_memory *memory) {
    const bl_op *op = &p->g->ops[i];
    const bl_tensor *out = &p->g->tensors[op->out];
    int which = memory->inplace;
    if (which < 0 || out->place != BL_ARENA || out->kept || op->in[which] == BL_NONE ||
        p->g->tensors[op->in[which]].place != BL_ARENA || p->g->tensors[op->in[which]].kept) {
        return false;
    }
    for (int j = 0; j < BL_OP_INPUTS; j++) { /* the same tensor under another name must not be overwritten */
        if (j != which && op->in[j] == op->in[which] && !memory->resizes) {
            return false;
        }
    }
    item *before = &p->items[op->in[which]], *leader = &p->items[before->owner], *new = &p->items[op->out];
    if (before->last != i || before->next != BL_NONE || (before->bytes != new->bytes && !memory->resizes)) {
        return false;
    }
    new->owner = before->owner;
    before->next = op->out;
    leader->end = new->last;
    leader->most = new->bytes > leader->most ? new->bytes : leader->most;
    return true;
}

static void make_items(planner *p, const bl_op_memory *memory, bool *inplace) {
    for (int i = 0; i < p->count; i++) {
        item *it = &p->items[i];
        if (i < p->g->tensor_count) {
            const bl_tensor *t = &p->g->tensors[i];
            bool used = t->place == BL_ARENA && t->first_op >= 0 && !t->kept;
            it->bytes = used ? bl_align_up(bl_tensor_bytes(t), BL_ALIGN) : 0;
            it->first = t->first_op;
            it->last = t->last_op;
        } else {
            it->first = it->last = i - p->g->tensor_count;
            it->bytes = bl_align_up(memory[it->first].scratch_bytes, BL_ALIGN);
        }
        it->owner = i;
        it->next = BL_NONE;
        it->most = it->bytes;
        it->end = it->last;
    }
    for (int i = 0; i < p->g->op_count; i++) {
        inplace[i] = share_place(p, i, &memory[i]);
    }
    for (int i = 0; i < p->count; i++) {
        if (p->items[i].bytes && p->items[i].owner == i) {
            p->order[p->order_count++].item = i;
        }
    }
}

/* Bytes of the largest of a chain's items that are alive at any op from `first` to `last`; 0: none is. */
static uint64_t bytes_between(const planner *p, int leader, int first, int last) {
    uint64_t most = 0;
    for (int i = leader; i != BL_NONE; i = p->items[i].next) {
        const item *it = &p->items[i];
        if (it->first <= last && first <= it->last && it->bytes > most) {
            most = it->bytes;
        }
    }
    return most;
}

/* Puts one chain at the smallest gap that takes it among those alive with it; the lowest wins a tie. */
static uint64_t place(planner *p, int i, int placed_count) {
    item *it = &p->items[i];
    uint64_t end = 0, best = UINT64_MAX, best_gap = UINT64_MAX;
    int k = 0;
    for (; k < placed_count; k++) {
        const spot *s = &p->placed[k];
        if ((s->end < it->first) | (it->end < s->first)) { /* mostly: one guess instead of two */
            continue;
        }
        const item *other = &p->items[s->item];
        if (other->offset >= end && other->offset - end >= it->most && other->offset - end < best_gap) {
            best = end;
            best_gap = other->offset - end;
        }
        uint64_t bytes = bytes_between(p, s->item, it->first, it->end);
        if (other->offset + bytes > end) {
            end = other->offset + bytes;
        }
    }
    it->offset = best == UINT64_MAX ? end : best;
    for (k = placed_count; k > 0 && p->items[p->placed[k - 1].item].offset > it->offset; k--) {
        p->placed[k] = p->placed[k - 1];
    }
    p->placed[k] = (spot){.first = it->first, .end = it->end, .item = i};
    return it->offset + it->most;
}

/* Gives up at `most`. */
static uint64_t place_all(planner *p, uint64_t most) {
    uint64_t bytes = 0;
    for (int i = 0; i < p->order_count && bytes < most; i++) {
        uint64_t end = place(p, p->order[i].item, i);
        bytes = end > bytes ? end : bytes;
    }
    return bytes;
}

/* Orders of placing. No one is best for every graph; the planner tries each and keeps the smallest arena. */
static double rank_of(const item *it, int rule) {
    double span = it->end - it->first + 1;
    switch (rule) {
    case 0:
        return (double)it->most;
    case 1:
        return (double)it->most * span;
    case 2:
        return span;
    default:
        return -(double)it->first;
    }
}
#define RULES 4

static int by_rank(const void *a, const void *b) {
    const turn *x = a, *y = b;
    return x->rank != y->rank ? (x->rank < y->rank) - (x->rank > y->rank) : x->before - y->before;
}

static void sort_order(planner *p, int rule) {
    for (int i = 0; i < p->order_count; i++) {
        turn *t = &p->order[i];
        t->rank = rank_of(&p->items[t->item], rule);
        t->before = i;
    }
    qsort(p->order, (size_t)p->order_count, sizeof *p->order, by_rank);
}

/* `live`: [op_count], zero. */
static void find_live_peak(const planner *p, bl_arena_plan *out, uint64_t *live) {
    for (int i = 0; i < p->order_count; i++) {
        const item *leader = &p->items[p->order[i].item];
        for (int op = leader->first; op <= leader->end; op++) {
            live[op] += bytes_between(p, p->order[i].item, op, op);
        }
    }
    for (int op = 0; op < p->g->op_count; op++) {
        if (live[op] > out->live_bytes) {
            out->live_bytes = live[op];
            out->live_op = op;
        }
    }
}

/* Behind the kept tensors, which have their places. */
static void read_offsets(const planner *p, bl_arena_plan *out) {
    for (int i = 0; i < p->count; i++) {
        const item *it = &p->items[p->items[i].owner];
        uint64_t offset = p->items[i].bytes ? p->g->kept_bytes + it->offset : UINT64_MAX;
        if (i < p->g->tensor_count && p->g->tensors[i].kept) {
            offset = p->g->tensors[i].kept_at;
        }
        if (i < p->g->tensor_count) {
            out->tensor_offset[i] = offset;
        } else {
            out->scratch_offset[i - p->g->tensor_count] = offset;
        }
    }
}

int bl_arena_plan_make(bl_arena_plan *out, const bl_graph *g, const bl_op_memory *memory, bl_error *err) {
    planner p = {.g = g, .count = g->tensor_count + g->op_count};
    bl_arena_plan plan = {.bytes = UINT64_MAX};
    size_t count = (size_t)p.count, tensors = (size_t)g->tensor_count, ops = (size_t)g->op_count;
    int result = 0;
    uint64_t *live = calloc(ops + 1, sizeof *live);
    p.items = calloc(count + 1, sizeof *p.items);
    p.order = calloc(count + 1, sizeof *p.order);
    p.placed = calloc(count + 1, sizeof *p.placed);
    plan.tensor_offset = calloc(tensors + 1, sizeof *plan.tensor_offset);
    plan.scratch_offset = calloc(ops + 1, sizeof *plan.scratch_offset);
    plan.inplace = calloc(ops + 1, sizeof *plan.inplace);
    if (!live || !p.items || !p.order || !p.placed || !plan.tensor_offset || !plan.scratch_offset ||
        !plan.inplace) {
        result = bl_fail_memory(err, "the arena plan", count * sizeof *p.items);
        bl_arena_plan_free(&plan);
        goto done;
    }
    make_items(&p, memory, plan.inplace);
    find_live_peak(&p, &plan, live);
    for (int rule = 0; rule < RULES && plan.bytes > plan.live_bytes; rule++) {
        sort_order(&p, rule);
        uint64_t bytes = place_all(&p, plan.bytes);
        if (bytes < plan.bytes) {
            plan.bytes = bytes;
            read_offsets(&p, &plan);
        }
    }
    plan.bytes += g->kept_bytes;
    plan.live_bytes += g->kept_bytes;
    *out = plan;
done:
    free(live);
    free(p.items);
    free(p.order);
    free(p.placed);
    return result;
}

void bl_arena_plan_free(bl_arena_plan *plan) {
    free(plan->tensor_offset);
    free(plan->scratch_offset);
    free(plan->inplace);
    memset(plan, 0, sizeof *plan);
}
