/* The weights of a graph, out of a checkpoint. */
#ifndef BALLAST_MODEL_WEIGHTS_H
#define BALLAST_MODEL_WEIGHTS_H

#include "checkpoint/checkpoint.h"
#include "graph/graph.h"
#include "graph/source.h"

/* Where each weight of one graph lies in a checkpoint: found once, by name, and read from then on. */
typedef struct bl_model_weights {
    bl_view *views; /* [view_count][BL_WEIGHT_PARTS], by the weight's number */
    int view_count;
} bl_model_weights;

/* Is every weight of the graph in the checkpoint, in its shape and in a type that can be computed with? Reads
 * headers only; to be asked before anything else is allocated. The error (BL_E_FORMAT, BL_E_UNSUPPORTED) is
 * of the first weight that is not: it names the tensor, the expected and the found shape, and the module. The
 * checkpoint must outlive *out; bl_model_weights_close. After a failure there is nothing to close. */
int bl_model_weights_open(bl_model_weights *out, const bl_graph *g, const bl_checkpoint *ckpt, bl_error *err);
void bl_model_weights_close(bl_model_weights *weights);

/* A source that reads the graph's weights. `weights` is its payload and must outlive it. */
bl_source bl_model_source(bl_model_weights *weights);

#endif
