/* The layers of a model that an adapter may change, and all the names under which adapters know them. */
#ifndef BALLAST_ADAPTER_LAYERS_H
#define BALLAST_ADAPTER_LAYERS_H

#include "checkpoint/architecture.h"
#include "graph/graph.h"

#define BL_LAYER_SHARES 4 /* layers that a file may have in one */

typedef struct bl_layers bl_layers;

/* A layer with a weight [rows, inner, kh, kw], or a norm [rows]. */
typedef struct bl_layer {
    bl_module module;
    char name[BL_NAME_BYTES]; /* diffusers' path: "mid_block.resnets.0.conv1" */
    int64_t rows, inner;      /* outputs; inputs, 1 of a norm */
    int64_t positions;        /* kh * kw; 1 of what is no convolution */
    bool weight, bias;        /* which of the two it has */
} bl_layer;

/* A layer, and where its outputs are among those of the layer that a file knows: queries, keys and values may
 * be one there. Behind the last comes the first: of a layer whose halves are exchanged there, `first` is half
 * of `rows`. */
typedef struct bl_layer_place {
    int layer;
    int64_t first, rows; /* number of its first output; outputs of the file's layer */
} bl_layer_place;

/* All layers of denoiser and text encoders. Caller owns *out. */
int bl_layers_new(bl_layers **out, const bl_architecture *arch, bl_error *err);
void bl_layers_free(bl_layers **layers);

int bl_layers_count(const bl_layers *layers);
/* Sorted by module and name. Borrowed. */
const bl_layer *bl_layers_at(const bl_layers *layers, int index);

/* The layers whose keys begin with this, in any of the namings that are known. Returns how many: 0 of an
 * unknown name. `prefix` is not terminated. */
int bl_layers_find(bl_layer_place out[BL_LAYER_SHARES], const bl_layers *layers, const char *prefix,
                   size_t length);

/* The model's family, for messages. */
const char *bl_layers_family(const bl_layers *layers);

#endif
