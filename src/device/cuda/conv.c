/* Convolutions of one picture by cuDNN's graphs, channels last: conv, then bias and residual in its epilogue,
 * all sums in F32. */
#include "device/cuda/dnn.h"
#include "device/cuda/internal.h"

#include <stdlib.h>
#include <string.h>

#define WHAT "a convolution"

struct bl_cuda_conv_item {
    bl_cuda_conv conv; /* first */
    struct bl_cuda_conv_item *next;
};

enum { X = 1, W, BIAS, Y, RESIDUAL };

#define ALIGNMENT 16 /* told to cuDNN, whatever more the arena has */

/* [1, c, h, w] as cuDNN counts, channels last as it lies */
static bl_dnn_descriptor picture(bl_dnn_graph *g, int64_t id, int64_t dtype, int64_t h, int64_t w,
                                 int64_t c) {
    const int64_t dims[4] = {1, c, h, w}, strides[4] = {h * w * c, 1, w * c, c};
    return bl_dnn_tensor(g, id, dtype, dims, strides, ALIGNMENT);
}

void bl_dnn_conv_graph(bl_dnn_graph *g, const bl_cuda_conv_shape *s) {
    static const int32_t compute = BL_DNN_F32, mode = BL_DNN_CROSS_CORRELATION;
    static const int64_t ones[2] = {1, 1}, two = 2;
    static const float one = 1.0f, zero = 0.0f;
    const int64_t pre[2] = {s->top, s->left}, post[2] = {s->bottom, s->right},
                  strides[2] = {s->stride, s->stride};
    const int64_t w_dims[4] = {s->o, s->c, s->kh, s->kw},
                  w_strides[4] = {s->kh * s->kw * s->c, 1, s->kw * s->c, s->c};
    bl_dnn_descriptor x = picture(g, X, s->dtype, s->h, s->w, s->c);
    bl_dnn_descriptor w = bl_dnn_tensor(g, W, s->dtype, w_dims, w_strides, ALIGNMENT);
    bl_dnn_descriptor sum = picture(g, 0, BL_F32, s->oh, s->ow, s->o);
    bl_dnn_descriptor bias = picture(g, BIAS, BL_F32, 1, 1, s->o);
    bl_dnn_descriptor y = picture(g, Y, s->dtype, s->oh, s->ow, s->o);
    bl_dnn_descriptor how = bl_dnn_make(g, BL_DNN_KIND_CONV, "a convolution");
    bl_dnn_set(g, how, BL_DNN_CONV_COMP_TYPE, BL_DNN_OF_DATA_TYPE, 1, &compute);
    bl_dnn_set(g, how, BL_DNN_CONV_MODE, BL_DNN_OF_CONV_MODE, 1, &mode);
    bl_dnn_set(g, how, BL_DNN_CONV_DIMS, BL_DNN_OF_INT64, 1, &two);
    bl_dnn_set(g, how, BL_DNN_CONV_DILATIONS, BL_DNN_OF_INT64, 2, ones);
    bl_dnn_set(g, how, BL_DNN_CONV_STRIDES, BL_DNN_OF_INT64, 2, strides);
    bl_dnn_set(g, how, BL_DNN_CONV_PRE, BL_DNN_OF_INT64, 2, pre);
    bl_dnn_set(g, how, BL_DNN_CONV_POST, BL_DNN_OF_INT64, 2, post);
    bl_dnn_finalize(g, how);
    bl_dnn_descriptor op = bl_dnn_make(g, BL_DNN_KIND_OP_CONV, "a convolution");
    bl_dnn_set_tensor(g, op, BL_DNN_OP_CONV_DESC, how);
    bl_dnn_set_tensor(g, op, BL_DNN_OP_CONV_X, x);
    bl_dnn_set_tensor(g, op, BL_DNN_OP_CONV_W, w);
    bl_dnn_set_tensor(g, op, BL_DNN_OP_CONV_Y, sum);
    bl_dnn_set(g, op, BL_DNN_OP_CONV_ALPHA, BL_DNN_OF_FLOAT, 1, &one);
    bl_dnn_set(g, op, BL_DNN_OP_CONV_BETA, BL_DNN_OF_FLOAT, 1, &zero);
    bl_dnn_op(g, op);
    if (!s->residual) {
        bl_dnn_add(g, sum, bias, y);
        return;
    }
    bl_dnn_descriptor more = picture(g, 0, BL_F32, s->oh, s->ow, s->o);
    bl_dnn_descriptor residual = picture(g, RESIDUAL, s->dtype, s->oh, s->ow, s->o);
    bl_dnn_add(g, sum, bias, more);
    bl_dnn_add(g, more, residual, y);
}

static int find_plan(bl_cuda_conv *v, bl_cuda *c, bl_error *err) {
    uint64_t key = bl_cuda_plan_key(WHAT, &v->shape, sizeof v->shape);
    bl_cuda_planned_plan planned;
    if (bl_cuda_planned(&planned, c, key, c->properties != NULL)) {
        v->has_plan = planned.exists;
        v->workspace_bytes = planned.workspace_bytes;
        return 0;
    }
    bl_dnn_graph g = {.c = c, .dnn = &c->libs->dnn};
    bl_dnn_plan_made made;
    bl_dnn_conv_graph(&g, &v->shape);
    int rc = bl_dnn_plan(&made, &g, v->shape.dtype == BL_F32, WHAT, key, err);
    v->plan = made.plan;
    v->has_plan = made.exists;
    v->choice = made.choice;
    v->workspace_bytes = made.workspace_bytes;
    return rc;
}

int bl_cuda_find_conv(const bl_cuda_conv **out, bl_cuda *c, const bl_cuda_conv_shape *s, bl_error *err) {
    struct bl_cuda_conv_item *item = c->plans.convs;
    *out = NULL;
    while (item && memcmp(&item->conv.shape, s, sizeof *s)) {
        item = item->next;
    }
    if (item) {
        *out = &item->conv;
        return 0;
    }
    item = calloc(1, sizeof *item);
    if (!item) {
        return bl_fail_memory(err, "a convolution", sizeof *item);
    }
    item->conv.shape = *s;
    int rc = find_plan(&item->conv, c, err);
    if (rc) {
        free(item);
        return rc;
    }
    item->conv.number = ++c->plans.count;
    item->next = c->plans.convs;
    c->plans.convs = item;
    *out = &item->conv;
    return 0;
}

void bl_cuda_visit_convs(const bl_cuda *c, bl_cuda_plan_visit *visit, void *payload) {
    for (const struct bl_cuda_conv_item *i = c->plans.convs; i; i = i->next) {
        const bl_cuda_conv *x = &i->conv;
        visit(payload, WHAT, bl_cuda_plan_key(WHAT, &x->shape, sizeof x->shape), x->has_plan ? x->choice : -1,
              x->workspace_bytes);
    }
}

void bl_cuda_convs_close(bl_cuda *c) {
    while (c->plans.convs) {
        struct bl_cuda_conv_item *next = c->plans.convs->next;
        if (c->plans.convs->conv.plan) {
            c->libs->dnn.cudnnBackendDestroyDescriptor(c->plans.convs->conv.plan);
        }
        free(c->plans.convs);
        c->plans.convs = next;
    }
}

int bl_cuda_convolve(bl_cuda *c, const bl_cuda_conv *p, bl_cu_pointer y, bl_cu_pointer x, bl_cu_pointer w,
                     bl_cu_pointer bias, bl_cu_pointer residual, bl_cu_pointer workspace, bl_error *err) {
    const bl_cu_pointer tensors[] = {x, w, bias, y, residual}; /* 1 .. 5 */
    return bl_dnn_execute(c, p->plan, tensors, p->shape.residual ? 5 : 4, NULL, workspace, "a convolution",
                          err);
}
