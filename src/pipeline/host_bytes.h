/* What a request takes of the process's own memory while it runs: pictures, latents, the prompt's vectors.
 * Where the device's memory is the same, a plan that fills it must leave room for them. */
#ifndef BALLAST_PIPELINE_HOST_BYTES_H
#define BALLAST_PIPELINE_HOST_BYTES_H

#include "pipeline/condition.h"
#include "pipeline/request.h"

/* Never less than what is taken at once, from the first phase until the last picture was handed over; what a
 * caller makes of a picture, written as PNG, is counted once. `tiled`: the VAE may work in tiles. */
uint64_t bl_host_bytes(const bl_request *r, const bl_condition *c, const bl_architecture *arch, bool tiled);

#endif
