/* 3x3 convolutions of stride 1 by Winograd's algorithm: the loop around the kernels. Weights stay packed as
 * they are and are transformed as they are needed, which costs a few percent and saves 4 to 8 times their
 * size. */
#include "device/cpu/internal.h"

#include "core/checked.h"

#include <string.h>

#define INPUT_BYTES (16 << 20) /* of transformed tiles at once: half of a usual last-level cache */
#define UNIT 12                /* tiles of a strip are a multiple of this: whole register tiles */

/* Output channels of a group. Measured: 64 read the input half as often as 32, which makes up for the filters
 * of a slice then leaving the second-level cache. */
#define GROUP 64
#define GROUP_SMALL 32
#define GROUP_SMALL_COST 1.07

/* Input channels of a slice: many where there are enough tiles to read the slice's filters from the
 * last-level cache, few where transforming the filters is what counts. It orders the sums, so it depends on
 * the picture's shape alone, not on the batch or on the threads. */
#define DEPTH 320
#define DEPTH_SMALL 128
#define MANY_TILES 64

/* Filters are kept where all of them fit in a last-level cache beside what else is there, and a picture has
 * so many tiles that transforming them once is nothing. Blocks of tiles are then small enough for a core's
 * own cache. */
#define KEPT_BYTES (12 << 20)
#define KEPT_TILES 1024
#define BLOCK_BYTES (448 << 10)

#define FILTER_COST 3.0 /* of transforming a group's filters, in products of one tile with them */

static int64_t tiles_of(const bl_winograd_job *j) {
    return (int64_t)j->n * ((j->oh + 3) / 4) * ((j->ow + 3) / 4);
}

static int groups_of(const bl_winograd_job *j) {
    return (j->o + j->group - 1) / j->group;
}

static int64_t whole_units(int64_t tiles) {
    return (tiles + UNIT - 1) / UNIT * UNIT;
}

/* Cuts a batch into groups and strips so that the threads are even, against transforming filters once for
 * each strip. */
static void choose_strips(bl_winograd_job *j, int threads) {
    int wide = (int)bl_align_up((uint64_t)j->o, BL_WINOGRAD_LANES);
    bl_winograd_job try = *j;
    double best = 1e300;
    for (int k = 0; k < 2; k++) {
        int group = k ? GROUP_SMALL : GROUP;
        try.group = wide < group ? wide : group;
        for (try.strips = 1; try.strips <= 16 && try.strips <= j->batch / UNIT; try.strips++) {
            try.strip = (int)whole_units((j->batch + try.strips - 1) / try.strips);
            int64_t rounds = ((int64_t)groups_of(&try) * try.strips + threads - 1) / threads;
            double cost =
                (double)rounds * try.group * (try.strip * (k ? GROUP_SMALL_COST : 1.0) + FILTER_COST);
            if (cost < best) {
                best = cost;
                *j = try;
            }
        }
    }
}

static void plan_kept(bl_winograd_job *j, int64_t row) {
    int wide = (int)bl_align_up((uint64_t)j->o, BL_WINOGRAD_LANES);
    int64_t strip = BLOCK_BYTES / (36 * row * (int64_t)sizeof(float)) / UNIT * UNIT;
    j->keep = true;
    j->depth = j->c;
    j->group = wide < GROUP ? wide : GROUP;
    j->strip = j->batch = strip < UNIT ? UNIT : (int)strip;
    j->tiles = (int)tiles_of(j);
}

void bl_cpu_winograd_plan(bl_winograd_job *j, int64_t picture, int threads) {
    int64_t row = (int64_t)bl_align_up((uint64_t)j->c, 16), tiles = tiles_of(j);
    int64_t all = 36 * row * (int64_t)bl_align_up((uint64_t)j->o, BL_WINOGRAD_LANES) * (int64_t)sizeof(float);
    if (all <= KEPT_BYTES && picture >= KEPT_TILES) {
        plan_kept(j, row);
        return;
    }
    int64_t fit = INPUT_BYTES / (36 * row * (int64_t)sizeof(float));
    fit = fit < UNIT ? UNIT : fit;
    int64_t batches = (tiles + fit - 1) / fit;
    j->batch = (int)whole_units((tiles + batches - 1) / batches);
    int deepest = picture < MANY_TILES ? DEPTH_SMALL : DEPTH, slices = (j->c + deepest - 1) / deepest;
    j->depth = (int)bl_align_up((uint64_t)((j->c + slices - 1) / slices), 16);
    choose_strips(j, threads);
}

/* bytes of 36 planes of so many floats; the 16 more keep planes out of each other's cache sets */
static uint64_t planes(int64_t floats) {
    return 36 * (uint64_t)(floats + 16) * sizeof(float);
}

static uint64_t input_bytes(const bl_winograd_job *j) {
    return planes(j->batch * (int64_t)bl_align_up((uint64_t)j->c, 16));
}

static uint64_t filter_bytes(const bl_winograd_job *j) {
    return planes((int64_t)j->group * j->depth);
}

/* what all threads share: transformed input, or kept filters */
static uint64_t shared_bytes(const bl_winograd_job *j) {
    return j->keep ? filter_bytes(j) * (uint64_t)groups_of(j) : input_bytes(j);
}

static uint64_t thread_bytes(const bl_winograd_job *j) {
    return (j->keep ? input_bytes(j) : filter_bytes(j)) + planes((int64_t)j->strip * j->group);
}

static uint64_t zero_bytes(const bl_winograd_job *j) {
    return bl_align_up((uint64_t)j->c * sizeof(float), BL_ALIGN);
}

uint64_t bl_cpu_winograd_scratch(const bl_winograd_job *j, int threads) {
    return zero_bytes(j) + shared_bytes(j) + thread_bytes(j) * (uint64_t)threads;
}

typedef struct winograd_loop {
    const bl_typed_kernels *k;
    bl_winograd_job job;
    unsigned char *scratch; /* [threads][thread_bytes] */
} winograd_loop;

static void input_range(void *context, int64_t begin, int64_t end, int thread) {
    const winograd_loop *l = context;
    (void)thread;
    l->k->winograd_input(&l->job, begin, end);
}

static void task_range(void *context, int64_t begin, int64_t end, int thread) {
    const winograd_loop *l = context;
    l->k->winograd_run(&l->job, begin, end, l->scratch + thread_bytes(&l->job) * (uint64_t)thread);
}

static void filter_range(void *context, int64_t begin, int64_t end, int thread) {
    const winograd_loop *l = context;
    (void)thread;
    l->k->winograd_filters(&l->job, begin, end);
}

static void block_range(void *context, int64_t begin, int64_t end, int thread) {
    const winograd_loop *l = context;
    l->k->winograd_blocks(&l->job, begin, end, l->scratch + thread_bytes(&l->job) * (uint64_t)thread);
}

void bl_cpu_winograd_run(const bl_winograd_job *job, const bl_typed_kernels *k, unsigned char *scratch) {
    winograd_loop l = {.k = k, .job = *job};
    bl_winograd_job *j = &l.job;
    memset(scratch, 0, zero_bytes(j));
    j->zeros = scratch;
    l.scratch = scratch + zero_bytes(j) + shared_bytes(j);
    if (j->keep) {
        j->kept = (float *)(void *)(scratch + zero_bytes(j));
        bl_parallel_for(groups_of(j), 1, filter_range, &l);
        bl_parallel_for((j->tiles + j->strip - 1) / j->strip, 1, block_range, &l);
        return;
    }
    j->input = (float *)(void *)(scratch + zero_bytes(j));
    for (j->tile = 0; j->tile < tiles_of(j); j->tile += j->batch) {
        int64_t left = tiles_of(j) - j->tile;
        j->tiles = (int)(left < j->batch ? left : j->batch);
        bl_parallel_for(j->tiles, 1, input_range, &l);
        bl_parallel_for((int64_t)groups_of(j) * j->strips, 1, task_range, &l);
    }
}
