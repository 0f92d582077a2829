/* Folded convolutions, in bands of rows: a band's input is brought in (upsampled, normed), convolved by the
 * kernel that does whole pictures, and its output put where it belongs, which may be where x was. */
#include "device/cpu/internal.h"

#include "core/checked.h"

#include <string.h>

/* Bytes of a band's input: small against the picture, large against what a kernel does once a call. */
#define BAND_BYTES (8 << 20)
#define BAND_SHARE 16 /* at most this part of the picture */

/* Winograd's tiles begin at every fourth row: bands that begin there have the tiles of the whole. */
#define BAND_STEP BL_WINOGRAD_TILE

#define HALO 2 /* rows of input that a band has more than of output */

static int band_rows(uint64_t row_bytes, int height) {
    uint64_t most = row_bytes * (uint64_t)height / BAND_SHARE;
    uint64_t rows = (most < BAND_BYTES ? most : BAND_BYTES) / row_bytes / BAND_STEP * BAND_STEP;
    return rows < BAND_STEP ? BAND_STEP : (int)rows;
}

/* Makes the convolution of a band like that of the whole; *sure = false where oneDNN would do it another way.
 */
static int prepare_product(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    const bl_packed *p = &x->module->weights[op->weight];
    const bl_tensor *out = &x->graph->tensors[op->out];
    bl_tensor in = *out, part = *out;
    bl_dnnl_conv whole = bl_cpu_dnnl_conv(p, op, &in, out, s->each_image ? 1 : bl_cpu_batch(out));
    in.h = s->bands.rows + HALO;
    part.h = s->bands.rows;
    bl_dnnl_conv band = bl_cpu_dnnl_conv(p, op, &in, &part, 1);
    band.top = band.bottom = 0;
    int rc = bl_cpu_piece_conv(&s->product, x->module->cpu, p, &band, &whole, sure, err);
    /* the reference is there for pictures too small for the packed layout, which Winograd's algorithm takes
     * over */
    *sure = *sure && !rc && !(p->winograd && bl_cpu_is_reference(s->product));
    return rc;
}

static int prepare_side(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    const bl_packed *p = &x->module->weights[op->weight3];
    const bl_tensor *in = &x->graph->tensors[op->in[0]];
    int64_t whole = (int64_t)bl_cpu_batch(in) * in->h * in->w;
    bl_dnnl_linear l = {.dtype = p->dtype,
                        .rows = (int64_t)s->bands.rows * in->w,
                        .c = in->c,
                        .o = p->weight.shape[0],
                        .bias = true};
    return bl_cpu_piece_linear(&s->side, x->module->cpu, p, l, whole, sure, err);
}

static void prepare_winograd(bl_executable *x, bl_step *s, const bl_op *op) {
    const bl_packed *p = &x->module->weights[op->weight];
    const bl_tensor *out = &x->graph->tensors[op->out];
    bl_winograd_job *j = &s->winograd;
    *j = (bl_winograd_job){.n = 1,
                           .h = s->bands.rows + HALO,
                           .w = out->w,
                           .c = (int)p->weight.shape[1],
                           .oh = s->bands.rows,
                           .ow = out->w,
                           .stride = 1,
                           .o = (int)p->weight.shape[0],
                           .top = 0,
                           .left = op->u.conv.left};
    bl_cpu_winograd_filters(j, p);
    bl_cpu_winograd_plan(j, (int64_t)((out->h + 3) / 4) * ((out->w + 3) / 4), x->threads);
}

static int prepare(bl_executable *x, bl_step *s, const bl_op *op, bool *sure, bl_error *err) {
    const bl_packed *p = &x->module->weights[op->weight];
    const bl_tensor *out = &x->graph->tensors[op->out];
    uint64_t pixel = bl_dtype_size(x->graph->dtype), w = (uint64_t)out->w, c = (uint64_t)p->weight.shape[1],
             o = (uint64_t)p->weight.shape[0];
    int threads = x->threads, rc = 0;
    bl_bands *b = &s->bands;
    b->rows = band_rows(w * c * pixel, out->h);
    if (bl_cpu_takes_winograd(x, p, op, out)) {
        prepare_winograd(x, s, op);
        s->extra = bl_cpu_winograd_scratch(&s->winograd, threads);
    } else {
        s->each_image = bl_cpu_each_image(op, out);
        rc = prepare_product(x, s, op, sure, err);
        s->extra = rc ? 0 : bl_dnnl_scratch(s->product);
    }
    if (!rc && op->weight3 != BL_NONE) {
        rc = prepare_side(x, s, op, sure, err);
        uint64_t scratch = rc ? 0 : bl_dnnl_scratch(s->side); /* they take turns */
        s->extra = scratch > s->extra ? scratch : s->extra;
    }
    if (rc) {
        return rc;
    }
    b->row = bl_align_up(s->extra, BL_ALIGN);
    b->in = b->row + bl_align_up(o * sizeof(float), BL_ALIGN);
    b->out = b->in + bl_align_up((uint64_t)(b->rows + HALO) * w * c * pixel, BL_ALIGN);
    b->side = b->out + bl_align_up((uint64_t)b->rows * w * o * pixel, BL_ALIGN);
    s->scratch_bytes = op->weight3 == BL_NONE ? b->side : b->side + (uint64_t)b->rows * w * o * pixel;
    return 0;
}

/* A picture while its bands go by. */
typedef struct band_job {
    const bl_running *r;
    const bl_tensor *in, *res, *out; /* res: of the residual, or NULL */
    const unsigned char *x, *residual;
    unsigned char *y;
    const float *factors;              /* of this picture [2][c], or NULL */
    unsigned char *band, *made, *side; /* in the scratch: input, output, shortcut */
    int c, o;                          /* channels of the convolution */
    int image, first;                  /* the picture; the band's first row of output */
    int skip;  /* rows of `band` that are there already, before the next to bring in */
    bool down; /* bands go downwards */
} band_job;

static const unsigned char *row_at(const bl_tensor *t, const unsigned char *data, const band_job *j, int y) {
    return data + (size_t)(((int64_t)j->image * t->h + y) * t->w) * (size_t)t->c * j->r->element;
}

/* Copies `c` channels from `from` on of a row of pixels to dense ones `c` or more channels apart. */
static void copy_pixels(unsigned char *to, size_t to_step, const unsigned char *from, size_t from_step, int w,
                        size_t bytes) {
    if (to_step == bytes && from_step == bytes) {
        memcpy(to, from, (size_t)w * bytes);
        return;
    }
    for (int k = 0; k < w; k++) {
        memcpy(to + (size_t)k * to_step, from + (size_t)k * from_step, bytes);
    }
}

/* Brings row y of the picture, as the convolution sees it, to `to` [w, c]. */
static void bring_row(const band_job *j, unsigned char *to, int y) {
    size_t e = j->r->element, pixel = (size_t)j->c * e, step = (size_t)j->in->c * e;
    int w = j->out->w;
    if (y < 0 || y >= j->out->h) {
        memset(to, 0, (size_t)w * pixel);
        return;
    }
    const unsigned char *x = row_at(j->in, j->x, j, (int)((int64_t)y * j->in->h / j->out->h));
    if (j->in->w == w) {
        copy_pixels(to, pixel, x, step, w, pixel);
    } else {
        for (int64_t k = 0; k < w; k++) {
            memcpy(to + (size_t)k * pixel, x + (size_t)(k * j->in->w / w) * step, pixel);
        }
    }
    if (j->factors) {
        j->r->k->scale_shift(to, to, j->factors, j->factors + j->c, w, j->c, j->r->op->act);
    }
}

static void bring_rows(void *context, int64_t begin, int64_t end, int thread) {
    const band_job *j = context;
    size_t row = (size_t)j->out->w * (size_t)j->c * j->r->element;
    (void)thread;
    for (int64_t k = begin; k < end; k++) {
        int64_t at = j->down ? k + j->skip : k;
        bring_row(j, j->band + (size_t)at * row, j->first - 1 + (int)at);
    }
}

/* x itself, for the shortcut, where the rows of `band` are that the next band does not need. */
static void bring_raw(void *context, int64_t begin, int64_t end, int thread) {
    const band_job *j = context;
    size_t row = (size_t)j->out->w * (size_t)j->c * j->r->element;
    (void)thread;
    for (int64_t k = begin; k < end; k++) {
        unsigned char *to = j->band + (size_t)(j->down ? k : k + HALO) * row;
        if (j->first + k < j->out->h) {
            memcpy(to, row_at(j->in, j->x, j, j->first + (int)k), row);
        } else {
            memset(to, 0, row);
        }
    }
}

static void bring_residual(void *context, int64_t begin, int64_t end, int thread) {
    const band_job *j = context;
    size_t e = j->r->element, pixel = (size_t)j->o * e, row = (size_t)j->out->w * pixel;
    (void)thread;
    for (int64_t k = begin; k < end; k++) {
        const unsigned char *from =
            row_at(j->res, j->residual, j, j->first + (int)k) + (size_t)(j->res->c - j->o) * e;
        copy_pixels(j->made + (size_t)k * row, pixel, from, (size_t)j->res->c * e, j->out->w, pixel);
    }
}

static void put_rows(void *context, int64_t begin, int64_t end, int thread) {
    const band_job *j = context;
    size_t e = j->r->element, pixel = (size_t)j->o * e, row = (size_t)j->out->w * pixel,
           step = (size_t)j->out->c * e;
    (void)thread;
    for (int64_t k = begin; k < end; k++) {
        unsigned char *to =
            j->y + (size_t)(((int64_t)j->image * j->out->h + j->first + k) * j->out->w) * step;
        copy_pixels(to, step, j->made + (size_t)k * row, pixel, j->out->w, pixel);
        if (j->r->op->weight3 != BL_NONE) {
            copy_pixels(to + pixel, step, j->side + (size_t)k * row, pixel, j->out->w, pixel);
        }
    }
}

/* The bias, with what this picture adds to it. */
static const float *bias_of(const band_job *j) {
    const bl_running *r = j->r;
    const float *bias = bl_running_weight(r, r->op->weight2);
    float *row = (float *)(void *)(r->scratch + r->step->bands.row);
    if (r->op->in[2] == BL_NONE || (r->step->product && !r->step->each_image)) {
        return bias;
    }
    bl_cpu_channel_row(r, row, j->image, bias);
    return row;
}

static int convolve(const band_job *j, bl_error *err) {
    const bl_running *r = j->r;
    const bl_step *s = r->step;
    if (!s->product) {
        bl_winograd_job w = s->winograd;
        w.x = j->band;
        w.y = j->made;
        w.residual = j->residual ? j->made : NULL;
        w.weights = bl_running_weight(r, r->op->weight);
        w.bias = bias_of(j);
        bl_cpu_winograd_run(&w, r->k, r->scratch);
        return 0;
    }
    bl_dnnl_args a = {.src = j->band,
                      .weights = bl_running_weight(r, r->op->weight),
                      .bias = bias_of(j),
                      .dst = j->made,
                      .scratch = r->scratch};
    int rc = bl_dnnl_run(s->product, &a, err);
    if (!rc && r->op->in[2] != BL_NONE && !s->each_image) {
        float *row = (float *)(void *)(r->scratch + s->bands.row);
        bl_cpu_channel_row(r, row, j->image, NULL);
        bl_cpu_add_row(r, j->made, row, (int64_t)s->bands.rows * j->out->w, j->o);
    }
    return rc;
}

static int run_side(band_job *j, bl_error *err) {
    const bl_running *r = j->r;
    size_t row = (size_t)j->out->w * (size_t)j->c * r->element;
    bl_parallel_for(r->step->bands.rows, 1, bring_raw, j);
    bl_dnnl_args a = {.src = j->band + (j->down ? 0 : HALO * row),
                      .weights = bl_running_weight(r, r->op->weight3),
                      .bias = bl_running_weight(r, r->op->weight4),
                      .dst = j->side,
                      .scratch = r->scratch};
    return bl_dnnl_run(r->step->side, &a, err);
}

/* One band; `begins`: the first of its picture. */
static int run_band(band_job *j, bool begins, bl_error *err) {
    int rows = j->r->step->bands.rows, there = j->out->h - j->first < rows ? j->out->h - j->first : rows;
    size_t row = (size_t)j->out->w * (size_t)j->c * j->r->element, halo = HALO * row,
           rest = (size_t)rows * row;
    j->skip = begins ? 0 : HALO;
    if (!begins) { /* two rows of the band before are needed again */
        memmove(j->down ? j->band : j->band + rest, j->down ? j->band + rest : j->band, halo);
    }
    bl_parallel_for(rows + HALO - j->skip, 1, bring_rows, j);
    if (j->residual) {
        bl_parallel_for(there, 1, bring_residual, j);
    }
    int rc = convolve(j, err);
    if (!rc && j->r->op->weight3 != BL_NONE) {
        rc = run_side(j, err);
    }
    if (!rc) {
        bl_parallel_for(there, 1, put_rows, j);
    }
    return rc;
}

static int run(const bl_running *r, bl_error *err) {
    const bl_bands *b = &r->step->bands;
    band_job j = {.r = r,
                  .in = bl_running_tensor(r, r->op->in[0]),
                  .res = bl_running_tensor(r, r->op->in[1]),
                  .out = bl_running_tensor(r, r->op->out),
                  .x = bl_running_data(r, r->op->in[0]),
                  .residual = bl_running_data(r, r->op->in[1]),
                  .y = bl_running_data(r, r->op->out),
                  .band = r->scratch + b->in,
                  .made = r->scratch + b->out,
                  .side = r->scratch + b->side,
                  .c = (int)bl_running_packed(r, r->op->weight)->weight.shape[1],
                  .o = (int)bl_running_packed(r, r->op->weight)->weight.shape[0]};
    const float *factors = bl_running_data(r, r->op->in[3]); /* [n][2][c] */
    j.down = j.in->h == j.out->h && (int64_t)j.out->w * j.out->c <= (int64_t)j.in->w * j.in->c;
    int bands = (j.out->h + b->rows - 1) / b->rows, all = bands * j.out->n, rc = 0;
    for (int k = 0; k < all && !rc; k++) {
        int at = j.down ? k : all - 1 - k;
        j.image = at / bands;
        j.first = at % bands * b->rows;
        j.factors = factors ? factors + (size_t)j.image * 2 * (size_t)j.c : NULL;
        rc = run_band(&j, k % bands == 0, err);
    }
    return rc;
}

const bl_cpu_op bl_cpu_folded_conv = {.prepare = prepare, .run = run};
