/* What an adapter's file says of itself, without a model to hold it against. */
#ifndef BALLAST_ADAPTER_INSPECT_H
#define BALLAST_ADAPTER_INSPECT_H

#include "core/error.h"

#include <jansson.h>

/* {"adapter": name, "kind": "LoRA", "least_rank", "most_rank", "family": "SDXL" or null, "types": "F16",
 * "bytes", "layers": {"unet" or "transformer": n, "text_encoder": n, "text_encoder_2": n}, "alias",
 * "base_model", "trigger_words": [...]}; the last three from its metadata, null or empty without any. Caller
 * owns *out. BL_E_FORMAT: none of its keys is an adapter's; errors of opening. Only the header is read. */
int bl_adapter_inspect(json_t **out, const char *path, bl_error *err);

#endif
