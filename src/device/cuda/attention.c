/* Attention of one picture: by cuDNN where it has it (bf16, heads of at most 256 channels, no mask or bias),
 * else in bands of rows, so that the scores of all of them never lie side by side. */
#include "device/cuda/dnn.h"
#include "device/cuda/internal.h"

#include "core/checked.h"

#include <stdlib.h>
#include <string.h>

#define WHAT "attention"

struct bl_cuda_attention_item {
    bl_cuda_attention attention; /* first */
    struct bl_cuda_attention_item *next;
};

enum { Q = 1, K, V, Y, SCALE };

#define MOST_DIM 256
#define BAND_BYTES (64u << 20) /* of scores */

/* [1, heads, rows, dim] as cuDNN counts: a slice of [rows, width] */
static bl_dnn_descriptor slice(bl_dnn_graph *g, int64_t id, const bl_cuda_attention_shape *s, int64_t heads,
                               int64_t rows, int64_t width, int64_t alignment) {
    const int64_t dims[4] = {1, heads, rows, s->dim}, strides[4] = {rows * width, s->dim, width, 1};
    return bl_dnn_tensor(g, id, s->dtype, dims, strides, alignment);
}

void bl_dnn_attention_graph(bl_dnn_graph *g, const bl_cuda_attention_shape *s) {
    bl_dnn_descriptor q = slice(g, Q, s, s->heads, s->rows, s->q_width, s->q_align);
    bl_dnn_descriptor k = slice(g, K, s, s->kv_heads, s->keys, s->k_width, s->k_align);
    bl_dnn_descriptor v = slice(g, V, s, s->kv_heads, s->keys, s->v_width, s->v_align);
    bl_dnn_descriptor y = slice(g, Y, s, s->heads, s->rows, s->heads * s->dim, 16);
    bl_dnn_descriptor scale = bl_dnn_scalar(g, SCALE);
    bl_dnn_descriptor op = bl_dnn_make(g, BL_DNN_KIND_OP_SDPA, "attention");
    bl_dnn_set_tensor(g, op, BL_DNN_OP_SDPA_Q, q);
    bl_dnn_set_tensor(g, op, BL_DNN_OP_SDPA_K, k);
    bl_dnn_set_tensor(g, op, BL_DNN_OP_SDPA_V, v);
    bl_dnn_set_tensor(g, op, BL_DNN_OP_SDPA_O, y);
    bl_dnn_set_tensor(g, op, BL_DNN_OP_SDPA_SCALE, scale);
    bl_dnn_op(g, op);
}

static bool is_cudnns(const bl_cuda_attention_shape *s) {
    return s->dtype == BL_BF16 && !s->causal && !s->biased && s->dim <= MOST_DIM && s->dim % 8 == 0 &&
           s->q_width % 8 == 0 && s->k_width % 8 == 0 && s->v_width % 8 == 0 && s->q_align >= 16 &&
           s->k_align >= 16 && s->v_align >= 16;
}

/* Heads of q that share one of k and v. */
static int64_t share_of(const bl_cuda_attention_shape *s) {
    return s->heads / s->kv_heads;
}

/* Products of `rows` rows: q k^T -> F32 scores, weights v -> y; of one of those that share a head of k and v,
 * for all heads of these. */
static int find_products(bl_cuda_attention *a, bl_cuda *c, int which, int64_t rows, bl_error *err) {
    const bl_cuda_attention_shape *s = &a->shape;
    int64_t y_width = s->heads * s->dim, share = share_of(s);
    int64_t align = share > 1 ? 8 * (int64_t)bl_dtype_size((bl_dtype)s->dtype) : BL_ALIGN; /* of a row */
    bl_cuda_product_shape scores = {.rows = rows,
                                    .o = s->keys,
                                    .k = s->dim,
                                    .x_stride = s->q_width,
                                    .w_stride = s->k_width,
                                    .y_stride = a->stride,
                                    .batch = s->kv_heads,
                                    .x_batch = share * s->dim,
                                    .w_batch = s->dim,
                                    .y_batch = share * rows * a->stride,
                                    .in = s->dtype,
                                    .out = BL_F32,
                                    .x_align = s->q_align,
                                    .w_align = s->k_align,
                                    .y_align = align};
    bl_cuda_product_shape sums = {.rows = rows,
                                  .o = s->dim,
                                  .k = s->keys,
                                  .x_stride = a->stride,
                                  .w_stride = s->v_width,
                                  .y_stride = y_width,
                                  .batch = s->kv_heads,
                                  .x_batch = share * rows * a->stride,
                                  .w_batch = s->dim,
                                  .y_batch = share * s->dim,
                                  .plain = 1,
                                  .in = s->dtype,
                                  .out = s->dtype,
                                  .x_align = align,
                                  .w_align = s->v_align,
                                  .y_align = 16};
    int64_t head = s->dim * (int64_t)bl_dtype_size((bl_dtype)s->dtype); /* the next head's address */
    while (head % sums.y_align) {
        sums.y_align /= 2;
    }
    int rc = bl_cuda_find_product(&a->scores[which], c, &scores, err);
    rc = rc ? rc : bl_cuda_find_product(&a->sums[which], c, &sums, err);
    for (int i = 0; i < 2 && !rc; i++) {
        uint64_t bytes = (i ? a->sums : a->scores)[which]->workspace_bytes;
        a->workspace_bytes = bytes > a->workspace_bytes ? bytes : a->workspace_bytes;
    }
    return rc;
}

uint64_t bl_cuda_attention_most(const bl_cuda_attention_shape *s) {
    uint64_t row = (uint64_t)s->heads * bl_align_up((uint64_t)s->keys, 8) * 4;
    uint64_t scores = row * (uint64_t)s->rows < BAND_BYTES ? row * (uint64_t)s->rows : BAND_BYTES;
    scores = bl_align_up(scores > row ? scores : row, BL_ALIGN);
    return 2 * scores + bl_cuda_workspace_room(BL_CUDA_WORKSPACE); /* weights are no wider than scores */
}

static int plan_bands(bl_cuda_attention *a, bl_cuda *c, bl_error *err) {
    const bl_cuda_attention_shape *s = &a->shape;
    a->stride = (int64_t)bl_align_up((uint64_t)s->keys, 8);
    a->band = (int64_t)BAND_BYTES / (s->heads * a->stride * 4);
    a->band = a->band < 1 ? 1 : a->band < s->rows ? a->band : s->rows;
    int rc = find_products(a, c, 0, a->band, err);
    if (!rc && s->rows % a->band) {
        rc = find_products(a, c, 1, s->rows % a->band, err);
    }
    uint64_t scores = (uint64_t)(s->heads * a->band * a->stride);
    a->weights_at = bl_align_up(scores * 4, BL_ALIGN);
    a->workspace_at = a->weights_at + bl_align_up(scores * bl_dtype_size((bl_dtype)s->dtype), BL_ALIGN);
    a->scratch_bytes = a->workspace_at + bl_cuda_workspace_room(a->workspace_bytes);
    return rc;
}

static int find_plan(bl_cuda_attention *a, bl_cuda *c, bl_error *err) {
    uint64_t key = bl_cuda_plan_key(WHAT, &a->shape, sizeof a->shape);
    bl_cuda_planned_plan planned;
    if (bl_cuda_planned(&planned, c, key, c->properties != NULL)) {
        a->has_plan = planned.exists;
        a->workspace_bytes = planned.exists ? planned.workspace_bytes : 0;
        a->scratch_bytes = bl_cuda_workspace_room(a->workspace_bytes);
        return 0;
    }
    bl_dnn_graph g = {.c = c, .dnn = &c->libs->dnn};
    bl_dnn_plan_made made;
    bl_dnn_attention_graph(&g, &a->shape);
    int rc = bl_dnn_plan(&made, &g, false, WHAT, key, err);
    a->plan = made.plan;
    a->has_plan = made.exists;
    a->choice = made.choice;
    a->workspace_bytes = made.workspace_bytes;
    a->scratch_bytes = bl_cuda_workspace_room(made.workspace_bytes);
    return rc;
}

int bl_cuda_find_attention(const bl_cuda_attention **out, bl_cuda *c, const bl_cuda_attention_shape *s,
                           bl_error *err) {
    struct bl_cuda_attention_item *item = c->plans.attentions;
    *out = NULL;
    while (item && memcmp(&item->attention.shape, s, sizeof *s)) {
        item = item->next;
    }
    if (item) {
        *out = &item->attention;
        return 0;
    }
    item = calloc(1, sizeof *item);
    if (!item) {
        return bl_fail_memory(err, "attention", sizeof *item);
    }
    bl_cuda_attention *a = &item->attention;
    a->shape = *s;
    int rc = 0;
    if (is_cudnns(s)) {
        rc = find_plan(a, c, err);
    }
    if (!rc && !a->has_plan) {
        rc = plan_bands(a, c, err);
    }
    if (rc) {
        free(item);
        return rc;
    }
    a->number = ++c->plans.count;
    item->next = c->plans.attentions;
    c->plans.attentions = item;
    *out = a;
    return 0;
}

void bl_cuda_visit_attentions(const bl_cuda *c, bl_cuda_plan_visit *visit, void *payload) {
    for (const struct bl_cuda_attention_item *i = c->plans.attentions; i; i = i->next) {
        const bl_cuda_attention *x = &i->attention;
        if (is_cudnns(&x->shape)) {
            visit(payload, WHAT, bl_cuda_plan_key(WHAT, &x->shape, sizeof x->shape),
                  x->has_plan ? x->choice : -1, x->has_plan ? x->workspace_bytes : 0);
        }
    }
}

void bl_cuda_attentions_close(bl_cuda *c) {
    while (c->plans.attentions) {
        struct bl_cuda_attention_item *next = c->plans.attentions->next;
        if (c->plans.attentions->attention.plan) {
            c->libs->dnn.cudnnBackendDestroyDescriptor(c->plans.attentions->attention.plan);
        }
        free(c->plans.attentions);
        c->plans.attentions = next;
    }
}

static int attend_in_bands(const bl_cuda_running *r, const bl_cuda_attention *a, bl_cu_pointer y,
                           bl_cu_pointer q, bl_cu_pointer k, bl_cu_pointer v, bl_cuda_bias bias,
                           bl_error *err) {
    const bl_cuda_attention_shape *s = &a->shape;
    bl_cu_pointer weights = r->scratch + a->weights_at, workspace = r->scratch + a->workspace_at;
    int64_t share = share_of(s);
    uint64_t head = (uint64_t)s->dim * r->element;
    int rc = 0;
    for (int64_t first = 0; first < s->rows && !rc; first += a->band) {
        int64_t rows = s->rows - first < a->band ? s->rows - first : a->band, each = rows * a->stride;
        int which = rows < a->band;
        bl_cu_pointer from = q + (uint64_t)(first * s->q_width) * r->element;
        for (int64_t i = 0; i < share && !rc; i++) {
            rc = bl_cuda_multiply(r->c, a->scores[which], r->stream, r->scratch + (uint64_t)(i * each) * 4,
                                  from + (uint64_t)i * head, k, 0, 0, s->scale, workspace, err);
        }
        struct softmax_args args = {.x = r->scratch,
                                    .bias = bias.at,
                                    .y = weights,
                                    .rows = s->heads * rows,
                                    .rows_each = (int)rows,
                                    .stride = (int)a->stride,
                                    .keys = (int)s->keys,
                                    .causal = (int)s->causal,
                                    .first = (int)first,
                                    .bias_stride = bias.stride,
                                    .bias_zero = bias.zero};
        rc =
            rc ? rc
               : bl_cuda_launch_blocks(r, BL_KERNEL_softmax, &args, (args.rows + BL_ROWS - 1) / BL_ROWS, err);
        bl_cu_pointer to = y + (uint64_t)(first * s->heads) * head;
        for (int64_t i = 0; i < share && !rc; i++) {
            rc = bl_cuda_multiply(r->c, a->sums[which], r->stream, to + (uint64_t)i * head,
                                  weights + (uint64_t)(i * each) * r->element, v, 0, 0, 1.0f, workspace, err);
        }
    }
    return rc;
}

int bl_cuda_attend(const bl_cuda_running *r, const bl_cuda_attention *a, bl_cu_pointer y, bl_cu_pointer q,
                   bl_cu_pointer k, bl_cu_pointer v, bl_cuda_bias bias, bl_error *err) {
    const bl_cu_pointer tensors[] = {q, k, v, y}; /* 1 .. 4 */
    return a->has_plan
               ? bl_dnn_execute(r->c, a->plan, tensors, 4, &a->shape.scale, r->scratch, "attention", err)
               : attend_in_bands(r, a, y, q, k, v, bias, err);
}
