/* What the engine's files share. */
#ifndef BALLAST_PIPELINE_ENGINE_PARTS_H
#define BALLAST_PIPELINE_ENGINE_PARTS_H

#include "model/weights.h"
#include "pipeline/engine.h"
#include "residency/run/calibration.h"
#include "residency/run/executor.h"

#define BL_ENGINE_PREPARED 24 /* graphs kept ready; the least recently used one gives way */

/* A module on the device. */
typedef struct bl_engine_module {
    bl_graph *reference; /* any of its graphs: names of blocks and weights */
    bl_model_weights weights;
    bl_device_module *device;
} bl_engine_module;

/* A graph at one shape, ready to run at each of its arena levels. */
typedef struct bl_prepared {
    bl_module module;
    bl_shape_key key;
    bl_graph *graph;
    bl_executable *executable[BL_PROBLEM_LEVELS];
    bl_exec_info info[BL_PROBLEM_LEVELS];
    int level_count;
    uint64_t used; /* when last; 0: this place is empty */
} bl_prepared;

/* A phase as it was declared. */
typedef struct bl_declared {
    char name[BL_PROBLEM_NAME], stage[BL_PROBLEM_NAME];
    bl_module module;
    int passes;
    bl_prepared *prepared;
} bl_declared;

struct bl_engine {
    bl_engine_options o;
    const bl_device_ops *ops;
    bl_device_caps caps;
    bl_engine_module modules[BL_MODULE_COUNT];
    int number[BL_MODULE_COUNT];       /* of a module among those the executor knows; -1: not there */
    bl_module listed[BL_MODULE_COUNT]; /* the other way round */
    int listed_count;
    int clip_skip; /* of the text encoder that is open */
    bl_executor *executor;
    bl_prepared prepared[BL_ENGINE_PREPARED];
    uint64_t clock; /* counts uses */
    bl_calibration *calibration;
    char model_key[64]; /* what the calibration calls the model */
    /* the generation now in work, or the last one */
    bl_declared declared[BL_PROBLEM_PHASES];
    bl_executable *executables[BL_PROBLEM_PHASES];
    char shape_text[BL_PROBLEM_PHASES][64];
    const char *shape_names[BL_PROBLEM_PHASES];
    bl_offload_settings settings;
    int phases_known; /* to the calibration */
    int declared_count;
    bl_problem *problem;
    bl_plan *plan;
    bl_ledger ledger;
    uint64_t told_arena; /* the smaller arena that was last spoken of; 0: none */
    int current;         /* phase that has begun and not ended, or -1 */
    bool running;        /* between bl_executor_start and bl_executor_finish */
    double began, ended; /* wall clock */
    bl_engine_poll *poll;
    void *payload;
};

/* Opens the modules that are not open yet, and the executor over all of them. */
int bl_engine_open_modules(bl_engine *e, int clip_skip, bl_error *err);

/* The graph of this shape, prepared; made if it is not there. Borrowed until another 24 shapes were used. */
int bl_engine_prepare(bl_prepared **out, bl_engine *e, bl_module module, bl_shape_key key, bl_error *err);

/* Makes the planner's problem of the declared phases, with measured figures where there are some. */
int bl_engine_problem(bl_engine *e, const bl_placement *placement, bl_error *err);

/* What the calibration knows the last problem's figures by. Borrowed from the engine. */
bl_calibration_key bl_engine_key(const bl_engine *e);

#endif
