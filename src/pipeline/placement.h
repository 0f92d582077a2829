/* What a user asks of placement ("--budget 6G", "--offload balanced"), in the residency room's words. */
#ifndef BALLAST_PIPELINE_PLACEMENT_H
#define BALLAST_PIPELINE_PLACEMENT_H

#include "ballast.h"
#include "core/error.h"
#include "core/log.h"
#include "device/device.h"
#include "pipeline/tiles.h"
#include "residency/plan/modes.h"

typedef struct bl_placement {
    bl_offload_settings offload;
    uint64_t budget_bytes;   /* of weights and arena together; reserve taken off; 0: what is free */
    uint64_t reserve_bytes;  /* to leave of what is free; 0 where there is a budget, which has it taken off */
    uint64_t store_bytes;    /* of host memory for weights that wait there; 0: what is free */
    uint64_t reserved_bytes; /* the reserve, in either case: a budget that is told has it on top */
    uint64_t host_bytes;     /* of host memory that the request's pictures and latents take; bl_host_bytes */
    bl_tiled tiled;          /* whether pictures may be decoded in tiles */
    bool repeats;            /* another generation like it follows */
} bl_placement;

/* BL_E_ARGUMENT, BL_E_NOT_FOUND or, for what a device of these caps cannot do, BL_E_UNSUPPORTED name the
 * option. Lists are borrowed from `o`. */
int bl_placement_parse(bl_placement *out, const ballast_generate_options *o, const bl_device_caps *caps,
                       bl_error *err);

/* Says of a budget that is more than all there is that it limits nothing. */
void bl_placement_tell(const bl_placement *p, uint64_t memory_bytes, const bl_log *log);

/* "6G", "800M", "6.5GB", "80%" (of memory_bytes), or plain bytes. `what` names the option. */
int bl_size_parse(uint64_t *out, const char *text, uint64_t memory_bytes, const char *what, bl_error *err);

/* Budgets of a curve. */
typedef struct bl_budget_range {
    uint64_t low, high; /* bytes; low < high */
    int points;         /* budgets from low to high, both among them; 0: no curve */
} bl_budget_range;

/* "2G:24G" or "2G:24G:45": sizes as bl_size_parse takes them, and how many budgets. */
int bl_budget_range_parse(bl_budget_range *out, const char *text, uint64_t memory_bytes, bl_error *err);

#endif
