/* Norms. A group norm adds up in chunks of rows, then over the chunks of each group, then is one factor and
 * one offset for each channel: each in an order that hangs on the shape of one picture alone. */
#include "device/cuda/internal.h"

#include "core/checked.h"

#define LEAST_CHUNK 16 /* rows */
#define MOST_CHUNKS 256

static int64_t chunk_rows(const bl_tensor *x) {
    int64_t step = (bl_cuda_rows_each(x) + MOST_CHUNKS - 1) / MOST_CHUNKS;
    return step < LEAST_CHUNK ? LEAST_CHUNK : step;
}

static int chunk_count(const bl_tensor *x) {
    return (int)((bl_cuda_rows_each(x) + chunk_rows(x) - 1) / chunk_rows(x));
}

/* extra[0]: the factors, F32 [n, 2, c]; the sums lie at 0 */
static int prepare_groups(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err) {
    const bl_tensor *in = &x->graph->tensors[op->in[0]];
    uint64_t row = (uint64_t)in->n * 2 * (uint64_t)in->c * 4;
    (void)err;
    s->extra[0] = bl_align_up(row * (uint64_t)chunk_count(in), BL_ALIGN);
    s->scratch_bytes = s->extra[0] + row;
    s->inplace = 0;
    return 0;
}

static int run_groups(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *in = bl_cuda_tensor(r, r->op->in[0]);
    bl_cu_pointer x = bl_cuda_data(r, r->op->in[0]), factors = r->scratch + r->step->extra[0];
    int64_t rows = bl_cuda_rows_each(in), step = chunk_rows(in);
    int chunks = chunk_count(in), groups = r->op->u.norm.groups;
    struct group_sums_args s = {.x = x,
                                .sums = r->scratch,
                                .count = (int64_t)in->n * chunks * in->c,
                                .rows = rows,
                                .step = step,
                                .chunks = chunks,
                                .c = in->c};
    struct group_factors_args f = {.sums = r->scratch,
                                   .scale = bl_cuda_weight_data(r, r->op->weight),
                                   .shift = bl_cuda_weight_data(r, r->op->weight2),
                                   .factors = factors,
                                   .rows = rows,
                                   .step = step,
                                   .chunks = chunks,
                                   .c = in->c,
                                   .groups = groups,
                                   .eps = r->op->u.norm.eps};
    struct group_norm_args g = {.x = x,
                                .factors = factors,
                                .y = bl_cuda_data(r, r->op->out),
                                .count = bl_tensor_elements(in),
                                .rows = rows,
                                .c = in->c,
                                .act = (int)r->op->act};
    int rc = bl_cuda_launch(r, BL_KERNEL_group_sums, &s, s.count, err);
    rc = rc ? rc : bl_cuda_launch_blocks(r, BL_KERNEL_group_factors, &f, (int64_t)in->n * groups, err);
    return rc ? rc : bl_cuda_launch(r, BL_KERNEL_group_norm, &g, g.count, err);
}

static int prepare_rows(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err) {
    (void)x, (void)op, (void)err;
    s->inplace = 0;
    return 0;
}

static int run_rows(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *in = bl_cuda_tensor(r, r->op->in[0]);
    int c = r->op->weight == BL_NONE /* of RMS_NORM perhaps a head's */
                ? in->c
                : (int)bl_weight_elements(&r->x->graph->weights[r->op->weight]);
    struct row_norm_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                              .scale = bl_cuda_weight_data(r, r->op->weight),
                              .shift = bl_cuda_weight_data(r, r->op->weight2),
                              .y = bl_cuda_data(r, r->op->out),
                              .rows = bl_tensor_elements(in) / c,
                              .c = c,
                              .centered = r->op->kind == BL_OP_LAYER_NORM,
                              .eps = r->op->u.norm.eps};
    return bl_cuda_launch_blocks(r, BL_KERNEL_row_norm, &a, (a.rows + BL_ROWS - 1) / BL_ROWS, err);
}

const bl_cuda_op bl_cuda_group_norm_op = {prepare_groups, run_groups};
const bl_cuda_op bl_cuda_row_norm_op = {prepare_rows, run_rows};
