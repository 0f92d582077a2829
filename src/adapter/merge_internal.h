/* What bl_merge is: merge.c sets what is merged and what it costs, merge_read.c does it to the rows that are
 * read. */
#ifndef BALLAST_ADAPTER_MERGE_INTERNAL_H
#define BALLAST_ADAPTER_MERGE_INTERNAL_H

#include "adapter/delta.h"
#include "adapter/merge.h"

#include <pthread.h>
#include <stdatomic.h>

/* One adapter's change of one part of a weight, or of its bias. */
typedef struct touch {
    const bl_adapter *adapter;
    const bl_adapted *x;
    float strength;
    double *lengths; /* [inner] of DoRA's inputs, once they are known; else NULL */
} touch;

/* The touches of one part of one weight, in the order of the adapters. */
typedef struct place {
    int first, count; /* in bl_merge.touches */
    bool bias;
} place;

/* Factors in memory for one place. Whoever reads takes one that nobody has. */
typedef struct slot {
    const place *of;
    bl_factors factors[BL_MOST_ADAPTERS]; /* [count of the place] */
    int filled;
    bool taken;
    struct slot *next;
} slot;

struct bl_merge {
    bl_module module;
    bool coarse; /* weights are rounded to bf16 behind the merge */
    bl_source base;
    bl_weight *weights; /* [weight_count] */
    bl_block *blocks;   /* [block_count] */
    int weight_count, block_count;
    bl_wanted held[BL_MOST_ADAPTERS]; /* [held_count] in force, strength 0 left out */
    int held_count;
    int table;      /* number of the table of tokens; -1: there is none */
    int row_count;  /* of rows that are replaced in it */
    int32_t *rows;  /* [row_count] */
    float *vectors; /* [row_count, width] */
    place *places;  /* [weight_count * BL_WEIGHT_PARTS] */
    touch *touches; /* [touch_count] */
    int touch_count;
    pthread_mutex_t lock; /* of the slots and of `lengths` */
    slot *slots;
    _Atomic uint64_t nanoseconds;
    _Atomic uint64_t kiloflops;
};

/* Operations to merge one adapter's change of a whole part. */
double bl_merge_flops(const bl_adapted *x, bool bias);

/* Of one row of the table of tokens. */
size_t bl_merge_row_bytes(const bl_merge *m);

#endif
