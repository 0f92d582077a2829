/* How a layer of the denoiser is called by files that keep its authors' names (of the UNet, that number
 * layers as CompVis did), whatever layout the checkpoint itself has: adapters use either naming. */
#ifndef BALLAST_CHECKPOINT_SPELLING_H
#define BALLAST_CHECKPOINT_SPELLING_H

#include "checkpoint/architecture.h"

#include <stdbool.h>
#include <stddef.h>

/* "input_blocks.1.1.proj_in.weight" of "down_blocks.0.attentions.0.proj_in.weight". False if it has no such
 * name, or none that fits. */
bool bl_ldm_spelling(char *out, size_t room, const bl_unet_architecture *unet, const char *name);

/* The same of a layer of a transformer: "layers.0.attention.qkv", whose outputs of the layer are share 0 of
 * 3, of "layers.0.attention.to_q". False if the name is the same there. */
typedef struct bl_spelled_share {
    int share, shares, spans; /* its outputs are that share of so many, and as many of them */
    bool swapped;             /* the halves of its outputs are exchanged */
} bl_spelled_share;
bool bl_authors_spelling(char *out, size_t room, bl_spelled_share *share, const bl_architecture *arch,
                         const char *layer);

#endif
