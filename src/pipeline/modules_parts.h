/* What a model's modules consist of: modules.c makes them, modules_graph.c their networks, modules_adapt.c
 * changes their adapters. */
#ifndef BALLAST_PIPELINE_MODULES_PARTS_H
#define BALLAST_PIPELINE_MODULES_PARTS_H

#include "pipeline/modules.h"

struct bl_modules {
    bl_modules_options o;
    bl_device *device;
    bl_opened **opened; /* [opened_count]; those of the first opening in the order of bl_module */
    int opened_count;
    bl_prepared **prepared; /* [prepared_count] */
    int prepared_count;
    uint64_t clock;                       /* counts uses */
    uint64_t told_arena;                  /* the smaller arena that was last spoken of; 0: none */
    bl_wanted adapters[BL_MOST_ADAPTERS]; /* [adapter_count] that all modules have; each held */
    int adapter_count;
    bl_rows rows; /* that are replaced in all of them, our own copy */
    bool told_tuned;
    bool goes_without; /* a run without what is on trial has begun, and was not judged */
    char key[64];
    uint64_t serial;
};

#endif
