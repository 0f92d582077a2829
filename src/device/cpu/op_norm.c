/* Norms: loops over our kernels. */
#include "device/cpu/internal.h"

#include "core/checked.h"

#include <math.h>
#include <string.h>

/* Rows that one task of a group norm takes; a function of the shape alone, so that sums have one order. */
static int64_t task_rows(int c) {
    int64_t rows = 65536 / c;
    return rows < 8 ? 8 : rows;
}

static int prepare_factors(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    (void)sure, (void)err;
    const bl_tensor *t = &x->graph->tensors[op->in[0]], *out = &x->graph->tensors[op->out];
    uint64_t rows = (uint64_t)task_rows(out->c), blocks = ((uint64_t)bl_cpu_pixels(t) + rows - 1) / rows;
    /* where only some channels are measured, those rows [threads][rows, c]; then moments [n][blocks][groups]
     */
    uint64_t dense = rows * (uint64_t)out->c * bl_dtype_size(x->graph->dtype);
    s->extra = t->c == out->c ? 0 : bl_align_up(dense * (uint64_t)x->threads, BL_ALIGN);
    s->scratch_bytes = s->extra + (uint64_t)t->n * blocks * (uint64_t)op->u.norm.groups * sizeof(bl_moments);
    return 0;
}

static int prepare_norm(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    (void)sure, (void)err;
    const bl_tensor *t = &x->graph->tensors[op->in[0]];
    uint64_t blocks = (uint64_t)((bl_cpu_pixels(t) + task_rows(t->c) - 1) / task_rows(t->c));
    /* factors and offsets F32 [n][2][c], then moments [n][blocks][groups] */
    s->extra = bl_align_up((uint64_t)t->n * 2 * (uint64_t)t->c * sizeof(float), BL_ALIGN);
    s->scratch_bytes = s->extra + (uint64_t)t->n * blocks * (uint64_t)op->u.norm.groups * sizeof(bl_moments);
    return 0;
}

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
                  .step = task_rows(c),
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

static int run_group_norm(const bl_running *r, bl_error *err) {
    (void)err;
    norm_job j = find_factors(r, (float *)(void *)r->scratch, r->scratch + r->step->extra);
    bl_parallel_for(j.n * j.blocks, 1, apply, &j);
    return 0;
}

static int run_norm_factors(const bl_running *r, bl_error *err) {
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

/* Where it has no weights, ones [c] and zeros [c] stand for them. */
static int prepare_layer_norm(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    (void)sure, (void)err;
    s->scratch_bytes = op->weight == BL_NONE ? 2 * (uint64_t)x->graph->tensors[op->out].c * sizeof(float) : 0;
    return 0;
}

static int run_layer_norm(const bl_running *r, bl_error *err) {
    (void)err;
    const bl_tensor *t = bl_running_tensor(r, r->op->in[0]);
    float *ones = (float *)(void *)r->scratch;
    for (int i = 0; i < t->c && r->op->weight == BL_NONE; i++) {
        ones[i] = 1.0f;
        ones[t->c + i] = 0.0f;
    }
    norm_job j = {.r = r,
                  .x = bl_running_data(r, r->op->in[0]),
                  .y = bl_running_data(r, r->op->out),
                  .scale = r->op->weight == BL_NONE ? ones : bl_running_weight(r, r->op->weight),
                  .shift = r->op->weight == BL_NONE ? ones + t->c : bl_running_weight(r, r->op->weight2),
                  .c = t->c,
                  .eps = r->op->u.norm.eps};
    bl_parallel_for((int64_t)t->n * t->h * t->w, 8, layer_rows, &j);
    return 0;
}

const bl_cpu_op bl_cpu_group_norm = {.prepare = prepare_norm, .run = run_group_norm};
const bl_cpu_op bl_cpu_norm_factors = {.prepare = prepare_factors, .run = run_norm_factors};
const bl_cpu_op bl_cpu_layer_norm = {.prepare = prepare_layer_norm, .run = run_layer_norm};
