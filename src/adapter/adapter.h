/* An adapter: a file of changes to a model's weights (LoRA and its kin), opened for one model and checked
 * whole. Nothing of it is ever applied in part: what matches no layer is counted and named, and what cannot
 * be right is refused. The formulas are those of kohya's sd-scripts, LyCORIS, PEFT; delta.c has them. */
#ifndef BALLAST_ADAPTER_ADAPTER_H
#define BALLAST_ADAPTER_ADAPTER_H

#include "adapter/keys.h"
#include "adapter/layers.h"
#include "checkpoint/safetensors.h"

#define BL_ADAPTER_HASH 65
#define BL_ADAPTER_NAMED 3 /* keys that match nothing which are named */

/* How a layer's weight is changed. */
typedef enum bl_change {
    BL_CHANGE_NONE, /* its bias alone */
    BL_CHANGE_LORA, /* up down; of a convolution LoCon; with a mid, Tucker's form */
    BL_CHANGE_LOHA, /* (w1a w1b) o (w2a w2b) */
    BL_CHANGE_LOKR, /* kron(w1, w2) */
    BL_CHANGE_FULL, /* the difference itself */
    BL_CHANGE_COUNT
} bl_change;

/* The change of one layer. */
typedef struct bl_adapted {
    const bl_layer *layer; /* borrowed from the model's */
    int64_t first, rows;   /* of the parts' outputs, which of them is the layer's first, with the first of all
                              behind the last; all of them */
    bl_change change;
    double scale;                              /* alpha / rank, or 1 */
    bool dora, dora_by_output;                 /* the magnitude is one of each output, else of each input */
    const bl_file_tensor *part[BL_PART_COUNT]; /* NULL: not there */
} bl_adapted;

typedef struct bl_adapter {
    bl_safetensors *file;
    uint64_t serial; /* no two that were opened have the same */
    char *path;
    char name[256];             /* the file's, without folder and suffix */
    char hash[BL_ADAPTER_HASH]; /* SHA-256 of what follows the header, as kohya's tools count it; or what the
                                   metadata says it is */
    bl_adapted *items;          /* [count] sorted by module and name */
    int count;
    int modules[BL_MODULE_COUNT]; /* how many of them are of each module */
    uint64_t bytes;               /* of the tensors that are used */
    int unmatched;                /* keys that match nothing */
    const char *first_unmatched[BL_ADAPTER_NAMED];
    int holders;
} bl_adapter;

/* Opens, reads it whole once, and checks it. `layers` is borrowed and must outlive it. Owner of *out: the
 * caller, bl_adapter_drop. Errors: those of bl_safetensors_open; BL_E_FORMAT: nothing matches, a wrong shape,
 * a part is missing, or a number is not finite: the message names file, key and shapes. */
int bl_adapter_open(bl_adapter **out, const char *path, const bl_layers *layers, bl_error *err);

/* Takes and gives a hold of it; the last one closes the file. Sets to NULL; NULL inside is fine. One thread
 * at a time. */
bl_adapter *bl_adapter_hold(bl_adapter *a);
void bl_adapter_drop(bl_adapter **a);

/* What it does to a layer; NULL: nothing. Borrowed. */
const bl_adapted *bl_adapter_find(const bl_adapter *a, bl_module module, const char *layer, size_t length);

/* check.c: whether all parts of a change are there and have shapes that go with each other and the layer's.
 * Sets change, scale (of `alpha`; below 0: there is none, as in NaN) and the way of the magnitude.
 * BL_E_FORMAT. */
int bl_adapted_check(bl_adapted *x, const char *path, double alpha, bl_error *err);

/* "LoRA", "LoCon", "LoHa", "LoKr", "full", "norm", each with "DoRA " in front; "LoRA (Tucker)". Static
 * storage. */
const char *bl_adapted_kind(const bl_adapted *x);
/* Of what has one: of the down or its like; else 0. */
int64_t bl_adapted_rank(const bl_adapted *x);

#endif
