/* Attention: loops over our kernels. */
#include "device/cpu/internal.h"

#include "core/checked.h"

static int prepare(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    (void)sure, (void)err;
    const bl_typed_kernels *k = bl_cpu_typed(x);
    const bl_tensor *q = &x->graph->tensors[op->in[0]], *keys = &x->graph->tensors[op->in[1]];
    const bl_tensor *values = &x->graph->tensors[op->in[2]], *out = &x->graph->tensors[op->out];
    s->attention = (bl_attention_job){.q_stride = q->c,
                                      .k_stride = keys->c,
                                      .v_stride = values->c,
                                      .y_stride = out->c,
                                      .heads = op->u.attention.heads,
                                      .kv_heads = op->u.attention.kv_heads,
                                      .head_dim = op->u.attention.head_dim,
                                      .q_rows = (int)bl_cpu_pixels(q),
                                      .k_rows = (int)bl_cpu_pixels(keys),
                                      .scale = op->u.attention.scale,
                                      .causal = op->u.attention.causal};
    s->extra = bl_align_up(k->attention_packed(&s->attention), BL_ALIGN);
    s->scratch_bytes =
        s->extra + (uint64_t)x->threads * bl_align_up(k->attention_scratch(&s->attention), BL_ALIGN);
    return 0;
}

typedef struct attention_loop {
    const bl_typed_kernels *k;
    bl_attention_job job;
    unsigned char *scratch; /* [threads][scratch_bytes] */
    uint64_t scratch_bytes;
} attention_loop;

static void pack_range(void *context, int64_t begin, int64_t end, int thread) {
    const attention_loop *l = context;
    (void)thread;
    l->k->attention_pack(&l->job, begin, end);
}

static void attend_range(void *context, int64_t begin, int64_t end, int thread) {
    const attention_loop *l = context;
    l->k->attention_run(&l->job, begin, end, l->scratch + (uint64_t)thread * l->scratch_bytes);
}

static int run(const bl_running *r, bl_error *err) {
    attention_loop l = {.k = r->k, .job = r->step->attention, .scratch = r->scratch + r->step->extra};
    const bl_attention_job *shape = &r->step->attention;
    const unsigned char *q = bl_running_data(r, r->op->in[0]), *k = bl_running_data(r, r->op->in[1]);
    const unsigned char *v = bl_running_data(r, r->op->in[2]);
    const int32_t *counts = bl_running_data(r, r->op->in[3]);
    const float *bias = bl_running_data(r, r->op->in[4]);
    const int64_t distances = bias ? bl_running_tensor(r, r->op->in[4])->c : 0;
    unsigned char *y = bl_running_data(r, r->op->out);
    size_t e = r->element;
    l.scratch_bytes = bl_align_up(r->k->attention_scratch(shape), BL_ALIGN);
    l.job.packed = r->scratch;
    for (int64_t i = 0; i < bl_running_tensor(r, r->op->in[0])->n; i++) {
        if (counts && (counts[i] < 1 || counts[i] > shape->k_rows)) {
            return bl_fail(err, BL_E_ARGUMENT, "%d keys of %d cannot be attended to", (int)counts[i],
                           (int)shape->k_rows);
        }
        l.job.k_rows = counts ? counts[i] : shape->k_rows; /* packed and walked as if there were no more */
        l.job.q = q + (size_t)(i * shape->q_rows * shape->q_stride + r->op->u.attention.q_offset) * e;
        l.job.k = k + (size_t)(i * shape->k_rows * shape->k_stride + r->op->u.attention.k_offset) * e;
        l.job.v = v + (size_t)(i * shape->k_rows * shape->v_stride + r->op->u.attention.v_offset) * e;
        l.job.bias = bias ? bias + i * shape->heads * distances + shape->k_rows - 1 : NULL;
        l.job.bias_stride = distances;
        l.job.y = y + (size_t)(i * shape->q_rows * shape->y_stride) * e;
        bl_parallel_for(r->k->attention_pack_items(&l.job), 1, pack_range, &l);
        bl_parallel_for(r->k->attention_items(&l.job), 1, attend_range, &l);
    }
    return 0;
}

const bl_cpu_op bl_cpu_attention = {.prepare = prepare, .run = run};
