/* What the files of the cuda device share. */
#ifndef BALLAST_DEVICE_CUDA_INTERNAL_H
#define BALLAST_DEVICE_CUDA_INTERNAL_H

#include "device/cuda/args.h"
#include "device/cuda/card.h"
#include "device/cuda/cuda.h"
#include "device/cuda/plans.h"
#include "graph/arena.h"
#include "graph/source.h"

#include <pthread.h>

#define KERNEL(name) BL_KERNEL_##name,
typedef enum bl_cuda_kernel { BL_CUDA_KERNELS(KERNEL) BL_KERNEL_COUNT } bl_cuda_kernel;
#undef KERNEL

/* How many works of each stream lie before a point in the order of work. */
typedef struct bl_cuda_order {
    uint64_t works[BL_STREAM_COUNT];
} bl_cuda_order;

/* What a work is called, should it fail. */
typedef struct bl_cuda_note {
    const char *what; /* static storage: an op's name */
    char block[BL_NAME_BYTES];
    uint32_t number;
} bl_cuda_note;

#define BL_CUDA_NOTES 1024 /* of the ops that were put on the stream last */
#define BL_CUDA_SLOTS 4    /* of pinned memory, through which weights pass on their way to the card */
#define BL_CUDA_SLOT_BYTES (16u << 20)

typedef struct bl_cuda_slot {
    unsigned char *memory; /* pinned [BL_CUDA_SLOT_BYTES] */
    bl_cu_event filled;    /* recorded behind what writes it, where that is a stream's work */
    bl_cu_event free;      /* recorded behind the copy that reads it */
    bool used;
} bl_cuda_slot;

struct bl_cuda {
    bl_device head;
    const bl_cuda_libs *libs;
    bl_cuda_libs *own_libs; /* the same, where they are this device's own */
    bl_cu_device number;
    bl_cu_context context;
    bl_cu_stream stream[BL_STREAM_COUNT];
    bl_cu_stream stage; /* from host memory that is not pinned into slots */
    bl_cu_event asked;  /* what it waits for */
    bl_dnn_handle dnn;
    bl_lt_handle lt;
    bl_cuda_plans plans;
    bl_cuda_card card;
    bool told;                    /* that plans were guessed */
    bool planning;                /* there is no card, only a description of one: nothing runs */
    bl_dnn_descriptor properties; /* of the card, as cuDNN has them, while planning; NULL: it cannot plan */
    char name[128];
    uint64_t free_bytes;    /* when it was last asked */
    uint64_t first_free;    /* when the context was new */
    uint64_t region_bytes;  /* of open regions */
    uint64_t own_bytes;     /* what driver and libraries took since then */
    bl_cu_module module[2]; /* our kernels for F32 and BF16, NULL until a graph needs them */
    bl_cu_function kernel[2][BL_KERNEL_COUNT];
    bool kernels_ran[2];
    bool widened[2][2]; /* by dtype: those that make weights wide, and those that undo a rotation */
    unsigned char *ran; /* [ran_room] by a plan's number: it was run once */
    int ran_room;
    bl_cuda_slot slot[BL_CUDA_SLOTS];
    int next_slot;
    bl_cu_event began; /* the clock's zero, recorded when the host's clock showed began_at */
    double began_at;
    bl_cuda_order order[BL_STREAM_COUNT]; /* what lies before the next work of each stream */
    struct bl_cuda_load *loads;           /* blocks to be packed; under the lock */
    pthread_mutex_t lock;                 /* of the three below, which host functions write, too */
    uint64_t failed[BL_STREAM_COUNT];  /* the first work of each that failed since sync; UINT64_MAX: none */
    bl_error error;                    /* of the first; code 0: none */
    bool lost;                         /* nothing works any more until the device is opened again */
    volatile uint32_t *progress;       /* pinned: the number of the last op that ended */
    bool marks;                        /* streams can write it; else nobody knows which op failed */
    uint32_t ops;                      /* numbered so far */
    bl_cuda_note notes[BL_CUDA_NOTES]; /* that of op i at i % BL_CUDA_NOTES */
};

/* What of the host passes between an executable and the card: pinned, as copies from other memory make the
 * caller wait. */
typedef struct bl_cuda_port {
    unsigned char *memory; /* [bytes] of the executable's `ports` */
    uint64_t bytes;
    bl_cu_event done; /* recorded behind what reads or writes it */
    bool used;
    void *to; /* of an output: where the caller wants it */
} bl_cuda_port;

/* The works of a block as one of CUDA's graphs, as long as everything lies where it lay. */
typedef struct bl_cuda_block_graph {
    bl_cu_graph_exec exec; /* NULL: not captured */
    bl_cu_pointer base;
    uint64_t arena_offset, block_offset;
    bool wide; /* no weight of it was small */
    bl_region_use use;
    bool refused; /* it cannot be captured */
} bl_cuda_block_graph;

/* Host memory; of a region, which is none, a view to pack into. */
struct bl_host {
    bl_cuda *c;
    unsigned char *memory; /* NULL: of a region */
    bl_region *region;
    uint64_t bytes;
    bool pinned;
};

struct bl_region {
    bl_cuda *c;
    bl_cu_pointer base;
    uint64_t bytes;
    bl_region_use used;
    bl_host host;
};

/* One weight of a module as it lies in its block's packed bytes: rows of its first axis, one behind the
 * other, each [kh, kw, I] of a convolution and as it is stored of all else. */
typedef struct bl_cuda_weight {
    bl_weight weight; /* a copy */
    bl_dtype dtype;   /* F32 for vectors, save the bias of a product; the graph's for all else */
    uint64_t row_bytes;
    bool stays_small; /* unless its block is wide: then it is widened to all of the above before its op */
    bl_small_weight small;
    uint64_t offset[2]; /* inside its block, while that is small and while it is wide */
} bl_cuda_weight;

struct bl_device_module {
    bl_cuda *c;
    bl_source source;
    bl_dtype dtype;
    bl_cuda_weight *weights;
    int weight_count;
    bl_block *blocks;
    int block_count;
    bl_block_cost *costs; /* [block_count] */
    bool *wide;           /* [block_count] no weight of the block is small now */
};

/* How long an op's weight takes to be made wide: between two events of its last run. */
typedef struct bl_cuda_widening {
    bl_cu_event begin, end;
    bool pending;   /* both are on a stream */
    double seconds; /* of the last that was measured */
} bl_cuda_widening;

/* One op, ready to run. What of it a plan of a library does depends on its shape alone. */
typedef struct bl_cuda_step {
    const bl_cuda_product *product;     /* LINEAR; CONV by patches: of a whole band */
    const bl_cuda_product *rest;        /* CONV by patches: of the last band, where it is smaller */
    const bl_cuda_conv *conv;           /* CONV by cuDNN; else NULL */
    const bl_cuda_attention *attention; /* ATTENTION, to all keys */
    int64_t band;                       /* pixels at once, CONV by patches */
    uint64_t scratch_bytes;
    uint64_t extra[3];       /* offsets in the scratch: see op_*.c */
    uint64_t widened;        /* where in it the weight lies, if it is small in its block */
    int inplace;             /* the input that the output may lie on; -1: none */
    bl_tensor_id host_input; /* what of the host the op copies to the card, or BL_NONE */
} bl_cuda_step;

struct bl_executable {
    bl_device_module *module;
    const bl_graph *graph;
    bl_cuda_step *steps; /* [op_count] */
    bl_arena_plan plan;
    uint64_t *table_at;      /* [input_count] in the arena, behind all else: tables that many ops read */
    double *flops, *seconds; /* [block_count]; seconds: a first guess */
    double *widened, *widen; /* [block_count] values that a pass widens, and a first guess at the seconds */
    bl_cuda_widening *widening; /* [op_count] */
    double widen_seconds;       /* of all runs that were measured, but for what is pending */
    unsigned char *ports;       /* the memory of all of them, pinned where the system allows */
    bool ports_pinned;
    bl_cuda_port *inputs, *outputs; /* [input_count], [output_count] */
    bl_cuda_block_graph *graphs;    /* [block_count] */
    int tuned_graphs;               /* as in bl_tuning; 0: as the card's file says */
};

/* An op while it is put on its stream. */
typedef struct bl_cuda_running {
    bl_cuda *c;
    bl_executable *x;
    const bl_op *op;
    const bl_cuda_step *step;
    const bl_binding *binding;
    bl_cu_stream stream;
    uint64_t element; /* bytes of one activation element */
    bl_cu_pointer scratch;
    bool captured;      /* into a graph, which runs later: and again */
    bl_cu_pointer only; /* not 0: where every tensor and weight lies, for runs whose result nobody reads */
} bl_cuda_running;

/* What the device does with an op; each is in the op_*.c that the table in run.c names. */
typedef struct bl_cuda_op {
    /* Makes plans and fills in the step; NULL: nothing to prepare. */
    int (*prepare)(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err);
    int (*run)(const bl_cuda_running *r, bl_error *err);
} bl_cuda_op;

/* device.c */
void bl_cuda_caps(bl_device *d, bl_device_caps *out);
/* The device's name, of its card and libraries. */
void bl_cuda_name(bl_cuda *c);

/* described.c. Says once that plans were guessed. */
void bl_cuda_tell_guesses(bl_cuda *c);

/* measured.c. What was measured of this card: from the file `given`, or NULL or "": of those that come with
 * Ballast. */
int bl_cuda_measured(bl_cuda *c, const char *given, bl_error *err);

/* errors.c. 0, or bl_fail with what the driver, cuDNN or cuBLASLt calls the error; notices what cannot be
 * survived. */
int bl_cuda_check(bl_cuda *c, bl_cu_result result, const char *what, bl_error *err);
int bl_cuda_check_dnn(bl_cuda *c, bl_dnn_status status, const char *what, bl_error *err);
int bl_cuda_check_lt(bl_cuda *c, bl_lt_status status, const char *what, bl_error *err);
/* Makes the device's context that of this thread; refuses when the card was lost. */
int bl_cuda_enter(bl_cuda *c, bl_error *err);

/* ports.c */
int bl_cuda_ports_open(bl_executable *x, bl_error *err);
void bl_cuda_ports_close(bl_executable *x);
/* Takes what the op reads from the host. Before it is put on its stream. */
int bl_cuda_ports_take(const bl_cuda_running *r, bl_error *err);
/* Puts copies on the op's stream: of an input to the card, of the scratch to an output. */
int bl_cuda_port_in(const bl_cuda_running *r, bl_tensor_id id, bl_cu_pointer to, bl_error *err);
int bl_cuda_port_out(const bl_cuda_running *r, bl_tensor_id id, bl_error *err);
/* Puts marks behind the op's copies, by which the next of them know when memory is free. */
int bl_cuda_ports_given(const bl_cuda_running *r, bl_error *err);

/* warm.c */
/* Runs each plan that is new once, so that what libraries load then is loaded before a region is opened, and
 * asks what driver and libraries took. Without memory for it nothing happens. */
int bl_cuda_warm(bl_executable *x, bl_error *err);
/* Asks what driver and libraries hold by now. */
void bl_cuda_note_own(bl_cuda *c);
/* Bytes that one op reaches when all that it reads and writes begins at one address. */
uint64_t bl_cuda_footprint(const bl_executable *x, int op);
/* Puts an op on the COMPUTE stream, with all that it reads and writes at this address. */
int bl_cuda_run_at(bl_executable *x, int op, bl_cu_pointer at, bl_error *err);

/* capture.c */
/* Runs a block as one of CUDA's graphs, or says that it is not *done. */
int bl_cuda_run_captured(bool *done, const bl_cuda_running *block, int number, bl_error *err);
void bl_cuda_captured_close(bl_executable *x);

/* streams.c */
int bl_cuda_streams_open(bl_cuda *c, bl_error *err);
void bl_cuda_streams_close(bl_cuda *c);
/* Counts a work of the stream; its number. */
uint64_t bl_cuda_work(bl_cuda *c, bl_stream stream);
/* Notes that a work failed, from any thread. */
void bl_cuda_failed(bl_cuda *c, bl_stream stream, uint64_t work, const bl_error *err);
/* Puts the op's number behind it on the stream. */
int bl_cuda_note_op(bl_cuda *c, bl_cu_stream stream, const char *what, const char *block, bl_error *err);
int bl_cuda_event_open(bl_event **out, bl_device *d, bl_error *err);
void bl_cuda_event_close(bl_event *e);
int bl_cuda_event_record(bl_event *e, bl_stream stream, bl_error *err);
int bl_cuda_stream_wait(bl_device *d, bl_stream stream, bl_event *e, bl_error *err);
int bl_cuda_event_wait(bl_event *e, bl_error *err);
double bl_cuda_event_seconds(const bl_event *e);
double bl_cuda_now(bl_device *d);
int bl_cuda_sync(bl_device *d, bool *lost, bl_error *err);

/* memory.c */
int bl_cuda_region_open(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err);
void bl_cuda_region_close(bl_region *r);
void bl_cuda_region_used(bl_region *r, bl_region_use *out);
bl_host *bl_cuda_region_host(bl_region *r);
int bl_cuda_host_open(bl_host **out, bl_device *d, uint64_t bytes, bool pinned, bl_error *err);
void bl_cuda_host_close(bl_host *h);
int bl_cuda_copy(bl_device_module *m, int block, const bl_host *from, uint64_t from_offset, bl_region *r,
                 uint64_t offset, bl_stream stream, bl_error *err);
int bl_cuda_slots_open(bl_cuda *c, bl_error *err);
void bl_cuda_slots_close(bl_cuda *c);
void bl_cuda_reach(uint64_t *end, uint64_t other);

/* small.c */
/* Does the weight lie small in its block now, and where in that? */
bool bl_cuda_is_small(const bl_device_module *m, const bl_cuda_weight *p);
uint64_t bl_cuda_offset(const bl_device_module *m, const bl_cuda_weight *p);
uint64_t bl_cuda_wide_bytes(const bl_cuda_weight *p);
/* The weight that the op multiplies with, if it may lie small; else NULL. */
const bl_cuda_weight *bl_cuda_small_weight(const bl_executable *x, const bl_op *op);
/* Makes `count` rows of a small weight wide at `to`: the first, or those of a table that `ids` names on the
 * card. */
int bl_cuda_widen_rows(const bl_cuda_running *r, bl_weight_id id, bl_cu_pointer to, bl_cu_pointer ids,
                       int64_t count, bl_error *err);
/* Makes the op's weight wide in its scratch, if it is small. */
int bl_cuda_widen(const bl_cuda_running *r, bl_error *err);
/* A block runs as one of CUDA's graphs: its widening took what it took when it was last measured. */
void bl_cuda_widened_again(bl_executable *x, const bl_block *block);
double bl_cuda_executable_widened(const bl_executable *x);
/* Room behind the op's own scratch, and what making it wide costs. */
void bl_cuda_add_widened(bl_executable *x, bl_cuda_step *s, const bl_op *op);
int bl_cuda_widening_open(bl_executable *x, bl_error *err);
void bl_cuda_widening_close(bl_executable *x);

/* module.c, pack.c */
int bl_cuda_module_open(bl_device_module **out, bl_device *d, const bl_graph *graph, const bl_source *source,
                        bl_error *err);
void bl_cuda_module_close(bl_device_module *m);
const bl_block_cost *bl_cuda_module_costs(const bl_device_module *m);
void bl_cuda_module_refresh(bl_device_module *m);
/* Frees what is done of them, or all, when nothing runs any more. */
void bl_cuda_loads_free(bl_cuda *c, bool all);
int bl_cuda_pack(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                 bl_error *err);
/* Puts a copy within host memory on a stream. */
int bl_cuda_put_copy(bl_cuda *c, bl_cu_stream stream, void *to, const void *from, uint64_t bytes,
                     bl_error *err);

/* kernels.c */
/* Compiles the kernels of a dtype, or takes them from the cache on disk. */
int bl_cuda_kernels_open(bl_cuda *c, bl_dtype dtype, bl_error *err);
void bl_cuda_kernels_close(bl_cuda *c);
/* Puts a kernel on the op's stream: of `count` elements one a thread, or that many blocks. */
int bl_cuda_launch(const bl_cuda_running *r, bl_cuda_kernel kernel, const void *args, int64_t count,
                   bl_error *err);
int bl_cuda_launch_blocks(const bl_cuda_running *r, bl_cuda_kernel kernel, const void *args, int64_t blocks,
                          bl_error *err);

/* What attention adds to the scores of one picture: see softmax_args. */
typedef struct bl_cuda_bias {
    bl_cu_pointer at; /* 0: nothing */
    int stride, zero;
} bl_cuda_bias;

/* attention.c. The scratch is the op's. */
int bl_cuda_attend(const bl_cuda_running *r, const bl_cuda_attention *a, bl_cu_pointer y, bl_cu_pointer q,
                   bl_cu_pointer k, bl_cu_pointer v, bl_cuda_bias bias, bl_error *err);

/* prepare.c, run.c */
int bl_cuda_prepare(bl_executable **out, bl_device_module *m, const bl_graph *graph,
                    const bl_prepare_options *options, bl_error *err);
void bl_cuda_executable_close(bl_executable *x);
void bl_cuda_executable_info(const bl_executable *x, bl_exec_info *out);
int bl_cuda_run(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err);
/* Puts one op on its stream; r->op and r->step are set. */
int bl_cuda_run_op(bl_cuda_running *r, int op, bl_error *err);
extern const bl_cuda_op *const bl_cuda_ops[BL_OP_KIND_COUNT];

/* Tensors and weights of an op and their addresses; NULL and 0 for BL_NONE. */
const bl_tensor *bl_cuda_tensor(const bl_cuda_running *r, bl_tensor_id id);
bl_cu_pointer bl_cuda_data(const bl_cuda_running *r, bl_tensor_id id);
bl_cu_pointer bl_cuda_weight_data(const bl_cuda_running *r, bl_weight_id id); /* wide */
bl_cu_pointer bl_cuda_stored(const bl_cuda_running *r, bl_weight_id id);      /* as it lies in its block */
/* Where a table of the host lies on the card while its graph runs. */
bl_cu_pointer bl_cuda_table(const bl_cuda_running *r, bl_tensor_id id);
/* The table, or BL_NONE where an op before `op` has copied it to the card already. */
bl_tensor_id bl_cuda_first_of(const bl_executable *x, const bl_op *op, bl_tensor_id table);

/* Rows of a tensor's channels: of one picture, and of all. */
static inline int64_t bl_cuda_rows_each(const bl_tensor *t) {
    return (int64_t)t->h * t->w;
}

static inline int64_t bl_cuda_rows(const bl_tensor *t) {
    return (int64_t)t->n * t->h * t->w;
}

#endif
