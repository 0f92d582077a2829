/* Convolutions: by oneDNN or by Winograd's algorithm. */
#include "device/cpu/internal.h"

#include "core/checked.h"

/* Where a batch needs another bias for each picture, large pictures are convolved one by one with the sum as
 * bias; for small ones, whose cost is reading the weights, the batch is convolved at once and the rest added
 * after. */
#define EACH_IMAGE_PIXELS 1024

#define FEW_STRIDED_PIXELS 64 /* below them a batch costs little, whatever its order */

bool bl_cpu_takes_winograd(const bl_executable *x, const bl_packed *p, const bl_op *op,
                           const bl_tensor *out) {
    int chosen = x->winograd[bl_tuning_size(x->widest, out->w)];
    bool few = chosen ? chosen == 1 : (out->h + 3) / 4 * ((out->w + 3) / 4) < BL_TUNING_FEW_TILES;
    return p->winograd && op->u.conv.stride == 1 && !(p->layout && few);
}

void bl_cpu_winograd_filters(bl_winograd_job *j, const bl_packed *p) {
    const bl_dnnl_blocking *b = &p->blocking;
    j->filter_block = b->strides[0];
    j->filter_in = b->strides[1];
    j->filter_tap = b->strides[3];
    j->filter_outs = (int)b->inner_size[0];
    j->filter_pairs = b->inner == 2;
}

static void prepare_winograd(bl_executable *x, bl_step *s, const bl_op *op) {
    const bl_tensor *in = &x->graph->tensors[op->in[0]], *out = &x->graph->tensors[op->out];
    bl_winograd_job *j = &s->winograd;
    *j = (bl_winograd_job){.n = in->n,
                           .h = in->h,
                           .w = in->w,
                           .c = in->c,
                           .oh = (out->h - 1) * op->u.conv.stride + 1,
                           .ow = (out->w - 1) * op->u.conv.stride + 1,
                           .stride = op->u.conv.stride,
                           .o = out->c,
                           .top = op->u.conv.top,
                           .left = op->u.conv.left};
    bl_cpu_winograd_filters(j, &x->module->weights[op->weight]);
    bl_cpu_winograd_plan(j, (int64_t)((j->oh + 3) / 4) * ((j->ow + 3) / 4), x->threads);
    s->extra = bl_cpu_winograd_scratch(j, x->threads);
    s->scratch_bytes = s->extra + (op->in[2] != BL_NONE ? (uint64_t)out->n * (uint64_t)out->c * sizeof(float)
                                                        : 0); /* F32 [n][o] */
}

bool bl_cpu_each_image(const bl_op *op, const bl_tensor *out) {
    return op->in[2] != BL_NONE && bl_cpu_pixels(out) >= EACH_IMAGE_PIXELS;
}

bl_dnnl_conv bl_cpu_dnnl_conv(const bl_packed *p, const bl_op *op, const bl_tensor *in, const bl_tensor *out,
                              int n) {
    return (bl_dnnl_conv){.dtype = p->dtype,
                          .n = n,
                          .h = in->h,
                          .w = in->w,
                          .c = (int)p->weight.shape[1],
                          .oh = out->h,
                          .ow = out->w,
                          .o = (int)p->weight.shape[0],
                          .kh = op->u.conv.kh,
                          .kw = op->u.conv.kw,
                          .stride = op->u.conv.stride,
                          .top = op->u.conv.top,
                          .left = op->u.conv.left,
                          .bottom = op->u.conv.bottom,
                          .right = op->u.conv.right,
                          .bias = true,
                          .sum = op->in[1] != BL_NONE};
}

/* oneDNN 2.6 gives a single picture's strided convolution another kernel, with other bits, where up to 3x3
 * pixels come out of it: then each picture of a batch is convolved by itself. */
static bool has_few_strided(const bl_op *op, const bl_tensor *out) {
    return op->u.conv.stride > 1 && bl_cpu_pixels(out) < FEW_STRIDED_PIXELS;
}

static int prepare(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    const bl_graph *g = x->graph;
    const bl_packed *p = &x->module->weights[op->weight];
    const bl_tensor *in = &g->tensors[op->in[0]], *out = &g->tensors[op->out];
    if (bl_cpu_takes_winograd(x, p, op, out)) {
        prepare_winograd(x, s, op);
        return 0;
    }
    s->each_image = bl_cpu_each_image(op, out) || has_few_strided(op, out);
    bl_dnnl_conv piece = bl_cpu_dnnl_conv(p, op, in, out, s->each_image ? 1 : in->n), whole = piece;
    whole.n = s->each_image ? 1 : bl_cpu_batch(in);
    int rc = bl_cpu_piece_conv(&s->product, x->module->cpu, p, &piece, &whole, sure, err);
    if (rc) {
        return rc;
    }
    if (p->winograd && bl_cpu_is_reference(s->product)) {
        /* this oneDNN has no kernel for so small a picture in the layout it chose for the usual ones */
        bl_dnnl_primitive_close(&s->product);
        s->each_image = false;
        prepare_winograd(x, s, op);
        return 0;
    }
    s->extra = bl_align_up(bl_dnnl_scratch(s->product), BL_ALIGN);
    s->scratch_bytes = s->extra + (op->in[2] != BL_NONE ? (uint64_t)out->c * sizeof(float) : 0); /* F32 [o] */
    return 0;
}

void bl_cpu_channel_row(const bl_running *r, float *row, int image, const float *bias) {
    int c = bl_running_tensor(r, r->op->in[2])->c;
    const unsigned char *channels = bl_running_data(r, r->op->in[2]);
    r->k->to_f32(row, channels + (size_t)image * (size_t)c * r->element, c);
    if (bias) {
        r->cpu->kernels->f32.add(row, row, bias, c);
    }
}

typedef struct row_job {
    const bl_running *r;
    unsigned char *y;
    const float *row;
    int c;
} row_job;

static void add_rows(void *context, int64_t begin, int64_t end, int thread) {
    const row_job *j = context;
    (void)thread;
    unsigned char *y = j->y + (size_t)begin * (size_t)j->c * j->r->element;
    j->r->k->add_row(y, y, j->row, end - begin, j->c);
}

void bl_cpu_add_row(const bl_running *r, void *y, const float *row, int64_t rows, int c) {
    row_job j = {.r = r, .y = y, .row = row, .c = c};
    bl_parallel_for(rows, 16, add_rows, &j);
}

static void run_winograd(const bl_running *r) {
    bl_winograd_job j = r->step->winograd;
    j.x = bl_running_data(r, r->op->in[0]);
    j.y = bl_running_data(r, r->op->out);
    j.residual = bl_running_data(r, r->op->in[1]);
    j.weights = bl_running_weight(r, r->op->weight);
    j.bias = bl_running_weight(r, r->op->weight2);
    if (r->op->in[2] != BL_NONE) {
        float *rows = (float *)(void *)(r->scratch + r->step->extra); /* [n][o] */
        for (int i = 0; i < j.n; i++) {
            bl_cpu_channel_row(r, rows + (size_t)i * (size_t)j.o, i, j.bias);
        }
        j.bias = rows;
        j.bias_stride = j.o;
    }
    bl_cpu_winograd_run(&j, r->k, r->scratch);
}

static int run(const bl_running *r, bl_error *err) {
    if (!r->step->product) {
        run_winograd(r);
        return 0;
    }
    const bl_tensor *in = bl_running_tensor(r, r->op->in[0]), *out = bl_running_tensor(r, r->op->out);
    size_t in_image = (size_t)in->h * (size_t)in->w * (size_t)in->c * r->element;
    size_t out_image = (size_t)out->h * (size_t)out->w * (size_t)out->c * r->element;
    unsigned char *x = bl_running_data(r, r->op->in[0]), *y = bl_running_data(r, r->op->out);
    const float *bias = bl_running_weight(r, r->op->weight2);
    float *row = r->op->in[2] == BL_NONE ? NULL : (float *)(void *)(r->scratch + r->step->extra);
    bl_dnnl_args a = {.weights = bl_running_weight(r, r->op->weight), .scratch = r->scratch};
    bl_cpu_place_residual(r, y);
    int times = r->step->each_image ? in->n : 1;
    for (int i = 0; i < times; i++) {
        a.src = x + (size_t)i * in_image;
        a.dst = y + (size_t)i * out_image;
        a.bias = bias;
        if (row && r->step->each_image) {
            bl_cpu_channel_row(r, row, i, bias);
            a.bias = row;
        }
        int rc = bl_dnnl_run(r->step->product, &a, err);
        if (rc) {
            return rc;
        }
    }
    for (int i = 0; row && !r->step->each_image && i < in->n; i++) {
        bl_cpu_channel_row(r, row, i, NULL);
        bl_cpu_add_row(r, y + (size_t)i * out_image, row, (int64_t)out->h * out->w, out->c);
    }
    return 0;
}

const bl_cpu_op bl_cpu_conv = {.prepare = prepare, .run = run};
