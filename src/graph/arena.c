#include "graph/arena.h"

#include "core/checked.h"

#include <stdlib.h>
#include <string.h>

/* Something that needs bytes from its first op to its last. */
typedef struct item {
    uint64_t bytes, offset;
    int first, last;
    int owner; /* the item whose place it shares, or itself */
} item;

/* Items 0 .. tensor_count-1 are tensors, then one for each op's scratch. */
typedef struct planner {
    const bl_graph *g;
    item *items;
    int *order;  /* items that need a place of their own, in the order in which they are placed */
    int *placed; /* those placed so far, by rising offset */
    int count, order_count;
} planner;

static int owner_of(const planner *p, int i) {
    while (p->items[i].owner != i) {
        i = p->items[i].owner;
    }
    return i;
}

/* Lets op i's output lie where one of its inputs was, if that one dies here and is as large. */
static bool share_place(planner *p, int i, int which) {
    const bl_op *op = &p->g->ops[i];
    const bl_tensor *out = &p->g->tensors[op->out];
    if (which < 0 || out->place != BL_ARENA || op->in[which] == BL_NONE ||
        p->g->tensors[op->in[which]].place != BL_ARENA) {
        return false;
    }
    for (int j = 0; j < BL_OP_INPUTS; j++) { /* the same tensor under another name must not be overwritten */
        if (j != which && op->in[j] == op->in[which]) {
            return false;
        }
    }
    int owner = owner_of(p, op->in[which]);
    item *place = &p->items[owner], *new = &p->items[op->out];
    if (p->g->tensors[op->in[which]].last_op != i || place->last != i || place->bytes != new->bytes) {
        return false;
    }
    new->owner = owner;
    place->last = out->last_op;
    return true;
}

static void make_items(planner *p, const bl_op_memory *memory, bool *inplace) {
    for (int i = 0; i < p->g->tensor_count; i++) {
        const bl_tensor *t = &p->g->tensors[i];
        bool used = t->place == BL_ARENA && t->first_op >= 0;
        p->items[i] = (item){.bytes = used ? bl_align_up(bl_tensor_bytes(t), BL_ALIGN) : 0,
                             .first = t->first_op,
                             .last = t->last_op,
                             .owner = i};
    }
    for (int i = 0; i < p->g->op_count; i++) {
        int k = p->g->tensor_count + i;
        p->items[k] = (item){
            .bytes = bl_align_up(memory[i].scratch_bytes, BL_ALIGN), .first = i, .last = i, .owner = k};
        inplace[i] = share_place(p, i, memory[i].inplace);
    }
    for (int i = 0; i < p->count; i++) {
        if (p->items[i].bytes && p->items[i].owner == i) {
            p->order[p->order_count++] = i;
        }
    }
}

/* Puts one item at the smallest gap that takes it among those alive with it; the lowest wins a tie. */
static uint64_t place(planner *p, int i, int placed_count) {
    item *it = &p->items[i];
    uint64_t end = 0, best = UINT64_MAX, best_gap = UINT64_MAX;
    int k = 0;
    for (; k < placed_count; k++) {
        const item *other = &p->items[p->placed[k]];
        if (other->last < it->first || it->last < other->first) {
            continue;
        }
        if (other->offset >= end && other->offset - end >= it->bytes && other->offset - end < best_gap) {
            best = end;
            best_gap = other->offset - end;
        }
        if (other->offset + other->bytes > end) {
            end = other->offset + other->bytes;
        }
    }
    it->offset = best == UINT64_MAX ? end : best;
    for (k = placed_count; k > 0 && p->items[p->placed[k - 1]].offset > it->offset; k--) {
        p->placed[k] = p->placed[k - 1];
    }
    p->placed[k] = i;
    return it->offset + it->bytes;
}

static uint64_t place_all(planner *p) {
    uint64_t bytes = 0;
    for (int i = 0; i < p->order_count; i++) {
        uint64_t end = place(p, p->order[i], i);
        bytes = end > bytes ? end : bytes;
    }
    return bytes;
}

/* Orders of placing. No one is best for every graph; the planner tries each and keeps the smallest arena. */
static double rank_of(const item *it, int rule) {
    double span = it->last - it->first + 1;
    switch (rule) {
    case 0:
        return (double)it->bytes;
    case 1:
        return (double)it->bytes * span;
    case 2:
        return span;
    default:
        return -(double)it->first;
    }
}
#define RULES 4

/* Insertion sort: stable, and these lists are short. */
static void sort_order(planner *p, int rule) {
    for (int i = 1; i < p->order_count; i++) {
        int x = p->order[i], k = i;
        double r = rank_of(&p->items[x], rule);
        for (; k > 0 && rank_of(&p->items[p->order[k - 1]], rule) < r; k--) {
            p->order[k] = p->order[k - 1];
        }
        p->order[k] = x;
    }
}

static void find_live_peak(const planner *p, bl_arena_plan *out) {
    for (int op = 0; op < p->g->op_count; op++) {
        uint64_t sum = 0;
        for (int i = 0; i < p->order_count; i++) {
            const item *it = &p->items[p->order[i]];
            sum += it->first <= op && op <= it->last ? it->bytes : 0;
        }
        if (sum > out->live_bytes) {
            out->live_bytes = sum;
            out->live_op = op;
        }
    }
}

static void read_offsets(const planner *p, bl_arena_plan *out) {
    for (int i = 0; i < p->count; i++) {
        const item *it = &p->items[owner_of(p, i)];
        uint64_t offset = p->items[i].bytes ? it->offset : UINT64_MAX;
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
    p.items = calloc(count + 1, sizeof *p.items);
    p.order = calloc(count + 1, sizeof *p.order);
    p.placed = calloc(count + 1, sizeof *p.placed);
    plan.tensor_offset = calloc(tensors + 1, sizeof *plan.tensor_offset);
    plan.scratch_offset = calloc(ops + 1, sizeof *plan.scratch_offset);
    plan.inplace = calloc(ops + 1, sizeof *plan.inplace);
    if (!p.items || !p.order || !p.placed || !plan.tensor_offset || !plan.scratch_offset || !plan.inplace) {
        result = bl_fail_memory(err, "the arena plan", count * sizeof *p.items);
        bl_arena_plan_free(&plan);
        goto done;
    }
    make_items(&p, memory, plan.inplace);
    find_live_peak(&p, &plan);
    for (int rule = 0; rule < RULES && plan.bytes > plan.live_bytes; rule++) {
        sort_order(&p, rule);
        uint64_t bytes = place_all(&p);
        if (bytes < plan.bytes) {
            plan.bytes = bytes;
            read_offsets(&p, &plan);
        }
    }
    *out = plan;
done:
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
