/* What the files of the cpu device share. */
#ifndef BALLAST_DEVICE_CPU_INTERNAL_H
#define BALLAST_DEVICE_CPU_INTERNAL_H

#include "core/parallel.h"
#include "device/cpu/cpu.h"
#include "device/cpu/dnnl_api.h"
#include "device/cpu/kernels.h"
#include "device/device.h"
#include "graph/arena.h"
#include "graph/source.h"

#include <stddef.h>

typedef struct bl_trials bl_trials;

typedef struct bl_cpu {
    bl_device head;
    int threads;
    bl_cpu_isa isa;
    bool bf16; /* graphs may be BF16 */
    bool amx;  /* oneDNN has matrix tiles for bf16 */
    const bl_kernels *kernels;
    bl_dnnl *dnnl;
    unsigned char
        *staging; /* [threads] slices of source rows and of converted rows, for one block at a time */
    uint64_t staging_bytes; /* for each thread: what the largest weight of all modules needs */
    bool working;           /* since the staging is as large as this, blocks were packed */
    bl_trials *trials;
    char name[128];
} bl_cpu;

/* A region, seen as memory to pack into. */
struct bl_host {
    bl_region *region;
};

struct bl_region {
    unsigned char *base; /* aligned to a page */
    uint64_t bytes;
    bl_region_use used; /* since bl_cpu_region_used, not rounded */
    bl_host host;
};

/* One weight of a module as it lies in its block's packed bytes. */
typedef struct bl_packed {
    bl_weight weight;       /* a copy */
    bl_dtype dtype;         /* of packed elements: F32 for vectors, the graph's for all else */
    bl_dnnl_layout *layout; /* of each half of a CONV or LINEAR that oneDNN can run; else NULL */
    bool winograd; /* a CONV that Winograd's algorithm can run; where there is a layout, either may */
    bool blocked;  /* `blocking` says where elements lie; else they are row-major */
    bl_dnnl_blocking blocking;
    int halves;          /* 2 for the weight of a GEGLU, whose output rows are two products; else 1 */
    uint64_t half_bytes; /* from one half to the next, a multiple of BL_ALIGN */
    bool stays_small;    /* unless its block is wide: then it is widened to all of the above before its op */
    bl_small_weight small;
    uint64_t offset[2]; /* inside its block, while that is small and while it is wide */
} bl_packed;

struct bl_device_module {
    bl_cpu *cpu;
    bl_source source;
    bl_dtype dtype;
    bl_packed *weights;
    int weight_count;
    bl_block *blocks;
    int block_count;
    bl_block_cost *costs; /* [block_count] */
    bool *wide;           /* [block_count] no weight of the block is small now */
};

/* A FOLDED_CONV goes over each picture in bands of rows, each with the rows that it reads above and below. */
typedef struct bl_bands {
    int rows;         /* of the output, in a band */
    uint64_t row;     /* offsets in the scratch: bias and per-channel input F32 [o], */
    uint64_t in, out; /* the band's input [rows + 2, w, c] and output [rows, w, o], */
    uint64_t side;    /* and the shortcut's output [rows, w, o], where it has one */
} bl_bands;

/* One op, ready to run. */
typedef struct bl_step {
    bl_dnnl_primitive *product; /* CONV, LINEAR; of a FOLDED_CONV for one band, of a
                                   FEED_FORWARD the first for one slice */
    bl_dnnl_primitive *side;    /* FOLDED_CONV: its shortcut for one band; FEED_FORWARD: the second product */
    bl_bands bands;             /* FOLDED_CONV */
    int64_t slice;              /* FEED_FORWARD: rows at once */
    bl_attention_job attention; /* its shape; pointers are filled in by the run */
    bl_winograd_job winograd;   /* the same */
    uint64_t scratch_bytes;
    uint64_t extra;      /* scratch behind oneDNN's own: see op_*.c */
    bool each_image;     /* CONV, LINEAR: `product` takes one picture of the batch */
    uint64_t widened[2]; /* where in the scratch weight and weight3 lie, if they are small in their block */
} bl_step;

struct bl_executable {
    bl_device_module *module;
    const bl_graph *graph;
    bl_graph *changed;             /* NULL, or what `graph` points to */
    int threads;                   /* that run it */
    int winograd[BL_TUNING_SIZES]; /* as in bl_tuning */
    int widest;                    /* of its convolved pictures */
    int pinned;                    /* as bl_tuning's `pin` */
    bool rests;                    /* its threads sleep where they wait */
    bl_step *steps;                /* [op_count] */
    bl_arena_plan plan;
    double *flops;   /* [block_count] */
    double *seconds; /* [op_count], of all runs */
    double *widened; /* [block_count] values that a pass widens */
    double widening; /* seconds, of all runs */
};

/* An op while it runs: what its ids mean now. */
typedef struct bl_running {
    bl_executable *x;
    const bl_op *op;
    const bl_step *step;
    const bl_cpu *cpu;
    const bl_typed_kernels *k; /* of the graph's dtype */
    const bl_binding *binding;
    size_t element; /* bytes of one activation element */
    unsigned char *scratch;
    bool inplace;
} bl_running;

/* What the device does with an op. Each is in the op_*.c that has its kernels; the table is in run.c. */
typedef struct bl_cpu_op {
    /* Chooses kernels and fills in the step; its scratch_bytes count. *sure = false where this form of the
     * graph would give other bits than the graph as it is: then it is not used. NULL: nothing to prepare. */
    int (*prepare)(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err);
    int (*run)(const bl_running *r, bl_error *err);
    bool reads_small; /* it takes what it needs out of small weights by itself */
} bl_cpu_op;

#define ROW(KIND, name, shape, flops, memory) extern const bl_cpu_op bl_cpu_##name;
BL_OP_LIST(ROW)
#undef ROW
extern const bl_cpu_op *const bl_cpu_ops[BL_OP_KIND_COUNT];

/* Tensors of an op and where they are. NULL for BL_NONE. Whose address is asked for counts as used, so none
 * is asked for inside a loop over threads. */
const bl_tensor *bl_running_tensor(const bl_running *r, bl_tensor_id id);
void *bl_running_data(const bl_running *r, bl_tensor_id id);
/* Packed weight, wide, and its description; NULL for BL_NONE. */
const void *bl_running_weight(const bl_running *r, bl_weight_id id);
/* The weight as it lies in its block. */
const void *bl_running_stored(const bl_running *r, bl_weight_id id);
const bl_packed *bl_running_packed(const bl_running *r, bl_weight_id id);

/* region.c */
int bl_cpu_region_open(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err);
bl_host *bl_cpu_region_host(bl_region *r);
void bl_cpu_region_close(bl_region *r);
void bl_cpu_region_used(bl_region *r, bl_region_use *out);
/* The largest region of so many free bytes: its page tables take some of them. */
uint64_t bl_cpu_region_room(uint64_t free_bytes);

/* module.c */
int bl_cpu_module_open(bl_device_module **out, bl_device *d, const bl_graph *graph, const bl_source *source,
                       bl_error *err);
void bl_cpu_module_close(bl_device_module *m);
const bl_block_cost *bl_cpu_module_costs(const bl_device_module *m);
void bl_cpu_module_refresh(bl_device_module *m);
/* Does the weight lie small in its block now, and where in that? */
bool bl_cpu_is_small(const bl_device_module *m, const bl_packed *p);
uint64_t bl_cpu_offset(const bl_device_module *m, const bl_packed *p);

/* pack.c */
/* Bytes of staging that one thread needs to pack `p`. */
uint64_t bl_cpu_staging_bytes(const bl_packed *p);
int bl_cpu_pack(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                bl_error *err);
/* Widens a weight whose small form lies at `small` to its packed layout at `to`, of half_bytes * halves. */
int bl_cpu_widen(void *to, const bl_device_module *m, const bl_packed *p, const void *small, bl_error *err);

/* prepare.c */
int bl_cpu_prepare(bl_executable **out, bl_device_module *m, const bl_graph *graph,
                   const bl_prepare_options *options, bl_error *err);
void bl_cpu_executable_close(bl_executable *x);
void bl_cpu_executable_info(const bl_executable *x, bl_exec_info *out);
double bl_cpu_executable_widened(const bl_executable *x);
/* The kernels of the executable's dtype. */
const bl_typed_kernels *bl_cpu_typed(const bl_executable *x);
/* Pictures of the whole batch of which `t` may be a share. */
int bl_cpu_batch(const bl_tensor *t);

/* Of one picture. */
static inline int64_t bl_cpu_pixels(const bl_tensor *t) {
    return (int64_t)t->h * t->w;
}

/* op_conv.c */
/* Is this convolution, whose output is a picture like `out`, done by Winograd's algorithm? */
bool bl_cpu_takes_winograd(const bl_executable *x, const bl_packed *p, const bl_op *op, const bl_tensor *out);
/* Where a job finds filters in the packed weight. */
void bl_cpu_winograd_filters(bl_winograd_job *j, const bl_packed *p);
/* Is a batch convolved picture by picture, with the per-channel input as part of the bias? */
bool bl_cpu_each_image(const bl_op *op, const bl_tensor *out);
/* oneDNN's convolution of `n` pictures. */
bl_dnnl_conv bl_cpu_dnnl_conv(const bl_packed *p, const bl_op *op, const bl_tensor *in, const bl_tensor *out,
                              int n);
/* What picture `image` adds to each output channel, with the bias if `bias` is given. F32 [o] */
void bl_cpu_channel_row(const bl_running *r, float *row, int image, const float *bias);
/* Adds a row F32 [c] to each of `rows` rows of y. */
void bl_cpu_add_row(const bl_running *r, void *y, const float *row, int64_t rows, int c);

/* op_linear.c */
/* oneDNN adds to its destination: puts the residual there, unless the arena plan already has it there. */
void bl_cpu_place_residual(const bl_running *r, void *dst);
/* y = y gelu(gate), and then the residual (or NULL) added; all [rows, c] */
void bl_cpu_gate(const bl_running *r, unsigned char *y, const unsigned char *gate,
                 const unsigned char *residual, int64_t rows, int64_t c);

/* piece.c */
/* Is the product handed to a general matrix product, which adds up in an order that depends on the shape? */
bool bl_cpu_is_general(const bl_dnnl_primitive *p);
/* Is it oneDNN's slow reference, which is there for any layout? */
bool bl_cpu_is_reference(const bl_dnnl_primitive *p);
/* Open the product of a piece of something larger. *sure = false where it gives other bits than the whole. */
int bl_cpu_piece_conv(bl_dnnl_primitive **out, const bl_cpu *cpu, const bl_packed *p,
                      const bl_dnnl_conv *piece, const bl_dnnl_conv *whole, bool *sure, bl_error *err);
int bl_cpu_piece_linear(bl_dnnl_primitive **out, const bl_cpu *cpu, const bl_packed *p, bl_dnnl_linear piece,
                        int64_t whole_rows, bool *sure, bl_error *err);

/* trial.c */
/* What trials found, for one device: its threads and its oneDNN. */
int bl_cpu_trials_open(bl_trials **out, bl_error *err);
void bl_cpu_trials_close(bl_trials **trials);
/* *alike: does a piece of a convolution give the bits that it has in the whole? Pieces are some of the
 * pictures, or a band of lines that brings its own lines above and below (top and bottom are 0). Tried once
 * for each pair of shapes: milliseconds, the process's usual threads. */
int bl_cpu_try_conv(bool *alike, const bl_cpu *cpu, const bl_dnnl_layout *layout, const bl_dnnl_conv *piece,
                    const bl_dnnl_conv *whole, bl_error *err);
/* The same for some of the rows of a matrix product. */
int bl_cpu_try_linear(bool *alike, const bl_cpu *cpu, const bl_dnnl_layout *layout, bl_dnnl_linear piece,
                      int64_t whole_rows, bl_error *err);

/* run_winograd.c */
/* Fills in how the work is cut; the shape must be there. `picture`: tiles of one whole picture, of which the
 * job may do a strip. */
void bl_cpu_winograd_plan(bl_winograd_job *j, int64_t picture, int threads);
uint64_t bl_cpu_winograd_scratch(const bl_winograd_job *j, int threads);
void bl_cpu_winograd_run(const bl_winograd_job *job, const bl_typed_kernels *k, unsigned char *scratch);

/* run.c */
int bl_cpu_run(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err);

#endif
