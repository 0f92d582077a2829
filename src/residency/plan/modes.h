/* The modes that do not plan: none, model, sequential, balanced. They exist so that like can be compared with
 * like; each copies when it notices that something is missing, never earlier. `none` looks once, before the
 * first run. */
#ifndef BALLAST_RESIDENCY_MODES_H
#define BALLAST_RESIDENCY_MODES_H

#include "residency/plan/plan.h"

typedef struct bl_offload_settings {
    bl_offload mode;
    double low, high;  /* watermarks of `balanced`, fractions of memory; below 0: by its size */
    const char *never; /* NULL (by the memory's size), or module names and model types, separated by commas */
    const char *always;     /* NULL, or module names */
    const char *model_type; /* NULL, or what `never` may also name: "sdxl" */
    bool fit_check;
    int ahead; /* of `sequential`: 1: a block is copied while the one before it runs; 0: when it is due */
} bl_offload_settings;

/* auto, default watermarks, no lists, fit check. */
bl_offload_settings bl_offload_defaults(void);

/* What `balanced` does with this much memory, where the settings leave it to the size: up to 12 GB low 0 and
 * high 0.6; below 24 GB 0.2 and 0.6; from 24 GB on 0.2 and 0.8, with text encoders and the VAE in `never`. GB
 * are 2^30 bytes, with 5% allowed for what a card keeps for itself. */
void bl_offload_watermarks(const bl_offload_settings *s, uint64_t memory_bytes, double *low, double *high);
/* The `never` list in force, or NULL. Of the settings, or static. */
const char *bl_offload_never(const bl_offload_settings *s, uint64_t memory_bytes);

/* Whether the list (comma-separated, spaces ignored) names this, or what it belongs to: "unet" is also
 * "unet.context". */
bool bl_offload_lists(const char *list, const char *name);

/* BL_E_BUDGET with the smallest budget that would do. Modes other than auto. Caller owns *out. */
int bl_mode_plan(bl_plan **out, const bl_problem *p, const bl_offload_settings *s, bl_error *err);

/* Bytes that a phase needs at least in this mode. */
uint64_t bl_mode_least(const bl_problem *p, bl_offload mode, int phase);

/* BL_E_BUDGET, always: the message says what this mode, or auto, needs at least, with the arenas at their
 * smallest. */
int bl_mode_refuse(const bl_problem *p, bl_offload mode, bl_error *err);

/* The moves and decisions of `balanced`, for bl_mode_plan: into an empty plan whose region_bytes, reopen and
 * levels are set. */
int bl_balanced_plan(bl_plan *plan, const bl_problem *p, const bl_offload_settings *s, bl_error *err);

#endif
