/* Reading a finished graph. */
#include "graph/graph.h"

#include <string.h>

int64_t bl_tensor_elements(const bl_tensor *t) {
    return (int64_t)t->n * t->h * t->w * t->c;
}

uint64_t bl_tensor_bytes(const bl_tensor *t) {
    return (uint64_t)bl_tensor_elements(t) * bl_dtype_size(t->dtype);
}

int64_t bl_weight_elements(const bl_weight *w) {
    int64_t n = 1;
    for (int i = 0; i < w->rank; i++) {
        n *= w->shape[i];
    }
    return n;
}

const char *bl_op_name(bl_op_kind kind) {
    static const char *const names[BL_OP_KIND_COUNT] = {
        "IMPORT", "EXPORT",     "SINUSOID",     "EMBED",       "TAKE_ROW",     "CONV",
        "LINEAR", "GROUP_NORM", "LAYER_NORM",   "ATTENTION",   "ACT",          "ADD",
        "CONCAT", "UPSAMPLE",   "NORM_FACTORS", "FOLDED_CONV", "FEED_FORWARD",
    };
    return names[kind];
}

static double conv_flops(const bl_graph *g, const bl_op *op) {
    const bl_tensor *y = &g->tensors[op->out];
    const bl_weight *w = &g->weights[op->weight];
    return 2.0 * (double)bl_weight_elements(w) * (double)y->n * y->h * y->w;
}

static double attention_flops(const bl_graph *g, const bl_op *op) {
    const bl_tensor *q = &g->tensors[op->in[0]], *k = &g->tensors[op->in[1]];
    double rows = (double)q->n * q->h * q->w, keys = (double)k->h * k->w;
    return 4.0 * rows * keys * op->u.attention.heads * op->u.attention.head_dim;
}

double bl_op_flops(const bl_graph *g, const bl_op *op) {
    switch (op->kind) {
    case BL_OP_CONV:
        return conv_flops(g, op);
    case BL_OP_LINEAR: {
        const bl_tensor *x = &g->tensors[op->in[0]];
        return 2.0 * (double)bl_weight_elements(&g->weights[op->weight]) * (double)x->n * x->h * x->w;
    }
    case BL_OP_ATTENTION:
        return attention_flops(g, op);
    default:
        return 0.0;
    }
}

static int find_port(const bl_graph *g, bl_place place, const char *name) {
    for (int i = 0; i < g->tensor_count; i++) {
        const bl_tensor *t = &g->tensors[i];
        if (t->place == place && !strcmp(t->name, name)) {
            return t->port;
        }
    }
    return -1;
}

int bl_graph_input(const bl_graph *g, const char *name) {
    return find_port(g, BL_INPUT, name);
}

int bl_graph_output(const bl_graph *g, const char *name) {
    return find_port(g, BL_OUTPUT, name);
}

const bl_tensor *bl_graph_port(const bl_graph *g, bl_place place, int port) {
    for (int i = 0; i < g->tensor_count; i++) {
        if (g->tensors[i].place == place && g->tensors[i].port == port) {
            return &g->tensors[i];
        }
    }
    return NULL;
}
