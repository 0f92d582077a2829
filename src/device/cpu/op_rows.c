/* Ops that put whole rows elsewhere: tokens joined and cut, pictures as patches and back. */
#include "device/cpu/internal.h"

#include <string.h>

/* Rows [first, first + count) of each of the batch go to rows [at, at + count). */
typedef struct rows_job {
    const unsigned char *x;
    unsigned char *y;
    size_t row; /* bytes */
    int64_t count, from_rows, first, to_rows, at;
} rows_job;

static void copy_rows(void *context, int64_t begin, int64_t end, int thread) {
    const rows_job *j = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const int64_t batch = i / j->count, row = i % j->count;
        memcpy(j->y + (size_t)(batch * j->to_rows + j->at + row) * j->row,
               j->x + (size_t)(batch * j->from_rows + j->first + row) * j->row, j->row);
    }
}

static int64_t rows_in(const bl_tensor *t) {
    return (int64_t)t->h * t->w;
}

static int run_join(const bl_running *r, bl_error *err) {
    (void)err;
    const bl_tensor *out = bl_running_tensor(r, r->op->out);
    int64_t at = 0;
    for (int k = 0; k < 2; k++) {
        const bl_tensor *in = bl_running_tensor(r, r->op->in[k]);
        rows_job j = {.x = bl_running_data(r, r->op->in[k]),
                      .y = bl_running_data(r, r->op->out),
                      .row = (size_t)out->c * r->element,
                      .count = rows_in(in),
                      .from_rows = rows_in(in),
                      .to_rows = rows_in(out),
                      .at = at};
        bl_parallel_for(in->n * j.count, 16, copy_rows, &j);
        at += j.count;
    }
    return 0;
}

static int run_slice(const bl_running *r, bl_error *err) {
    (void)err;
    const bl_tensor *in = bl_running_tensor(r, r->op->in[0]), *out = bl_running_tensor(r, r->op->out);
    rows_job j = {.x = bl_running_data(r, r->op->in[0]),
                  .y = bl_running_data(r, r->op->out),
                  .row = (size_t)out->c * r->element,
                  .count = rows_in(out),
                  .from_rows = rows_in(in),
                  .first = r->op->u.slice.first,
                  .to_rows = rows_in(out)};
    bl_parallel_for(out->n * j.count, 16, copy_rows, &j);
    return 0;
}

/* Channels of each row. */
typedef struct channels_job {
    const unsigned char *x;
    unsigned char *y;
    size_t first, count, row; /* bytes */
} channels_job;

static void copy_channels(void *context, int64_t begin, int64_t end, int thread) {
    const channels_job *j = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        memcpy(j->y + (size_t)i * j->count, j->x + (size_t)i * j->row + j->first, j->count);
    }
}

static int run_channels(const bl_running *r, bl_error *err) {
    (void)err;
    const bl_tensor *in = bl_running_tensor(r, r->op->in[0]);
    channels_job j = {.x = bl_running_data(r, r->op->in[0]),
                      .y = bl_running_data(r, r->op->out),
                      .first = (size_t)r->op->u.slice.first * r->element,
                      .count = (size_t)r->op->u.slice.count * r->element,
                      .row = (size_t)in->c * r->element};
    bl_parallel_for(in->n * rows_in(in), 16, copy_channels, &j);
    return 0;
}

/* A picture [h, w, c] and its patches [h/s, w/s, s, s, c], or, `planes`, [h/s, w/s, c, s, s]. */
typedef struct patch_job {
    const unsigned char *x;
    unsigned char *y;
    const bl_tensor *picture;
    size_t pixel, element; /* bytes */
    int side;
    bool planes, back;
} patch_job;

static void patch_lines(void *context, int64_t begin, int64_t end, int thread) {
    const patch_job *j = context;
    const int64_t w = j->picture->w, h = j->picture->h, side = j->side;
    (void)thread;
    for (int64_t i = begin; i < end; i++) { /* a line of the picture */
        const int64_t image = i / h, y = i % h;
        for (int64_t x = 0; x < w; x++) {
            const int64_t patch = (image * (h / side) + y / side) * (w / side) + x / side;
            const int64_t place = y % side * side + x % side;
            const size_t flat = (size_t)(i * w + x) * j->pixel;
            const size_t begin_of = (size_t)(patch * side * side) * j->pixel;
            const size_t run = j->planes ? j->element : j->pixel;
            for (size_t at = 0; at < j->pixel; at += run) {
                const size_t cut =
                    begin_of + (j->planes ? at * (size_t)(side * side) : 0) + (size_t)place * run;
                memcpy(j->y + (j->back ? flat + at : cut), j->x + (j->back ? cut : flat + at), run);
            }
        }
    }
}

static int run_patches(const bl_running *r, bool back) {
    const bl_tensor *picture = bl_running_tensor(r, back ? r->op->out : r->op->in[0]);
    patch_job j = {.x = bl_running_data(r, r->op->in[0]),
                   .y = bl_running_data(r, r->op->out),
                   .picture = picture,
                   .pixel = (size_t)picture->c * r->element,
                   .element = r->element,
                   .side = r->op->u.patch.side,
                   .planes = r->op->u.patch.planes,
                   .back = back};
    bl_parallel_for((int64_t)picture->n * picture->h, 4, patch_lines, &j);
    return 0;
}

static int run_patchify(const bl_running *r, bl_error *err) {
    (void)err;
    return run_patches(r, false);
}

static int run_unpatchify(const bl_running *r, bl_error *err) {
    (void)err;
    return run_patches(r, true);
}

const bl_cpu_op bl_cpu_join = {.run = run_join};
const bl_cpu_op bl_cpu_slice = {.run = run_slice};
const bl_cpu_op bl_cpu_channels = {.run = run_channels};
const bl_cpu_op bl_cpu_patchify = {.run = run_patchify};
const bl_cpu_op bl_cpu_unpatchify = {.run = run_unpatchify};
