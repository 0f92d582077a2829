/* How a layer of the UNet is called by files that number layers as CompVis did, whatever layout the
 * checkpoint itself has: adapters use either naming. */
#ifndef BALLAST_CHECKPOINT_SPELLING_H
#define BALLAST_CHECKPOINT_SPELLING_H

#include "checkpoint/architecture.h"

#include <stdbool.h>
#include <stddef.h>

/* "input_blocks.1.1.proj_in.weight" of "down_blocks.0.attentions.0.proj_in.weight". False if it has no such
 * name, or none that fits. */
bool bl_ldm_spelling(char *out, size_t room, const bl_unet_architecture *unet, const char *name);

#endif
