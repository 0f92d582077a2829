/* One module on given tensors: for those who port models, and to hold Ballast against a reference. */
#ifndef BALLAST_PIPELINE_EVAL_H
#define BALLAST_PIPELINE_EVAL_H

#include "adapter/merge.h"
#include "checkpoint/architecture.h"
#include "checkpoint/checkpoint.h"
#include "core/stop.h"
#include "device/device.h"

typedef struct bl_eval {
    bl_device *device;
    const bl_checkpoint *ckpt;
    const bl_architecture *arch;
    bl_dtype dtype;
    bl_module module;
    const bl_wanted *adapters; /* [adapter_count] that are added to the module's weights */
    int adapter_count;
    const bl_stop *stop; /* looked at between the cases; may be NULL */
} bl_eval;

/* Runs every case of the input file and writes the outputs. A case is a common prefix "CASE." of the module's
 * inputs, or no prefix:
 *
 *   unet            sample, timestep, context [, text_embeds, time_ids]  -> output
 *   transformer     latents, t (0 .. 1), caption: Z-Image's, as diffusers has them -> output
 *                   latents, t (0 .. 1), context [, guidance] [, pooled]: FLUX's   -> output
 *   vae_decoder     z                                                    -> image
 *   taesd           z                                                    -> image, -1 .. 1
 *   vae_encoder     image (cases that have a z are the decoder's)        -> moments, mean, logvar
 *   text_encoder    ids (case te2 is the second encoder's)               -> last_hidden_state, penultimate,
 *   text_encoder_2  ids (case te1 is the first encoder's)                   penultimate_ln, pooled [,
 * text_embeds]
 *
 * "CASE.at.MODULE" in the input file asks for the output of that inner module of diffusers too.
 * BL_E_FORMAT names the tensor that does not fit; BL_E_NOT_FOUND: no case at all. */
int bl_eval_file(const bl_eval *e, const char *inputs_path, const char *outputs_path, bl_error *err);

#endif
