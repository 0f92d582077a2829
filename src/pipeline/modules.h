/* The modules of one model on a device: opened, known to the memory owner, their graphs prepared for the
 * shapes that were asked for. They live as long as the model; what lies on the device is the owner's
 * business. */
#ifndef BALLAST_PIPELINE_MODULES_H
#define BALLAST_PIPELINE_MODULES_H

#include "adapter/merge.h"
#include "checkpoint/architecture.h"
#include "checkpoint/checkpoint.h"
#include "core/log.h"
#include "core/tuning.h"
#include "model/unet.h"
#include "model/weights.h"
#include "residency/run/memory.h"

typedef struct bl_modules bl_modules;

typedef struct bl_modules_options {
    bl_memory *memory;           /* borrowed */
    const bl_checkpoint *ckpt;   /* borrowed */
    const bl_architecture *arch; /* borrowed */
    bl_dtype dtype, vae_dtype;
    bool vae_follows;  /* the VAE has dtype because nothing else was asked for */
    bool own_threads;  /* the user has said how many: that is nobody else's choice */
    const char *name;  /* of the model, for people: borrowed; may be NULL */
    const bl_log *log; /* borrowed */
} bl_modules_options;

/* Opens every module that the checkpoint has, and checks all of their weights. Caller owns *out. */
int bl_modules_open(bl_modules **out, const bl_modules_options *options, bl_error *err);
/* Gives their places on the device back first. */
void bl_modules_close(bl_modules **m);
/* Gives the places of all of them on the device back; they stay open. */
void bl_modules_release(bl_modules *m);

/* What tells one graph of a module from another. Unused fields are 0. */
typedef struct bl_shape_key {
    int batch, height, width;    /* of latents */
    int tokens;                  /* rows of the UNet's context */
    int second;                  /* of a language model or T5: rows of a second text beside these */
    int clip_skip;               /* of text encoders */
    bool own_context;            /* of text encoders: beside the one with clip skip */
    bool own_lengths, late_crop; /* of the UNet, see bl_unet_shape */
    bl_unet_form form;           /* the same */
    int times;                   /* steps that the prologue of a family with timed_prologue works for */
    uint64_t kept;               /* of TAESD between steps: bytes that a prologue keeps */
} bl_shape_key;

/* The key as text: no two keys have the same one, so that what was measured of one graph is not taken for
 * another's. "2x64x64x77x0s" is a step of the UNet. */
void bl_shape_text(char *out, size_t room, bl_shape_key key);
bool bl_shape_same(bl_shape_key a, bl_shape_key b);

/* Makes the graph of a module at one shape. `taps` as in the model room, or NULL. Owner: caller,
 * bl_graph_free. */
int bl_modules_graph(bl_graph **out, const bl_modules *m, bl_module module, bl_shape_key key,
                     const char *const *taps, bl_error *err);

/* One module on the device. A text encoder has one for each clip skip that was asked for: the last layers are
 * not among its weights then. The UNet has one for each form. */
typedef struct bl_opened {
    bl_module module;
    int clip_skip;
    bl_unet_form form;
    bl_graph *reference; /* any of its graphs: names of blocks and weights */
    bl_model_weights weights;
    bl_merge *merge; /* adds adapters to these */
    bl_device_module *device;
    int id;         /* its number with the memory owner */
    char dtype[16]; /* what it computes in, and how weights that stay small are stored: "BF16, Q8_0" */
} bl_opened;

/* Does the checkpoint have it? */
bool bl_modules_have(const bl_modules *m, bl_module module);

/* The module as it is with this clip skip and in this form (both as in bl_shape_key), opened if it is not
 * yet. Nothing on the device changes. BL_E_UNSUPPORTED if the checkpoint has none. Borrowed. */
int bl_modules_find(const bl_opened **out, bl_modules *m, bl_module module, int clip_skip, bl_unet_form form,
                    bl_error *err);

/* A graph at one shape, ready to run at level 0 and at those of the higher arena levels that were asked for.
 */
typedef struct bl_prepared {
    const bl_opened *opened;
    bl_shape_key key;
    bl_tuning tuning;
    bl_graph *graph;
    bl_executable *executable[BL_PROBLEM_LEVELS];
    bl_exec_info info[BL_PROBLEM_LEVELS];
    int level_count;
    int tried;     /* levels of the device looked at so far */
    uint64_t used; /* when last */
    int holders;   /* generations that have it in hand */
} bl_prepared;

/* The graph of this shape, prepared with these choices (NULL: none were made); made if it is not there. Stays
 * as it is until it is given back. */
int bl_modules_take(bl_prepared **out, bl_modules *m, bl_module module, bl_shape_key key,
                    const bl_tuning *tuning, bl_error *err);
void bl_modules_give(bl_modules *m, bl_prepared *p);
/* Prepares all levels that have smaller arenas: who has room for the largest does not need them. */
int bl_modules_prepare_levels(bl_modules *m, bl_prepared *p, bl_error *err);

const bl_modules_options *bl_modules_given(const bl_modules *m);
/* What a module computes in. */
bl_dtype bl_modules_dtype(const bl_modules *m, bl_module module);
/* What the calibration calls the model: models of one structure take the same time. */
const char *bl_modules_key(const bl_modules *m);

/* No two that were opened in this process have the same number. */
uint64_t bl_modules_serial(const bl_modules *m);

/* Whether the smaller arena that a phase has to work in (0: none) is another than the last one told of: what
 * was said of one generation is not said of each that follows it. */
bool bl_modules_news(bl_modules *m, uint64_t arena_bytes);

/* Makes the changes part of all modules: blocks that they concern are given up where they lie, all others
 * stay. Between generations. */
int bl_modules_adapt(bl_modules *m, const bl_changes *wanted, bl_error *err);

/* Work of merging a second, over all threads: measured, or a guess before there was any. */
double bl_modules_merge_rate(const bl_modules *m);
/* Seconds of merging since the modules were opened, with the cores taken together. */
double bl_modules_merge_seconds(const bl_modules *m);

/* Of the denoiser, what bl_opened.dtype says. Borrowed. */
const char *bl_modules_dtype_text(const bl_modules *m);
/* Bytes that block `block` takes when adapters change it, or do not. */
uint64_t bl_opened_bytes(const bl_modules *m, const bl_opened *x, int block, bool changed);

/* Opened modules by number, in the order of bl_module; NULL past the last. */
const bl_opened *bl_modules_at(const bl_modules *m, int index);

#endif
