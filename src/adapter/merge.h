/* A source that adds adapters to the weights of another one while they are read:
 *
 *   rows of the base in F32, plus strength * delta of each adapter, in the order in which the adapters were
 * given; the device rounds once, to what it computes in. Where that is bf16, factors are rounded first, far
 * finer (fixed.h).
 *
 * Each delta is made from the base, which is never changed: nothing has to be undone, and the bits depend on
 * the adapters, their strengths and their order alone. A weight that no adapter touches is handed on as it
 * is. */
#ifndef BALLAST_ADAPTER_MERGE_H
#define BALLAST_ADAPTER_MERGE_H

#include "adapter/adapter.h"
#include "graph/source.h"

#define BL_MOST_ADAPTERS 64 /* in one list */

/* An adapter as somebody wants it. */
typedef struct bl_wanted {
    bl_adapter *adapter; /* borrowed by who is given a list of these */
    double text, denoiser;
} bl_wanted;

/* Rows of the text encoders' table of tokens that are replaced, by the vectors of embeddings. */
typedef struct bl_rows {
    int count;
    int32_t *row;     /* [count] */
    int width[2];     /* of each encoder */
    float *values[2]; /* [count, width] */
} bl_rows;

void bl_rows_clear(bl_rows *rows);
/* *out becomes a copy; of NULL, none. Caller: bl_rows_clear. */
int bl_rows_copy(bl_rows *out, const bl_rows *rows, bl_error *err);

/* What is made of a model's weights: adapters are added, in this order, then rows are replaced. Borrowed. */
typedef struct bl_changes {
    const bl_wanted *adapters; /* [adapter_count] */
    int adapter_count;
    const bl_rows *rows; /* NULL: none */
} bl_changes;

typedef struct bl_merge bl_merge;

/* For the weights of `g`, which is copied from. `base` is copied; its payload must outlive *out. Without
 * adapters at first. Caller owns *out. */
int bl_merge_new(bl_merge **out, const bl_graph *g, const bl_source *base, bl_error *err);
void bl_merge_free(bl_merge **m);

/* *out is its payload, and lives as long. Read from several threads; not while adapters are changed. */
bl_source bl_merge_source(bl_merge *m);

/* What it would be with these adapters, beside what it is. */
typedef struct bl_merge_cost {
    bool differs;   /* from what is merged now */
    bool widens;    /* a weight that else stays small is changed */
    double flops;   /* to merge it */
    uint64_t bytes; /* of the adapters' tensors that are read for it */
} bl_merge_cost;

/* One for each block, [block_count] at `blocks`. Changes nothing. */
int bl_merge_look(bl_merge_cost *blocks, const bl_merge *m, const bl_changes *wanted, bl_error *err);

/* From now on merges these (and holds or copies them). What was read before has to be read again where
 * bl_merge_look said `differs`. */
int bl_merge_set(bl_merge *m, const bl_changes *wanted, bl_error *err);

/* Bytes of host memory that merging takes at once, of so many threads. */
uint64_t bl_merge_working_bytes(const bl_merge *m, int threads);

/* Seconds of threads that went into merging since it was made, and the work that they did. */
void bl_merge_spent(const bl_merge *m, double *seconds, double *flops);

#endif
