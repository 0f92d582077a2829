#include "device/cpu/internal.h"

#include "core/checked.h"
#include "graph/levels.h"

#include <stdlib.h>
#include <string.h>

/* Where a batch needs another bias for each picture, large pictures are convolved one by one with the sum as
 * bias; for small ones, whose cost is reading the weights, the batch is convolved at once and the rest added
 * after. */
#define EACH_IMAGE_PIXELS 1024

int64_t bl_cpu_norm_rows(int c) {
    int64_t rows = 65536 / c;
    return rows < 8 ? 8 : rows;
}

static int64_t pixels(const bl_tensor *t) {
    return (int64_t)t->h * t->w;
}

/* Tiles of a picture below which transforming the filters costs more than Winograd's algorithm saves against
 * oneDNN's bf16. A matter of the picture alone, so that a batch gives the bits of its pictures. */
#define FEW_TILES 8

bool bl_cpu_takes_winograd(const bl_packed *p, const bl_op *op, const bl_tensor *out) {
    return p->winograd && op->u.conv.stride == 1 &&
           !(p->layout && (out->h + 3) / 4 * ((out->w + 3) / 4) < FEW_TILES);
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
    bl_cpu_winograd_plan(j, (int64_t)((j->oh + 3) / 4) * ((j->ow + 3) / 4), x->module->cpu->threads);
    s->extra = bl_cpu_winograd_scratch(j, x->module->cpu->threads);
    s->scratch_bytes = s->extra + (op->in[2] != BL_NONE ? (uint64_t)out->n * (uint64_t)out->c * sizeof(float)
                                                        : 0); /* F32 [n][o] */
}

int bl_cpu_batch(const bl_tensor *t) {
    return t->batch ? t->batch : t->n;
}

bool bl_cpu_each_image(const bl_op *op, const bl_tensor *out) {
    return op->in[2] != BL_NONE && pixels(out) >= EACH_IMAGE_PIXELS;
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

static int prepare_conv(bl_executable *x, bl_step *s, bl_op_memory *memory, const bl_op *op, bool *sure,
                        bl_error *err) {
    const bl_graph *g = x->graph;
    const bl_packed *p = &x->module->weights[op->weight];
    const bl_tensor *in = &g->tensors[op->in[0]], *out = &g->tensors[op->out];
    memory->inplace = op->in[1] != BL_NONE ? 1 : -1;
    if (bl_cpu_takes_winograd(p, op, out)) {
        prepare_winograd(x, s, op);
        return 0;
    }
    s->each_image = bl_cpu_each_image(op, out);
    bl_dnnl_conv part = bl_cpu_dnnl_conv(p, op, in, out, s->each_image ? 1 : in->n), whole = part;
    whole.n = s->each_image ? 1 : bl_cpu_batch(in);
    int rc = bl_cpu_part_conv(&s->product, x->module->cpu, p, &part, &whole, sure, err);
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

/* A general matrix product is done picture by picture, or their number would change their bits. */
static int open_linear(bl_executable *x, bl_step *s, const bl_packed *p, bl_dnnl_linear l,
                       const bl_tensor *in, bool *sure, bl_error *err) {
    bool alike = true;
    int rc =
        bl_cpu_part_linear(&s->product, x->module->cpu, p, l, bl_cpu_batch(in) * pixels(in), &alike, err);
    if (rc || bl_cpu_batch(in) == 1 || !bl_cpu_is_general(s->product)) {
        *sure = *sure && alike;
        return rc;
    }
    bl_dnnl_primitive_close(&s->product);
    s->each_image = true;
    l.rows = pixels(in);
    return bl_dnnl_linear_open(&s->product, x->module->cpu->dnnl, &l, p->layout, err);
}

static int prepare_linear(bl_executable *x, bl_step *s, bl_op_memory *memory, const bl_op *op, bool *sure,
                          bl_error *err) {
    const bl_graph *g = x->graph;
    const bl_packed *p = &x->module->weights[op->weight];
    const bl_tensor *in = &g->tensors[op->in[0]], *out = &g->tensors[op->out];
    bool gated = op->act == BL_ACT_GEGLU;
    bl_dnnl_linear l = {.dtype = p->dtype,
                        .rows = (int64_t)in->n * pixels(in),
                        .c = in->c,
                        .o = out->c,
                        .bias = op->weight2 != BL_NONE,
                        .act = gated ? BL_ACT_NONE : op->act,
                        .sum = op->in[1] != BL_NONE && !gated};
    int rc = open_linear(x, s, p, l, in, sure, err);
    if (rc) {
        return rc;
    }
    uint64_t scratch = bl_dnnl_scratch(s->product);
    s->extra = bl_align_up(scratch, BL_ALIGN);
    s->scratch_bytes = s->extra + (gated ? bl_tensor_bytes(out) : 0); /* the gate [rows, o] */
    memory->inplace = op->in[1] != BL_NONE && !gated ? 1 : -1;
    return 0;
}

static void prepare_factors(bl_executable *x, bl_step *s, const bl_op *op) {
    const bl_tensor *t = &x->graph->tensors[op->in[0]], *out = &x->graph->tensors[op->out];
    uint64_t rows = (uint64_t)bl_cpu_norm_rows(out->c), blocks = ((uint64_t)pixels(t) + rows - 1) / rows;
    /* where only some channels are measured, those rows [threads][rows, c]; then moments [n][blocks][groups]
     */
    uint64_t dense = rows * (uint64_t)out->c * bl_dtype_size(x->graph->dtype);
    s->extra = t->c == out->c ? 0 : bl_align_up(dense * (uint64_t)x->module->cpu->threads, BL_ALIGN);
    s->scratch_bytes = s->extra + (uint64_t)t->n * blocks * (uint64_t)op->u.norm.groups * sizeof(bl_moments);
}

static void prepare_norm(bl_executable *x, bl_step *s, bl_op_memory *memory, const bl_op *op) {
    const bl_tensor *t = &x->graph->tensors[op->in[0]];
    uint64_t blocks = (uint64_t)((pixels(t) + bl_cpu_norm_rows(t->c) - 1) / bl_cpu_norm_rows(t->c));
    /* factors and offsets F32 [n][2][c], then moments [n][blocks][groups] */
    s->extra = bl_align_up((uint64_t)t->n * 2 * (uint64_t)t->c * sizeof(float), BL_ALIGN);
    s->scratch_bytes = s->extra + (uint64_t)t->n * blocks * (uint64_t)op->u.norm.groups * sizeof(bl_moments);
    memory->inplace = 0;
}

static void prepare_attention(bl_executable *x, bl_step *s, const bl_op *op, const bl_typed_kernels *k) {
    const bl_tensor *q = &x->graph->tensors[op->in[0]], *keys = &x->graph->tensors[op->in[1]];
    const bl_tensor *values = &x->graph->tensors[op->in[2]], *out = &x->graph->tensors[op->out];
    s->attention = (bl_attention_job){.q_stride = q->c,
                                      .k_stride = keys->c,
                                      .v_stride = values->c,
                                      .y_stride = out->c,
                                      .heads = op->u.attention.heads,
                                      .head_dim = op->u.attention.head_dim,
                                      .q_rows = (int)pixels(q),
                                      .k_rows = (int)pixels(keys),
                                      .scale = op->u.attention.scale,
                                      .causal = op->u.attention.causal};
    s->extra = bl_align_up(k->attention_packed(&s->attention), BL_ALIGN);
    s->scratch_bytes = s->extra + (uint64_t)x->module->cpu->threads *
                                      bl_align_up(k->attention_scratch(&s->attention), BL_ALIGN);
}

static int prepare_op(bl_executable *x, int i, bl_op_memory *memory, const bl_typed_kernels *k, bool *sure,
                      bl_error *err) {
    const bl_op *op = &x->graph->ops[i];
    bl_step *s = &x->steps[i];
    int rc = 0;
    memory->inplace = -1;
    switch (op->kind) {
    case BL_OP_CONV:
        rc = prepare_conv(x, s, memory, op, sure, err);
        break;
    case BL_OP_LINEAR:
        rc = prepare_linear(x, s, memory, op, sure, err);
        break;
    case BL_OP_GROUP_NORM:
        prepare_norm(x, s, memory, op);
        break;
    case BL_OP_NORM_FACTORS:
        prepare_factors(x, s, op);
        break;
    case BL_OP_FOLDED_CONV:
        rc = bl_cpu_bands_prepare(x, s, memory, op, sure, err);
        break;
    case BL_OP_FEED_FORWARD:
        rc = bl_cpu_feed_forward_prepare(x, s, memory, op, sure, err);
        break;
    case BL_OP_ATTENTION:
        prepare_attention(x, s, op, k);
        break;
    case BL_OP_LAYER_NORM:
    case BL_OP_ACT:
    case BL_OP_ADD:
        memory->inplace = 0;
        break;
    default:
        break;
    }
    memory->scratch_bytes = s->scratch_bytes;
    return rc;
}

static int prepare_all(bl_executable *x, bl_op_memory *memory, bool *sure, bl_error *err) {
    const bl_kernels *k = x->module->cpu->kernels;
    for (int i = 0; i < x->graph->op_count; i++) {
        int rc = prepare_op(x, i, &memory[i], x->graph->dtype == BL_BF16 ? &k->bf16 : &k->f32, sure, err);
        if (rc) {
            return rc;
        }
    }
    return bl_arena_plan_make(&x->plan, x->graph, memory, err);
}

static int make_executable(bl_executable *x, bl_level level, const bl_graph *graph, bool *sure,
                           bl_error *err) {
    int rc = bl_graph_at_level(&x->changed, graph, level, err);
    if (rc) {
        return rc;
    }
    x->graph = x->changed ? x->changed : graph;
    size_t count = (size_t)x->graph->op_count;
    bl_op_memory *memory = calloc(count + 1, sizeof *memory);
    x->steps = calloc(count + 1, sizeof *x->steps);
    x->flops = calloc((size_t)graph->block_count + 1, sizeof *x->flops);
    x->seconds = calloc(count + 1, sizeof *x->seconds);
    if (!memory || !x->steps || !x->flops || !x->seconds) {
        free(memory);
        return bl_fail_memory(err, "preparing a graph", count * sizeof *x->steps);
    }
    for (int i = 0; i < graph->op_count; i++) {
        x->flops[graph->ops[i].block] += bl_op_flops(graph, &graph->ops[i]);
    }
    rc = prepare_all(x, memory, sure, err);
    free(memory);
    return rc;
}

/* What would give other bits is left out: first taking the batch apart, then folding. */
static bl_level lesser(bl_level l) {
    return (bl_level){.folds = l.apart ? l.folds : BL_FOLD_NOTHING};
}

int bl_cpu_prepare(bl_executable **out, bl_device_module *m, const bl_graph *graph,
                   const bl_prepare_options *options, bl_error *err) {
    if (graph->weight_count != m->weight_count || graph->block_count != m->block_count ||
        graph->dtype != m->dtype) {
        return bl_fail(err, BL_E_INTERNAL, "the graph is not one of this module");
    }
    bl_set_threads(m->cpu->threads);
    for (bl_level level = bl_levels[options ? options->arena_level : 0];; level = lesser(level)) {
        bool sure = true;
        bl_executable *x = calloc(1, sizeof *x);
        if (!x) {
            return bl_fail_memory(err, "preparing a graph", sizeof *x);
        }
        x->module = m;
        int rc = make_executable(x, level, graph, &sure, err);
        if (!rc && sure) {
            *out = x;
            return 0;
        }
        bl_cpu_executable_close(x);
        if (rc) {
            return rc;
        }
    }
}

void bl_cpu_executable_close(bl_executable *x) {
    if (!x) {
        return;
    }
    for (int i = 0; x->steps && i < x->graph->op_count; i++) {
        bl_dnnl_primitive_close(&x->steps[i].product);
        bl_dnnl_primitive_close(&x->steps[i].side);
    }
    bl_graph_free(&x->changed);
    bl_arena_plan_free(&x->plan);
    free(x->seconds);
    free(x->flops);
    free(x->steps);
    free(x);
}

void bl_cpu_executable_info(const bl_executable *x, bl_exec_info *out) {
    *out = (bl_exec_info){
        .arena_bytes = x->plan.bytes, .block_count = x->graph->block_count, .block_flops = x->flops};
}

const double *bl_cpu_op_seconds(const bl_executable *x) {
    return x->seconds;
}
