/* The kernels that are our own, as one table for each instruction set. All tables do the same; `plain` is C
 * without vectors and stays as the reference of the others (tests/device/cpu/test_kernels.c).
 *
 * Rows are channels-last: `rows` x `c` elements, dense. Vectors (scale, shift, a, b) are F32 [c]. No kernel
 * allocates or starts threads: callers cut the work. Outputs may be their first input where the comment says
 * "in place". */
#ifndef BALLAST_DEVICE_CPU_KERNELS_H
#define BALLAST_DEVICE_CPU_KERNELS_H

#include "device/cpu/cpu.h"
#include "graph/graph.h"

#include <stdbool.h>
#include <stdint.h>

/* Mean and sum of squared distances from it, of the values of one group in one block of rows. */
typedef struct bl_moments {
    double mean, square;
} bl_moments;

/* Attention of one picture of a batch: y[i] = sum over keys j of softmax(q[i] k[j] scale)_j v[j], for each
 * head; a bias is added to the products of q and k. */
typedef struct bl_attention_job {
    const void *q, *k, *v; /* first channel of the first head; rows `*_stride` elements apart */
    void *y;
    int64_t q_stride, k_stride, v_stride, y_stride;
    int heads, kv_heads, head_dim; /* kv_heads divides heads: so many side by side share one */
    int q_rows, k_rows;
    float scale;
    bool causal; /* row i sees keys 0..i */
    /* F32, of row i and key j of a head at i - j, heads `bias_stride` elements apart; or NULL */
    const float *bias;
    int64_t bias_stride;
    void *packed; /* attention_packed bytes: keys and values of all heads, in the kernel's order */
} bl_attention_job;

#define BL_WINOGRAD_LANES \
    16                     /* output channels that packed weights keep together, for every instruction set */
#define BL_WINOGRAD_TILE 4 /* side of the output that one tile makes; its input is 6 x 6 */

/* A 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3), in F32 whatever the type of its tensors. Tiles are
 * taken in batches, whose transformed input all threads share. A task is one group of output channels of one
 * strip of the batch; it takes the input channels in slices, so that the transformed filters of a group and
 * slice stay in its core's cache. Or, where there are many tiles and few channels, all filters are
 * transformed once and kept; a task is then one block of tiles, input transform included. None of these
 * choices changes a result, except `depth`. */
typedef struct bl_winograd_job {
    const void *x; /* [n, h, w, c] */
    /* Of the same type as x; padding is zero. Output channel o, input channel i and tap k lie at
     * o / outs * block + o % outs * width + i / width * in + i % width + k * tap (all of filter_*), where
     * width is 2 if pairs, else 1. */
    const void *weights;
    int64_t filter_block, filter_in, filter_tap;
    int filter_outs; /* a multiple of 16 */
    bool filter_pairs;
    const void *residual; /* [n, oh, ow, o] or NULL */
    const float *bias;    /* F32 [o], bias_stride floats further for each picture; or NULL */
    void *y;              /* [n, oh, ow, o]; may be the residual */
    int n, h, w, c, oh, ow, o, top, left;
    int stride; /* 1; or 2: of oh x ow outputs only every other row and column is written, to a smaller y */
    int64_t bias_stride;
    int batch, strip, strips; /* tiles of a batch and of a strip (multiples of 12); strips of a batch */
    int group, depth;         /* output channels of a group (a multiple of 16), input channels of a slice */
    float *input;             /* [36][batch][c up to 16] and 16 floats after each of the 36 */
    const void *zeros;        /* [c] of the type of x */
    float *kept;              /* filters of all groups, each as `filter` below, or NULL; then `depth` is c */
    int64_t tile;             /* where the batch begins */
    int tiles;                /* in the batch */
    bool keep;                /* the plan: filters are kept */
    /* inside a task: */
    float *filter;                 /* [36][group / lanes][depth][lanes] and 16 floats after each of the 36 */
    float *output;                 /* [36][strip][group] and 16 floats after each of the 36 */
    int first, out, outs, in, ins; /* tile of the batch; output and input channels and how many */
} bl_winograd_job;

typedef struct bl_typed_kernels {
    /* In place only when both types have the same size. */
    void (*from_f32)(void *y, const float *x, int64_t n);
    void (*to_f32)(float *y, const void *x, int64_t n);
    void (*add)(void *y, const void *a, const void *b, int64_t n);  /* in place of a or b */
    void (*act)(void *y, const void *x, int64_t n, bl_act act);     /* in place */
    void (*gate)(void *y, const void *x, const void *g, int64_t n); /* y = x gelu(g); in place of x */
    void (*add_row)(void *y, const void *x, const float *row, int64_t rows,
                    int c); /* y = x + row; in place */
    void (*layer_norm)(void *y, const void *x, const float *scale, const float *shift, int64_t rows, int c,
                       float eps); /* in place */
    void (*rms_norm)(void *y, const void *x, const float *scale, int64_t rows, int c,
                     float eps); /* in place */
    /* Moments of each of `groups` equal groups of channels over `rows` rows. */
    void (*group_moments)(bl_moments *out, const void *x, int64_t rows, int c, int groups);
    /* y = act(x a + b), act NONE or SILU; in place */
    void (*scale_shift)(void *y, const void *x, const float *a, const float *b, int64_t rows, int c,
                        bl_act act);

    /* Attention in two loops: attention_pack over [0, attention_pack_items), and when that is done
     * attention_run over [0, attention_items). `scratch`: attention_scratch bytes for each thread. Any cut
     * gives the same bits. */
    int64_t (*attention_pack_items)(const bl_attention_job *a);
    int64_t (*attention_items)(const bl_attention_job *a);
    uint64_t (*attention_packed)(const bl_attention_job *a);
    uint64_t (*attention_scratch)(const bl_attention_job *a);
    void (*attention_pack)(const bl_attention_job *a, int64_t begin, int64_t end);
    void (*attention_run)(const bl_attention_job *a, int64_t begin, int64_t end, void *scratch);

    /* Winograd: input over [0, tiles), then run over [0, groups x strips). With kept filters: filters over
     * [0, groups), then blocks over [0, tiles / strip up), where `tiles` is all. `scratch`: for each thread.
     */
    void (*winograd_input)(const bl_winograd_job *j, int64_t begin, int64_t end);
    void (*winograd_run)(const bl_winograd_job *j, int64_t begin, int64_t end, void *scratch);
    void (*winograd_filters)(const bl_winograd_job *j, int64_t begin, int64_t end);
    void (*winograd_blocks)(const bl_winograd_job *j, int64_t begin, int64_t end, void *scratch);
} bl_typed_kernels;

#define BL_TRANSPOSE_ROWS 16

typedef struct bl_kernels {
    const char *name;
    /* dst[place[i] + r] = src[r stride + i] for BL_TRANSPOSE_ROWS rows r of n words each. `past`: nobody will
     * read them soon, so they go past the cache where they can. */
    void (*transpose)(uint32_t *dst, const int64_t *place, const uint32_t *src, int64_t stride, int64_t n,
                      bool past);
    /* Widens `blocks` blocks of Q8_0 of each of BL_TRANSPOSE_ROWS rows, row_bytes apart, to BF16, as bl_widen
     * and bl_f32_to_bf16 do: dst[place[i] + r] are values 2 i and 2 i + 1 of row r. Written past the cache:
     * dst is aligned to 64 bytes, places are multiples of BL_TRANSPOSE_ROWS. */
    void (*widen_q8_0)(uint32_t *dst, const int64_t *place, const uint8_t *codes, int64_t row_bytes,
                       int64_t blocks);
    bl_typed_kernels f32, bf16;
} bl_kernels;

extern const bl_kernels bl_kernels_plain;
extern const bl_kernels bl_kernels_avx2;
extern const bl_kernels bl_kernels_avx512;
extern const bl_kernels bl_kernels_avx512_bf16;

/* Best instruction set of this CPU that is at most `max`. */
bl_cpu_isa bl_cpu_isa_find(bl_cpu_isa max);
/* Has matrix tiles for bf16, which only oneDNN uses. */
bool bl_cpu_has_amx(void);
const bl_kernels *bl_kernels_for(bl_cpu_isa isa);

#endif
