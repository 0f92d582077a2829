/* The arena plan: an offset for every activation and every kernel's scratch, found by liveness before
 * anything runs. The size found is the graph's exact peak. Kept tensors are at the begin, and live through
 * all of it. */
#ifndef BALLAST_GRAPH_ARENA_H
#define BALLAST_GRAPH_ARENA_H

#include "graph/graph.h"

/* What a device says of one op. */
typedef struct bl_op_memory {
    uint64_t scratch_bytes; /* live during this op only */
    int inplace;            /* which of op.in[] the output may overwrite when it dies here, or -1 */
    bool resizes; /* also if that one is of another size, or another of op.in[] too: both begin at one
                     address, and the op takes care not to overwrite what it has yet to read */
} bl_op_memory;

typedef struct bl_arena_plan {
    uint64_t bytes;           /* of the whole arena, a multiple of BL_ALIGN */
    uint64_t live_bytes;      /* largest sum of bytes alive at any op: no plan can be smaller */
    int live_op;              /* the op where that is */
    uint64_t *tensor_offset;  /* [tensor_count]; UINT64_MAX for inputs and outputs */
    uint64_t *scratch_offset; /* [op_count]; UINT64_MAX where there is no scratch */
    bool *inplace;            /* [op_count]: the output lies where that input was */
} bl_arena_plan;

/* `memory` has op_count entries. On success the caller owns *out's arrays: bl_arena_plan_free. */
int bl_arena_plan_make(bl_arena_plan *out, const bl_graph *g, const bl_op_memory *memory, bl_error *err);

void bl_arena_plan_free(bl_arena_plan *plan);

#endif
