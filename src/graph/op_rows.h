/* What the graph room knows of each op: the rows of op_list.h as a table. */
#ifndef BALLAST_GRAPH_OP_ROWS_H
#define BALLAST_GRAPH_OP_ROWS_H

#include "graph/arena.h"
#include "graph/graph.h"

typedef struct bl_op_row {
    const char *name; /* "CONV" */
    /* Fills in what of the op and of its output follows from its inputs and weights. `out` comes as an
     * activation of in[0]'s shape and the graph's dtype. NULL, or what does not fit, for a message. Inputs
     * and weights may be any number. */
    const char *(*shape)(const bl_graph *g, bl_op *op, bl_tensor *out);
    /* Floating-point operations, a multiply-add counted as two; only of what grows with the picture and
     * counts beside products. */
    double (*flops)(const bl_graph *g, const bl_op *op);
    /* What it touches of the arena beside its inputs and its output, on a device whose kernels work element
     * by element; and which input its output may lie on, on every device. */
    bl_op_memory (*memory)(const bl_graph *g, const bl_op *op);
} bl_op_row;

extern const bl_op_row bl_op_rows[BL_OP_KIND_COUNT];

#endif
