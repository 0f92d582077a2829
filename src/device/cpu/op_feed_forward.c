/* A transformer's feed-forward layers in slices of rows: the hidden layer, four times as wide as what it
 * comes from and goes to, and its gate exist for one slice only. */
#include "device/cpu/internal.h"

#include "core/checked.h"

#define SLICES 16 /* at least; then a slice is small against the rest and large against a kernel's tiles */
#define SLICES_MOST 64

/* Rows of a slice: all slices are alike, so that one primitive does them all. */
static int64_t slice_rows(int64_t rows) {
    for (int64_t k = SLICES; k <= SLICES_MOST; k++) {
        if (rows % k == 0) {
            return rows / k;
        }
    }
    return rows;
}

static int prepare(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    const bl_packed *p = &x->module->weights[op->weight], *q = &x->module->weights[op->weight3];
    const bl_tensor *in = &x->graph->tensors[op->in[0]], *out = &x->graph->tensors[op->out];
    int64_t rows = (int64_t)in->n * in->h * in->w, hidden = q->weight.shape[1];
    int64_t whole = rows / in->n * bl_cpu_batch(in);
    s->slice = slice_rows(rows);
    bl_dnnl_linear first = {
        .dtype = p->dtype, .rows = s->slice, .c = in->c, .o = hidden, .bias = op->weight2 != BL_NONE};
    bl_dnnl_linear second = {.dtype = q->dtype,
                             .rows = s->slice,
                             .c = hidden,
                             .o = out->c,
                             .bias = op->weight4 != BL_NONE,
                             .sum = op->in[1] != BL_NONE};
    int rc = bl_cpu_piece_linear(&s->product, x->module->cpu, p, first, whole, sure, err);
    rc = rc ? rc : bl_cpu_piece_linear(&s->side, x->module->cpu, q, second, whole, sure, err);
    if (rc) {
        return rc;
    }
    uint64_t a = bl_dnnl_scratch(s->product), b = bl_dnnl_scratch(s->side);
    s->extra = bl_align_up(a > b ? a : b, BL_ALIGN);
    /* hidden layer and gate, each [slice, hidden] */
    s->scratch_bytes = s->extra + 2 * (uint64_t)(s->slice * hidden) * bl_dtype_size(x->graph->dtype);
    return 0;
}

static int run_slice(const bl_running *r, const unsigned char *x, unsigned char *y, bl_error *err) {
    const bl_packed *p = bl_running_packed(r, r->op->weight), *q = bl_running_packed(r, r->op->weight3);
    int64_t c = q->weight.shape[1], slice = r->step->slice;
    unsigned char *hidden = r->scratch + r->step->extra, *gate = hidden + (size_t)(slice * c) * r->element;
    const unsigned char *weights = bl_running_weight(r, r->op->weight);
    const float *bias = bl_running_weight(r, r->op->weight2);
    bl_dnnl_args a = {.src = x, .weights = weights, .bias = bias, .dst = hidden, .scratch = r->scratch};
    int rc = bl_dnnl_run(r->step->product, &a, err);
    a.weights = weights + p->half_bytes;
    a.bias = bias ? bias + c : NULL;
    a.dst = gate;
    rc = rc ? rc : bl_dnnl_run(r->step->product, &a, err);
    if (rc) {
        return rc;
    }
    bl_cpu_gate(r, hidden, gate, NULL, slice, c);
    a = (bl_dnnl_args){.src = hidden,
                       .weights = bl_running_weight(r, r->op->weight3),
                       .bias = bl_running_weight(r, r->op->weight4),
                       .dst = y,
                       .scratch = r->scratch};
    return bl_dnnl_run(r->step->side, &a, err);
}

static int run(const bl_running *r, bl_error *err) {
    const bl_tensor *in = bl_running_tensor(r, r->op->in[0]), *out = bl_running_tensor(r, r->op->out);
    const unsigned char *x = bl_running_data(r, r->op->in[0]);
    unsigned char *y = bl_running_data(r, r->op->out);
    int64_t rows = (int64_t)in->n * in->h * in->w, slice = r->step->slice;
    int rc = 0;
    bl_cpu_place_residual(r, y);
    for (int64_t at = 0; at < rows && !rc; at += slice) {
        rc = run_slice(r, x + (size_t)(at * in->c) * r->element, y + (size_t)(at * out->c) * r->element, err);
    }
    return rc;
}

const bl_cpu_op bl_cpu_feed_forward = {.prepare = prepare, .run = run};
