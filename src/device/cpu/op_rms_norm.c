/* Root mean square norm, of all channels or of each head: a loop over our kernel. */
#include "device/cpu/internal.h"

typedef struct rms_job {
    const bl_running *r;
    const unsigned char *x;
    unsigned char *y;
    const float *scale; /* [c] */
    int c;              /* channels normed together */
} rms_job;

static void norm_rows(void *context, int64_t begin, int64_t end, int thread) {
    const rms_job *j = context;
    (void)thread;
    size_t at = (size_t)begin * (size_t)j->c * j->r->element;
    j->r->k->rms_norm(j->y + at, j->x + at, j->scale, end - begin, j->c, j->r->op->u.norm.eps);
}

static int run(const bl_running *r, bl_error *err) {
    (void)err;
    rms_job j = {.r = r,
                 .x = bl_running_data(r, r->op->in[0]),
                 .y = bl_running_data(r, r->op->out),
                 .scale = bl_running_weight(r, r->op->weight),
                 .c = (int)bl_running_packed(r, r->op->weight)->weight.shape[0]};
    bl_parallel_for(bl_tensor_elements(bl_running_tensor(r, r->op->out)) / j.c, 64, norm_rows, &j);
    return 0;
}

const bl_cpu_op bl_cpu_rms_norm = {.run = run};
