/* What cuBLASLt and cuDNN are asked for: each shape once, and the answer kept as long as the device. The
 * choice hangs on the shape, the card and the libraries' versions, never on a clock: so the same seed has the
 * same bits, whatever lies where. */
#ifndef BALLAST_DEVICE_CUDA_PLANS_H
#define BALLAST_DEVICE_CUDA_PLANS_H

#include "core/checked.h"
#include "core/dtype.h"
#include "core/error.h"
#include "device/cuda/abi.h"

#include <stdbool.h>

/* The most scratch that a library may ask for: another limit would be another choice. */
#define BL_CUDA_WORKSPACE (32u << 20)
/* cuBLASLt refuses scratch that lies at less than this; an arena's offsets are multiples of BL_ALIGN. */
#define BL_CUDA_WORKSPACE_ALIGN 256u

/* Bytes of an arena in which `bytes` of scratch can lie as a library wants them. */
static inline uint64_t bl_cuda_workspace_room(uint64_t bytes) {
    return bytes ? bytes + BL_CUDA_WORKSPACE_ALIGN - BL_ALIGN : 0;
}

/* Where in that room they lie. */
static inline void *bl_cuda_workspace_at(bl_cu_pointer room) {
    uint64_t most = BL_CUDA_WORKSPACE_ALIGN - 1;
    return (void *)(uintptr_t)((room + most) / BL_CUDA_WORKSPACE_ALIGN * BL_CUDA_WORKSPACE_ALIGN);
}

/* y [batch][rows, o] = alpha x [rows, k] w^T + residual + bias, of which either may be missing.
 * Strides are in elements, from row to row and
 * from one of the batch to the next; w is [o, k], or [k, o] where it is `plain`. Shapes are compared byte by
 * byte: begin with a zeroed one. */
typedef struct bl_cuda_product_shape {
    int64_t rows, o, k, x_stride, w_stride, y_stride;
    int64_t batch, x_batch, w_batch, y_batch;
    int64_t plain, bias, residual;     /* 0 or 1 */
    int64_t in, out;                   /* bl_dtype */
    int64_t x_align, w_align, y_align; /* of the addresses, in bytes */
} bl_cuda_product_shape;

typedef struct bl_cuda_product {
    bl_cuda_product_shape shape;
    int number, choice; /* of all plans; of the library's proposals */
    bl_lt_desc desc;
    bl_lt_layout x, w, y;
    bl_lt_algo algo;
    uint64_t workspace_bytes;
} bl_cuda_product;

/* y [oh, ow, o] = conv(x [h, w, c]) + bias F32 [o] + residual. The same of comparing. */
typedef struct bl_cuda_conv_shape {
    int64_t h, w, c, o, oh, ow, kh, kw, stride, top, left, bottom, right, residual, dtype;
} bl_cuda_conv_shape;

typedef struct bl_cuda_conv {
    bl_cuda_conv_shape shape;
    int number, choice;
    bool has_plan; /* cuDNN does it */
    bl_dnn_descriptor plan;
    uint64_t workspace_bytes;
} bl_cuda_conv;

/* q [rows] of `heads` heads of `dim` channels, k and v [keys] of `kv_heads`, each for as many of q that lie
 * side by side, with the width of the tensors that they are slices of; y [rows, heads * dim]. */
typedef struct bl_cuda_attention_shape {
    int64_t rows, keys, heads, kv_heads, dim, q_width, k_width, v_width;
    int64_t q_align, k_align, v_align;
    int64_t causal, dtype;
    float scale;
    int32_t biased; /* no bytes that nobody sets */
} bl_cuda_attention_shape;

/* The most scratch that it takes, whatever number of keys up to all of them is seen. */
uint64_t bl_cuda_attention_most(const bl_cuda_attention_shape *shape);

/* By cuDNN, or in bands of rows: scores, softmax, weights times v. */
typedef struct bl_cuda_attention {
    bl_cuda_attention_shape shape;
    int number, choice;
    bool has_plan; /* cuDNN does it; else in bands */
    bl_dnn_descriptor plan;
    int64_t band, stride; /* rows at once; keys, rounded up: from one row of scores to the next */
    const bl_cuda_product *scores[2], *sums[2]; /* of a whole band, and of the last */
    uint64_t weights_at, workspace_at;          /* offsets in the scratch; scores lie at 0 */
    uint64_t scratch_bytes, workspace_bytes;
} bl_cuda_attention;

typedef struct bl_cuda_plans {
    struct bl_cuda_product_item *products;
    struct bl_cuda_conv_item *convs;
    struct bl_cuda_attention_item *attentions;
    int count;  /* of all of them */
    int forced; /* not 0: this proposal of the libraries, from 1 on, whatever a table says: to measure it */
    int estimated; /* those whose scratch is a guess, where there is no card */
} bl_cuda_plans;

typedef struct bl_cuda bl_cuda;

/* By what a table knows a shape. */
uint64_t bl_cuda_plan_key(const char *what, const void *shape, size_t bytes);
/* Which of a library's proposals to take, from 0 on: the measured one, or the first. */
int bl_cuda_chosen(const bl_cuda *c, uint64_t key);
typedef struct bl_cuda_planned_plan {
    bool exists; /* the library has one */
    uint64_t workspace_bytes;
} bl_cuda_planned_plan;

/* Where there is no card: whether the plan comes from the card's file, or is a guess since the library cannot
 * be asked either. */
bool bl_cuda_planned(bl_cuda_planned_plan *out, bl_cuda *c, uint64_t key, bool can_be_asked);

/* Every plan that there is. `choice`: -1 where the library has none, and products do it. */
typedef void bl_cuda_plan_visit(void *payload, const char *what, uint64_t key, int choice,
                                uint64_t workspace_bytes);
void bl_cuda_visit_products(const bl_cuda *c, bl_cuda_plan_visit *visit, void *payload);
void bl_cuda_visit_convs(const bl_cuda *c, bl_cuda_plan_visit *visit, void *payload);
void bl_cuda_visit_attentions(const bl_cuda *c, bl_cuda_plan_visit *visit, void *payload);

/* Borrowed from the device. */
int bl_cuda_find_product(const bl_cuda_product **out, bl_cuda *c, const bl_cuda_product_shape *shape,
                         bl_error *err);
int bl_cuda_find_conv(const bl_cuda_conv **out, bl_cuda *c, const bl_cuda_conv_shape *shape, bl_error *err);
int bl_cuda_find_attention(const bl_cuda_attention **out, bl_cuda *c, const bl_cuda_attention_shape *shape,
                           bl_error *err);
void bl_cuda_products_close(bl_cuda *c);
void bl_cuda_convs_close(bl_cuda *c);
void bl_cuda_attentions_close(bl_cuda *c);

/* Put them on a stream; what is missing is 0. */
int bl_cuda_multiply(bl_cuda *c, const bl_cuda_product *p, bl_cu_stream stream, bl_cu_pointer y,
                     bl_cu_pointer x, bl_cu_pointer w, bl_cu_pointer bias, bl_cu_pointer residual,
                     float alpha, bl_cu_pointer workspace, bl_error *err);
int bl_cuda_convolve(bl_cuda *c, const bl_cuda_conv *p, bl_cu_pointer y, bl_cu_pointer x, bl_cu_pointer w,
                     bl_cu_pointer bias, bl_cu_pointer residual, bl_cu_pointer workspace, bl_error *err);

#endif
