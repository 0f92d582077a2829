/* oneDNN behind a few functions. All that differs between its API 2 and its API 3 is in dnnl_versions.c.
 *
 * Weights are packed by us (pack.c) into the layout that oneDNN asks for; the layout is asked for once, with
 * a shape that does not depend on the picture, and every primitive is then made for that layout. */
#ifndef BALLAST_DEVICE_CPU_DNNL_API_H
#define BALLAST_DEVICE_CPU_DNNL_API_H

#include "device/cpu/cpu.h"
#include "graph/graph.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct bl_dnnl bl_dnnl;                     /* engine and stream */
typedef struct bl_dnnl_layout bl_dnnl_layout;       /* of one packed weight */
typedef struct bl_dnnl_primitive bl_dnnl_primitive; /* one operation at one shape */

#define BL_DNNL_BLOCKS 6

/* A blocked layout. Element (i0, i1, ...) lies at the sum over dimensions of bl_dnnl_place(). */
typedef struct bl_dnnl_blocking {
    int rank;
    int64_t dims[4];    /* conv: O, I, kh, kw; linear: I, O */
    int64_t strides[4]; /* of whole blocks, in elements */
    int inner;          /* number of inner blocks, outermost first */
    int64_t inner_size[BL_DNNL_BLOCKS];
    int inner_dim[BL_DNNL_BLOCKS];
    bool padded; /* holds elements that stand for nothing and must be zero */
    uint64_t bytes;
} bl_dnnl_blocking;

typedef struct bl_dnnl_conv {
    bl_dtype dtype; /* of src [n, h, w, c], weights and dst [n, oh, ow, o]; bias is F32 [o] */
    int n, h, w, c, oh, ow, o;
    int kh, kw, stride, top, left, bottom, right;
    bool bias;
    bool sum; /* dst is added to */
} bl_dnnl_conv;

typedef struct bl_dnnl_linear {
    bl_dtype dtype; /* of src [rows, c], weights and dst [rows, o]; bias is F32 [o] */
    int64_t rows, c, o;
    bool bias;
    bl_act act; /* NONE, SILU, GELU, QUICK_GELU: of the product and bias */
    bool sum;   /* then dst is added */
} bl_dnnl_linear;

typedef struct bl_dnnl_args {
    const void *src, *weights;
    const float *bias;
    void *dst;
    void *scratch; /* bl_dnnl_scratch bytes, aligned to BL_ALIGN */
} bl_dnnl_args;

/* Caller owns *out. The first call of a process fixes the instruction sets that oneDNN uses. */
int bl_dnnl_open(bl_dnnl **out, bl_cpu_isa isa_max, bl_error *err);
void bl_dnnl_close(bl_dnnl **d);

/* "oneDNN 2.6.3": of the library that is loaded. */
void bl_dnnl_version(char *text, int size);

/* The layout that oneDNN prefers for these weights. Caller owns *out. */
int bl_dnnl_conv_layout(bl_dnnl_layout **out, bl_dnnl *d, const bl_dnnl_conv *c, bl_error *err);
int bl_dnnl_linear_layout(bl_dnnl_layout **out, bl_dnnl *d, const bl_dnnl_linear *l, bl_error *err);
const bl_dnnl_blocking *bl_dnnl_layout_blocking(const bl_dnnl_layout *l);
void bl_dnnl_layout_close(bl_dnnl_layout **l);

/* Offset in elements that index i of dimension `dim` adds. */
int64_t bl_dnnl_place(const bl_dnnl_blocking *b, int dim, int64_t i);

/* Makes the operation for the calling thread's number of threads and weights in this layout. Caller owns
 * *out. */
int bl_dnnl_conv_open(bl_dnnl_primitive **out, bl_dnnl *d, const bl_dnnl_conv *c, const bl_dnnl_layout *l,
                      bl_error *err);
int bl_dnnl_linear_open(bl_dnnl_primitive **out, bl_dnnl *d, const bl_dnnl_linear *l,
                        const bl_dnnl_layout *layout, bl_error *err);
void bl_dnnl_primitive_close(bl_dnnl_primitive **p);

/* Bytes of scratch that a run needs. */
uint64_t bl_dnnl_scratch(const bl_dnnl_primitive *p);
/* oneDNN's name of the implementation, for logs: "brgconv:avx512_core". Borrowed. */
const char *bl_dnnl_implementation(const bl_dnnl_primitive *p);

int bl_dnnl_run(bl_dnnl_primitive *p, const bl_dnnl_args *args, bl_error *err);

#endif
