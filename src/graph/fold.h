/* The same graph with fewer and smaller tensors: what only prepares the input of a large op becomes part of
 * that op, which can then go over the picture in bands and over tokens in slices, and needs what it prepares
 * for one band or slice only. No product or sum changes, nor their order, so that a device gets the same
 * bits. It takes a little longer.
 *
 * A folded graph has these ops beside those of graph.h:
 *
 * NORM_FACTORS  in: x; weight scale, weight2 shift -> F32 [n, 2, 1, C]: for each picture C factors, then C
 * offsets of the group norm of the first C channels of x (C: of the weight): norm(x) = x factor + offset.
 * FOLDED_CONV   a CONV, 3x3 of stride 1 with zeros around, whose x is the first I channels (I: of the weight)
 * of in[0], brought to the output's height and width (nearest, as UPSAMPLE), and where in[3] holds the
 *               factors of a norm becomes act(x factor + offset). Its residual is the last O channels of
 * in[1]. With weight3 (a LINEAR weight) and weight4 (its bias) the output has 2 O channels: those of the
 *               convolution, then in[0] W^T + bias.
 * FEED_FORWARD  in: x, residual or NONE; weight and weight2 as of a LINEAR with GEGLU, weight3 and weight4 as
 * of the LINEAR that reads it. */
#ifndef BALLAST_GRAPH_FOLD_H
#define BALLAST_GRAPH_FOLD_H

#include "graph/graph.h"

typedef enum bl_folds {
    BL_FOLD_NOTHING,
    BL_FOLD_INPUTS,  /* norms and upsampling */
    BL_FOLD_PRODUCTS /* these, and products: shortcuts and feed-forward layers */
} bl_folds;

/* Folds a finished graph (`what`: not BL_FOLD_NOTHING); only tensors that are at least half of its largest
 * one are worth it. Weights, blocks, inputs and outputs are those of `g`. Owner of *out: caller,
 * bl_graph_free. */
int bl_graph_fold(bl_graph **out, const bl_graph *g, bl_folds what, bl_error *err);

/* Which of op.in[] the output of a FOLDED_CONV may lie on, whatever their sizes, or -1, where it goes over
 * the picture in bands, each of which is read before it is written: downwards where a row of the output is no
 * longer than one of in[0], else upwards, and so does all upsampling. */
int bl_fold_overwrites(const bl_graph *g, const bl_op *op);

#endif
