/* What a generation holds: generation.c and generation_problem.c make it, telling.c reads it. */
#ifndef BALLAST_PIPELINE_GENERATION_PARTS_H
#define BALLAST_PIPELINE_GENERATION_PARTS_H

#include "pipeline/generation.h"

/* A phase as it was declared. */
typedef struct bl_declared {
    char name[BL_PROBLEM_NAME], stage[BL_PROBLEM_NAME];
    bl_module module;
    int passes;
    bool tuned;                      /* it runs with choices that were kept for it */
    bool without;                    /* this time without those that are on trial */
    bl_prepared *prepared;           /* held until the generation is freed */
    char shape[64 + BL_TUNING_TEXT]; /* everything that its measurement depends on, besides model and type */
} bl_declared;

struct bl_generation {
    bl_modules *modules;
    bl_memory *memory;
    bl_device_caps caps; /* when the problem was made */
    bl_declared declared[BL_PROBLEM_PHASES];
    int declared_count;
    bl_executable *executables[BL_PROBLEM_PHASES];
    /* [listed_phases] of the problem, those of followers behind its own: for the calibration */
    const char *shapes[BL_PROBLEM_PHASES], *models[BL_PROBLEM_PHASES];
    const bl_generation *followers[BL_PROBLEM_FOLLOWERS]; /* borrowed: declared and never started */
    double likelihoods[BL_PROBLEM_FOLLOWERS];
    int follower_count;
    bl_changes changes;                          /* to the modules' weights, borrowed */
    double merged_before;                        /* seconds of merging in this process, when it began */
    const bl_opened *listed[BL_PROBLEM_MODULES]; /* [listed_count] which module of the model the problem's
                                                    are; behind them stand those of other models */
    int listed_count;
    bl_offload_settings settings;
    bool untuned;     /* what was tuned does not count */
    bool measured;    /* it does, and is not judged */
    bool all_levels;  /* phases are prepared at all of their arena levels, whatever the budget */
    int phases_known; /* to the calibration */
    uint64_t least;   /* budget that another way to declare it works with; 0: not known */
    bl_problem *problem;
    bl_plan *plan;
    bl_ledger ledger;
    int left_out;        /* passes that were planned and not made */
    int current;         /* phase that has begun and not ended, or -1 */
    bool running;        /* between bl_executor_start and bl_executor_finish */
    double began, ended; /* wall clock */
};

/* Makes the planner's problem of the declared phases, with measured figures where there are some. */
int bl_generation_problem(bl_generation *g, const bl_placement *placement, bl_error *err);

/* What the calibration knows the problem's figures by. Borrowed from the generation. */
bl_calibration_key bl_generation_key(const bl_generation *g);

#endif
