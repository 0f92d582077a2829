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
