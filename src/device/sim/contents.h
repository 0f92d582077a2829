/* What lies in a simulated memory: which block where, whether it is whole, and from when on. With it a run
 * whose weights are not there is noticed, as on a real device wrong bits would be. */
#ifndef BALLAST_DEVICE_SIM_CONTENTS_H
#define BALLAST_DEVICE_SIM_CONTENTS_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

/* A block of a module in memory. */
typedef struct bl_sim_span {
    uint64_t offset, bytes;
    uint64_t module; /* its serial number */
    int block;
    bool whole;   /* false: writing it failed, so that anything may lie there */
    double ready; /* when it has been written */
} bl_sim_span;

/* All zero is empty; bl_sim_contents_free. */
typedef struct bl_sim_contents {
    bl_sim_span *spans; /* [count] by offset; they do not overlap */
    int count, room;
} bl_sim_contents;

/* Whatever overlaps [offset, offset + bytes) is gone. */
void bl_sim_contents_clear(bl_sim_contents *c, uint64_t offset, uint64_t bytes);
/* Puts a block somewhere, over whatever lay there. */
int bl_sim_contents_put(bl_sim_contents *c, bl_sim_span span, bl_error *err);
/* The span that begins at `offset`, or NULL. Borrowed until the next change. */
const bl_sim_span *bl_sim_contents_at(const bl_sim_contents *c, uint64_t offset);
void bl_sim_contents_free(bl_sim_contents *c);

#endif
