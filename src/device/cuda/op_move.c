/* What crosses between host and card, and what is done element by element. */
#include "device/cuda/internal.h"

#include "core/checked.h"

static const void *input_of(const bl_cuda_running *r, bl_tensor_id id) {
    return r->binding->inputs[bl_cuda_tensor(r, id)->port];
}

/* Scratch for an input, or for the output. */
static int prepare_input(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err) {
    (void)err;
    s->host_input = op->kind == BL_OP_TAKE_ROW ? op->in[1] : op->in[0];
    s->scratch_bytes = bl_tensor_bytes(&x->graph->tensors[s->host_input]);
    s->inplace = -1;
    return 0;
}

static int prepare_output(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err) {
    (void)err;
    s->scratch_bytes = bl_tensor_bytes(&x->graph->tensors[op->out]);
    s->inplace = -1;
    return 0;
}

static int prepare_over_input(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err) {
    (void)x, (void)op, (void)err;
    s->inplace = 0;
    return 0;
}

enum { TOKENS, PLACES }; /* extra[]: rows of a small table that were made wide; the ids lie at 0 */

static int prepare_embed(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err) {
    const bl_tensor *out = &x->graph->tensors[op->out];
    const bl_weight_id ids[2] = {op->weight, op->weight2};
    int rc = prepare_input(x, s, op, err);
    for (int k = TOKENS; k <= PLACES; k++) {
        const bl_cuda_weight *p = ids[k] == BL_NONE ? NULL : &x->module->weights[ids[k]];
        if (p && p->stays_small) {
            uint64_t rows = k == TOKENS ? (uint64_t)out->n * (uint64_t)out->h : (uint64_t)out->h;
            s->extra[k] = bl_align_up(s->scratch_bytes, BL_ALIGN);
            s->scratch_bytes = s->extra[k] + rows * p->row_bytes;
        }
    }
    return rc;
}

/* Where a table lies, or those of its rows that are wanted: `ids` are on the card, or 0: the first. */
static int take_table(bl_cu_pointer *at, const bl_cuda_running *r, int table, bl_cu_pointer ids,
                      int64_t count, bl_error *err) {
    const bl_weight_id id = table == TOKENS ? r->op->weight : r->op->weight2;
    const bl_cuda_weight *p = id == BL_NONE ? NULL : &r->x->module->weights[id];
    if (!p || !bl_cuda_is_small(r->x->module, p)) {
        *at = bl_cuda_stored(r, id);
        return 0;
    }
    *at = r->scratch + r->step->extra[table];
    return bl_cuda_widen_rows(r, id, *at, ids, count, err);
}

static int run_import(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *in = bl_cuda_tensor(r, r->op->in[0]);
    struct import_host_args a = {.x = r->scratch,
                                 .y = bl_cuda_data(r, r->op->out),
                                 .count = bl_tensor_elements(in),
                                 .pixels = bl_cuda_rows_each(in),
                                 .c = in->c,
                                 .nchw = in->layout == BL_NCHW};
    int rc = bl_cuda_port_in(r, r->op->in[0], r->scratch, err);
    return rc ? rc : bl_cuda_launch(r, BL_KERNEL_import_host, &a, a.count, err);
}

static int run_export(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *out = bl_cuda_tensor(r, r->op->out);
    struct export_host_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                                 .y = r->scratch,
                                 .count = bl_tensor_elements(out),
                                 .pixels = bl_cuda_rows_each(out),
                                 .c = out->c,
                                 .nchw = out->layout == BL_NCHW};
    int rc = bl_cuda_launch(r, BL_KERNEL_export_host, &a, a.count, err);
    return rc ? rc : bl_cuda_port_out(r, r->op->out, err);
}

static int run_sinusoid(const bl_cuda_running *r, bl_error *err) {
    struct sinusoid_args a = {.x = r->scratch,
                              .y = bl_cuda_data(r, r->op->out),
                              .count = bl_tensor_elements(bl_cuda_tensor(r, r->op->in[0])),
                              .dim = r->op->u.sinusoid.dim};
    int rc = bl_cuda_port_in(r, r->op->in[0], r->scratch, err);
    return rc ? rc : bl_cuda_launch(r, BL_KERNEL_sinusoid, &a, a.count * a.dim, err);
}

static int run_embed(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *in = bl_cuda_tensor(r, r->op->in[0]), *out = bl_cuda_tensor(r, r->op->out);
    const int32_t *ids = input_of(r, r->op->in[0]);
    int64_t table = r->x->graph->weights[r->op->weight].shape[0];
    for (int64_t i = 0; i < bl_tensor_elements(in); i++) {
        if (ids[i] < 0 || ids[i] >= table) {
            return bl_fail(err, BL_E_ARGUMENT, "token %d is outside the text encoder's table of %lld",
                           (int)ids[i], (long long)table);
        }
    }
    struct embed_args a = {.ids = r->scratch,
                           .y = bl_cuda_data(r, r->op->out),
                           .count = bl_tensor_elements(out),
                           .c = out->c,
                           .length = out->h};
    bl_cu_pointer tokens = 0, places = 0;
    int rc = bl_cuda_port_in(r, r->op->in[0], r->scratch, err);
    rc = rc ? rc : take_table(&tokens, r, TOKENS, a.ids, (int64_t)out->n * out->h, err);
    rc = rc ? rc : take_table(&places, r, PLACES, 0, out->h, err);
    a.tokens = tokens;
    a.places = places;
    a.ids = bl_cuda_is_small(r->x->module, &r->x->module->weights[r->op->weight]) ? 0 : a.ids;
    return rc ? rc : bl_cuda_launch(r, BL_KERNEL_embed, &a, a.count, err);
}

static int run_take_row(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *in = bl_cuda_tensor(r, r->op->in[0]);
    const int32_t *rows = input_of(r, r->op->in[1]);
    struct take_row_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                              .rows = r->scratch,
                              .y = bl_cuda_data(r, r->op->out),
                              .count = (int64_t)in->n * in->c,
                              .length = bl_cuda_rows_each(in),
                              .c = in->c};
    for (int i = 0; i < in->n; i++) {
        if (rows[i] < 0 || rows[i] >= a.length) {
            return bl_fail(err, BL_E_ARGUMENT, "row %d is outside a tensor of %lld rows", (int)rows[i],
                           (long long)a.length);
        }
    }
    int rc = bl_cuda_port_in(r, r->op->in[1], r->scratch, err);
    return rc ? rc : bl_cuda_launch(r, BL_KERNEL_take_row, &a, a.count, err);
}

static int run_act(const bl_cuda_running *r, bl_error *err) {
    struct act_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                         .y = bl_cuda_data(r, r->op->out),
                         .count = bl_tensor_elements(bl_cuda_tensor(r, r->op->out)),
                         .act = (int)r->op->act};
    return bl_cuda_launch(r, BL_KERNEL_act, &a, a.count, err);
}

static int run_add(const bl_cuda_running *r, bl_error *err) {
    struct add_args a = {.a = bl_cuda_data(r, r->op->in[0]),
                         .b = bl_cuda_data(r, r->op->in[1]),
                         .y = bl_cuda_data(r, r->op->out),
                         .count = bl_tensor_elements(bl_cuda_tensor(r, r->op->out))};
    return bl_cuda_launch(r, BL_KERNEL_add, &a, a.count, err);
}

static int run_concat(const bl_cuda_running *r, bl_error *err) {
    struct concat_args a = {.a = bl_cuda_data(r, r->op->in[0]),
                            .b = bl_cuda_data(r, r->op->in[1]),
                            .y = bl_cuda_data(r, r->op->out),
                            .count = bl_tensor_elements(bl_cuda_tensor(r, r->op->out)),
                            .a_c = bl_cuda_tensor(r, r->op->in[0])->c,
                            .b_c = bl_cuda_tensor(r, r->op->in[1])->c};
    return bl_cuda_launch(r, BL_KERNEL_concat, &a, a.count, err);
}

static int run_upsample(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *in = bl_cuda_tensor(r, r->op->in[0]), *out = bl_cuda_tensor(r, r->op->out);
    struct upsample_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                              .y = bl_cuda_data(r, r->op->out),
                              .count = bl_tensor_elements(out),
                              .h = in->h,
                              .w = in->w,
                              .to_h = out->h,
                              .to_w = out->w,
                              .c = out->c};
    return bl_cuda_launch(r, BL_KERNEL_upsample, &a, a.count, err);
}

const bl_cuda_op bl_cuda_import_op = {prepare_input, run_import};
const bl_cuda_op bl_cuda_export_op = {prepare_output, run_export};
const bl_cuda_op bl_cuda_sinusoid_op = {prepare_input, run_sinusoid};
const bl_cuda_op bl_cuda_embed_op = {prepare_embed, run_embed};
const bl_cuda_op bl_cuda_take_row_op = {prepare_input, run_take_row};
const bl_cuda_op bl_cuda_act_op = {prepare_over_input, run_act};
const bl_cuda_op bl_cuda_add_op = {prepare_over_input, run_add};
const bl_cuda_op bl_cuda_concat_op = {NULL, run_concat};
const bl_cuda_op bl_cuda_upsample_op = {NULL, run_upsample};
