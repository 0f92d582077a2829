/* Three kinds of blocks, where a module fits neither the device nor, with that, the host store: those that
 * stay on the device, those that stay in the store, and those that come out of the file for every pass. */
#ifndef BALLAST_RESIDENCY_KINDS_H
#define BALLAST_RESIDENCY_KINDS_H

#include "residency/plan/homes.h"
#include "residency/plan/plan.h"

typedef struct bl_kinds {
    bl_homes homes; /* where the first kind lies on the device; the others share a window */
    uint64_t *shelf[BL_PROBLEM_MODULES]; /* [block_count] where the second kind lies in the store; else
                                            BL_NOWHERE */
    uint8_t *pass[BL_PROBLEM_PHASES];    /* [block_count] of the phase's module: 1: not of the second kind */
    double *load[BL_PROBLEM_PHASES]; /* [2 * block_count] seconds of loads to expect, as bl_store_options has
                                        them */
    uint64_t
        ring[BL_PROBLEM_PHASES]; /* bytes of the store that the phase's module leaves for the third kind */
    long work;                   /* what choosing cost, in the unit of bl_homes */
    bool any;                    /* some module has such blocks */
    bool fits;                   /* false: there is not enough left for what is under way */
} bl_kinds;

static inline uint64_t bl_kinds_less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

/* Bytes of the blocks that are marked. */
static inline uint64_t bl_kinds_bytes(const bl_problem_module *m, const uint8_t *mask) {
    uint64_t sum = 0;
    for (int b = 0; b < m->block_count; b++) {
        sum += mask[b] ? m->blocks[b].bytes : 0;
    }
    return sum;
}

/* `levels`: the arena level of each phase. Other seeds give other choices that are about as good. `by_size`:
 * as bl_split has it. A module that fits the room of all its phases is left alone: NULL for these. */
int bl_kinds_find(bl_kinds *out, const bl_problem *p, const int *levels, uint64_t region_bytes, int seed,
                  bool by_size, bl_error *err);
void bl_kinds_free(bl_kinds *k);

#endif
