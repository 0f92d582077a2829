/* CONV: picture by picture, so that the bits of each do not hang on how many there are. What is added to each
 * channel of a picture becomes part of its bias. cuDNN takes channels in eights; the few convolutions with
 * other numbers of them, and what it has no plan for, are products of patches, in bands of pixels. */
#include "device/cuda/internal.h"

#include "core/checked.h"

#include <string.h>

#define BAND_BYTES (32u << 20)

enum { BIAS_ROW, SUMS, WORKSPACE }; /* extra[]: F32 [o]; F32 [band, o]; the library's. Patches lie at 0 */

static int64_t patch_elements(const bl_op *op, const bl_tensor *in) {
    return (int64_t)op->u.conv.kh * op->u.conv.kw * in->c;
}

/* Is a pixel its own patch? */
static bool is_plain(const bl_op *op) {
    return op->u.conv.kh == 1 && op->u.conv.kw == 1 && op->u.conv.stride == 1 && !op->u.conv.top &&
           !op->u.conv.left && !op->u.conv.bottom && !op->u.conv.right;
}

static int find_by_cudnn(const bl_cuda_conv **out, bl_executable *x, const bl_op *op, bl_error *err) {
    const bl_tensor *in = &x->graph->tensors[op->in[0]], *y = &x->graph->tensors[op->out];
    *out = NULL;
    if (in->c % 8 || y->c % 8) {
        return 0;
    }
    bl_cuda_conv_shape s;
    memset(&s, 0, sizeof s);
    s = (bl_cuda_conv_shape){.h = in->h,
                             .w = in->w,
                             .c = in->c,
                             .o = y->c,
                             .oh = y->h,
                             .ow = y->w,
                             .kh = op->u.conv.kh,
                             .kw = op->u.conv.kw,
                             .stride = op->u.conv.stride,
                             .top = op->u.conv.top,
                             .left = op->u.conv.left,
                             .bottom = op->u.conv.bottom,
                             .right = op->u.conv.right,
                             .residual = op->in[1] != BL_NONE,
                             .dtype = x->graph->dtype};
    int rc = bl_cuda_find_conv(out, x->module->c, &s, err);
    if (!rc && !(*out)->has_plan) {
        *out = NULL;
    }
    return rc;
}

static int find_band(const bl_cuda_product **out, bl_executable *x, const bl_op *op, int64_t rows,
                     bl_error *err) {
    const bl_tensor *in = &x->graph->tensors[op->in[0]], *y = &x->graph->tensors[op->out];
    int64_t k = patch_elements(op, in), row = k * (int64_t)bl_dtype_size(x->graph->dtype), align = BL_ALIGN;
    while (is_plain(op) && row % align) { /* patches begin at the scratch's begin, pixels anywhere */
        align /= 2;
    }
    bl_cuda_product_shape s = {.rows = rows,
                               .o = y->c,
                               .k = k,
                               .x_stride = k,
                               .w_stride = k,
                               .y_stride = y->c,
                               .batch = 1,
                               .in = x->graph->dtype,
                               .out = BL_F32,
                               .x_align = align,
                               .w_align = BL_ALIGN,
                               .y_align = BL_ALIGN};
    return bl_cuda_find_product(out, x->module->c, &s, err);
}

static int prepare(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err) {
    const bl_tensor *in = &x->graph->tensors[op->in[0]], *y = &x->graph->tensors[op->out];
    uint64_t element = bl_dtype_size(x->graph->dtype), at = 0;
    int64_t k = patch_elements(op, in), pixels = bl_cuda_rows_each(y);
    int rc = find_by_cudnn(&s->conv, x, op, err);
    if (rc) {
        return rc;
    }
    s->inplace = -1; /* cuDNN does not say that its output may lie on an input */
    if (!s->conv) {
        s->band = (int64_t)(BAND_BYTES / ((uint64_t)k * element + (uint64_t)y->c * 4));
        s->band = s->band < 1 ? 1 : s->band < pixels ? s->band : pixels;
        rc = find_band(&s->product, x, op, s->band, err);
        rc = rc || pixels % s->band == 0 ? rc : find_band(&s->rest, x, op, pixels % s->band, err);
        if (rc) {
            return rc;
        }
        s->inplace = op->in[1] != BL_NONE ? 1 : -1;
        at = is_plain(op) ? 0 : bl_align_up((uint64_t)(s->band * k) * element, BL_ALIGN);
    }
    s->extra[BIAS_ROW] = at;
    at += op->in[2] != BL_NONE ? bl_align_up((uint64_t)y->c * 4, BL_ALIGN) : 0;
    s->extra[SUMS] = at;
    at += s->conv ? 0 : bl_align_up((uint64_t)(s->band * y->c) * 4, BL_ALIGN);
    s->extra[WORKSPACE] = at;
    uint64_t most = s->conv ? s->conv->workspace_bytes : s->product->workspace_bytes;
    most = s->rest && s->rest->workspace_bytes > most ? s->rest->workspace_bytes : most;
    s->scratch_bytes = at + bl_cuda_workspace_room(most);
    return 0;
}

/* One picture, by patches. */
static int run_bands(const bl_cuda_running *r, bl_cu_pointer y, bl_cu_pointer x, bl_cu_pointer bias,
                     bl_cu_pointer residual, bl_error *err) {
    const bl_tensor *in = bl_cuda_tensor(r, r->op->in[0]), *out = bl_cuda_tensor(r, r->op->out);
    const bl_cuda_step *s = r->step;
    int64_t k = patch_elements(r->op, in), pixels = bl_cuda_rows_each(out);
    bl_cu_pointer w = bl_cuda_weight_data(r, r->op->weight), sums = r->scratch + s->extra[SUMS];
    int rc = 0;
    for (int64_t first = 0; first < pixels && !rc; first += s->band) {
        int64_t count = pixels - first < s->band ? pixels - first : s->band;
        uint64_t at = (uint64_t)(first * out->c) * r->element;
        bl_cu_pointer patches = is_plain(r->op) ? x + (uint64_t)(first * k) * r->element : r->scratch;
        struct patches_args p = {.x = x,
                                 .y = patches,
                                 .count = count * k,
                                 .first = first,
                                 .h = in->h,
                                 .w = in->w,
                                 .c = in->c,
                                 .to_w = out->w,
                                 .kh = r->op->u.conv.kh,
                                 .kw = r->op->u.conv.kw,
                                 .stride = r->op->u.conv.stride,
                                 .top = r->op->u.conv.top,
                                 .left = r->op->u.conv.left};
        struct finish_conv_args f = {.x = sums,
                                     .bias = bias,
                                     .residual = residual ? residual + at : 0,
                                     .y = y + at,
                                     .count = count * out->c,
                                     .c = out->c};
        rc = is_plain(r->op) ? 0 : bl_cuda_launch(r, BL_KERNEL_patches, &p, p.count, err);
        rc = rc ? rc
                : bl_cuda_multiply(r->c, count < s->band ? s->rest : s->product, r->stream, sums, patches, w,
                                   0, 0, 1.0f, r->scratch + s->extra[WORKSPACE], err);
        rc = rc ? rc : bl_cuda_launch(r, BL_KERNEL_finish_conv, &f, f.count, err);
    }
    return rc;
}

static int run(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *in = bl_cuda_tensor(r, r->op->in[0]), *out = bl_cuda_tensor(r, r->op->out);
    uint64_t x_bytes = bl_tensor_bytes(in) / (uint64_t)in->n,
             y_bytes = bl_tensor_bytes(out) / (uint64_t)out->n;
    bl_cu_pointer x = bl_cuda_data(r, r->op->in[0]), y = bl_cuda_data(r, r->op->out);
    bl_cu_pointer residual = bl_cuda_data(r, r->op->in[1]), channels = bl_cuda_data(r, r->op->in[2]);
    int rc = 0;
    for (int i = 0; i < in->n && !rc; i++, x += x_bytes, y += y_bytes) {
        bl_cu_pointer bias = bl_cuda_weight_data(r, r->op->weight2);
        if (channels) {
            struct channel_bias_args a = {.bias = bias,
                                          .channels = channels + (uint64_t)i * (uint64_t)out->c * r->element,
                                          .y = r->scratch + r->step->extra[BIAS_ROW],
                                          .count = out->c};
            rc = bl_cuda_launch(r, BL_KERNEL_channel_bias, &a, a.count, err);
            bias = a.y;
        }
        if (!rc && r->step->conv) {
            rc = bl_cuda_convolve(r->c, r->step->conv, y, x, bl_cuda_weight_data(r, r->op->weight), bias,
                                  residual, r->scratch + r->step->extra[WORKSPACE], err);
        } else if (!rc) {
            rc = run_bands(r, y, x, bias, residual, err);
        }
        residual += residual ? y_bytes : 0;
    }
    return rc;
}

const bl_cuda_op bl_cuda_conv_op = {prepare, run};
