/* Where the weights of a graph wait: whoever opens a checkpoint fills this in, whoever packs weights reads
 * through it, and neither knows the other. */
#ifndef BALLAST_GRAPH_SOURCE_H
#define BALLAST_GRAPH_SOURCE_H

#include "core/dtype.h"
#include "core/error.h"
#include "core/storage.h"
#include "graph/graph.h"

#include <stdbool.h>
#include <stdint.h>

/* All functions may be called from several threads. `w`: a weight of the graph that the source was made for,
 * or a copy of it. */
typedef struct bl_source {
    void *payload;
    /* Type in which the elements of part `part` of a weight are handed out. */
    bl_dtype (*dtype)(void *payload, const bl_weight *w, int part);
    /* Bytes that a part takes where it waits; NULL: those of its elements in that type. */
    uint64_t (*bytes)(void *payload, const bl_weight *w, int part);
    /* Reads rows [begin, end) of a part, row-major, in that type. A row is all elements of one index of
     * the first axis. A file that has shrunk or changed is an error, never a signal. */
    int (*read)(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *dst,
                bl_error *err);
    /* Does a part wait small, and may it stay so? Then *form says how its rows lie. What changes a weight may
     * change the answer. NULL, as read_small is then: none does. */
    bool (*small)(void *payload, const bl_weight *w, int part, bl_small *form);
    /* Reads rows [begin, end) of such a part as they wait: codes, and the factor of each row to scales where
     * rows have one. Widened they are what `read` hands out. */
    int (*read_small)(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *codes,
                      float *scales, bl_error *err);
} bl_source;

/* Bytes that one part of a weight, and all of them, take where they wait. */
uint64_t bl_source_part_bytes(const bl_source *source, const bl_weight *w, int part);
uint64_t bl_source_bytes(const bl_source *source, const bl_weight *w);

/* A weight that stays small in a packed block: the codes of its parts, one behind the other, each followed by
 * its rows' factors. Offsets from where the weight begins, multiples of BL_ALIGN. */
typedef struct bl_small_weight {
    bl_small form[BL_WEIGHT_PARTS];
    uint64_t codes[BL_WEIGHT_PARTS], scales[BL_WEIGHT_PARTS];
    uint64_t bytes;
} bl_small_weight;

/* Can the weight stay small: is it a matrix or a convolution, all of whose parts do, and fewer bytes than
 * in any type that is computed in? */
bool bl_source_small(bl_small_weight *out, const bl_source *source, const bl_weight *w);

/* Widens rows [begin, end) of the whole weight, whose small form begins at `small`, to F32. */
void bl_small_widen(float *dst, const bl_small_weight *form, const bl_weight *w, const void *small,
                    int64_t begin, int64_t end);
/* Where in the small form at `small` the codes of a row begin. */
const void *bl_small_row(const bl_small_weight *form, const bl_weight *w, const void *small, int64_t row);
/* Reads the small form of the same rows to where it belongs in `small`. */
int bl_small_read(const bl_source *source, const bl_small_weight *form, const bl_weight *w, void *small,
                  int64_t begin, int64_t end, bl_error *err);

#endif
