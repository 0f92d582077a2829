/* The planner's problem: which blocks of weights there are, which phases run them and how long that takes,
 * how much memory there is and how fast weights arrive. Bytes, seconds and names: nothing here knows what a
 * module computes.
 *
 * Order of use: bl_problem_new -> bl_problem_add_module / bl_problem_add_phase ... -> what follows
 * (follow.h), where it is known -> set the plain fields -> bl_problem_finish -> plan it. A finished problem
 * may be planned many times with other budgets.
 *
 * Only one generation is planned, the problem's first: "this generation". Those that are likely to follow are
 * looked at, so that this one leaves what they need. */
#ifndef BALLAST_RESIDENCY_PROBLEM_H
#define BALLAST_RESIDENCY_PROBLEM_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

#define BL_PROBLEM_NAME 64
#define BL_PROBLEM_LEVELS 4 /* arena levels of a phase */
#define BL_PROBLEM_MODULES 32
#define BL_PROBLEM_PHASES 256 /* of all generations */
#define BL_PROBLEM_GENERATIONS 8
#define BL_PROBLEM_FOLLOWERS 8
#define BL_PROBLEM_BLOCKS 4096   /* in one module */
#define BL_PROBLEM_RUNS 4000000  /* blocks run in one generation */
#define BL_PROBLEM_SLOWDOWN 10.0 /* a larger copy_slowdown is none */
#define BL_NOWHERE UINT64_MAX

typedef struct bl_problem_block {
    char name[BL_PROBLEM_NAME];
    uint64_t bytes;        /* room in the region; bl_problem_finish rounds it up, also from 0 */
    uint64_t source_bytes; /* read from the file to make it */
    double copy_seconds;   /* to bring it in: from the host store, or, without one, from the file. Below 0:
                              bl_problem_finish takes it from the problem's rates */
    double
        first_seconds;    /* where copies share the cores: by so much its first copy takes longer than later
                             ones, since nobody has touched its file yet, nor perhaps the memory; 0 at first */
    double load_seconds;  /* from the file into the host store: read, converted, packed. Below 0: likewise */
    double merge_seconds; /* to add adapters to it, each time that it is packed: on top of what the rates
                             say of copies from the file, or of loads */
    uint64_t resident_at; /* offset in the open region when the plan begins, or BL_NOWHERE */
    uint64_t stored_at;   /* offset in the host store then, or BL_NOWHERE */
    bool came;            /* it was on the device at some time before, as it is */
} bl_problem_block;

typedef struct bl_problem_module {
    int id; /* what the executor knows it by; bl_problem_add_module sets the module's number */
    char name[BL_PROBLEM_NAME];
    char
        model[BL_PROBLEM_NAME]; /* whose it is, for people; "": there is but one. bl_problem_add_module: "" */
    char dtype[16];
    bl_problem_block *blocks;
    int block_count;
    uint64_t bytes; /* sum over blocks */
    uint64_t largest_block;
    double copy_seconds; /* sum over blocks */
    double load_seconds; /* sum over blocks */
} bl_problem_module;

/* One way to run a phase. Level 0 is the fastest; higher ones have smaller arenas and give the same bits. */
typedef struct bl_problem_level {
    uint64_t arena_bytes;
    double *block_seconds; /* [block_count] of the module, a pass */
    double pass_seconds;   /* their sum */
    double widen_seconds;  /* of a pass, within block_seconds: weights that stay small are made wide. May be
                              set  once the level is there; 0 at first */
    double work;           /* of a pass, multiplications and additions: by these a shape that was not measured
                              is guessed from others. Likewise; 0: not known */
} bl_problem_level;

typedef struct bl_problem_phase {
    char name[BL_PROBLEM_NAME];  /* "denoise hires" */
    char stage[BL_PROBLEM_NAME]; /* what the timing line calls it: "pipeline" */
    int module;
    int passes;
    bl_problem_level levels[BL_PROBLEM_LEVELS];
    int level_count;
    int first_run; /* runs before it in its generation: set by bl_problem_finish */
} bl_problem_phase;

/* Phases that belong together, in the problem's list. */
typedef struct bl_problem_generation {
    int first_phase, phase_count;
    int run_count; /* sum of passes * blocks: set by bl_problem_finish */
} bl_problem_generation;

/* A generation that comes after this one. */
typedef struct bl_problem_follower {
    int generation;    /* 0: this one again */
    double likelihood; /* how likely it is: 1: it comes in its turn. Below: it or another of these is next */
} bl_problem_follower;

typedef struct bl_problem {
    bl_problem_module *modules;
    bl_problem_phase *phases; /* [listed_phases] this generation's first, then those of others that follow */
    int module_count;
    int phase_count, run_count; /* of this generation */
    int listed_phases;          /* of all generations */

    bl_problem_generation generations[BL_PROBLEM_GENERATIONS]; /* the first is this one */
    int generation_count;
    /* In the order in which they are expected, the certain ones first; none: nothing is known. Of those that
     * are not certain one comes next, behind the certain ones. */
    bl_problem_follower followers[BL_PROBLEM_FOLLOWERS];
    int follower_count;

    uint64_t memory_bytes;   /* of the device: what watermarks are fractions of */
    uint64_t budget_bytes;   /* the region may be no larger */
    uint64_t reserved_bytes; /* that were taken off what the user calls the budget: a budget that is told has
                                them on top */
    uint64_t process_bytes;  /* of the same memory that the process takes beside the region: not planned with,
                                but left free when one is opened */
    uint64_t own_bytes;      /* of the device's memory, held by driver and libraries: told alone */
    uint64_t open_bytes;     /* of the region that is open and holds the resident blocks; 0: none */
    uint64_t adapter_bytes;  /* of files that adapters are read from, for the blocks of this generation */
    double copy_rate;        /* bytes a second */
    double copy_latency;     /* seconds each copy */
    bool has_store;      /* weights come through a host store, on threads of their own; false: straight from
                            the file, and what is said of the store does not count */
    uint64_t host_bytes; /* the store may be no larger */
    uint64_t host_memory_bytes; /* of the host: no store is larger; 0: not known */
    double load_rate;           /* bytes of source a second, from the file into the store */
    double load_latency;        /* seconds each load */
    bool async_copy;            /* copies run beside compute; if not, they share its cores and time adds up */
    double copy_slowdown; /* where they run beside it: by what share compute takes longer meanwhile; 0.08: a
                             pass beside copies takes 8% longer */
    uint64_t
        alignment; /* of blocks, arenas and the region's size: a power of two. bl_problem_new: BL_ALIGN */
} bl_problem;

/* An empty problem with no memory. Caller owns *out. */
int bl_problem_new(bl_problem **out, bl_error *err);
void bl_problem_free(bl_problem **p);

/* An independent copy. */
int bl_problem_copy(bl_problem **out, const bl_problem *from, bl_error *err);

/* Adds a module of `count` blocks (copied). Writes its number to *out. */
int bl_problem_add_module(int *out, bl_problem *p, const char *name, const char *dtype,
                          const bl_problem_block *blocks, int count, bl_error *err);

/* Adds a phase to the last generation: it runs all blocks of `module` `passes` times, with level 0.
 * `block_seconds` has one entry a block and is copied. Writes its number in the list to *out. */
int bl_problem_add_phase(int *out, bl_problem *p, const char *name, const char *stage, int module, int passes,
                         uint64_t arena_bytes, const double *block_seconds, bl_error *err);
/* Adds the next level to a phase; its arena must be smaller than the last level's. */
int bl_problem_add_level(bl_problem *p, int phase, uint64_t arena_bytes, const double *block_seconds,
                         bl_error *err);

/* Checks everything and fills sums, copy seconds and first runs. BL_E_ARGUMENT names what is wrong. */
int bl_problem_finish(bl_problem *p, bl_error *err);

/* Forgets what is resident, and the open region. */
void bl_problem_clear_resident(bl_problem *p);
/* Forgets what is in the host store. */
void bl_problem_clear_stored(bl_problem *p);

/* Room that a block of so many bytes takes in the region: a multiple of the alignment. One without weights
 * has a place, too, so that every block is somewhere. */
uint64_t bl_problem_room(uint64_t bytes, uint64_t alignment);
/* The largest size of a region within the budget. */
uint64_t bl_problem_most_region(const bl_problem *p);
/* Weights of the modules that phases [first, first + count) run, each counted once. */
uint64_t bl_problem_weights(const bl_problem *p, int first, int count);
/* The arena of a phase's highest level. */
uint64_t bl_problem_least_arena(const bl_problem *p, int phase);
/* Seconds of this generation at level 0 with one copy for each run, and one load where there is a host store,
 * one thing at a time. */
double bl_problem_one_by_one(const bl_problem *p);

/* All weights that the listed phases use + the largest level-0 arena: with this budget nothing ever moves
 * twice. */
uint64_t bl_problem_working_set(const bl_problem *p);
/* Largest over this generation's phases of smallest arena + largest block: below this no plan exists. */
uint64_t bl_problem_min_budget(const bl_problem *p);
/* The largest block of this generation: a host store must have room for it. 0 without one. */
uint64_t bl_problem_min_host(const bl_problem *p);
/* The phase that bl_problem_min_budget comes from. */
int bl_problem_hungriest(const bl_problem *p);

/* Which phase of this generation run `run` belongs to. */
int bl_problem_phase_of(const bl_problem *p, int run);

/* What first copies take longer than later ones, of all blocks that this generation brings for the first
 * time. */
double bl_problem_first_seconds(const bl_problem *p);

/* What compute loses of each second of a copy beside it, in seconds: from 0 to below 1. */
static inline double bl_problem_drag(const bl_problem *p) {
    return p->async_copy ? p->copy_slowdown / (1 + p->copy_slowdown) : 0;
}

#endif
