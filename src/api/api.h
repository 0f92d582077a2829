/* What the files of the public API share. */
#ifndef BALLAST_API_API_H
#define BALLAST_API_API_H

#include "ballast.h"
#include "checkpoint/architecture.h"
#include "checkpoint/checkpoint.h"
#include "core/log.h"
#include "device/device.h"
#include "pipeline/generate.h"
#include "text/tokenizer.h"

struct ballast_context {
    bl_device *device;
    bl_memory *memory; /* owner of the device's; all models share it */
    bool simulated;
    bl_tokenizer *tokenizer;
    bl_log log;
    void (*log_fn)(void *payload, int level, const char *line);
    void *log_payload;
    char *cache_dir; /* NULL: nothing is kept */
};

struct ballast_model {
    ballast_context *context; /* borrowed */
    bl_checkpoint *ckpt;
    bl_architecture arch;
    bl_modules *modules;
    bl_dtype dtype, vae_dtype;
    char *name;          /* the file's name without folder and suffix */
    char *vae_name;      /* of another file's VAE, or NULL */
    bl_model_hash *hash; /* of its file; NULL before the first picture, and for folders */
};

/* Hands over a JSON object as text; takes the object, also on failure. */
int bl_json_text(char **out, json_t *object, bl_error *err);

#endif
