/* One generation: the phases that a request declares, the plan that the residency room makes of them, and the
 * ledger of what happened. It dies with the request; weights stay where they are.
 *
 * Order of use: bl_generation_new, bl_generation_phase for every phase in the order in which they will run,
 * bl_generation_start, bl_generation_pass as often as each phase said, bl_generation_end; then it can be told
 * of (telling.h). One that is only looked at is never started, and changes nothing that is live. */
#ifndef BALLAST_PIPELINE_GENERATION_H
#define BALLAST_PIPELINE_GENERATION_H

#include "pipeline/modules.h"
#include "pipeline/placement.h"

typedef struct bl_generation bl_generation;

/* Asked between blocks; non-zero stops the work with BL_E_CANCELLED. */
typedef int bl_generation_poll(void *payload);

/* `modules` is borrowed and must outlive it. Caller owns *out. */
int bl_generation_new(bl_generation **out, bl_modules *modules, bl_error *err);
/* Ends it first if it runs. */
void bl_generation_free(bl_generation **g);

/* Declares `passes` passes of a module; `name` is what people read, `stage` what the timing line calls it. It
 * runs with the choices that were found to be the fastest here, where it was tuned. Returns the phase's
 * number (>= 0) or an error. */
int bl_generation_phase(bl_generation *g, const char *name, const char *stage, bl_module module,
                        bl_shape_key key, int passes, bl_error *err);

/* A phase, and the choices that it runs with. */
typedef struct bl_phase_of {
    const char *name, *stage; /* borrowed from the generation */
    bl_module module;
    bl_shape_key key;
    int passes;
    bl_tuning tuning;
    const bl_prepared *prepared; /* borrowed likewise */
} bl_phase_of;

/* The same as bl_generation_phase, with choices that somebody makes. */
int bl_generation_phase_tuned(bl_generation *g, const bl_phase_of *phase, bl_error *err);
/* The phase of this number; false: there are not so many. */
bool bl_generation_phase_at(bl_phase_of *out, const bl_generation *g, int phase);
/* Seconds that a pass of it has computed, the first of several left out, which meets memory that nothing has
 * touched; of a generation that has ended. */
double bl_generation_pass_seconds(const bl_generation *g, int phase);

/* Runs as if nothing had been tuned; before anything is declared. */
void bl_generation_untuned(bl_generation *g);
/* Runs with all that was kept, on trial or not, and does not judge it; likewise. */
void bl_generation_measured(bl_generation *g);
/* Whether any phase runs with choices that were kept for it. */
bool bl_generation_is_tuned(const bl_generation *g);

/* The adapters and rows that it runs with; none without this. What they point to is borrowed until it is
 * freed; before anything is declared.
 */
void bl_generation_adapt(bl_generation *g, bl_changes changes);

/* Names a generation, of this model or another one of the same context, that is likely to come after this
 * one: its phases are declared, and it is never started; or this one itself, which comes again. With
 * likelihood 1 it comes for certain, in the order of the calls and before those that are not certain, of
 * which one comes. Borrowed until this one is freed. What there is no room for in a problem is left out. */
void bl_generation_follow(bl_generation *g, const bl_generation *next, double likelihood);

/* The smallest budget that the declared phases work with, and the budget that there is. Plans nothing. */
int bl_generation_budget(bl_generation *g, const bl_placement *placement, uint64_t *least, uint64_t *budget,
                         bl_error *err);

/* Bytes that its graph keeps at the arena's begin. */
uint64_t bl_generation_kept(const bl_generation *g, int phase);

/* Number of the phase that makes that budget as large as it is; after bl_generation_budget. */
int bl_generation_hungriest(const bl_generation *g);

/* What the declared phases need. */
typedef struct bl_room {
    uint64_t budget;
    uint64_t least;      /* the smallest budget that works, with `auto` */
    uint64_t mode_least; /* the same in the mode that was asked for */
    uint64_t
        kept_least;  /* that of the phases in whose arenas a prologue's tensors are kept; 0: there are none */
    bool async_copy; /* copies run beside compute */
    bool spares; /* where not everything fits: what prologues keep is no more than their weights, which need
                    not come again in each step */
} bl_room;
int bl_generation_room(bl_room *out, bl_generation *g, const bl_placement *placement, bl_error *err);
/* Prepares all arena levels, whatever the budget: for the smallest one to be told. */
void bl_generation_all_levels(bl_generation *g);
/* Another way to declare it works with a budget as small as this: what is told of it takes it in. */
void bl_generation_set_least(bl_generation *g, uint64_t bytes);
/* How long the declared phases would take; INFINITY where the budget is too small. Begins nothing. */
int bl_generation_weigh(double *seconds, bl_generation *g, const bl_placement *placement, bl_error *err);

/* Plans the declared phases and begins. BL_E_BUDGET, with the smallest budget that works, when they cannot be
 * done. One generation runs on a device at a time. */
int bl_generation_start(bl_generation *g, const bl_placement *placement, bl_generation_poll *poll,
                        void *payload, bl_error *err);

/* A host buffer for an input or output of a graph, by name. A list ends with a NULL name and no data. */
typedef struct bl_port {
    const char *name;
    void *data; /* inputs are only read */
} bl_port;

/* Runs one pass of a phase. Phases run in the order of their numbers; a phase begins with its first pass. All
 * inputs and outputs of the graph must be there. */
int bl_generation_pass(bl_generation *g, int phase, const bl_port *inputs, const bl_port *outputs,
                       bl_error *err);

/* Leaves out the passes of a phase that have not been made; all of them where it has not begun. */
int bl_generation_cut(bl_generation *g, int phase, bl_error *err);

/* Weights that the first pass of the phase at work needs brought in, and how many of them were begun with; 0
 * of 0: none, all of them, or no phase is at work. */
void bl_generation_loads(const bl_generation *g, uint64_t *all, uint64_t *done);

/* The device's clock; and host work between passes, from `began` on that clock until now, as a stage of its
 * own: "upscale". Without memory for it, it is not told. */
double bl_generation_now(const bl_generation *g);
void bl_generation_host(bl_generation *g, const char *stage, double began);

/* The timing line names this stage, however short it was. */
void bl_generation_name(bl_generation *g, const char *stage);

/* Ends it. `finished`: all went well, and what was measured is learned from; otherwise what is under way is
 * waited for and nothing is told. */
int bl_generation_end(bl_generation *g, bool finished, bl_error *err);

/* Where its modules' weights come from. Borrowed. */
const bl_checkpoint *bl_generation_checkpoint(const bl_generation *g);

/* Where lines for the user go. Borrowed. */
const bl_log *bl_generation_log(const bl_generation *g);
/* What a module computes in. */
bl_dtype bl_generation_dtype(const bl_generation *g, bl_module module);

#endif
