/* What the files that build graphs share. */
#ifndef BALLAST_GRAPH_BUILDING_H
#define BALLAST_GRAPH_BUILDING_H

#include "graph/graph.h"

/* Adds the op to the block that is open, with an output like `out`, and returns the output's id. */
bl_tensor_id bl_graph_add_op(bl_graph *g, bl_op op, bl_tensor out);

#endif
