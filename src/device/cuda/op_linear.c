/* LINEAR: a product for each picture, with bias and residual in it; activations and gates by a kernel behind
 * it. */
#include "device/cuda/internal.h"

#include "core/checked.h"

enum { WORKSPACE }; /* extra[]; both halves of a gated layer lie at 0 */

static int64_t product_columns(const bl_op *op, const bl_tensor *out) {
    return op->act == BL_ACT_GEGLU ? 2 * (int64_t)out->c : out->c;
}

/* What the picture's number moves an address by. */
static int64_t alignment(const bl_tensor *t) {
    int64_t bytes = (int64_t)(bl_tensor_bytes(t) / (uint64_t)t->n), align = BL_ALIGN;
    while (bytes % align) {
        align /= 2;
    }
    return align;
}

static int prepare(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err) {
    const bl_tensor *in = &x->graph->tensors[op->in[0]], *out = &x->graph->tensors[op->out];
    int64_t o = product_columns(op, out), rows = bl_cuda_rows_each(in);
    bool alone = op->act == BL_ACT_NONE;
    bl_cuda_product_shape shape = {.rows = rows,
                                   .o = o,
                                   .k = in->c,
                                   .x_stride = in->c,
                                   .w_stride = in->c,
                                   .y_stride = o,
                                   .batch = 1,
                                   .bias = op->weight2 != BL_NONE,
                                   .residual = alone && op->in[1] != BL_NONE,
                                   .in = x->graph->dtype,
                                   .out = x->graph->dtype,
                                   .x_align = alignment(in),
                                   .w_align = BL_ALIGN,
                                   .y_align = alignment(out)};
    s->inplace = shape.residual ? 1 : -1;
    if (op->act == BL_ACT_GEGLU) {
        s->extra[WORKSPACE] = bl_align_up((uint64_t)(rows * o) * bl_dtype_size(x->graph->dtype), BL_ALIGN);
        shape.y_align = BL_ALIGN;
    }
    int rc = bl_cuda_find_product(&s->product, x->module->c, &shape, err);
    s->scratch_bytes = s->extra[WORKSPACE] + (rc ? 0 : bl_cuda_workspace_room(s->product->workspace_bytes));
    return rc;
}

static int run(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *in = bl_cuda_tensor(r, r->op->in[0]), *out = bl_cuda_tensor(r, r->op->out);
    uint64_t x_bytes = bl_tensor_bytes(in) / (uint64_t)in->n,
             y_bytes = bl_tensor_bytes(out) / (uint64_t)out->n;
    bl_cu_pointer x = bl_cuda_data(r, r->op->in[0]), y = bl_cuda_data(r, r->op->out);
    bl_cu_pointer residual = bl_cuda_data(r, r->op->in[1]), w = bl_cuda_weight_data(r, r->op->weight);
    bl_cu_pointer bias = bl_cuda_weight_data(r, r->op->weight2);
    bool gated = r->op->act == BL_ACT_GEGLU;
    int64_t count = bl_cuda_rows_each(out) * out->c;
    int rc = 0;
    for (int i = 0; i < in->n && !rc; i++, x += x_bytes, y += y_bytes) {
        rc = bl_cuda_multiply(r->c, r->step->product, r->stream, gated ? r->scratch : y, x, w, bias, residual,
                              1.0f, r->scratch + r->step->extra[WORKSPACE], err);
        struct gate_args g = {.x = r->scratch, .residual = residual, .y = y, .count = count, .c = out->c};
        struct finish_args f = {.x = y, .residual = residual, .y = y, .count = count, .act = (int)r->op->act};
        if (!rc && gated) {
            rc = bl_cuda_launch(r, BL_KERNEL_gate, &g, count, err);
        } else if (!rc && r->op->act != BL_ACT_NONE) {
            rc = bl_cuda_launch(r, BL_KERNEL_finish, &f, count, err);
        }
        residual += residual ? y_bytes : 0;
    }
    return rc;
}

const bl_cuda_op bl_cuda_linear_op = {prepare, run};
