/* What made a picture, as text that goes into its file. */
#ifndef BALLAST_PIPELINE_DESCRIBE_H
#define BALLAST_PIPELINE_DESCRIBE_H

#include "pipeline/adapters.h"
#include "pipeline/embeddings.h"
#include "pipeline/generate.h"

/* Of picture `index` of the request, width x height pixels. `hash`: of the model's file, or NULL. Caller
 * frees *out with free(). */
int bl_describe(char **out, const bl_pipeline *m, const bl_request *r, const bl_adapters *adapters,
                const bl_embeddings *embeddings, const char *hash, uint64_t seed, int index, int width,
                int height, bl_error *err);

#endif
