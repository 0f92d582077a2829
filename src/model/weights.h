/* The weights of a graph, out of a checkpoint. */
#ifndef BALLAST_MODEL_WEIGHTS_H
#define BALLAST_MODEL_WEIGHTS_H

#include "checkpoint/checkpoint.h"
#include "graph/graph.h"
#include "graph/source.h"

/* Is every weight of the graph in the checkpoint, in its shape and in a type that can be computed with? Reads
 * headers only; to be asked before anything is allocated. The error (BL_E_FORMAT, BL_E_UNSUPPORTED) is of the
 * first weight that is not: it names the tensor, the expected and the found shape, and the module. */
int bl_model_check(const bl_graph *g, const bl_checkpoint *ckpt, bl_error *err);

/* The payload of a source: one module of a checkpoint. */
typedef struct bl_model_weights {
    const bl_checkpoint *ckpt; /* borrowed */
    bl_module module;
} bl_model_weights;

/* A source that reads the module's weights. `weights` is its payload: it and the checkpoint must outlive the
 * source. Only for weights that passed bl_model_check. */
bl_source bl_model_source(bl_model_weights *weights);

#endif
