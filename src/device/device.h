/* The device contract. A device executes graphs and owns memory; it moves what it is told to move and decides
 * nothing. `cpu`, `sim` and plugins implement it; the executor in residency/ is its main user.
 *
 * Order of use:
 *   open -> module_open (learns a module's weights: packed bytes per block) -> prepare (a graph: arena bytes)
 *        -> region_open (the one allocation; host_open where blocks wait in host memory)
 *        -> pack / copy / run / events ... -> sync -> close everything in reverse.
 * Nothing is allocated on the device between region_open and region_close.
 *
 * Two kinds. Where caps.host_store is false the region is host memory: pack writes a block straight into it
 * (bl_device_region_host). Where it is true blocks pass through host memory: pack on the LOAD stream, then
 * copy on the COPY stream.
 *
 * Threads: one thread uses a device at a time. Streams order work: what is put on one stream happens in
 * order, and different streams only wait for each other through events. Putting work on a stream does not
 * wait for it; a device without asynchronous work does everything at once, inside the call.
 *
 * Errors come late. That pack, copy or run returned 0 means that the work was taken, not that it went well: a
 * failure shows when somebody waits for an event behind it, and at the latest in sync, which names the op.
 * What was put on the stream behind it, or waits for it, did not happen either. */
#ifndef BALLAST_DEVICE_DEVICE_H
#define BALLAST_DEVICE_DEVICE_H

#include "core/error.h"
#include "core/log.h"
#include "core/tuning.h"
#include "graph/graph.h"
#include "graph/source.h"

#include <stdbool.h>
#include <stdint.h>

#define BL_DEVICE_VERSION 5

typedef struct bl_device bl_device;
typedef struct bl_device_module
    bl_device_module;                       /* the weights of one module, in this device's packed layout */
typedef struct bl_executable bl_executable; /* one graph, ready to run */
typedef struct bl_region bl_region;         /* device memory */
typedef struct bl_host bl_host;             /* host memory that blocks are packed into */
typedef struct bl_event bl_event;

typedef enum bl_stream {
    BL_STREAM_COMPUTE = 0,
    BL_STREAM_COPY, /* host memory to the region */
    BL_STREAM_LOAD, /* file to host memory */
    BL_STREAM_COUNT
} bl_stream;

typedef enum bl_device_kind { BL_DEVICE_CPU, BL_DEVICE_GPU } bl_device_kind;

typedef struct bl_device_caps {
    bl_device_kind kind;
    char name[128];         /* "AMD EPYC ..., avx512_bf16, 2 threads" */
    char libraries[256];    /* the folder of what it opened when it was opened; "": it opened nothing */
    uint64_t memory_bytes;  /* all there is */
    uint64_t free_bytes;    /* now */
    uint64_t own_bytes;     /* of memory_bytes: what driver and libraries hold beside regions, as far as it
                               is known. They are not free */
    bool host_memory;       /* it is this process's own: what the process takes beside a region counts too */
    uint64_t working_bytes; /* of the process's memory that the device will take once it runs and has not
                               taken yet: staging, stacks */
    uint64_t alignment;     /* of blocks and arenas in the region: a power of two, at least BL_ALIGN */
    bool f32, bf16;         /* dtypes that graphs may have */
    bool bf16_fast;         /* has instructions for it: what `auto` should take */
    bool convolves;         /* in bf16 in two ways, between which bl_tuning's `winograd` chooses */
    bool async_copy;        /* BL_STREAM_COPY runs beside BL_STREAM_COMPUTE */
    int arena_levels;       /* that graphs may have, see bl_prepare_options; at least 1 */
    double copy_rate; /* bytes a second into the region, and seconds each copy takes besides; 0: has to be
                         measured. Without a host store the reading of the file is in it */
    double copy_latency;
    double copy_slowdown; /* by what share compute takes longer while copies run beside it; 0: it does not, or
                             has to be measured */
    bool host_store;      /* blocks wait in host memory: pack, then copy */
    /* where they do */
    uint64_t host_bytes; /* of host memory, all there is */
    uint64_t host_free_bytes;
    double file_rate, file_latency; /* of pack, bytes of the source a second; 0 as above */
} bl_device_caps;

typedef struct bl_block_cost {
    uint64_t packed_bytes; /* room it takes in the region, a multiple of caps.alignment */
    uint64_t source_bytes; /* bytes read from the file to make it */
    /* Of a block with weights that stay small: what packed_bytes is while they do, and what it is when the
     * source has changed one of them, so that the whole block is wide. Else 0. */
    uint64_t small_bytes, wide_bytes;
} bl_block_cost;

typedef struct bl_exec_info {
    uint64_t arena_bytes; /* exact; scratch included */
    int block_count;
    const double *block_flops;   /* [block_count]; borrowed from the executable */
    const double *block_seconds; /* [block_count] of a pass, or a first guess at it; NULL: has to be measured.
                                    Borrowed likewise */
    /* [block_count] each, NULL where no weight stays small: values that a pass widens while the block does,
     * and how long that takes, or a first guess at it, which block_seconds have in them; NULL: has to be
     * measured. Borrowed likewise */
    const double *block_widened, *block_widen_seconds;
} bl_exec_info;

/* Choices between graphs that give the same bits in a smaller arena. */
typedef struct bl_prepare_options {
    int arena_level;  /* 0: fastest; each higher level trades time for a smaller arena, up to the device's
                         last. Where a level gains nothing the arena is no smaller: nobody should run it */
    bl_tuning tuning; /* its choices but for the level, as far as the device knows them */
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
    /* The source may hand out other forms of weights than before (adapters came or went): costs are brought
     * up to date. Blocks whose cost changes must be nowhere. Left out where costs do not depend on it. */
    void (*module_refresh)(bl_device_module *m);

    /* Chooses kernels and plans the arena. Keeps no device memory; a device may take some meanwhile, to try
     * what it chose. `graph` must outlive the executable. */
    int (*prepare)(bl_executable **out, bl_device_module *m, const bl_graph *graph,
                   const bl_prepare_options *options, bl_error *err);
    void (*executable_close)(bl_executable *x);
    void (*executable_info)(const bl_executable *x, bl_exec_info *out);
    /* Seconds of its runs so far that went into widening weights. Left out where none stays small. */
    double (*executable_widened)(const bl_executable *x);

    /* The one allocation. BL_E_MEMORY when the device says no: an expected answer, not a failure of the
     * device. */
    int (*region_open)(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err);
    void (*region_close)(bl_region *r);
    /* What was used of it since the last call, and begins anew. The device notes what onloads write and what
     * it hands out to the ops of a run: what happened, whatever was planned. */
    void (*region_used)(bl_region *r, bl_region_use *out);

    /* The region as host memory, borrowed from it; NULL, or left out, where it is none. */
    bl_host *(*region_host)(bl_region *r);

    /* Host memory to pack into. `pinned`: such as copies are fastest from. BL_E_MEMORY when the answer is no:
     * less, or memory that is not pinned, may be granted. Both left out where caps.host_store is false. */
    int (*host_open)(bl_host **out, bl_device *d, uint64_t bytes, bool pinned, bl_error *err);
    void (*host_close)(bl_host *h);

    /* Reads, converts and packs one block into [offset, offset + packed_bytes) of host memory. */
    int (*pack)(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                bl_error *err);
    /* Copies a packed block from host memory into the region. Left out where caps.host_store is false. */
    int (*copy)(bl_device_module *m, int block, const bl_host *from, uint64_t from_offset, bl_region *r,
                uint64_t offset, bl_stream stream, bl_error *err);

    /* Runs the ops of one block. Blocks of a pass run in order, 0 first; what one writes into the arena later
     * ones read. What a graph keeps (bl_keep) stays for the graphs that run after it in arenas at the same
     * offset and name it too. */
    int (*run)(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err);

    int (*event_open)(bl_event **out, bl_device *d, bl_error *err);
    void (*event_close)(bl_event *e);
    int (*event_record)(bl_event *e, bl_stream stream, bl_error *err);
    int (*stream_wait)(bl_device *d, bl_stream stream, bl_event *e,
                       bl_error *err); /* the stream waits, not the caller */
    /* The caller waits. The error of what went wrong before the event on its stream, or on one that it waited
     * for. */
    int (*event_wait)(bl_event *e, bl_error *err);
    double (*event_seconds)(
        const bl_event *e);      /* when it happened, on the device's clock; after event_wait */
    double (*now)(bl_device *d); /* the device's clock: wall time, or virtual time on `sim` */

    /* Waits for all streams. The first error since the last sync, by the name of what failed; from then on
     * work is taken again. *lost: what regions and host memory held is gone with it, too; otherwise only what
     * was being written is. */
    int (*sync)(bl_device *d, bool *lost, bl_error *err);
} bl_device_ops;

/* The head of every device; implementations put it first. */
struct bl_device {
    const bl_device_ops *ops;
    const bl_log *log;
};

/* ---- what the rest of the library calls: one thin function for each entry above */

/* Frees and sets to NULL; NULL inside is fine. */
static inline void bl_device_close(bl_device **d) {
    if (*d) {
        (*d)->ops->close(*d);
        *d = 0;
    }
}

static inline bl_device_caps bl_device_caps_of(bl_device *d) {
    bl_device_caps caps;
    d->ops->caps(d, &caps);
    return caps;
}

static inline int bl_device_module_open(bl_device_module **out, bl_device *d, const bl_graph *graph,
                                        const bl_source *source, bl_error *err) {
    return d->ops->module_open(out, d, graph, source, err);
}

/* NULL is fine. */
static inline void bl_device_module_close(bl_device *d, bl_device_module *m) {
    if (m) {
        d->ops->module_close(m);
    }
}

static inline const bl_block_cost *bl_device_module_costs(const bl_device *d, const bl_device_module *m) {
    return d->ops->module_costs(m);
}

static inline void bl_device_module_refresh(const bl_device *d, bl_device_module *m) {
    if (d->ops->module_refresh) {
        d->ops->module_refresh(m);
    }
}

static inline int bl_device_prepare(bl_executable **out, bl_device *d, bl_device_module *m,
                                    const bl_graph *graph, const bl_prepare_options *options, bl_error *err) {
    return d->ops->prepare(out, m, graph, options, err);
}

/* NULL is fine. */
static inline void bl_device_executable_close(bl_device *d, bl_executable *x) {
    if (x) {
        d->ops->executable_close(x);
    }
}

static inline bl_exec_info bl_device_executable_info(const bl_device *d, const bl_executable *x) {
    bl_exec_info info;
    d->ops->executable_info(x, &info);
    return info;
}

static inline double bl_device_executable_widened(const bl_device *d, const bl_executable *x) {
    return d->ops->executable_widened ? d->ops->executable_widened(x) : 0;
}

static inline int bl_device_region_open(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err) {
    return d->ops->region_open(out, d, bytes, err);
}

/* NULL is fine. */
static inline void bl_device_region_close(bl_device *d, bl_region *r) {
    if (r) {
        d->ops->region_close(r);
    }
}

static inline bl_region_use bl_device_region_used(bl_device *d, bl_region *r) {
    bl_region_use use;
    d->ops->region_used(r, &use);
    return use;
}

static inline bl_host *bl_device_region_host(bl_device *d, bl_region *r) {
    return d->ops->region_host ? d->ops->region_host(r) : 0;
}

static inline int bl_device_host_open(bl_host **out, bl_device *d, uint64_t bytes, bool pinned,
                                      bl_error *err) {
    return d->ops->host_open(out, d, bytes, pinned, err);
}

/* NULL is fine. */
static inline void bl_device_host_close(bl_device *d, bl_host *h) {
    if (h) {
        d->ops->host_close(h);
    }
}

static inline int bl_device_pack(bl_device *d, bl_device_module *m, int block, bl_host *to, uint64_t offset,
                                 bl_stream stream, bl_error *err) {
    return d->ops->pack(m, block, to, offset, stream, err);
}

static inline int bl_device_copy(bl_device *d, bl_device_module *m, int block, const bl_host *from,
                                 uint64_t from_offset, bl_region *r, uint64_t offset, bl_stream stream,
                                 bl_error *err) {
    return d->ops->copy(m, block, from, from_offset, r, offset, stream, err);
}

static inline int bl_device_run(bl_device *d, bl_executable *x, int block, const bl_binding *b,
                                bl_stream stream, bl_error *err) {
    return d->ops->run(x, block, b, stream, err);
}

static inline int bl_device_event_open(bl_event **out, bl_device *d, bl_error *err) {
    return d->ops->event_open(out, d, err);
}

/* NULL is fine. */
static inline void bl_device_event_close(bl_device *d, bl_event *e) {
    if (e) {
        d->ops->event_close(e);
    }
}

static inline int bl_device_event_record(bl_device *d, bl_event *e, bl_stream stream, bl_error *err) {
    return d->ops->event_record(e, stream, err);
}

static inline int bl_device_stream_wait(bl_device *d, bl_stream stream, bl_event *e, bl_error *err) {
    return d->ops->stream_wait(d, stream, e, err);
}

static inline int bl_device_event_wait(bl_device *d, bl_event *e, bl_error *err) {
    return d->ops->event_wait(e, err);
}

static inline double bl_device_event_seconds(const bl_device *d, const bl_event *e) {
    return d->ops->event_seconds(e);
}

static inline double bl_device_now(bl_device *d) {
    return d->ops->now(d);
}

static inline int bl_device_sync(bl_device *d, bool *lost, bl_error *err) {
    return d->ops->sync(d, lost, err);
}

#endif
