/* 3x3 convolutions of stride 1 by Winograd's algorithm: the loop around the kernels. Weights stay packed as
 * they are and are transformed as they are needed, which costs a few percent and saves 4 to 8 times their
 * size. */
#include "device/cpu/internal.h"

#include "core/checked.h"

#include <string.h>

#define INPUT_BYTES (16 << 20) /* of transformed tiles at once: half of a usual last-level cache */
#define GROUP 64               /* output channels at once */
#define DEPTH 640              /* input channels at once; a constant, because it orders the sums */

static int64_t floats(int64_t plane) {
    return 36 * (plane + 16);
}

void bl_cpu_winograd_plan(bl_winograd_job *j, const bl_typed_kernels *k) {
    int64_t tiles = (int64_t)j->n * ((j->oh + 3) / 4) * ((j->ow + 3) / 4);
    int64_t row = (int64_t)bl_align_up((uint64_t)j->c, 16);
    int64_t fit = INPUT_BYTES / (36 * row * (int64_t)sizeof(float));
    int64_t batches = (tiles + fit - 1) / (fit > 0 ? fit : 1);
    int64_t batch = (tiles + batches - 1) / batches;
    j->batch = (int)((batch + k->winograd_rows - 1) / k->winograd_rows * k->winograd_rows);
    int wide = (int)bl_align_up((uint64_t)j->o, 16);
    j->group = wide < GROUP ? wide : GROUP;
    j->depth = j->c < DEPTH ? j->c : DEPTH;
}

static uint64_t input_bytes(const bl_winograd_job *j) {
    return (uint64_t)floats(j->batch * (int64_t)bl_align_up((uint64_t)j->c, 16)) * sizeof(float);
}

static uint64_t filter_bytes(const bl_winograd_job *j) {
    return (uint64_t)floats((int64_t)j->group * j->depth) * sizeof(float);
}

static uint64_t output_bytes(const bl_winograd_job *j) {
    return (uint64_t)floats((int64_t)j->batch * j->group) * sizeof(float);
}

static uint64_t zero_bytes(const bl_winograd_job *j) {
    return bl_align_up((uint64_t)j->c * sizeof(float), BL_ALIGN);
}

uint64_t bl_cpu_winograd_scratch(const bl_winograd_job *j) {
    return input_bytes(j) + filter_bytes(j) + output_bytes(j) + zero_bytes(j);
}

typedef struct winograd_loop {
    const bl_typed_kernels *k;
    bl_winograd_job job;
} winograd_loop;

static void input_range(void *context, int64_t begin, int64_t end, int thread) {
    const winograd_loop *l = context;
    (void)thread;
    l->k->winograd_input(&l->job, begin, end);
}

static void filter_range(void *context, int64_t begin, int64_t end, int thread) {
    const winograd_loop *l = context;
    (void)thread;
    l->k->winograd_filter(&l->job, begin, end);
}

static void product_range(void *context, int64_t begin, int64_t end, int thread) {
    const winograd_loop *l = context;
    (void)thread;
    l->k->winograd_product(&l->job, begin, end);
}

/* All output channels of the tiles [tile, tile + tiles). */
static void run_batch(winograd_loop *l) {
    bl_winograd_job *j = &l->job;
    int rows = l->k->winograd_rows;
    bl_parallel_for(j->tiles, 1, input_range, l);
    for (j->out = 0; j->out < j->o; j->out += j->group) {
        int left = (int)bl_align_up((uint64_t)(j->o - j->out), 16);
        j->outs = left < j->group ? left : j->group;
        for (j->in = 0; j->in < j->c; j->in += j->depth) {
            j->ins = j->c - j->in < j->depth ? j->c - j->in : j->depth;
            bl_parallel_for((int64_t)(j->outs / 16) * ((j->ins + 15) / 16), 1, filter_range, l);
            bl_parallel_for((j->tiles + rows - 1) / rows, 1, product_range, l);
        }
    }
}

void bl_cpu_winograd_run(const bl_winograd_job *job, const bl_typed_kernels *k, unsigned char *scratch) {
    winograd_loop l = {.k = k, .job = *job};
    bl_winograd_job *j = &l.job;
    j->input = (float *)(void *)scratch;
    j->filter = (float *)(void *)(scratch + input_bytes(j));
    j->output = (float *)(void *)(scratch + input_bytes(j) + filter_bytes(j));
    unsigned char *zeros = scratch + input_bytes(j) + filter_bytes(j) + output_bytes(j);
    memset(zeros, 0, zero_bytes(j));
    j->zeros = zeros;
    int64_t all = (int64_t)j->n * ((j->oh + 3) / 4) * ((j->ow + 3) / 4);
    for (j->tile = 0; j->tile < all; j->tile += j->batch) {
        j->tiles = (int)(all - j->tile < j->batch ? all - j->tile : j->batch);
        run_batch(&l);
    }
}
