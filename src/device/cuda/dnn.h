/* cuDNN's graphs: descriptors whose attributes are set one by one. After the first failure every call does
 * nothing, so that a graph is written down without a test on each line. */
#ifndef BALLAST_DEVICE_CUDA_DNN_H
#define BALLAST_DEVICE_CUDA_DNN_H

#include "device/cuda/plans.h"

#define BL_DNN_MOST 24 /* descriptors of one graph */

typedef struct bl_dnn_graph {
    bl_cuda *c; /* NULL inside tests that have no card: then there is no handle */
    const bl_cudnn *dnn;
    bl_dnn_status status;
    const char *what; /* failed */
    bl_dnn_descriptor made[BL_DNN_MOST], ops[4];
    int count, op_count;
} bl_dnn_graph;

/* A tensor of four dimensions. Without an `id` it is virtual, and F32. `strides` in elements. */
bl_dnn_descriptor bl_dnn_tensor(bl_dnn_graph *g, int64_t id, int64_t dtype, const int64_t *dims,
                                const int64_t *strides, int64_t alignment);
/* A scalar F32 that comes by value with each run. */
bl_dnn_descriptor bl_dnn_scalar(bl_dnn_graph *g, int64_t id);
bl_dnn_descriptor bl_dnn_make(bl_dnn_graph *g, bl_dnn_kind kind, const char *what);
void bl_dnn_set(bl_dnn_graph *g, bl_dnn_descriptor d, bl_dnn_attr name, bl_dnn_type type, int64_t count,
                const void *elements);
void bl_dnn_set_tensor(bl_dnn_graph *g, bl_dnn_descriptor d, bl_dnn_attr name, bl_dnn_descriptor tensor);
void bl_dnn_finalize(bl_dnn_graph *g, bl_dnn_descriptor d);
/* Finalizes an operation and appends it. */
void bl_dnn_op(bl_dnn_graph *g, bl_dnn_descriptor op);
/* y = a + b */
void bl_dnn_add(bl_dnn_graph *g, bl_dnn_descriptor a, bl_dnn_descriptor b, bl_dnn_descriptor y);
/* The operations as cuDNN's graph. */
bl_dnn_descriptor bl_dnn_operations(bl_dnn_graph *g);

typedef struct bl_dnn_plan_made {
    bool exists;            /* else cuDNN has none, or no such graph; then the log says why */
    bl_dnn_descriptor plan; /* NULL where there is no card, too */
    uint64_t workspace_bytes;
    int choice;
} bl_dnn_plan_made;

/* The plan that cuDNN would take, or the one that was measured to be the fastest, of those that repeat their
 * bits and compute in the types that they are given. Frees the graph. `key`: of what the graph was made of;
 * what is made of the same has the same plan. */
int bl_dnn_plan(bl_dnn_plan_made *out, bl_dnn_graph *g, bool f32, const char *what, uint64_t key,
                bl_error *err);
void bl_dnn_free(bl_dnn_graph *g);

/* Runs a plan on tensors 1 .. count and the scalar behind them. */
int bl_dnn_execute(bl_cuda *c, bl_dnn_descriptor plan, const bl_cu_pointer *tensors, int count,
                   const float *scalar, bl_cu_pointer workspace, const char *what, bl_error *err);

/* The graphs themselves, for who has no card, too. */
void bl_dnn_conv_graph(bl_dnn_graph *g, const bl_cuda_conv_shape *s);
void bl_dnn_attention_graph(bl_dnn_graph *g, const bl_cuda_attention_shape *s);

#endif
