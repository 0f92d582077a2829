/* What a checkpoint holds, for people and programs. */
#ifndef BALLAST_PIPELINE_INSPECT_H
#define BALLAST_PIPELINE_INSPECT_H

#include "pipeline/modules.h"

#include <jansson.h>

/* A new JSON object: file, architecture, prediction and who said so, and for each module its dtype in the
 * file, tensors, bytes in the file, bytes on the device, blocks. With width and height (pixels) > 0 also the
 * arena of each module for one picture of that size, as the engine would run it. */
int bl_inspect(json_t **out, bl_modules *modules, const bl_checkpoint *ckpt, const bl_architecture *arch,
               int width, int height, bl_error *err);

#endif
