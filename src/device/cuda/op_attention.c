/* ATTENTION: picture by picture. Who sees fewer keys is computed as if there were no more: then the bits are
 * those that it has alone, too. Which numbers of keys are likely the graph says: plans for these are made
 * before anything runs. */
#include "device/cuda/internal.h"

#include "core/checked.h"

#include <string.h>

#define MOST_COUNTS 64 /* of keys that plans are made for beforehand: the largest */

/* The fewest keys that a plan is made for beforehand, and by how many the others are more. */
static int64_t fewest(const bl_op *op, int64_t keys, int64_t *step) {
    int64_t least = op->u.attention.key_least;
    *step = op->u.attention.key_step;
    if (!*step) {
        *step = 1;
        return keys;
    }
    return (keys - least) / *step < MOST_COUNTS ? least : keys - (MOST_COUNTS - 1) * *step;
}

/* Of an address that these numbers of bytes are added to. */
static int64_t alignment(int64_t a, int64_t b, int64_t c) {
    int64_t align = BL_ALIGN;
    while (a % align || b % align || c % align) {
        align /= 2;
    }
    return align;
}

static bl_cuda_attention_shape shape_of(const bl_executable *x, const bl_op *op, int64_t keys) {
    const bl_tensor *q = &x->graph->tensors[op->in[0]], *k = &x->graph->tensors[op->in[1]],
                    *v = &x->graph->tensors[op->in[2]];
    int64_t element = (int64_t)bl_dtype_size(x->graph->dtype), head = op->u.attention.head_dim * element;
    bl_cuda_attention_shape s;
    memset(&s, 0, sizeof s);
    s.rows = bl_cuda_rows_each(q);
    s.keys = keys;
    s.heads = op->u.attention.heads;
    s.kv_heads = op->u.attention.kv_heads;
    s.dim = op->u.attention.head_dim;
    s.q_width = q->c;
    s.k_width = k->c;
    s.v_width = v->c;
    s.q_align = alignment(op->u.attention.q_offset * element, q->c * element, head);
    s.k_align = alignment(op->u.attention.k_offset * element, k->c * element, head);
    s.v_align = alignment(op->u.attention.v_offset * element, v->c * element, head);
    s.causal = op->u.attention.causal;
    s.dtype = x->graph->dtype;
    s.scale = op->u.attention.scale;
    s.biased = op->in[4] != BL_NONE;
    return s;
}

static int prepare(bl_executable *x, bl_cuda_step *s, const bl_op *op, bl_error *err) {
    bl_cuda_attention_shape shape = shape_of(x, op, bl_cuda_rows_each(&x->graph->tensors[op->in[1]]));
    int rc = bl_cuda_find_attention(&s->attention, x->module->c, &shape, err);
    for (int64_t step, keys = fewest(op, shape.keys, &step); keys < shape.keys && !rc; keys += step) {
        const bl_cuda_attention *fewer;
        bl_cuda_attention_shape part = shape_of(x, op, keys);
        rc = bl_cuda_find_attention(&fewer, x->module->c, &part, err);
    }
    if (!rc) {
        s->scratch_bytes =
            op->in[3] != BL_NONE ? bl_cuda_attention_most(&shape) : s->attention->scratch_bytes;
    }
    s->inplace = -1;
    s->host_input = op->in[4] != BL_NONE ? bl_cuda_first_of(x, op, op->in[4]) : BL_NONE;
    return rc;
}

/* Of one picture, by the distance of query and key. */
static bl_cuda_bias bias_of(const bl_cuda_running *r, int picture) {
    const bl_tensor *t = bl_cuda_tensor(r, r->op->in[4]);
    if (!t) {
        return (bl_cuda_bias){0};
    }
    return (bl_cuda_bias){.at = bl_cuda_table(r, r->op->in[4]) +
                                (uint64_t)picture * (uint64_t)t->h * (uint64_t)t->c * sizeof(float),
                          .stride = t->c,
                          .zero = (int)r->step->attention->shape.keys - 1};
}

/* With what there is of each number of keys, all of it at one address. */
static int run_all_counts(const bl_cuda_running *r, bl_error *err) {
    int64_t all = r->step->attention->shape.keys;
    int rc = 0;
    for (int64_t step, keys = fewest(r->op, all, &step); keys <= all && !rc; keys += step) {
        const bl_cuda_attention *a;
        bl_cuda_attention_shape s = shape_of(r->x, r->op, keys);
        rc = bl_cuda_find_attention(&a, r->c, &s, err);
        rc = rc ? rc : bl_cuda_attend(r, a, r->only, r->only, r->only, r->only, bias_of(r, 0), err);
    }
    return rc;
}

static int count_of(int64_t *out, const bl_cuda_running *r, int picture, bl_error *err) {
    const bl_tensor *t = bl_cuda_tensor(r, r->op->in[3]);
    *out = r->step->attention->shape.keys;
    if (t) {
        int32_t n = ((const int32_t *)r->binding->inputs[t->port])[picture];
        if (n < 1 || n > *out) {
            return bl_fail(err, BL_E_ARGUMENT, "%d keys of a tensor of %lld rows", (int)n, (long long)*out);
        }
        *out = n;
    }
    return 0;
}

static int run(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *q = bl_cuda_tensor(r, r->op->in[0]), *k = bl_cuda_tensor(r, r->op->in[1]),
                    *v = bl_cuda_tensor(r, r->op->in[2]), *y = bl_cuda_tensor(r, r->op->out);
    bl_cu_pointer from[3] = {bl_cuda_data(r, r->op->in[0]), bl_cuda_data(r, r->op->in[1]),
                             bl_cuda_data(r, r->op->in[2])},
                  to = bl_cuda_data(r, r->op->out);
    const int offset[3] = {r->op->u.attention.q_offset, r->op->u.attention.k_offset,
                           r->op->u.attention.v_offset};
    const bl_tensor *tensors[3] = {q, k, v};
    if (r->only) {
        return run_all_counts(r, err);
    }
    int rc = r->step->host_input == BL_NONE
                 ? 0
                 : bl_cuda_port_in(r, r->op->in[4], bl_cuda_table(r, r->op->in[4]), err);
    for (int i = 0; i < q->n && !rc; i++) {
        bl_cu_pointer at[3];
        int64_t keys;
        for (int j = 0; j < 3; j++) {
            uint64_t each = bl_tensor_bytes(tensors[j]) / (uint64_t)q->n;
            at[j] = from[j] + (uint64_t)i * each + (uint64_t)offset[j] * r->element;
        }
        const bl_cuda_attention *a = r->step->attention;
        rc = count_of(&keys, r, i, err);
        if (!rc && keys != a->shape.keys) {
            bl_cuda_attention_shape s = shape_of(r->x, r->op, keys);
            rc = bl_cuda_find_attention(&a, r->c, &s, err);
        }
        if (!rc && a->scratch_bytes > r->step->scratch_bytes) {
            rc = bl_fail(err, BL_E_INTERNAL, "attention to %lld keys wants more scratch than to all",
                         (long long)keys);
        }
        rc = rc ? rc
                : bl_cuda_attend(r, a, to + (uint64_t)i * (bl_tensor_bytes(y) / (uint64_t)y->n), at[0], at[1],
                                 at[2], bias_of(r, i), err);
    }
    return rc;
}

const bl_cuda_op bl_cuda_attention_op = {prepare, run};
