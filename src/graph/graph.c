#include "graph/building.h"

#include "core/checked.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bl_graph *bl_graph_new(bl_module module, bl_dtype dtype, const char *const *taps) {
    bl_graph *g = calloc(1, sizeof *g);
    if (g) {
        g->module = module;
        g->dtype = dtype;
        g->taps = taps;
        if (dtype != BL_F32 && dtype != BL_BF16) {
            bl_fail(&g->error, BL_E_ARGUMENT, "a graph computes in F32 or BF16, not in %s",
                    bl_dtype_name(dtype));
        }
    }
    return g;
}

void bl_graph_free(bl_graph **g) {
    if (*g) {
        free((*g)->tensors);
        free((*g)->weights);
        free((*g)->ops);
        free((*g)->blocks);
        free(*g);
        *g = NULL;
    }
}

/* Closes the block that is open: counts its ops and weights. */
static void close_block(bl_graph *g) {
    if (g->block_count) {
        bl_block *b = &g->blocks[g->block_count - 1];
        b->op_count = g->op_count - b->first_op;
        b->weight_count = g->weight_count - b->first_weight;
    }
}

/* Makes room for one more element of a growing array. */
static void *grow(bl_graph *g, void *array, int count, int *room, size_t size) {
    if (count < *room) {
        return array;
    }
    int more = *room ? *room * 2 : 64;
    void *p = realloc(array, (size_t)more * size);
    if (!p) {
        bl_fail_memory(&g->error, "the graph", (unsigned long long)more * size);
        return array;
    }
    *room = more;
    return p;
}

void bl_graph_block(bl_graph *g, const char *format, ...) {
    if (g->error.code) {
        return;
    }
    close_block(g);
    g->blocks = grow(g, g->blocks, g->block_count, &g->block_room, sizeof *g->blocks);
    if (g->error.code) {
        return;
    }
    bl_block *b = &g->blocks[g->block_count++];
    memset(b, 0, sizeof *b);
    b->first_op = g->op_count;
    b->first_weight = g->weight_count;
    va_list args;
    va_start(args, format);
    vsnprintf(b->name, sizeof b->name, format, args);
    va_end(args);
}

static bool no_block(bl_graph *g) {
    if (!g->error.code && !g->block_count) {
        bl_fail(&g->error, BL_E_INTERNAL, "%s: an op or a weight before the first block",
                bl_module_name(g->module));
    }
    return g->error.code != 0;
}

static bl_tensor_id new_tensor(bl_graph *g, const bl_tensor *proto) {
    int64_t d[4] = {proto->n, proto->h, proto->w, proto->c};
    int64_t elements = 1;
    for (int i = 0; i < 4; i++) {
        if (d[i] <= 0 || __builtin_mul_overflow(elements, d[i], &elements) || elements > INT64_MAX / 16) {
            bl_fail(&g->error, BL_E_ARGUMENT, "%s: a tensor of %d x %d x %d x %d cannot be",
                    bl_module_name(g->module), proto->n, proto->h, proto->w, proto->c);
            return BL_NONE;
        }
    }
    g->tensors = grow(g, g->tensors, g->tensor_count, &g->tensor_room, sizeof *g->tensors);
    if (g->error.code) {
        return BL_NONE;
    }
    g->tensors[g->tensor_count] = *proto;
    g->tensors[g->tensor_count].first_op = g->tensors[g->tensor_count].last_op = -1;
    return g->tensor_count++;
}

bl_tensor_id bl_input(bl_graph *g, const char *name, bl_dtype dtype, bl_layout layout, int n, int h, int w,
                      int c) {
    if (g->error.code) {
        return BL_NONE;
    }
    bl_tensor t = {.place = BL_INPUT, .layout = layout, .dtype = dtype, .n = n, .h = h, .w = w, .c = c};
    snprintf(t.name, sizeof t.name, "%s", name);
    t.port = g->input_count;
    bl_tensor_id id = new_tensor(g, &t);
    g->input_count += id != BL_NONE;
    return id;
}

/* The next place for a kept tensor. */
static void keep(bl_graph *g, bl_tensor *t) {
    t->kept = true;
    t->kept_at = g->kept_bytes;
    g->kept_bytes += bl_align_up(bl_tensor_bytes(t), BL_ALIGN);
}

void bl_keep(bl_graph *g, bl_tensor_id x) {
    if (g->error.code) {
        return;
    }
    if (x < 0 || g->tensors[x].place != BL_ARENA || g->tensors[x].kept) {
        bl_fail(&g->error, BL_E_INTERNAL, "%s: only an activation can be kept, and once",
                bl_module_name(g->module));
        return;
    }
    keep(g, &g->tensors[x]);
}

bl_tensor_id bl_kept(bl_graph *g, int n, int h, int w, int c) {
    if (g->error.code) {
        return BL_NONE;
    }
    bl_tensor t = {.place = BL_ARENA, .dtype = g->dtype, .port = -1, .n = n, .h = h, .w = w, .c = c};
    bl_tensor_id id = new_tensor(g, &t);
    if (id != BL_NONE) {
        keep(g, &g->tensors[id]);
    }
    return id;
}

bl_weight_id bl_weight_new(bl_graph *g, bl_weight_kind kind, const int64_t *shape, int rank,
                           const char *const *names, int parts) {
    if (no_block(g)) {
        return BL_NONE;
    }
    if (rank < 1 || rank > 4 || parts < 1 || parts > BL_WEIGHT_PARTS || shape[0] % parts) {
        bl_fail(&g->error, BL_E_INTERNAL, "%s: weight %s has a bad rank or number of parts",
                bl_module_name(g->module), names[0]);
        return BL_NONE;
    }
    g->weights = grow(g, g->weights, g->weight_count, &g->weight_room, sizeof *g->weights);
    if (g->error.code) {
        return BL_NONE;
    }
    bl_weight *w = &g->weights[g->weight_count];
    memset(w, 0, sizeof *w);
    w->kind = kind;
    w->rank = rank;
    w->parts = parts;
    w->block = g->block_count - 1;
    w->number = g->weight_count;
    memcpy(w->shape, shape, (size_t)rank * sizeof *shape);
    for (int i = 0; i < parts; i++) {
        snprintf(w->name[i], sizeof w->name[i], "%s", names[i]);
    }
    return g->weight_count++;
}

bl_tensor_id bl_graph_add_op(bl_graph *g, bl_op op, bl_tensor out) {
    if (no_block(g)) {
        return BL_NONE;
    }
    op.block = g->block_count - 1;
    op.out = new_tensor(g, &out);
    g->ops = grow(g, g->ops, g->op_count, &g->op_room, sizeof *g->ops);
    if (g->error.code) {
        return BL_NONE;
    }
    g->ops[g->op_count++] = op;
    return op.out;
}

int bl_graph_finish(bl_graph *g, bl_error *err) {
    close_block(g);
    for (int i = 0; i < g->op_count && !g->error.code; i++) {
        const bl_op *op = &g->ops[i];
        for (int j = 0; j < BL_OP_INPUTS; j++) {
            if (op->in[j] != BL_NONE) {
                g->tensors[op->in[j]].last_op = i;
            }
        }
        bl_tensor *out = &g->tensors[op->out];
        out->first_op = i;
        out->last_op = i;
    }
    if (!g->error.code && (!g->op_count || (!g->output_count && !g->kept_bytes))) {
        bl_fail(&g->error, BL_E_INTERNAL, "%s: a graph without ops or outputs", bl_module_name(g->module));
    }
    if (g->error.code) {
        return bl_fail(err, g->error.code, "%s", g->error.message);
    }
    g->taps = NULL;
    return 0;
}
