/* A graph: the ops of one module at one input shape, in execution order, each naming the weights it reads.
 *
 * A graph holds no data and knows no device. Building checks every shape; afterwards it is read-only and may
 * be shared between threads. All graphs of one module list the same weights and the same blocks in the same
 * order, whatever their shapes: so weight i and block b mean the same thing in each of them.
 *
 * Activations are channels-last: [n, h, w, c] with c innermost. Tokens are [n, T, 1, c], vectors [n, 1, 1,
 * c]. They have the graph's dtype (F32 or BF16), except those that are said to be F32. What comes from and
 * goes to the host is F32 or I32, and enters and leaves through IMPORT, EMBED, SINUSOID, TAKE_ROW, ATTENTION
 * (counts of keys, biases) and EXPORT. */
#ifndef BALLAST_GRAPH_GRAPH_H
#define BALLAST_GRAPH_GRAPH_H

#include "core/dtype.h"
#include "core/error.h"
#include "core/module.h"
#include "graph/op_list.h"

#include <stdbool.h>
#include <stdint.h>

#define BL_NONE (-1) /* no tensor, no weight */
#define BL_OP_INPUTS 5
#define BL_WEIGHT_PARTS 3
#define BL_NAME_BYTES 128

typedef int bl_tensor_id; /* index into bl_graph.tensors, or BL_NONE */
typedef int bl_weight_id; /* index into bl_graph.weights, or BL_NONE */

typedef enum bl_place {
    BL_ARENA, /* an activation: has an offset in the arena */
    BL_INPUT, /* host memory that the caller binds before a run */
    BL_OUTPUT /* host memory that the caller binds before a run */
} bl_place;

typedef enum bl_layout {
    BL_CHANNELS_LAST, /* [n, h, w, c] */
    BL_NCHW           /* [n, c, h, w]; only INPUT and OUTPUT tensors */
} bl_layout;

typedef struct bl_tensor {
    char name[BL_NAME_BYTES]; /* of inputs, outputs and taps; else "" */
    bl_place place;
    bl_layout layout;
    bl_dtype dtype;
    int n, h, w, c;
    int item, batch;       /* of a share of a batch (apart.h): its first item, and all there are; else 0 */
    int port;              /* index among the inputs or among the outputs; -1 in the arena */
    bool kept;             /* an activation that stays when the graph has run: see bl_keep */
    uint64_t kept_at;      /* its offset in the arena */
    int first_op, last_op; /* first op that writes it, last op that reads or writes it */
} bl_tensor;

typedef enum bl_weight_kind {
    BL_W_CONV,     /* [O, I, kh, kw] */
    BL_W_LINEAR,   /* [O, I] */
    BL_W_VECTOR,   /* [C]: bias, scale and shift of norms; F32 on every device */
    BL_W_EMBEDDING /* [rows, C] */
} bl_weight_kind;

/* A weight as ops see it: one checkpoint tensor, or up to three joined along the first axis (q, k, v). Names
 * are those of diffusers; the checkpoint room finds them in either layout. */
typedef struct bl_weight {
    bl_weight_kind kind;
    int rank;
    int64_t shape[4]; /* of the whole: parts * shape of one part along axis 0 */
    int parts;        /* equal shares of axis 0 */
    char name[BL_WEIGHT_PARTS][BL_NAME_BYTES];
    int block;
    int number; /* in its graph */
} bl_weight;

/* The unit of residency: consecutive ops and the weights that only they read. */
typedef struct bl_block {
    char name[BL_NAME_BYTES];
    int first_op, op_count;
    int first_weight, weight_count;
} bl_block;

#define ROW(KIND, name, shape, flops, memory) BL_OP_##KIND,
typedef enum bl_op_kind { BL_OP_LIST(ROW) BL_OP_KIND_COUNT } bl_op_kind;
#undef ROW

typedef enum bl_act {
    BL_ACT_NONE,
    BL_ACT_SILU,
    BL_ACT_GELU,       /* x Phi(x), with erf */
    BL_ACT_QUICK_GELU, /* x sigmoid(1.702 x) */
    BL_ACT_GEGLU,      /* only LINEAR */
    BL_ACT_RELU,
    BL_ACT_GELU_TANH /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
} bl_act;

typedef struct bl_op {
    bl_op_kind kind;
    int block;
    bl_tensor_id in[BL_OP_INPUTS];
    bl_tensor_id out;
    bl_weight_id weight, weight2;
    bl_weight_id weight3, weight4; /* only of folded ops */
    bl_act act;
    union {
        struct {
            int kh, kw, stride;
            int top, left, bottom, right; /* zero padding */
        } conv;
        struct {
            int groups; /* not of RMS_NORM */
            float eps;
        } norm;
        struct {
            int heads, kv_heads, head_dim;
            int q_offset, k_offset, v_offset; /* first channel inside in[0], in[1], in[2] */
            float scale;
            bool causal;
            int key_least, key_step; /* see bl_attention_options */
        } attention;
        struct {
            int dim;
        } sinusoid;
        struct {
            int dim;
            bool halves;
        } rope;
        struct {
            int scale, shift; /* first channel inside in[1]; shift BL_NONE: none */
        } modulate;
        struct {
            int at; /* first channel inside in[2] */
            bool tanh;
        } gate;
        struct {
            int first, count;
        } slice; /* of CHANNELS too */
        struct {
            int side, h, w; /* of the output of UNPATCHIFY */
            bool planes;
        } patch;
        struct {
            int h, w; /* of the output */
        } upsample;
    } u;
} bl_op;

typedef struct bl_graph {
    bl_module module;
    bl_dtype dtype; /* of activations: F32 or BF16 */
    bl_tensor *tensors;
    bl_weight *weights;
    bl_op *ops;
    bl_block *blocks;
    int tensor_count, weight_count, op_count, block_count, input_count, output_count;
    uint64_t kept_bytes; /* of the arena's begin, where kept tensors lie */
    /* while building: */
    int tensor_room, weight_room, op_room, block_room;
    const char *const *taps; /* NULL-terminated, or NULL */
    bl_error error;          /* the first thing that went wrong; later calls do nothing */
} bl_graph;

/* ---- building. Errors are kept in the graph: build to the end, then ask bl_graph_finish() once. After an
 * error every call returns BL_NONE and does nothing. */

/* Starts a graph. `taps` lists names of inner tensors (see bl_tap) that become outputs, and must stay valid
 * until bl_graph_finish. Owner: caller; free with bl_graph_free. Returns NULL only when there is no memory.
 */
bl_graph *bl_graph_new(bl_module module, bl_dtype dtype, const char *const *taps);

/* Fills first_op and last_op of every tensor and returns the first error. An activation is written before it
 * is read because its id comes from the call that writes it. */
int bl_graph_finish(bl_graph *g, bl_error *err);

void bl_graph_free(bl_graph **g);

/* Starts a block; all weights and ops until the next call belong to it. The name may use printf's format. */
void bl_graph_block(bl_graph *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Declares host inputs. Order of declaration is the port number. */
bl_tensor_id bl_input(bl_graph *g, const char *name, bl_dtype dtype, bl_layout layout, int n, int h, int w,
                      int c);

/* Declares a weight of the current block. `names`: one to three names, each tensor holding 1/parts of axis 0.
 * A name of "": no file has it, and it is zeros: the bias of a convolution that has none. */
bl_weight_id bl_weight_new(bl_graph *g, bl_weight_kind kind, const int64_t *shape, int rank,
                           const char *const *names, int parts);

bl_tensor_id bl_import(bl_graph *g, bl_tensor_id input);
/* Makes an output of this name and layout. */
bl_tensor_id bl_export(bl_graph *g, bl_tensor_id x, const char *name, bl_layout layout);
/* Names an inner tensor; it becomes an output (spatial tensors NCHW, others channels-last) if `taps` asks for
 * it. */
void bl_tap(bl_graph *g, bl_tensor_id x, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for what diffusers holds as tokens [n, h * w, c]. */
void bl_tap_tokens(bl_graph *g, bl_tensor_id x, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A prologue is a graph that runs once, before another that runs many times and reads what the prologue left:
 * kept tensors. They lie at the arena's begin, one behind the other in the order in which they are kept, and
 * nothing else of either graph is put there. So both graphs name the same tensors in the same order, and run
 * in arenas that begin at one address.
 *
 * Keeps an activation of this graph: it is written once and stays. */
void bl_keep(bl_graph *g, bl_tensor_id x);
/* What a prologue kept: [n, h, w, c] of the graph's dtype. Only to be read. */
bl_tensor_id bl_kept(bl_graph *g, int n, int h, int w, int c);

bl_tensor_id bl_sinusoid(bl_graph *g, bl_tensor_id input, int dim);
/* `positions` may be BL_NONE. */
bl_tensor_id bl_embed(bl_graph *g, bl_tensor_id ids, bl_weight_id tokens, bl_weight_id positions);
bl_tensor_id bl_take_row(bl_graph *g, bl_tensor_id x, bl_tensor_id rows);

typedef struct bl_conv_options {
    int stride;                      /* 0 means 1 */
    int top, left, bottom, right;    /* zero padding */
    bl_tensor_id residual, channels; /* BL_NONE or inputs to add */
} bl_conv_options;
bl_tensor_id bl_conv(bl_graph *g, bl_tensor_id x, bl_weight_id w, bl_weight_id bias, bl_conv_options o);

bl_tensor_id bl_linear(bl_graph *g, bl_tensor_id x, bl_weight_id w, bl_weight_id bias, bl_act act,
                       bl_tensor_id residual);
bl_tensor_id bl_group_norm(bl_graph *g, bl_tensor_id x, bl_weight_id scale, bl_weight_id shift, int groups,
                           float eps, bl_act act);
/* `scale` and `shift` may both be BL_NONE. */
bl_tensor_id bl_layer_norm(bl_graph *g, bl_tensor_id x, bl_weight_id scale, bl_weight_id shift, float eps);
/* Over c, or, where `scale` has fewer elements, over each so many channels: a head. */
bl_tensor_id bl_rms_norm(bl_graph *g, bl_tensor_id x, bl_weight_id scale, float eps);

/* `table`: an F32 input [n, T, 1, dim]. */
bl_tensor_id bl_rope(bl_graph *g, bl_tensor_id x, bl_tensor_id table, int dim, bool halves);
bl_tensor_id bl_modulate(bl_graph *g, bl_tensor_id x, bl_tensor_id m, int scale, int shift);
bl_tensor_id bl_gated_add(bl_graph *g, bl_tensor_id x, bl_tensor_id y, bl_tensor_id m, int at, bool tanh);
bl_tensor_id bl_glu(bl_graph *g, bl_tensor_id x, bl_act act);
bl_tensor_id bl_join(bl_graph *g, bl_tensor_id a, bl_tensor_id b);
bl_tensor_id bl_slice(bl_graph *g, bl_tensor_id x, int first, int count);
bl_tensor_id bl_channels(bl_graph *g, bl_tensor_id x, int first, int count);
bl_tensor_id bl_patchify(bl_graph *g, bl_tensor_id x, int side);
/* Of tokens [n, h w, 1, c] or of [n, h, w, c]. */
bl_tensor_id bl_unpatchify(bl_graph *g, bl_tensor_id x, int side, int h, int w);
/* The same with all of a channel side by side: (c, dy, dx). */
bl_tensor_id bl_patchify_planes(bl_graph *g, bl_tensor_id x, int side);
bl_tensor_id bl_unpatchify_planes(bl_graph *g, bl_tensor_id x, int side, int h, int w);

typedef struct bl_attention_options {
    int heads, head_dim;
    int kv_heads; /* of k and v; 0: as many as heads */
    int q_offset, k_offset, v_offset;
    bool causal;
    bl_tensor_id key_counts; /* an I32 input [n,1,1,1], each 1 .. k.h * k.w; or BL_NONE: all keys */
    /* What these are likely to be, for devices that get ready for it: key_least, and from there by key_step
     * up to all; 0: nobody knows */
    int key_least, key_step;
} bl_attention_options;
/* Output [q.n, q.h, q.w, heads * head_dim]; scale 1/sqrt(head_dim). k and v have k.h * k.w rows. One of the
 * batch that sees fewer of them gets what it would get if it had no more. */
bl_tensor_id bl_attention(bl_graph *g, bl_tensor_id q, bl_tensor_id k, bl_tensor_id v,
                          bl_attention_options o);
/* The same without a scale, `bias` added to the scores of each head: an F32 input [n, heads, 1, d] of
 * d = q.h q.w + k.h k.w - 1, that of query i and key j at its place i - j + k.h k.w - 1. */
bl_tensor_id bl_biased_attention(bl_graph *g, bl_tensor_id q, bl_tensor_id k, bl_tensor_id v,
                                 bl_tensor_id bias, bl_attention_options o);

bl_tensor_id bl_activation(bl_graph *g, bl_tensor_id x, bl_act act);
bl_tensor_id bl_add(bl_graph *g, bl_tensor_id a, bl_tensor_id b);
bl_tensor_id bl_concat(bl_graph *g, bl_tensor_id a, bl_tensor_id b);
bl_tensor_id bl_upsample(bl_graph *g, bl_tensor_id x, int h, int w);

/* ---- reading */

/* Elements and bytes of a tensor. Checked to fit when it was made. */
int64_t bl_tensor_elements(const bl_tensor *t);
uint64_t bl_tensor_bytes(const bl_tensor *t);
int64_t bl_weight_elements(const bl_weight *w);

/* "CONV", "ATTENTION", ... Static storage. */
const char *bl_op_name(bl_op_kind kind);

/* Whether an op is one that has more than one algorithm: a 3x3 convolution of stride 1. */
bool bl_op_has_ways(const bl_op *op);
/* Width of the widest picture that such an op makes; 0: there is none. */
int bl_graph_widest(const bl_graph *g);

/* Floating-point operations of one op, a multiply-add counted as two; only what grows with the picture (conv,
 * linear, attention) is counted, the rest is 0. */
double bl_op_flops(const bl_graph *g, const bl_op *op);

/* Port of the input or output of this name, or -1. */
int bl_graph_input(const bl_graph *g, const char *name);
int bl_graph_output(const bl_graph *g, const char *name);
/* Tensor behind a port, or NULL. Borrowed. */
const bl_tensor *bl_graph_port(const bl_graph *g, bl_place place, int port);

#endif
