/* What cuDNN's fake shares: a finalized plan as a program of a few operations, and what runs it. */
#ifndef BALLAST_TESTS_DEVICE_CUDA_FAKE_DNN_H
#define BALLAST_TESTS_DEVICE_CUDA_FAKE_DNN_H

#include "fake_state.h"

#define TENSORS 8
#define WORKSPACE 512 /* of the second engine; the third takes as much again */

typedef struct tensor {
    int64_t id, dims[4], strides[4], alignment;
    bool bf16, is_virtual, by_value;
    float *dense; /* [dims[0], dims[2], dims[3], dims[1]], while a plan runs */
} tensor;

typedef struct operation {
    bl_dnn_kind kind;
    int x, w, y, v, scale; /* of the program's tensors */
    int64_t stride[2], pre[2];
} operation;

typedef struct program {
    tensor t[TENSORS];
    operation op[4];
    int tensors, ops, engine;
} program;

static inline size_t scratch_of(const program *p) {
    return WORKSPACE * (p->engine == 2 ? 2 : 1);
}

typedef struct running {
    program p;
    void *memory[TENSORS];
    float scalar;
    unsigned char *workspace;
} running;

/* Does a plan's work; payload: a `running`. */
void fake_dnn_run(void *payload);

#endif
