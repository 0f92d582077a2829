/* The same graph for a batch taken apart: within each block its ops run for one share of the batch after the
 * other, so that what lives only inside a block exists for one share at a time, and weights still cross once.
 *
 * Each activation becomes one tensor for each share, with a life of its own. Inputs and outputs stay what
 * they are, and have shares beside them that are views. Weights and blocks are those of the graph. */
#ifndef BALLAST_GRAPH_APART_H
#define BALLAST_GRAPH_APART_H

#include "graph/graph.h"

/* *out = NULL where there is nothing to take apart: a batch of one, or tensors of different batches. Owner of
 * *out: caller, bl_graph_free. */
int bl_graph_apart(bl_graph **out, const bl_graph *g, bl_error *err);

#endif
