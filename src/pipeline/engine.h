/* A model on a device: graphs made for the shapes that are asked for, and the phases of one generation
 * planned by the residency room and run pass by pass.
 *
 * Order of use for each generation: bl_engine_begin, bl_engine_phase for every phase in the order in which
 * they will run, bl_engine_plan, bl_engine_pass as often as each phase said, bl_engine_end. Weights stay
 * where they are between generations. */
#ifndef BALLAST_PIPELINE_ENGINE_H
#define BALLAST_PIPELINE_ENGINE_H

#include "checkpoint/architecture.h"
#include "checkpoint/checkpoint.h"
#include "core/log.h"
#include "device/device.h"
#include "pipeline/placement.h"

#include <jansson.h>

typedef struct bl_engine bl_engine;

typedef struct bl_engine_options {
    bl_device *device;           /* borrowed */
    const bl_checkpoint *ckpt;   /* borrowed */
    const bl_architecture *arch; /* borrowed */
    bl_dtype dtype, vae_dtype;
    bool vae_follows;             /* the VAE has dtype because nothing else was asked for */
    const bl_log *log;            /* borrowed */
    const char *calibration_path; /* SQLite file, or NULL: in memory */
} bl_engine_options;

int bl_engine_open(bl_engine **out, const bl_engine_options *options, bl_error *err);
void bl_engine_close(bl_engine **engine);

/* What tells one graph of a module from another. Unused fields are 0. */
typedef struct bl_shape_key {
    int batch, height, width; /* of latents */
    int tokens;               /* rows of the UNet's context */
    int clip_skip;            /* of text encoders */
} bl_shape_key;

/* Makes the graph of a module at one shape. `taps` as in the model room, or NULL. Owner: caller,
 * bl_graph_free. */
int bl_engine_graph(bl_graph **out, const bl_engine *engine, bl_module module, bl_shape_key key,
                    const char *const *taps, bl_error *err);

/* What a module computes in. */
bl_dtype bl_engine_dtype(const bl_engine *engine, bl_module module);

/* Where lines for the user go. Borrowed. */
const bl_log *bl_engine_log(const bl_engine *engine);

/* Bytes of the device's memory. */
uint64_t bl_engine_memory(const bl_engine *engine);

/* Starts declaring the phases of a generation. */
void bl_engine_begin(bl_engine *engine);

/* Declares `passes` passes of a module; `name` is what people read, `stage` what the timing line calls it.
 * Returns the phase's number (>= 0) or an error. Checks all of the module's weights against the checkpoint
 * first. */
int bl_engine_phase(bl_engine *engine, const char *name, const char *stage, bl_module module,
                    bl_shape_key key, int passes, bl_error *err);

/* Asked between blocks; non-zero stops the work with BL_E_CANCELLED. */
typedef int bl_engine_poll(void *payload);

/* The smallest budget that the declared phases work with, and the budget that there is. Plans nothing. */
int bl_engine_budget(bl_engine *engine, const bl_placement *placement, uint64_t *least, uint64_t *budget,
                     bl_error *err);

/* Plans the declared phases. BL_E_BUDGET, with the smallest budget that works, when they cannot be done. */
int bl_engine_plan(bl_engine *engine, const bl_placement *placement, bl_engine_poll *poll, void *payload,
                   bl_error *err);

/* A host buffer for an input or output of a graph, by name. A list ends with a NULL name. */
typedef struct bl_port {
    const char *name;
    void *data; /* inputs are only read */
} bl_port;

/* Runs one pass of a phase. Phases run in the order of their numbers; a phase begins with its first pass. All
 * inputs and outputs of the graph must be there. */
int bl_engine_pass(bl_engine *engine, int phase, const bl_port *inputs, const bl_port *outputs,
                   bl_error *err);

/* The device's clock; and host work between passes, from `began` on that clock until now, as a stage of its
 * own: "upscale". Without memory for it, it is not told. */
double bl_engine_now(const bl_engine *engine);
void bl_engine_host(bl_engine *engine, const char *stage, double began);

/* Ends the generation. `finished`: all went well, and what was measured is learned from; otherwise what is
 * under way is waited for and nothing is told. */
int bl_engine_end(bl_engine *engine, bool finished, bl_error *err);

/* ---- telling (report.c) */

/* The last generation's plan and ledger: a new object {"plan", "ledger"}, or NULL. */
json_t *bl_engine_report(const bl_engine *engine);

/* The timing line of the last generation, then, if `hints` and if something could be better, a line with one
 * hint; with `both` also a line that holds the plan against the ledger. Each goes to the log. */
void bl_engine_tell(const bl_engine *engine, bool hints, bool both);

/* Writes the last ledger as Chrome trace events. */
int bl_engine_trace(const bl_engine *engine, const char *path, bl_error *err);

/* What to plan without running it. */
typedef struct bl_plan_wish {
    bool compare;     /* a row a mode */
    int sweep_points; /* 0: no curve; else budgets from low to high */
    uint64_t sweep_low, sweep_high;
    const char *svg_path; /* where to plot the curve, or NULL */
} bl_plan_wish;

/* Plans the declared phases without starting them: a new object as bl_plan_json makes it, with "compare" and
 * "sweep" where wished for. *text is the same for people, freed with free(). */
int bl_engine_explain(json_t **out, char **text, bl_engine *engine, const bl_placement *placement,
                      const bl_plan_wish *wish, bl_error *err);

#endif
