/* The adapters of a request: those that its options list, then those that its prompt names. */
#ifndef BALLAST_PIPELINE_ADAPTERS_H
#define BALLAST_PIPELINE_ADAPTERS_H

#include "adapter/merge.h"
#include "adapter/shelf.h"
#include "checkpoint/checkpoint.h"
#include "core/log.h"

#include <jansson.h>

/* In the order in which they are added: as listed, then as in the prompt. Begin with {0}; bl_adapters_clear.
 */
typedef struct bl_adapters {
    bl_wanted list[BL_MOST_ADAPTERS]; /* [count] each held */
    int count;
    int listed; /* how many of them the options listed: no tag in the prompt names them */
} bl_adapters;

/* Where names in prompts are looked for: `given`, or the folder `name` beside the model. Caller frees *out.
 */
int bl_folders_beside(char **out, const bl_checkpoint *ckpt, const char *given, const char *name,
                      bl_error *err);

/* Opens them. Folders for names in prompts: as in ballast_generate_options, NULL: "lora" beside the model.
 * Says, a line each, what of a file matches nothing and which tags are passed over. Errors: those of
 * bl_adapter_open and bl_find_named; BL_E_ARGUMENT. */
int bl_adapters_open(bl_adapters *out, bl_shelf *shelf, const bl_checkpoint *ckpt,
                     const ballast_generate_options *o, const bl_log *log, bl_error *err);
void bl_adapters_clear(bl_adapters *a);

/* For --verbose: each with its layers and strengths. */
void bl_adapters_show(const bl_adapters *a, const bl_log *log);

/* For a picture's parameters: the prompt, with tags behind it for those that have none, and "NAME: HASH, ..."
 * ("" without adapters). Caller frees both. */
int bl_adapters_describe(char **prompt, char **hashes, const bl_adapters *a, const char *given,
                         bl_error *err);

/* [{"name", "path", "text", "denoiser", "layers", "bytes", "hash", "unmatched"}]; NULL: no memory. */
json_t *bl_adapters_json(const bl_adapters *a);

#endif
