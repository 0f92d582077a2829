/* A plan: which block lies where when, and the moves that make it so. Every mode ends in one of these, so
 * that the executor, the replay and the explanation treat all modes alike.
 *
 * Time in a plan is counted in runs: run r is the r-th time that a block of weights computes in this
 * generation (phase by phase, pass by pass, block by block). */
#ifndef BALLAST_RESIDENCY_PLAN_H
#define BALLAST_RESIDENCY_PLAN_H

#include "residency/problem/problem.h"

typedef enum bl_offload {
    BL_OFFLOAD_NONE,
    BL_OFFLOAD_MODEL,
    BL_OFFLOAD_SEQUENTIAL,
    BL_OFFLOAD_BALANCED,
    BL_OFFLOAD_AUTO,
    BL_OFFLOAD_COUNT
} bl_offload;

/* "none", "model", ... Static storage. */
const char *bl_offload_name(bl_offload mode);
/* False when there is no such mode. */
bool bl_offload_parse(const char *name, bl_offload *out);

/* Why a move or a decision is made. */
typedef enum bl_why {
    /* a block or module is brought in */
    BL_WHY_NEEDED,  /* its run, or its module's phase, is next */
    BL_WHY_EARLY,   /* there is room for it, so nobody waits for it later */
    BL_WHY_IN_TIME, /* were it later, its run would wait */
    BL_WHY_NEXT,    /* for the next generation */
    BL_WHY_ALL,     /* mode none: everything, before the first run */
    /* or gives up its place */
    BL_WHY_ARENA,  /* to the activations of the phase that begins */
    BL_WHY_LATER,  /* to a block that is used sooner */
    BL_WHY_PLACE,  /* for another place, which no arena takes before its run */
    BL_WHY_DONE,   /* its run has ended, and the mode keeps nothing */
    BL_WHY_MODULE, /* mode model: another module begins */
    BL_WHY_SLOT,   /* to the slot that the module's later blocks go through */
    /* or a module stays or goes by the rule of mode balanced */
    BL_WHY_NEVER,
    BL_WHY_ALWAYS,
    BL_WHY_LOW_0,
    BL_WHY_FITS,
    BL_WHY_PRESSURE,
    BL_WHY_BELOW_LOW,
    BL_WHY_ROOM,
    BL_WHY_COUNT
} bl_why;

/* "needed", "in-time", "low=0", ... Static storage. */
const char *bl_why_name(bl_why why);

/* What a move does. The rules, which the replay checks and the executor keeps, are those of time and of
 * place.
 *
 * Time: loads, copies and runs each have a clock of their own, and none of a kind overtakes another. A load
 * begins when the load before it, run `after` and the last copy out of every place that it overwrites have
 * ended. A copy begins when the copy before it, run `after` and its block's load have ended. A run begins
 * when the run before it and every copy with this `before` have ended.
 *
 * Place: two blocks that hold a place at the same time never overlap, neither in the region nor in the store.
 * A move takes or gives up its place in the order of the list. So a block leaves the store behind the last
 * copy out of its place, and the load that writes there stands behind both. */
typedef enum bl_move_kind {
    BL_MOVE_COPY,  /* the block is put in the region: from its place in the host store, or, without a store,
                      straight from the file */
    BL_MOVE_DROP,  /* it gives up its place in the region; no bytes move */
    BL_MOVE_LOAD,  /* it is read, converted and packed from the file into the host store */
    BL_MOVE_LEAVE, /* it gives up its place in the store; no bytes move */
} bl_move_kind;

/* "onload", "drop", "load", "leave": what is told of it. Static storage. */
const char *bl_move_name(bl_move_kind kind);

typedef struct bl_move {
    int module, block;
    bl_move_kind kind;
    uint64_t offset; /* where it is put, or where it was: in the region, or in the store */
    int after;       /* run that must have ended before it happens; -1: none. Never falls along the list */
    int before; /* run that waits for it; run_count: the next generation. Of a load: that of the copy it is
                   made for. Of a drop and a leave: `after` + 1 */
    bl_why why;
} bl_move;

/* What the device's seconds go into. Copies belong to the phase in which they happen: that of the run after
 * `after`. */
typedef enum bl_share {
    BL_SHARE_STEADY,     /* passes: computing, and waits for what each pass brings in again */
    BL_SHARE_FIRST_LOAD, /* waits for weights that come for the first time */
    BL_SHARE_SWAP, /* waits for weights that gave way to others and come back for a phase's first pass */
    BL_SHARE_COUNT
} bl_share;

/* "steady_seconds", "first_load_seconds", "swap_seconds". Static storage. */
const char *bl_share_name(bl_share share);
/* Of a copy. `came`: its block was on the device before. */
bl_share bl_share_of(const bl_problem *p, const bl_move *copy, bool came);

/* A decision about a whole module, told by BALLAST_MOVE_DEBUG. Only `balanced` makes such; the other modes
 * decide about blocks, and their moves say it all. */
typedef struct bl_decision {
    int run;        /* before this run */
    const char *op; /* "evict", "keep", "onload", "stream". Static storage */
    bl_why why;     /* of "evict" and "keep" the first that holds */
    int module;
    uint64_t bytes;      /* of the whole module, however much of it is on the device */
    uint64_t used_bytes; /* before it: resident blocks, and the larger arena of this phase and the last */
    double low;          /* the low watermark in force */
} bl_decision;

typedef struct bl_plan_phase {
    int level; /* arena level */
    uint64_t arena_bytes;
    uint64_t resident_bytes; /* of the phase's module: on the device from their first use in the phase to
                                their last */
    uint64_t streamed_bytes; /* of the phase's module: the rest; brought in again for later passes */
    int streamed_blocks;
    uint64_t moved_bytes;  /* all that is copied while the phase runs, for itself or for later phases */
    uint64_t loaded_bytes; /* of the region's bytes, into the host store meanwhile */
    int load_count;
    double load_seconds;
    double seconds; /* from the end of the phase before to its own end */
    double compute_seconds;
    double wait_seconds;           /* compute stands still for a copy (or does the copy itself) */
    double shares[BL_SHARE_COUNT]; /* of the seconds; they add up to them */
} bl_plan_phase;

typedef struct bl_plan {
    bl_offload mode;
    const char *method; /* which of the planner's candidates it is; else the mode. Static storage */
    int phase_count, run_count;
    bl_plan_phase *phases;
    bl_move *moves; /* in the order in which they are done; copies never overtake each other */
    int move_count, move_room;
    bl_decision *decisions; /* by run */
    int decision_count, decision_room;
    bool reopen;           /* what is resident is given up and a region is opened anew */
    uint64_t region_bytes; /* size of the region */
    /* filled by bl_replay */
    uint64_t peak_bytes;  /* end of the highest byte that this generation uses: blocks that it brings in or
                             runs, and arenas; of a region opened for it alone, all of it */
    uint64_t moved_bytes; /* copied to the device in this generation */
    int onload_count;
    double slowed_seconds;     /* of compute's, that copies beside it took */
    double seconds;            /* until the last run has ended, */
    double end_seconds;        /* and what was brought for the next generation has arrived */
    uint64_t store_peak_bytes; /* end of the highest byte of the host store that is in use at any time; 0
                                  without */
    uint64_t loaded_bytes;     /* packed into the store in this generation */
    int load_count;
    double load_seconds;     /* that loads take, one after the other */
    double load_end_seconds; /* when the last one ends */
    /* filled by bl_plan_new */
    uint64_t min_budget_bytes, working_set_bytes;
    /* filled by bl_plan_make */
    uint64_t bound_moved_bytes; /* no schedule under this budget moves fewer */
    double bound_seconds;       /* no schedule under this budget is faster */
    double planning_seconds;
} bl_plan;

/* An empty plan for the problem: every phase at level 0. Caller owns *out. */
int bl_plan_new(bl_plan **out, const bl_problem *p, bl_offload mode, bl_error *err);
void bl_plan_free(bl_plan **plan);

int bl_plan_add_move(bl_plan *plan, bl_move move, bl_error *err);
int bl_plan_add_decision(bl_plan *plan, bl_decision decision, bl_error *err);

#endif
