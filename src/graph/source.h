/* Where the weights of a graph wait: whoever opens a checkpoint fills this in, whoever packs weights reads
 * through it, and neither knows the other. */
#ifndef BALLAST_GRAPH_SOURCE_H
#define BALLAST_GRAPH_SOURCE_H

#include "core/dtype.h"
#include "core/error.h"
#include "graph/graph.h"

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
} bl_source;

/* Bytes that one part of a weight, and all of them, take where they wait. */
uint64_t bl_source_part_bytes(const bl_source *source, const bl_weight *w, int part);
uint64_t bl_source_bytes(const bl_source *source, const bl_weight *w);

#endif
