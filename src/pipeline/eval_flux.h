/* What FLUX's transformers read that no file of `ballast eval` holds: it follows from the shape. */
#ifndef BALLAST_PIPELINE_EVAL_FLUX_H
#define BALLAST_PIPELINE_EVAL_FLUX_H

#include "graph/graph.h"
#include "model/flux1.h"
#include "model/flux2.h"

/* Makes the values of a graph's input. *out NULL: it is none of those. Caller: free. BL_E_MEMORY. */
int bl_eval_flux1_made(void **out, const bl_tensor *input, const bl_flux1 *arch, const bl_flux1_shape *shape,
                       bl_error *err);
int bl_eval_flux2_made(void **out, const bl_tensor *input, const bl_flux2 *arch, const bl_flux2_shape *shape,
                       bl_error *err);

/* From what a file holds to what the graph reads, in place: a time of 0 .. 1, or a guidance, becomes one of a
 * thousand. */
void bl_eval_flux_fit(float *data, const bl_tensor *input);

#endif
