/* What a vector of the batch does to all rows: scale and shift (Peebles and Xie, "Scalable Diffusion Models
 * with Transformers", 2022: adaLN), and the gate of what is added. */
#include "device/cpu/internal.h"

#include <math.h>

typedef struct modulate_job {
    const bl_running *r;
    const unsigned char *x, *add;
    unsigned char *y;
    float *factors; /* [n][2][c]: scale and shift; of a gate [n][c] */
    int64_t rows;   /* of one of the batch */
    int c;
} modulate_job;

static int prepare_modulate(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    (void)sure, (void)err;
    const bl_tensor *t = &x->graph->tensors[op->out];
    s->scratch_bytes = (uint64_t)t->n * 2 * (uint64_t)t->c * sizeof(float);
    return 0;
}

static modulate_job job_of(const bl_running *r) {
    const bl_tensor *t = bl_running_tensor(r, r->op->out);
    return (modulate_job){.r = r,
                          .x = bl_running_data(r, r->op->in[0]),
                          .y = bl_running_data(r, r->op->out),
                          .factors = (float *)(void *)r->scratch,
                          .rows = (int64_t)t->h * t->w,
                          .c = t->c};
}

/* Channels [first, first + c) of vector i of an input. */
static void read_channels(float *to, const bl_running *r, int input, int64_t i, int first, int c) {
    const bl_tensor *m = bl_running_tensor(r, r->op->in[input]);
    const unsigned char *from = bl_running_data(r, r->op->in[input]);
    r->k->to_f32(to, from + (size_t)(i * m->c + first) * r->element, c);
}

static void modulate_rows(void *context, int64_t begin, int64_t end, int thread) {
    const modulate_job *j = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *a = j->factors + i / j->rows * 2 * j->c;
        const size_t at = (size_t)(i * j->c) * j->r->element;
        j->r->k->scale_shift(j->y + at, j->x + at, a, a + j->c, 1, j->c, BL_ACT_NONE);
    }
}

static int run_modulate(const bl_running *r, bl_error *err) {
    (void)err;
    modulate_job j = job_of(r);
    const int n = bl_running_tensor(r, r->op->out)->n, shift = r->op->u.modulate.shift;
    for (int64_t i = 0; i < n; i++) {
        float *a = j.factors + i * 2 * j.c, *b = a + j.c;
        read_channels(a, r, 1, i, r->op->u.modulate.scale, j.c);
        if (shift != BL_NONE) {
            read_channels(b, r, 1, i, shift, j.c);
        }
        for (int c = 0; c < j.c; c++) {
            a[c] += 1.0f;
            b[c] = shift != BL_NONE ? b[c] : 0.0f;
        }
    }
    bl_parallel_for(n * j.rows, 8, modulate_rows, &j);
    return 0;
}

#define CHUNK 256 /* channels that pass through a buffer at once */

static void gate_rows(void *context, int64_t begin, int64_t end, int thread) {
    const modulate_job *j = context;
    const bl_typed_kernels *k = j->r->k;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int c = 0; c < j->c; c += CHUNK) {
            const int n = j->c - c < CHUNK ? j->c - c : CHUNK;
            const size_t at = (size_t)(i * j->c + c) * j->r->element;
            const float *g = j->factors + i / j->rows * j->c + c;
            float x[CHUNK], add[CHUNK];
            k->to_f32(x, j->x + at, n);
            k->to_f32(add, j->add + at, n);
            for (int v = 0; v < n; v++) {
                x[v] += g[v] * add[v];
            }
            k->from_f32(j->y + at, x, n);
        }
    }
}

static int run_gated_add(const bl_running *r, bl_error *err) {
    (void)err;
    modulate_job j = job_of(r);
    const int n = bl_running_tensor(r, r->op->out)->n;
    j.add = bl_running_data(r, r->op->in[1]);
    for (int64_t i = 0; i < n; i++) {
        float *g = j.factors + i * j.c;
        read_channels(g, r, 2, i, r->op->u.gate.at, j.c);
        for (int c = 0; c < j.c && r->op->u.gate.tanh; c++) {
            g[c] = tanhf(g[c]);
        }
    }
    bl_parallel_for(n * j.rows, 8, gate_rows, &j);
    return 0;
}

const bl_cpu_op bl_cpu_modulate = {.prepare = prepare_modulate, .run = run_modulate};
const bl_cpu_op bl_cpu_gated_add = {.prepare = prepare_modulate, .run = run_gated_add};
