/* What transformers do to their rows beside products, norms and attention: they turn them by where they are,
 * and scale, shift and gate them by a vector of the batch.
 *
 * The table by which rows are turned is the host's, and every layer reads the same: so the first of a graph
 * that reads it copies it to the card, behind the arena of the plan, where it stays until the graph has run.
 */
#include "device/cuda/internal.h"

static int prepare_over_input(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err) {
    (void)x, (void)op, (void)err;
    s->inplace = 0;
    return 0;
}

static int prepare_rope(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err) {
    s->host_input = bl_cuda_first_of(x, op, op->in[1]);
    return prepare_over_input(x, s, op, err);
}

static int run_rope(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *out = bl_cuda_tensor(r, r->op->out);
    struct rope_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                          .table = bl_cuda_table(r, r->op->in[1]),
                          .y = bl_cuda_data(r, r->op->out),
                          .count = bl_tensor_elements(out) / 2,
                          .c = out->c,
                          .dim = r->op->u.rope.dim,
                          .halves = r->op->u.rope.halves};
    int rc = r->step->host_input == BL_NONE || r->only ? 0 : bl_cuda_port_in(r, r->op->in[1], a.table, err);
    return rc ? rc : bl_cuda_launch(r, BL_KERNEL_rope, &a, a.count, err);
}

static int run_modulate(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *out = bl_cuda_tensor(r, r->op->out);
    struct modulate_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                              .m = bl_cuda_data(r, r->op->in[1]),
                              .y = bl_cuda_data(r, r->op->out),
                              .count = bl_tensor_elements(out),
                              .rows = bl_cuda_rows_each(out),
                              .c = out->c,
                              .width = bl_cuda_tensor(r, r->op->in[1])->c,
                              .scale = r->op->u.modulate.scale,
                              .shift = r->op->u.modulate.shift};
    return bl_cuda_launch(r, BL_KERNEL_modulate, &a, a.count, err);
}

static int run_gated_add(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *out = bl_cuda_tensor(r, r->op->out);
    struct gated_add_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                               .added = bl_cuda_data(r, r->op->in[1]),
                               .m = bl_cuda_data(r, r->op->in[2]),
                               .y = bl_cuda_data(r, r->op->out),
                               .count = bl_tensor_elements(out),
                               .rows = bl_cuda_rows_each(out),
                               .c = out->c,
                               .width = bl_cuda_tensor(r, r->op->in[2])->c,
                               .at = r->op->u.gate.at,
                               .bounded = r->op->u.gate.tanh};
    return bl_cuda_launch(r, BL_KERNEL_gated_add, &a, a.count, err);
}

static int run_glu(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *out = bl_cuda_tensor(r, r->op->out);
    struct glu_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                         .y = bl_cuda_data(r, r->op->out),
                         .count = bl_tensor_elements(out),
                         .c = out->c,
                         .act = r->op->act};
    return bl_cuda_launch(r, BL_KERNEL_glu, &a, a.count, err);
}

const bl_cuda_op bl_cuda_rope_op = {prepare_rope, run_rope};
const bl_cuda_op bl_cuda_modulate_op = {prepare_over_input, run_modulate};
const bl_cuda_op bl_cuda_gated_add_op = {prepare_over_input, run_gated_add};
const bl_cuda_op bl_cuda_glu_op = {NULL, run_glu};
