/* Rotary position embedding (Su et al., "RoFormer", 2021), by angles that the host made. */
#include "device/cpu/internal.h"

#define MOST 256 /* channels of a head that pass through a buffer at once, a whole number of pairs */

typedef struct rope_job {
    const bl_running *r;
    const unsigned char *x;
    unsigned char *y;
    const float *table; /* [rows][dim] */
    int heads, dim;
    bool halves;
} rope_job;

/* Pairs [first, first + count) of a head. */
static void turn(const rope_job *j, size_t at, const float *table, int first, int count) {
    const bl_typed_kernels *k = j->r->k;
    const size_t e = j->r->element;
    const int half = j->dim / 2;
    float x[MOST], y[MOST];
    const size_t a = at + (size_t)(j->halves ? first : 2 * first), b = at + (size_t)(half + first);
    if (j->halves) {
        k->to_f32(x, j->x + a * e, count);
        k->to_f32(x + count, j->x + b * e, count);
    } else {
        k->to_f32(x, j->x + a * e, 2 * (int64_t)count);
    }
    for (int i = 0; i < count; i++) {
        const float cosine = table[first + i], sine = table[half + first + i];
        const int one = j->halves ? i : 2 * i, two = j->halves ? count + i : 2 * i + 1;
        y[one] = x[one] * cosine - x[two] * sine;
        y[two] = x[one] * sine + x[two] * cosine;
    }
    if (j->halves) {
        k->from_f32(j->y + a * e, y, count);
        k->from_f32(j->y + b * e, y + count, count);
    } else {
        k->from_f32(j->y + a * e, y, 2 * (int64_t)count);
    }
}

static void turn_rows(void *context, int64_t begin, int64_t end, int thread) {
    const rope_job *j = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int head = 0; head < j->heads; head++) {
            for (int first = 0; first < j->dim / 2; first += MOST / 2) {
                const int left = j->dim / 2 - first;
                turn(j, (size_t)((i * j->heads + head) * j->dim), j->table + i * j->dim, first,
                     left < MOST / 2 ? left : MOST / 2);
            }
        }
    }
}

static int run(const bl_running *r, bl_error *err) {
    (void)err;
    const bl_tensor *t = bl_running_tensor(r, r->op->out);
    rope_job j = {.r = r,
                  .x = bl_running_data(r, r->op->in[0]),
                  .y = bl_running_data(r, r->op->out),
                  .table = bl_running_data(r, r->op->in[1]),
                  .heads = t->c / r->op->u.rope.dim,
                  .dim = r->op->u.rope.dim,
                  .halves = r->op->u.rope.halves};
    bl_parallel_for((int64_t)t->n * t->h * t->w, 8, turn_rows, &j);
    return 0;
}

const bl_cpu_op bl_cpu_rope = {.run = run};
