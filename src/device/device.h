/* The device contract. A device executes graphs and owns memory; it moves what it is told to move and decides
 * nothing. `cpu`, `sim` and plugins implement it; the executor in residency/ is its only user.
 *
 * Order of use:
 *   open -> module_open (learns a module's weights: packed bytes per block) -> prepare (a graph: arena bytes)
 *        -> region_open (the one allocation) -> onload / run / events ... -> close everything in reverse.
 * Nothing is allocated on the device between region_open and region_close.
 *
 * Threads: one thread uses a device at a time. Streams order work: what is put on one stream happens in
 * order, and different streams only wait for each other through events. A device without asynchronous copies
 * does everything at once, inside the call. */
#ifndef BALLAST_DEVICE_DEVICE_H
#define BALLAST_DEVICE_DEVICE_H

#include "core/error.h"
#include "core/log.h"
#include "graph/graph.h"
#include "graph/source.h"

#include <stdbool.h>
#include <stdint.h>

#define BL_DEVICE_VERSION 2

typedef struct bl_device bl_device;
typedef struct bl_device_module
    bl_device_module;                       /* the weights of one module, in this device's packed layout */
typedef struct bl_executable bl_executable; /* one graph, ready to run */
typedef struct bl_region bl_region;         /* device memory */
typedef struct bl_event bl_event;

typedef enum bl_stream { BL_STREAM_COMPUTE = 0, BL_STREAM_COPY, BL_STREAM_COUNT } bl_stream;

typedef struct bl_device_caps {
    char name[128];        /* "AMD EPYC ..., avx512_bf16, 2 threads" */
    uint64_t memory_bytes; /* all there is */
    uint64_t free_bytes;   /* now */
    bool f32, bf16;        /* dtypes that graphs may have */
    bool bf16_fast;        /* has instructions for it: what `auto` should take */
    bool async_copy;       /* BL_STREAM_COPY runs beside BL_STREAM_COMPUTE */
    int arena_levels;      /* that graphs may have, see bl_prepare_options; at least 1 */
    double copy_rate;      /* bytes a second from the store, and seconds each copy takes besides; 0: has to be
                              measured */
    double copy_latency;
} bl_device_caps;

typedef struct bl_block_cost {
    uint64_t packed_bytes; /* room it takes in the region, a multiple of BL_ALIGN */
    uint64_t source_bytes; /* bytes read from the store to make it */
} bl_block_cost;

typedef struct bl_exec_info {
    uint64_t arena_bytes; /* exact; scratch included */
    int block_count;
    const double *block_flops;   /* [block_count]; borrowed from the executable */
    const double *block_seconds; /* [block_count] of a pass; NULL: has to be measured. Borrowed likewise */
} bl_exec_info;

/* Choices between graphs that give the same bits in a smaller arena. */
typedef struct bl_prepare_options {
    int arena_level; /* 0: fastest; each higher level trades time for a smaller arena, up to the device's
                        last. Where a level gains nothing the arena is no smaller: nobody should run it */
} bl_prepare_options;

/* What a run needs to know about addresses. */
typedef struct bl_binding {
    bl_region *region;
    uint64_t arena_offset;
    const uint64_t *block_offset; /* [block_count] where each block's packed weights lie in the region */
    const void *const *inputs;    /* [input_count] host memory, F32 or I32 as the graph says */
    void *const *outputs;         /* [output_count] host memory, F32 */
} bl_binding;

/* Multiples of BL_ALIGN; 0: nothing was used. */
typedef struct bl_region_use {
    uint64_t end;   /* of the highest byte, of weights or arenas */
    uint64_t arena; /* bytes from arena_offset on that ops reached, scratch included */
} bl_region_use;

typedef struct bl_device_ops {
    uint32_t version; /* BL_DEVICE_VERSION */
    const char *name; /* "cpu", "sim", "cuda" */

    void (*close)(bl_device *d);
    void (*caps)(bl_device *d, bl_device_caps *out);

    /* `graph`: any finished graph of the module; its weights and blocks are copied. `source` is copied; its
     * payload must outlive the module. The packed layout depends on the weights and the dtype alone, never on
     * the picture's size, so that all graphs of the module share it. */
    int (*module_open)(bl_device_module **out, bl_device *d, const bl_graph *graph, const bl_source *source,
                       bl_error *err);
    void (*module_close)(bl_device_module *m);
    /* Borrowed; block_count entries. */
    const bl_block_cost *(*module_costs)(const bl_device_module *m);

    /* Chooses kernels and plans the arena. Allocates no device memory. `graph` must outlive the executable.
     */
    int (*prepare)(bl_executable **out, bl_device_module *m, const bl_graph *graph,
                   const bl_prepare_options *options, bl_error *err);
    void (*executable_close)(bl_executable *x);
    void (*executable_info)(const bl_executable *x, bl_exec_info *out);

    /* The one allocation. BL_E_MEMORY when the device says no: an expected answer, not a failure of the
     * device. */
    int (*region_open)(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err);
    void (*region_close)(bl_region *r);
    /* What was used of it since the last call, and begins anew. The device notes what onloads write and what
     * it hands out to the ops of a run: what happened, whatever was planned. */
    void (*region_used)(bl_region *r, bl_region_use *out);

    /* Reads, converts and packs one block into [offset, offset + packed_bytes). */
    int (*onload)(bl_device_module *m, int block, bl_region *r, uint64_t offset, bl_stream stream,
                  bl_error *err);

    /* Runs the ops of one block. Blocks of a pass run in order, 0 first; what one writes into the arena later
     * ones read. */
    int (*run)(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err);

    int (*event_open)(bl_event **out, bl_device *d, bl_error *err);
    void (*event_close)(bl_event *e);
    int (*event_record)(bl_event *e, bl_stream stream, bl_error *err);
    int (*stream_wait)(bl_device *d, bl_stream stream, bl_event *e,
                       bl_error *err);             /* the stream waits, not the caller */
    int (*event_wait)(bl_event *e, bl_error *err); /* the caller waits */
    double (*event_seconds)(
        const bl_event *e);      /* when it happened, on the device's clock; after event_wait */
    double (*now)(bl_device *d); /* the device's clock: wall time, or virtual time on `sim` */
} bl_device_ops;

/* The head of every device; implementations put it first. */
struct bl_device {
    const bl_device_ops *ops;
    const bl_log *log;
};

/* Frees and sets to NULL; NULL inside is fine. */
static inline void bl_device_close(bl_device **d) {
    if (*d) {
        (*d)->ops->close(*d);
        *d = 0;
    }
}

#endif
