/* Residents with fixed addresses. Where a module does not fit, it matters to a few percent which blocks are
 * streamed: two that follow each other share a window, one runs while the other arrives, and what the window
 * takes is missing for residents. */
#ifndef BALLAST_RESIDENCY_HOMES_H
#define BALLAST_RESIDENCY_HOMES_H

#include "residency/problem/problem.h"

typedef struct bl_homes {
    uint64_t *home[BL_PROBLEM_MODULES]; /* [block_count] address while it is a resident, or BL_NOWHERE; NULL:
                                           wherever the pager likes */
    uint8_t *pin[BL_PROBLEM_PHASES];    /* [block_count] 1: resident through the phase. NULL as above */
    uint64_t window[BL_PROBLEM_PHASES]; /* streamed blocks lie between the arena and this */
    long work;                          /* what choosing cost: blocks walked over */
    bool any;                           /* some module has homes */
} bl_homes;

/* `levels`: the arena level of each phase. Homes are given to modules that are larger than the room of one of
 * their phases. Other seeds give other choices that are about as good. */
int bl_homes_find(bl_homes *out, const bl_problem *p, const int *levels, uint64_t region_bytes, int seed,
                  bl_error *err);
/* The module's phase with the least room above `above`'s, or of those with as much a later one; -1: none.
 * `above` -1: the phase with the least of all. */
int bl_homes_next_tighter(const bl_problem *p, const int *levels, int module, int above);
void bl_homes_free(bl_homes *l);

#endif
