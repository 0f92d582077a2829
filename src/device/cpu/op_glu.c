/* The gated units of transformers (Shazeer, "GLU Variants Improve Transformer", 2020): act(a) b. */
#include "device/cpu/internal.h"

#define CHUNK 256 /* channels that pass through a buffer at once */

typedef struct glu_job {
    const bl_running *r;
    const bl_typed_kernels *f32;
    const unsigned char *x; /* [rows][2 c] */
    unsigned char *y;       /* [rows][c] */
    int c;
} glu_job;

static void rows(void *context, int64_t begin, int64_t end, int thread) {
    const glu_job *j = context;
    const bl_typed_kernels *k = j->r->k;
    const size_t e = j->r->element;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int c = 0; c < j->c; c += CHUNK) {
            const int n = j->c - c < CHUNK ? j->c - c : CHUNK;
            float a[CHUNK], b[CHUNK];
            k->to_f32(a, j->x + (size_t)(i * 2 * j->c + c) * e, n);
            k->to_f32(b, j->x + (size_t)(i * 2 * j->c + j->c + c) * e, n);
            j->f32->act(a, a, n, j->r->op->act);
            for (int v = 0; v < n; v++) {
                a[v] *= b[v];
            }
            k->from_f32(j->y + (size_t)(i * j->c + c) * e, a, n);
        }
    }
}

static int run(const bl_running *r, bl_error *err) {
    (void)err;
    const bl_tensor *t = bl_running_tensor(r, r->op->out);
    glu_job j = {.r = r,
                 .f32 = &r->cpu->kernels->f32,
                 .x = bl_running_data(r, r->op->in[0]),
                 .y = bl_running_data(r, r->op->out),
                 .c = t->c};
    bl_parallel_for((int64_t)t->n * t->h * t->w, 8, rows, &j);
    return 0;
}

const bl_cpu_op bl_cpu_glu = {.run = run};
