/* Convolutions and linear layers, by oneDNN. */
#include "device/cpu/internal.h"

#include <string.h>

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

void bl_cpu_channel_row(const bl_running *r, float *row, int image, const float *bias) {
    int c = bl_running_tensor(r, r->op->in[2])->c;
    const unsigned char *channels = bl_running_data(r, r->op->in[2]);
    r->k->to_f32(row, channels + (size_t)image * (size_t)c * r->element, c);
    if (bias) {
        r->cpu->kernels->f32.add(row, row, bias, c);
    }
}

typedef struct row_job {
    const bl_running *r;
    unsigned char *y;
    const float *row;
    int c;
} row_job;

static void add_rows(void *context, int64_t begin, int64_t end, int thread) {
    const row_job *j = context;
    (void)thread;
    unsigned char *y = j->y + (size_t)begin * (size_t)j->c * j->r->element;
    j->r->k->add_row(y, y, j->row, end - begin, j->c);
}

void bl_cpu_add_row(const bl_running *r, void *y, const float *row, int64_t rows, int c) {
    row_job j = {.r = r, .y = y, .row = row, .c = c};
    bl_parallel_for(rows, 16, add_rows, &j);
}

static void run_winograd(const bl_running *r) {
    bl_winograd_job j = r->step->winograd;
    j.x = bl_running_data(r, r->op->in[0]);
    j.y = bl_running_data(r, r->op->out);
    j.residual = bl_running_data(r, r->op->in[1]);
    j.weights = bl_running_weight(r, r->op->weight);
    j.bias = bl_running_weight(r, r->op->weight2);
    if (r->op->in[2] != BL_NONE) {
        float *rows = (float *)(void *)(r->scratch + r->step->extra); /* [n][o] */
        for (int i = 0; i < j.n; i++) {
            bl_cpu_channel_row(r, rows + (size_t)i * (size_t)j.o, i, j.bias);
        }
        j.bias = rows;
        j.bias_stride = j.o;
    }
    bl_cpu_winograd_run(&j, r->k, r->scratch);
}

int bl_run_conv(const bl_running *r, bl_error *err) {
    if (!r->step->product) {
        run_winograd(r);
        return 0;
    }
    const bl_tensor *in = bl_running_tensor(r, r->op->in[0]), *out = bl_running_tensor(r, r->op->out);
    size_t in_image = (size_t)in->h * (size_t)in->w * (size_t)in->c * r->element;
    size_t out_image = (size_t)out->h * (size_t)out->w * (size_t)out->c * r->element;
    unsigned char *x = bl_running_data(r, r->op->in[0]), *y = bl_running_data(r, r->op->out);
    const float *bias = bl_running_weight(r, r->op->weight2);
    float *row = r->op->in[2] == BL_NONE ? NULL : (float *)(void *)(r->scratch + r->step->extra);
    bl_dnnl_args a = {.weights = bl_running_weight(r, r->op->weight), .scratch = r->scratch};
    bl_cpu_place_residual(r, y);
    int times = r->step->each_image ? in->n : 1;
    for (int i = 0; i < times; i++) {
        a.src = x + (size_t)i * in_image;
        a.dst = y + (size_t)i * out_image;
        a.bias = bias;
        if (r->step->each_image) {
            bl_cpu_channel_row(r, row, i, bias);
            a.bias = row;
        }
        int rc = bl_dnnl_run(r->step->product, &a, err);
        if (rc) {
            return rc;
        }
    }
    for (int i = 0; row && !r->step->each_image && i < in->n; i++) {
        bl_cpu_channel_row(r, row, i, NULL);
        bl_cpu_add_row(r, y + (size_t)i * out_image, row, (int64_t)out->h * out->w, out->c);
    }
    return 0;
}

typedef struct gate_job {
    const bl_running *r;
    unsigned char *y;
    const unsigned char *gate, *residual; /* residual: or NULL */
    int c;
} gate_job;

static void gate_rows(void *context, int64_t begin, int64_t end, int thread) {
    const gate_job *j = context;
    (void)thread;
    size_t at = (size_t)begin * (size_t)j->c * j->r->element;
    j->r->k->gate(j->y + at, j->y + at, j->gate + at, (end - begin) * j->c);
    if (j->residual) {
        j->r->k->add(j->y + at, j->y + at, j->residual + at, (end - begin) * j->c);
    }
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
    gate_job j = {.r = r,
                  .y = a.dst,
                  .gate = r->scratch + r->step->extra,
                  .residual = bl_running_data(r, r->op->in[1]),
                  .c = out->c};
    a.weights = (const unsigned char *)a.weights + bl_running_packed(r, r->op->weight)->half_bytes;
    a.bias = a.bias ? a.bias + out->c : NULL;
    a.dst = r->scratch + r->step->extra;
    int rc = run_rows(r, a, err);
    if (!rc) {
        bl_parallel_for((int64_t)out->n * out->h * out->w, 1, gate_rows, &j);
    }
    return rc;
}

int bl_run_linear(const bl_running *r, bl_error *err) {
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
