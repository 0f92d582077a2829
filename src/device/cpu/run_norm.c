/* Norms and attention: loops over our kernels. */
#include "device/cpu/internal.h"

#include "core/checked.h"

#include <math.h>
#include <string.h>

typedef struct norm_job {
    const bl_running *r;
    const unsigned char *x;
    unsigned char *y;
    const float *scale, *shift; /* [c] */
    float *factors;             /* [n][2][c]: y = x factors[0] + factors[1] */
    bl_moments *moments;        /* [n][blocks][groups] */
    unsigned char *dense; /* [threads][step, c]: a task's rows, where x has more channels than the norm */
    int64_t rows, step, blocks; /* of one picture; of one task; tasks of one picture */
    int n, c, groups;
    int stride; /* channels of x */
    float eps;
} norm_job;

static int64_t rows_of(const norm_job *j, int64_t block) {
    int64_t left = j->rows - block * j->step;
    return left < j->step ? left : j->step;
}

static size_t place_of(const norm_job *j, int64_t item) {
    int64_t row = item / j->blocks * j->rows + item % j->blocks * j->step;
    return (size_t)row * (size_t)j->stride * j->r->element;
}

/* The first c channels of a task's rows, one row behind the other. */
static const unsigned char *dense_rows(const norm_job *j, int64_t item, int thread) {
    const unsigned char *x = j->x + place_of(j, item);
    if (j->stride == j->c) {
        return x;
    }
    size_t bytes = (size_t)j->c * j->r->element, step = (size_t)j->stride * j->r->element;
    unsigned char *to = j->dense + (size_t)thread * (size_t)j->step * bytes;
    for (int64_t k = 0; k < rows_of(j, item % j->blocks); k++) {
        memcpy(to + (size_t)k * bytes, x + (size_t)k * step, bytes);
    }
    return to;
}

static void measure(void *context, int64_t begin, int64_t end, int thread) {
    const norm_job *j = context;
    for (int64_t i = begin; i < end; i++) {
        j->r->k->group_moments(j->moments + i * j->groups, dense_rows(j, i, thread),
                               rows_of(j, i % j->blocks), j->c, j->groups);
    }
}

/* Joins the moments of one group's blocks, in their order, and writes its channels' factors. */
static void join(void *context, int64_t begin, int64_t end, int thread) {
    const norm_job *j = context;
    (void)thread;
    int size = j->c / j->groups;
    for (int64_t i = begin; i < end; i++) {
        int64_t image = i / j->groups, group = i % j->groups;
        const bl_moments *m = j->moments + image * j->blocks * j->groups + group;
        double mean = 0.0, square = 0.0, count = 0.0;
        for (int64_t b = 0; b < j->blocks; b++, m += j->groups) {
            double more = (double)rows_of(j, b) * size, delta = m->mean - mean, all = count + more;
            mean += delta * more / all;
            square += m->square + delta * delta * count * more / all;
            count = all;
        }
        double inverse = 1.0 / sqrt(square / count + (double)j->eps);
        float *a = j->factors + image * 2 * j->c, *b = a + j->c;
        for (int64_t c = group * size; c < (group + 1) * size; c++) {
            double factor = (double)j->scale[c] * inverse;
            a[c] = (float)factor;
            b[c] = (float)((double)j->shift[c] - mean * factor);
        }
    }
}

static void apply(void *context, int64_t begin, int64_t end, int thread) {
    const norm_job *j = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *a = j->factors + i / j->blocks * 2 * j->c;
        size_t at = place_of(j, i);
        j->r->k->scale_shift(j->y + at, j->x + at, a, a + j->c, rows_of(j, i % j->blocks), j->c,
                             j->r->op->act);
    }
}

/* Measures the groups and writes the factors. */
static norm_job find_factors(const bl_running *r, float *factors, unsigned char *moments) {
    const bl_tensor *t = bl_running_tensor(r, r->op->in[0]);
    int c = (int)bl_running_packed(r, r->op->weight)->weight.shape[0];
    norm_job j = {.r = r,
                  .x = bl_running_data(r, r->op->in[0]),
                  .y = bl_running_data(r, r->op->out),
                  .scale = bl_running_weight(r, r->op->weight),
                  .shift = bl_running_weight(r, r->op->weight2),
                  .factors = factors,
                  .moments = (bl_moments *)(void *)moments,
                  .dense = r->scratch,
                  .rows = (int64_t)t->h * t->w,
                  .step = bl_cpu_norm_rows(c),
                  .n = t->n,
                  .c = c,
                  .stride = t->c,
                  .groups = r->op->u.norm.groups,
                  .eps = r->op->u.norm.eps};
    j.blocks = (j.rows + j.step - 1) / j.step;
    bl_parallel_for(j.n * j.blocks, 1, measure, &j);
    bl_parallel_for((int64_t)j.n * j.groups, 1, join, &j);
    return j;
}

int bl_run_group_norm(const bl_running *r, bl_error *err) {
    (void)err;
    norm_job j = find_factors(r, (float *)(void *)r->scratch, r->scratch + r->step->extra);
    bl_parallel_for(j.n * j.blocks, 1, apply, &j);
    return 0;
}

int bl_run_norm_factors(const bl_running *r, bl_error *err) {
    (void)err;
    find_factors(r, bl_running_data(r, r->op->out), r->scratch + r->step->extra);
    return 0;
}

static void layer_rows(void *context, int64_t begin, int64_t end, int thread) {
    const norm_job *j = context;
    (void)thread;
    size_t at = (size_t)begin * (size_t)j->c * j->r->element;
    j->r->k->layer_norm(j->y + at, j->x + at, j->scale, j->shift, end - begin, j->c, j->eps);
}

int bl_run_layer_norm(const bl_running *r, bl_error *err) {
    (void)err;
    const bl_tensor *t = bl_running_tensor(r, r->op->in[0]);
    norm_job j = {.r = r,
                  .x = bl_running_data(r, r->op->in[0]),
                  .y = bl_running_data(r, r->op->out),
                  .scale = bl_running_weight(r, r->op->weight),
                  .shift = bl_running_weight(r, r->op->weight2),
                  .c = t->c,
                  .eps = r->op->u.norm.eps};
    bl_parallel_for((int64_t)t->n * t->h * t->w, 8, layer_rows, &j);
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

int bl_run_attention(const bl_running *r, bl_error *err) {
    (void)err;
    attention_loop l = {.k = r->k, .job = r->step->attention, .scratch = r->scratch + r->step->extra};
    const bl_attention_job *shape = &r->step->attention;
    const unsigned char *q = bl_running_data(r, r->op->in[0]), *k = bl_running_data(r, r->op->in[1]);
    const unsigned char *v = bl_running_data(r, r->op->in[2]);
    unsigned char *y = bl_running_data(r, r->op->out);
    size_t e = r->element;
    l.scratch_bytes = bl_align_up(r->k->attention_scratch(shape), BL_ALIGN);
    l.job.packed = r->scratch;
    for (int64_t i = 0; i < bl_running_tensor(r, r->op->in[0])->n; i++) {
        l.job.q = q + (size_t)(i * shape->q_rows * shape->q_stride + r->op->u.attention.q_offset) * e;
        l.job.k = k + (size_t)(i * shape->k_rows * shape->k_stride + r->op->u.attention.k_offset) * e;
        l.job.v = v + (size_t)(i * shape->k_rows * shape->v_stride + r->op->u.attention.v_offset) * e;
        l.job.y = y + (size_t)(i * shape->q_rows * shape->y_stride) * e;
        bl_parallel_for(r->k->attention_pack_items(&l.job), 1, pack_range, &l);
        bl_parallel_for(r->k->attention_items(&l.job), 1, attend_range, &l);
    }
    return 0;
}
