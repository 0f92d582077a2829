/* Ops that move rows, and those that make or take tensors of the host. */
#include "device/cpu/internal.h"

#include <math.h>
#include <string.h>

#define CHUNK 64 /* channels that pass through a buffer at once */

typedef struct move_job {
    const bl_running *r;
    const bl_tensor *in, *out;
    const unsigned char *x, *second;
    unsigned char *y;
} move_job;

static move_job job_of(const bl_running *r) {
    return (move_job){.r = r,
                      .in = bl_running_tensor(r, r->op->in[0]),
                      .out = bl_running_tensor(r, r->op->out),
                      .x = bl_running_data(r, r->op->in[0]),
                      .second = bl_running_data(r, r->op->in[1]),
                      .y = bl_running_data(r, r->op->out)};
}

/* Index in a host tensor of channel c of pixel i, counted through the batch. */
static size_t host_index(const bl_tensor *t, int64_t i, int c) {
    int64_t plane = (int64_t)t->h * t->w;
    return (size_t)(t->layout == BL_NCHW ? (i / plane * t->c + c) * plane + i % plane : i * t->c + c);
}

static void import_pixels(void *context, int64_t begin, int64_t end, int thread) {
    const move_job *j = context;
    const float *x = (const float *)(const void *)j->x;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int c = 0; c < j->in->c; c += CHUNK) {
            float piece[CHUNK];
            int n = j->in->c - c < CHUNK ? j->in->c - c : CHUNK;
            for (int k = 0; k < n; k++) {
                piece[k] = x[host_index(j->in, i, c + k)];
            }
            j->r->k->from_f32(j->y + (size_t)(i * j->in->c + c) * j->r->element, piece, n);
        }
    }
}

static int run_import(const bl_running *r, bl_error *err) {
    (void)err;
    move_job j = job_of(r);
    bl_parallel_for((int64_t)j.in->n * j.in->h * j.in->w, 256, import_pixels, &j);
    return 0;
}

static void export_pixels(void *context, int64_t begin, int64_t end, int thread) {
    const move_job *j = context;
    float *y = (float *)(void *)j->y;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int c = 0; c < j->out->c; c += CHUNK) {
            float piece[CHUNK];
            int n = j->out->c - c < CHUNK ? j->out->c - c : CHUNK;
            j->r->k->to_f32(piece, j->x + (size_t)(i * j->out->c + c) * j->r->element, n);
            for (int k = 0; k < n; k++) {
                y[host_index(j->out, i, c + k)] = piece[k];
            }
        }
    }
}

static int run_export(const bl_running *r, bl_error *err) {
    (void)err;
    move_job j = job_of(r);
    bl_parallel_for((int64_t)j.out->n * j.out->h * j.out->w, 256, export_pixels, &j);
    return 0;
}

static int run_sinusoid(const bl_running *r, bl_error *err) {
    (void)err;
    move_job j = job_of(r);
    const float *values = (const float *)(const void *)j.x;
    int dim = r->op->u.sinusoid.dim, half = dim / 2;
    int64_t count = (int64_t)j.in->n * j.in->c;
    for (int64_t i = 0; i < count; i++) {
        for (int k = 0; k < half; k++) {
            double angle = (double)values[i] * exp(-log(10000.0) * k / half);
            float piece[2] = {(float)cos(angle), (float)sin(angle)};
            r->k->from_f32(j.y + (size_t)(i * dim + k) * r->element, piece, 1);
            r->k->from_f32(j.y + (size_t)(i * dim + half + k) * r->element, piece + 1, 1);
        }
    }
    return 0;
}

/* Row `index` of a table: itself, or widened to `spare` [2][c] floats. */
static const void *table_row(const bl_running *r, bl_weight_id id, int64_t index, float *spare) {
    const bl_packed *p = bl_running_packed(r, id);
    const unsigned char *table = bl_running_stored(r, id);
    int64_t c = p->weight.shape[1];
    if (!bl_cpu_is_small(r->x->module, p)) {
        return table + (size_t)(index * c) * r->element;
    }
    bl_small_widen(spare, &p->small, &p->weight, table, index, index + 1);
    r->k->from_f32(spare + c, spare, c);
    return spare + c;
}

static int prepare_embed(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    (void)sure, (void)err;
    bool small = x->module->weights[op->weight].stays_small ||
                 (op->weight2 != BL_NONE && x->module->weights[op->weight2].stays_small);
    s->scratch_bytes = small ? 4 * (uint64_t)x->graph->tensors[op->out].c * sizeof(float) : 0;
    return 0;
}

static int run_embed(const bl_running *r, bl_error *err) {
    move_job j = job_of(r);
    const int32_t *ids = (const int32_t *)(const void *)j.x;
    int64_t count = bl_running_packed(r, r->op->weight)->weight.shape[0], rows = (int64_t)j.out->n * j.out->h;
    size_t row = (size_t)j.out->c * r->element;
    float *spare = (float *)(void *)r->scratch; /* [2 tables][2][c], where one is small */
    for (int64_t i = 0; i < rows; i++) {
        if (ids[i] < 0 || ids[i] >= count) {
            return bl_fail(err, BL_E_ARGUMENT, "token %d is outside the text encoder's table of %lld",
                           (int)ids[i], (long long)count);
        }
        const void *token = table_row(r, r->op->weight, ids[i], spare);
        if (r->op->weight2 != BL_NONE) {
            const void *place =
                table_row(r, r->op->weight2, i % j.out->h, spare ? spare + 2 * (size_t)j.out->c : NULL);
            r->k->add(j.y + (size_t)i * row, token, place, j.out->c);
        } else {
            memcpy(j.y + (size_t)i * row, token, row);
        }
    }
    return 0;
}

static int run_take_row(const bl_running *r, bl_error *err) {
    move_job j = job_of(r);
    const int32_t *rows = (const int32_t *)(const void *)j.second;
    int64_t count = (int64_t)j.in->h * j.in->w;
    size_t row = (size_t)j.in->c * r->element;
    for (int64_t i = 0; i < j.in->n; i++) {
        if (rows[i] < 0 || rows[i] >= count) {
            return bl_fail(err, BL_E_ARGUMENT, "row %d is outside a tensor of %lld rows", (int)rows[i],
                           (long long)count);
        }
        memcpy(j.y + (size_t)i * row, j.x + (size_t)(i * count + rows[i]) * row, row);
    }
    return 0;
}

#define UNIT 4096 /* elements of one task of the elementwise ops */

static int64_t units(const bl_tensor *t) {
    return (bl_tensor_elements(t) + UNIT - 1) / UNIT;
}

static int64_t units_end(const bl_tensor *t, int64_t end) {
    return end * UNIT < bl_tensor_elements(t) ? end * UNIT : bl_tensor_elements(t);
}

static void act_range(void *context, int64_t begin, int64_t end, int thread) {
    const move_job *j = context;
    (void)thread;
    size_t at = (size_t)(begin * UNIT) * j->r->element;
    j->r->k->act(j->y + at, j->x + at, units_end(j->out, end) - begin * UNIT, j->r->op->act);
}

static int run_act(const bl_running *r, bl_error *err) {
    (void)err;
    move_job j = job_of(r);
    bl_parallel_for(units(j.out), 1, act_range, &j);
    return 0;
}

static void add_range(void *context, int64_t begin, int64_t end, int thread) {
    const move_job *j = context;
    (void)thread;
    size_t at = (size_t)(begin * UNIT) * j->r->element;
    j->r->k->add(j->y + at, j->x + at, j->second + at, units_end(j->out, end) - begin * UNIT);
}

static int run_add(const bl_running *r, bl_error *err) {
    (void)err;
    move_job j = job_of(r);
    bl_parallel_for(units(j.out), 1, add_range, &j);
    return 0;
}

static void concat_pixels(void *context, int64_t begin, int64_t end, int thread) {
    const move_job *j = context;
    (void)thread;
    size_t e = j->r->element, a = (size_t)j->in->c * e, both = (size_t)j->out->c * e, b = both - a;
    for (int64_t i = begin; i < end; i++) {
        memcpy(j->y + (size_t)i * both, j->x + (size_t)i * a, a);
        memcpy(j->y + (size_t)i * both + a, j->second + (size_t)i * b, b);
    }
}

static int run_concat(const bl_running *r, bl_error *err) {
    (void)err;
    move_job j = job_of(r);
    bl_parallel_for((int64_t)j.out->n * j.out->h * j.out->w, 16, concat_pixels, &j);
    return 0;
}

static void upsample_rows(void *context, int64_t begin, int64_t end, int thread) {
    const move_job *j = context;
    (void)thread;
    size_t pixel = (size_t)j->in->c * j->r->element;
    for (int64_t i = begin; i < end; i++) {
        int64_t image = i / j->out->h, row = i % j->out->h * j->in->h / j->out->h;
        const unsigned char *x = j->x + (size_t)((image * j->in->h + row) * j->in->w) * pixel;
        unsigned char *y = j->y + (size_t)(i * j->out->w) * pixel;
        for (int64_t k = 0; k < j->out->w; k++) {
            memcpy(y + (size_t)k * pixel, x + (size_t)(k * j->in->w / j->out->w) * pixel, pixel);
        }
    }
}

static int run_upsample(const bl_running *r, bl_error *err) {
    (void)err;
    move_job j = job_of(r);
    bl_parallel_for((int64_t)j.out->n * j.out->h, 1, upsample_rows, &j);
    return 0;
}

const bl_cpu_op bl_cpu_import = {.run = run_import};
const bl_cpu_op bl_cpu_export = {.run = run_export};
const bl_cpu_op bl_cpu_sinusoid = {.run = run_sinusoid};
const bl_cpu_op bl_cpu_embed = {.prepare = prepare_embed, .run = run_embed, .reads_small = true};
const bl_cpu_op bl_cpu_take_row = {.run = run_take_row};
const bl_cpu_op bl_cpu_act = {.run = run_act};
const bl_cpu_op bl_cpu_add = {.run = run_add};
const bl_cpu_op bl_cpu_concat = {.run = run_concat};
const bl_cpu_op bl_cpu_upsample = {.run = run_upsample};
