/* Rows and channels put elsewhere: tokens joined and cut, pictures as patches and back. */
#include "device/cuda/internal.h"

static int run_join(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *out = bl_cuda_tensor(r, r->op->out);
    int64_t at = 0;
    int rc = 0;
    for (int k = 0; k < 2 && !rc; k++) {
        const bl_tensor *in = bl_cuda_tensor(r, r->op->in[k]);
        struct put_rows_args a = {.x = bl_cuda_data(r, r->op->in[k]),
                                  .y = bl_cuda_data(r, r->op->out),
                                  .count = bl_tensor_elements(in),
                                  .rows = bl_cuda_rows_each(in),
                                  .from_rows = bl_cuda_rows_each(in),
                                  .to_rows = bl_cuda_rows_each(out),
                                  .at = at,
                                  .c = out->c};
        rc = bl_cuda_launch(r, BL_KERNEL_put_rows, &a, a.count, err);
        at += a.rows;
    }
    return rc;
}

static int run_slice(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *in = bl_cuda_tensor(r, r->op->in[0]), *out = bl_cuda_tensor(r, r->op->out);
    struct put_rows_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                              .y = bl_cuda_data(r, r->op->out),
                              .count = bl_tensor_elements(out),
                              .rows = bl_cuda_rows_each(out),
                              .from_rows = bl_cuda_rows_each(in),
                              .first = r->op->u.slice.first,
                              .to_rows = bl_cuda_rows_each(out),
                              .c = out->c};
    return bl_cuda_launch(r, BL_KERNEL_put_rows, &a, a.count, err);
}

static int run_channels(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *out = bl_cuda_tensor(r, r->op->out);
    struct channels_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                              .y = bl_cuda_data(r, r->op->out),
                              .count = bl_tensor_elements(out),
                              .c = out->c,
                              .width = bl_cuda_tensor(r, r->op->in[0])->c,
                              .first = r->op->u.slice.first};
    return bl_cuda_launch(r, BL_KERNEL_channels, &a, a.count, err);
}

static int run_patchify(const bl_cuda_running *r, bl_error *err) {
    bool back = r->op->kind == BL_OP_UNPATCHIFY;
    const bl_tensor *picture = bl_cuda_tensor(r, back ? r->op->out : r->op->in[0]);
    struct patchify_args a = {.x = bl_cuda_data(r, r->op->in[0]),
                              .y = bl_cuda_data(r, r->op->out),
                              .count = bl_tensor_elements(picture),
                              .h = picture->h,
                              .w = picture->w,
                              .c = picture->c,
                              .side = r->op->u.patch.side,
                              .planes = r->op->u.patch.planes,
                              .back = back};
    return bl_cuda_launch(r, BL_KERNEL_patchify, &a, a.count, err);
}

const bl_cuda_op bl_cuda_join_op = {NULL, run_join};
const bl_cuda_op bl_cuda_slice_op = {NULL, run_slice};
const bl_cuda_op bl_cuda_channels_op = {NULL, run_channels};
const bl_cuda_op bl_cuda_patchify_op = {NULL, run_patchify};
