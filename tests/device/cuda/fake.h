/* Two cards that are none: CUDA's driver, cuDNN, cuBLASLt and NVRTC as plain C, behind the same tables of
 * entries. Device memory is malloc's, with guard zones, and comes full of NaN. Works wait in their streams'
 * queues until somebody waits for them, and are done one by one by their streams' threads, from a stream that
 * the seed chooses: early or late, copies too, as far as events let it. From the first kernel on until all
 * streams are waited for nobody may allocate or free. One thread uses it at a time. */
#ifndef BALLAST_TESTS_DEVICE_CUDA_FAKE_H
#define BALLAST_TESTS_DEVICE_CUDA_FAKE_H

#include "core/dtype.h"
#include "device/cuda/libs.h"

typedef struct fake_kernel {
    const char *name;
    size_t bytes; /* of its arguments */
    void (*run)(const void *args);
} fake_kernel;

extern const fake_kernel fake_kernels_f32[], fake_kernels_bf16[];
extern _Thread_local long long fake_block; /* which block of a launch runs */
extern unsigned fake_order;                /* of a block's threads */

typedef struct fake_script {
    uint64_t seed;
    int fail;             /* the call that fails, counted from 1; 0: none */
    int late;             /* the work that ends the card, counted likewise */
    bool refuse_pinned;   /* of more bytes than pinned_most */
    uint64_t pinned_most; /* 0: a page */
    bool without_waits;   /* cuStreamWaitEvent does nothing: what a forgotten wait would be */
    int lost_wait;        /* this one alone, counted from 1; 0: none */
    bool no_nvrtc;        /* it is not there */
    int driver;           /* the CUDA version that the driver is for; 0: 13000 */
    int sm;               /* of the first card; 0: 90. 999 is one that NVRTC does not know */
    int second_sm;        /* of the second; 0: 75, which is too old */
    uint64_t memory;      /* of a card; 0: 1 GiB */
    uint64_t lazy;        /* of a card, what a plan takes when it runs for the first time */
} fake_script;

/* The tables. Everything begins anew: nothing may be open. */
const bl_cuda_libs *fake_begin(const fake_script *script);
/* The same tables, beside what is open. */
const bl_cuda_libs *fake_libs(void);
bool fake_is_open(void);
/* Calls that could have failed, and works done, since then. */
int fake_calls(void);
int fake_works(void);
/* Waits that were put on streams since then. */
int fake_waits(void);
/* Graphs that were launched. */
int fake_graphs(void);
/* Programs that NVRTC compiled, and plans that cuDNN took as they had been kept, ever. */
int fake_compiled(void);
int fake_kept_plans(void);
/* Plans that cuDNN made between a first step and a last, ever. */
int fake_late_plans(void);
/* NULL, or what is wrong: a guard zone was written to, or something is still open. */
const char *fake_end(void);

/* ---- for the other files of the fake */

/* Whether this call is the one that fails; counts it. */
bool fake_fails(void);
/* Begins a call into the context. */
bl_cu_result fake_enter(void);
/* Does all works that can be done. */
void fake_run_all(void);
/* Puts a work on a stream; `payload` is copied. */
bl_cu_result fake_put(bl_cu_stream stream, void (*run)(void *payload), const void *payload, size_t bytes);
/* The same of a kernel: steps begin with it. */
bl_cu_result fake_put_kernel(bl_cu_stream stream, void (*run)(void *payload), const void *payload,
                             size_t bytes);
/* Memory of the fake itself, zeros at a multiple of 16: it does not run out where a test lets ours do so. */
void *fake_memory(size_t bytes);
void fake_give_back(void *p);
/* Counts what was made and is to be closed. */
void *fake_new(size_t bytes);
void fake_free(void *p);

extern const bl_cudnn fake_cudnn;
extern const bl_cublaslt fake_cublaslt;
extern const bl_nvrtc fake_nvrtc;
bl_cu_result fake_launch_kernel(bl_cu_function f, unsigned x, unsigned y, unsigned z, unsigned block_x,
                                unsigned block_y, unsigned block_z, unsigned shared, bl_cu_stream s,
                                void **arguments, void **extra);
bl_cu_result fake_module_load(bl_cu_module *out, const void *image);
bl_cu_result fake_module_unload(bl_cu_module m);
bl_cu_result fake_module_function(bl_cu_function *out, bl_cu_module m, const char *name);

/* ---- arithmetic */

/* Element i of an array of F32 or BF16. */
static inline float fake_load(const void *p, bool bf16, int64_t i) {
    return bf16 ? bl_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

static inline void fake_store(void *p, bool bf16, int64_t i, float v) {
    if (bf16) {
        ((uint16_t *)p)[i] = bl_f32_to_bf16(v);
    } else {
        ((float *)p)[i] = v;
    }
}

/* y [rows, o] = x [rows, k] w^T, w [o, k]; each sum in the order of k */
void fake_product(float *y, const float *x, const float *w, int64_t rows, int64_t o, int64_t k);

#endif
