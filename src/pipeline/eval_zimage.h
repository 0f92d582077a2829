/* What Z-Image's transformer reads that no file of `ballast eval` holds: it follows from the shape. */
#ifndef BALLAST_PIPELINE_EVAL_ZIMAGE_H
#define BALLAST_PIPELINE_EVAL_ZIMAGE_H

#include "graph/graph.h"
#include "model/zimage.h"

/* Makes the values of a graph's input. *out NULL: it is none of those. Caller: free. BL_E_MEMORY. */
int bl_eval_zimage_made(void **out, const bl_tensor *input, const bl_zimage *arch,
                        const bl_zimage_shape *shape, bl_error *err);

/* From what a file holds to what the graph reads, where that differs: a caption [batch, tokens, width] gets
 * zeros behind each, a time of 0 .. 1 becomes one of a thousand. Takes *data and replaces it. BL_E_MEMORY. */
int bl_eval_zimage_fit(void **data, const bl_tensor *input, const bl_zimage_shape *shape, bl_error *err);

#endif
