/* Which blocks of a phase's module stay on the device, which in the host store, and which come out of the
 * file for every pass: chosen by what a small model of one phase says a pass takes. */
#ifndef BALLAST_RESIDENCY_SPLIT_H
#define BALLAST_RESIDENCY_SPLIT_H

#include "residency/problem/problem.h"

typedef enum bl_tier_kind { BL_KIND_DEVICE, BL_KIND_STORE, BL_KIND_FILE, BL_KINDS } bl_tier_kind;

typedef struct bl_split {
    const bl_problem *p;
    const bl_problem_module *m;
    const double *seconds;           /* [block_count] of a pass */
    uint64_t room, host;             /* bytes of weights on the device in this phase, and in the store */
    uint64_t device_most, host_most; /* of blocks that stay there */
    /* NULL, or [block_count] kinds of a phase with less room: those on the device stay there, others may come
     * there and are left alone otherwise */
    const uint8_t *less;
    bool settles; /* a pass is a whole generation: what is under way when it ends is waited for */
    int seed;
    bool by_size; /* begins with windows and rings as large as one block or two of some size */
    int tries;    /* how often it is annealed; no further than that the pass is nearly its compute */
    long work;    /* that each of these may spend; what it cost is added to *spent */
} bl_split;

/* Fills kind[block_count], a bl_tier_kind each. *pass: the seconds of a pass with it; INFINITY: no such
 * choice works. */
int bl_split_choose(uint8_t *kind, double *pass, long *spent, const bl_split *split, bl_error *err);

#endif
