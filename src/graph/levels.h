/* Arena levels: forms of one graph that need ever less memory for the same bits, and ever more time. They are
 * for devices to choose from; what a device cannot do with the same bits it leaves out. */
#ifndef BALLAST_GRAPH_LEVELS_H
#define BALLAST_GRAPH_LEVELS_H

#include "graph/fold.h"

typedef struct bl_level {
    bool apart; /* bl_graph_apart */
    bl_folds folds;
} bl_level;

#define BL_LEVELS 4

/* 0: the graph as it is. */
extern const bl_level bl_levels[BL_LEVELS];

/* *out = NULL where the graph stays as it is. Owner of *out: caller, bl_graph_free. */
int bl_graph_at_level(bl_graph **out, const bl_graph *g, bl_level level, bl_error *err);

#endif
