/* Residents with fixed addresses. Where a module does not fit, it matters to a few percent which blocks are
 * streamed: two that follow each other share a window, one runs while the other arrives, and what the window
 * takes is missing for residents. */
#ifndef BALLAST_RESIDENCY_LAYOUT_H
#define BALLAST_RESIDENCY_LAYOUT_H

#include "residency/problem.h"

#include <stddef.h>

typedef struct bl_layout {
    uint64_t *home[BL_PROBLEM_MODULES]; /* [block_count] address while it is a resident; NULL: wherever the
                                           pager likes */
    uint8_t *pin[BL_PROBLEM_PHASES];    /* [block_count] 1: resident through the phase. NULL as above */
    uint64_t window[BL_PROBLEM_PHASES]; /* streamed blocks lie between the arena and this */
    bool any;                           /* some module has homes */
} bl_layout;

/* `levels`: the arena level of each phase. Homes are given to modules that are larger than the room of one of
 * their phases. */
int bl_layout_find(bl_layout *out, const bl_problem *p, const int *levels, uint64_t region_bytes,
                   bl_error *err);
void bl_layout_free(bl_layout *l);

#endif
