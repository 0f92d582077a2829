/* What an open checkpoint consists of; internal to the room. */
#ifndef BALLAST_CHECKPOINT_INTERNAL_H
#define BALLAST_CHECKPOINT_INTERNAL_H

#include "checkpoint/checkpoint.h"
#include "checkpoint/names.h"

#include <jansson.h>

#define BL_PREFIX_BYTES 64
#define BL_WRAPPER_BYTES 24
#define BL_PATH_ROOM 4096
#define BL_END_TOKEN 49407
#define BL_MAX_FILES 256 /* shards of all modules; published models have fewer than 20 */

/* Where one module's tensors are. */
typedef struct bl_module_files {
    bool present;
    bool given;                   /* by bl_checkpoint_take_text_encoders */
    int first_file, file_count;   /* in bl_checkpoint.files */
    char prefix[BL_PREFIX_BYTES]; /* before each name: "model.diffusion_model." */
    bl_naming naming;
    bl_ldm_numbers numbers; /* BL_NAMES_LDM_UNET */
    int depth;              /* BL_NAMES_LDM_VAE: levels; BL_NAMES_SD3: blocks */
    json_t *config;         /* its config.json, or NULL; of the VAE, both halves refer to one */
} bl_module_files;

/* A folder's tokenizer. */
typedef struct bl_tokenizer_files {
    json_t *config; /* tokenizer_config.json with the special tokens of their own file; NULL: no folder */
    json_t *words;  /* [{text, id, normalized, whole_word}]: beside CLIP's vocabulary */
} bl_tokenizer_files;

struct bl_checkpoint {
    char *path;
    bool folder;
    char wrapper[BL_WRAPPER_BYTES]; /* before all names of a single file: "state_dict.", or "" */
    bl_safetensors *files[BL_MAX_FILES];
    int file_count;
    bl_module_files modules[BL_MODULE_COUNT];
    json_t *index;                    /* model_index.json, or NULL */
    json_t *scheduler;                /* scheduler_config.json, or NULL */
    bl_tokenizer_files tokenizers[2]; /* of each text encoder */
    char *vocabulary;                 /* of T5, a folder's tokenizer.json that was given; or NULL */
    char *yaml;                       /* text of the NAME.yaml beside a single file, or NULL */
    size_t yaml_bytes;
};

/* out = folder/name, or folder where `name` is "". */
int bl_join_path(char out[BL_PATH_ROOM], const char *folder, const char *name, bl_error *err);
bool bl_is_folder(const char *path);
bool bl_is_file(const char *path);

/* Opens one more file. */
int bl_add_file(bl_checkpoint *c, const char *path, bl_error *err);

/* A file of weights, or the index of several. */
typedef struct bl_weights_file {
    char name[256]; /* "": there is none */
    bool index, pickle;
} bl_weights_file;

/* Is this a name that weights have in a module's folder, as a single file? */
bool bl_is_weights_name(const char *name);

/* Chooses between the variants in a module's folder, which need not be there. */
int bl_choose_weights(bl_weights_file *out, const char *folder, bl_error *err);

/* The config.json beside a file that has one of the names that weights have in a module's folder; NULL if it
 * has another name or there is none. The caller owns *out. */
int bl_config_beside(json_t **out, const char *path, bl_error *err);

/* The family whose transformer it holds, NULL: of none that is known. */
const bl_family *bl_transformer_family(const bl_checkpoint *c);

/* Opens the weights and the configuration in a text encoder's folder; *out stays absent if there are none.
 * The caller owns out->config, also after an error. */
int bl_open_text_encoder_folder(bl_checkpoint *c, bl_module_files *out, const char *folder, bl_error *err);

/* Reads the tokenizer in a folder, which need not be there; without `words` its configuration alone. The
 * caller owns what is in *out, also after an error. */
int bl_open_tokenizer(bl_tokenizer_files *out, const char *folder, bool words, bl_error *err);

/* T5's vocabulary in a folder: tokenizer.json, or spiece.model. *out: NULL where there is none. The caller
 * frees it. */
int bl_find_vocabulary(char **out, const char *folder, bl_error *err);

/* Fills modules from the folder at `folder` (one that holds unet/, vae/ ...). */
int bl_open_folder(bl_checkpoint *c, const char *folder, bl_error *err);

/* Fills the VAE's modules from the folder `folder` itself (one that holds
 * diffusion_pytorch_model.safetensors).
 */
int bl_open_vae_folder(bl_checkpoint *c, const char *folder, bl_error *err);

/* Finds modules in file number `file` by names, below a wrapper if need be. */
void bl_find_single_file_modules(bl_checkpoint *c, int file);

/* Finds an autoencoder in file number `file`, whatever its layout and prefix, and lets it stand for the
 * checkpoint's. */
int bl_take_vae(bl_checkpoint *c, int file, bl_error *err);

/* Chooses between the layouts of an autoencoder whose names begin with `prefix`. False if there is none.
 * `side` is "encoder." or "decoder.". */
bool bl_find_vae(bl_module_files *out, const bl_checkpoint *c, int first_file, int file_count,
                 const char *prefix, const char *side);

/* Goes on from one wrapper of the file's names to a longer one, from "" at first. False if there is none. */
bool bl_next_wrapper(char wrapper[BL_WRAPPER_BYTES], const bl_safetensors *f);

/* A tensor of a single file that belongs to no module, with or without the wrapper; NULL if there is none. */
const bl_file_tensor *bl_find_marker(const bl_checkpoint *c, const char *name);

/* Does a file of [first, first + count) hold a tensor of the name prefix + name? Returns it, and its file in
 * *file. */
const bl_file_tensor *bl_find_in_files(const bl_checkpoint *c, int first, int count, const char *prefix,
                                       const char *name, int *file);

#endif
