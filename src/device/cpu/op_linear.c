/* Linear layers, by oneDNN. */
#include "device/cpu/internal.h"

#include "core/checked.h"

#include <string.h>

/* Where more rows have other bits a batch is done picture by picture, or their number would change a picture.
 */
static int open_linear(bl_executable *x, bl_step *s, const bl_packed *p, bl_dnnl_linear l,
                       const bl_tensor *in, bool *sure, bl_error *err) {
    const bl_cpu *cpu = x->module->cpu;
    int64_t one = bl_cpu_pixels(in), whole = bl_cpu_batch(in) * one;
    l.rows = one;
    bool alike = true;
    int rc = whole > one ? bl_cpu_try_linear(&alike, cpu, p->layout, l, whole, err) : 0;
    s->each_image = !alike;
    l.rows = alike ? in->n * one : one;
    return rc ? rc : bl_cpu_piece_linear(&s->product, cpu, p, l, alike ? whole : one, sure, err);
}

static int prepare(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    const bl_graph *g = x->graph;
    const bl_packed *p = &x->module->weights[op->weight];
    const bl_tensor *in = &g->tensors[op->in[0]], *out = &g->tensors[op->out];
    bool gated = op->act == BL_ACT_GEGLU;
    bl_dnnl_linear l = {.dtype = p->dtype,
                        .c = in->c,
                        .o = out->c,
                        .bias = op->weight2 != BL_NONE,
                        .act = gated ? BL_ACT_NONE : op->act,
                        .sum = op->in[1] != BL_NONE && !gated};
    int rc = open_linear(x, s, p, l, in, sure, err);
    if (rc) {
        return rc;
    }
    uint64_t scratch = bl_dnnl_scratch(s->product);
    s->extra = bl_align_up(scratch, BL_ALIGN);
    s->scratch_bytes = s->extra + (gated ? bl_tensor_bytes(out) : 0); /* the gate [rows, o] */
    return 0;
}

typedef struct copy_job {
    unsigned char *dst;
    const unsigned char *src;
    uint64_t bytes;
} copy_job;

#define COPY_UNIT 65536

static void copy_range(void *context, int64_t begin, int64_t end, int thread) {
    const copy_job *j = context;
    (void)thread;
    uint64_t first = (uint64_t)begin * COPY_UNIT, last = (uint64_t)end * COPY_UNIT;
    last = last < j->bytes ? last : j->bytes;
    memcpy(j->dst + first, j->src + first, (size_t)(last - first));
}

void bl_cpu_place_residual(const bl_running *r, void *dst) {
    if (r->op->in[1] == BL_NONE || r->inplace) {
        return;
    }
    uint64_t bytes = bl_tensor_bytes(bl_running_tensor(r, r->op->out));
    copy_job j = {dst, bl_running_data(r, r->op->in[1]), bytes};
    bl_parallel_for((int64_t)((bytes + COPY_UNIT - 1) / COPY_UNIT), 1, copy_range, &j);
}

typedef struct gate_job {
    const bl_running *r;
    unsigned char *y;
    const unsigned char *gate, *residual;
    int64_t c;
} gate_job;

static void gate_rows(void *context, int64_t begin, int64_t end, int thread) {
    const gate_job *j = context;
    (void)thread;
    size_t at = (size_t)(begin * j->c) * j->r->element;
    j->r->k->gate(j->y + at, j->y + at, j->gate + at, (end - begin) * j->c);
    if (j->residual) {
        j->r->k->add(j->y + at, j->y + at, j->residual + at, (end - begin) * j->c);
    }
}

void bl_cpu_gate(const bl_running *r, unsigned char *y, const unsigned char *gate,
                 const unsigned char *residual, int64_t rows, int64_t c) {
    gate_job j = {.r = r, .y = y, .gate = gate, .residual = residual, .c = c};
    bl_parallel_for(rows, 1, gate_rows, &j);
}

/* The product of all rows, from a.src to a.dst: at once, or picture by picture. */
static int run_rows(const bl_running *r, bl_dnnl_args a, bl_error *err) {
    const bl_tensor *in = bl_running_tensor(r, r->op->in[0]), *out = bl_running_tensor(r, r->op->out);
    size_t pixels = (size_t)in->h * (size_t)in->w * r->element;
    int times = r->step->each_image ? in->n : 1, rc = 0;
    for (int i = 0; i < times && !rc; i++) {
        rc = bl_dnnl_run(r->step->product, &a, err);
        a.src = (const unsigned char *)a.src + pixels * (size_t)in->c;
        a.dst = (unsigned char *)a.dst + pixels * (size_t)out->c;
    }
    return rc;
}

/* y times gelu of the product with the second half of the weight's rows. oneDNN can do both behind its
 * products, but its gelu costs more than passing over y once more. */
static int run_gate(const bl_running *r, bl_dnnl_args a, bl_error *err) {
    const bl_tensor *out = bl_running_tensor(r, r->op->out);
    unsigned char *y = a.dst, *gate = r->scratch + r->step->extra;
    a.weights = (const unsigned char *)a.weights + bl_running_packed(r, r->op->weight)->half_bytes;
    a.bias = a.bias ? a.bias + out->c : NULL;
    a.dst = gate;
    int rc = run_rows(r, a, err);
    if (!rc) {
        bl_cpu_gate(r, y, gate, bl_running_data(r, r->op->in[1]), (int64_t)out->n * out->h * out->w, out->c);
    }
    return rc;
}

static int run(const bl_running *r, bl_error *err) {
    bool gated = r->op->act == BL_ACT_GEGLU;
    bl_dnnl_args a = {.src = bl_running_data(r, r->op->in[0]),
                      .weights = bl_running_weight(r, r->op->weight),
                      .bias = bl_running_weight(r, r->op->weight2),
                      .dst = bl_running_data(r, r->op->out),
                      .scratch = r->scratch};
    if (!gated) {
        bl_cpu_place_residual(r, a.dst);
    }
    int rc = run_rows(r, a, err);
    return rc || !gated ? rc : run_gate(r, a, err);
}

const bl_cpu_op bl_cpu_linear = {.prepare = prepare, .run = run};
