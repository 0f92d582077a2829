#include "graph/apart.h"

#include <stdlib.h>
#include <string.h>

#define SHARES 4 /* at most: more gain little, and the arena plan's time grows with the square of the ops */

/* Items of each share but the last, which may have fewer. 0: nothing to take apart. */
static int share_items(const bl_graph *g) {
    int batch = 0;
    for (int i = 0; i < g->tensor_count; i++) {
        const bl_tensor *t = &g->tensors[i];
        if (t->first_op < 0 && t->last_op < 0) {
            continue;
        }
        if (batch && t->n != batch) {
            return 0;
        }
        batch = t->n;
    }
    return batch > 1 ? (batch + SHARES - 1) / SHARES : 0;
}

static void *copy_of(const void *from, int count, size_t size) {
    void *p = calloc((size_t)count + 1, size);
    if (p && count) {
        memcpy(p, from, (size_t)count * size);
    }
    return p;
}

/* A graph of the same weights and blocks, with the tensors themselves and room for `shares` of each, and for
 * each op as often. */
static bl_graph *graph_like(const bl_graph *from, int shares) {
    bl_graph *g = calloc(1, sizeof *g);
    if (!g) {
        return NULL;
    }
    *g = *from;
    g->op_count = 0;
    g->tensor_room = g->tensor_count = from->tensor_count * (shares + 1);
    g->op_room = from->op_count * shares;
    g->weight_room = from->weight_count;
    g->block_room = from->block_count;
    g->tensors = calloc((size_t)g->tensor_room + 1, sizeof *g->tensors);
    g->ops = calloc((size_t)g->op_room + 1, sizeof *g->ops);
    g->weights = copy_of(from->weights, from->weight_count, sizeof *g->weights);
    g->blocks = copy_of(from->blocks, from->block_count, sizeof *g->blocks);
    if (!g->tensors || !g->ops || !g->weights || !g->blocks) {
        bl_graph_free(&g);
    }
    return g;
}

/* Share number `share` of tensor `t` of a graph of `tensors`: behind all tensors and the shares before it. */
static bl_tensor_id share_of(bl_tensor_id t, int share, int tensors) {
    return t == BL_NONE ? BL_NONE : t + (share + 1) * tensors;
}

static void take_tensors_apart(bl_graph *to, const bl_graph *from, int shares, int items) {
    for (int i = 0; i < from->tensor_count; i++) {
        bl_tensor t = from->tensors[i];
        t.first_op = t.last_op = -1;
        to->tensors[i] = t;
        t.batch = t.n;
        const uint64_t bytes_of_one = bl_tensor_bytes(&t) / (uint64_t)t.n;
        for (int k = 0; k < shares; k++) {
            t.item = k * items;
            t.n = t.batch - t.item < items ? t.batch - t.item : items;
            t.kept_at = from->tensors[i].kept_at + (t.kept ? bytes_of_one * (uint64_t)t.item : 0);
            to->tensors[share_of(i, k, from->tensor_count)] = t;
        }
    }
}

static void take_block_apart(bl_graph *to, const bl_graph *from, int block, int shares) {
    const bl_block *b = &from->blocks[block];
    to->blocks[block].first_op = to->op_count;
    for (int k = 0; k < shares; k++) {
        for (int i = b->first_op; i < b->first_op + b->op_count; i++) {
            bl_op op = from->ops[i];
            for (int j = 0; j < BL_OP_INPUTS; j++) {
                op.in[j] = share_of(op.in[j], k, from->tensor_count);
            }
            op.out = share_of(op.out, k, from->tensor_count);
            to->ops[to->op_count++] = op;
        }
    }
    to->blocks[block].op_count = to->op_count - to->blocks[block].first_op;
}

int bl_graph_apart(bl_graph **out, const bl_graph *g, bl_error *err) {
    int items = share_items(g), shares = items ? (g->tensors[g->ops[0].out].n + items - 1) / items : 0;
    *out = NULL;
    if (!items) {
        return 0;
    }
    bl_graph *apart = graph_like(g, shares);
    if (!apart) {
        return bl_fail_memory(err, "taking a graph apart", (uint64_t)g->op_count * sizeof *g->ops);
    }
    take_tensors_apart(apart, g, shares, items);
    for (int b = 0; b < g->block_count; b++) {
        take_block_apart(apart, g, b, shares);
    }
    int rc = bl_graph_finish(apart, err);
    if (rc) {
        bl_graph_free(&apart);
        return rc;
    }
    *out = apart;
    return 0;
}
