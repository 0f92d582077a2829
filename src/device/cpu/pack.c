/* Packing: rows from the file, converted and moved to their places in the packed layout, on all cores. */
#include "device/cpu/internal.h"

#include "core/checked.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define GROUP BL_TRANSPOSE_ROWS /* output channels that layouts keep together */
#define SLICE_ELEMENTS                                                                         \
    (64 << 10)        /* read, converted and placed by one task: what a core's own cache holds \
                       */
#define INNER_MAX 128 /* input channels that a layout keeps together */

static int64_t row_elements(const bl_packed *p) {
    return bl_weight_elements(&p->weight) / p->weight.shape[0];
}

static int64_t slice_rows(const bl_packed *p) {
    int64_t rows = SLICE_ELEMENTS / row_elements(p), group = p->blocked ? GROUP : 1;
    return rows > group ? rows - rows % group : group;
}

static uint64_t raw_bytes(const bl_packed *p) {
    return bl_align_up((uint64_t)(slice_rows(p) * row_elements(p)) * 8,
                       BL_ALIGN); /* 8: the widest stored type */
}

uint64_t bl_cpu_staging_bytes(const bl_packed *p) {
    return raw_bytes(p) + bl_align_up((uint64_t)(slice_rows(p) * row_elements(p)) * 4, BL_ALIGN);
}

static int64_t half_rows(const bl_packed *p) {
    return p->weight.shape[0] / p->halves;
}

static int64_t slices(const bl_packed *p) {
    int64_t rows = slice_rows(p);
    return p->halves * ((half_rows(p) + rows - 1) / rows);
}

/* Rows [begin, end) of the whole weight, whose small form is in memory. */
static int widen_rows(void *converted, void *raw, const bl_packed *p, const void *small, int64_t begin,
                      int64_t end, bl_error *err) {
    float *landing = p->dtype == BL_F32 ? converted : raw;
    bl_small_widen(landing, &p->small, &p->weight, small, begin, end);
    if (p->dtype != BL_F32 &&
        bl_convert(converted, p->dtype, raw, BL_F32, (size_t)((end - begin) * row_elements(p)))) {
        return bl_fail(err, BL_E_INTERNAL, "%s: no weights are packed as %s", p->weight.name[0],
                       bl_dtype_name(p->dtype));
    }
    return 0;
}

/* Reads rows [begin, end) of the whole weight and converts them. `small`: they are there, in this form; or
 * NULL. */
static int read_rows(void *converted, void *raw, const bl_source *s, const bl_packed *p, const void *small,
                     int64_t begin, int64_t end, bl_error *err) {
    if (small) {
        return widen_rows(converted, raw, p, small, begin, end, err);
    }
    int64_t share = p->weight.shape[0] / p->weight.parts, elements = row_elements(p);
    unsigned char *to = converted;
    while (begin < end) {
        int part = (int)(begin / share);
        int64_t stop = (part + 1) * share < end ? (part + 1) * share : end;
        bl_dtype type = s->dtype(s->payload, &p->weight, part);
        size_t n = (size_t)((stop - begin) * elements);
        void *landing = type == p->dtype ? (void *)to : raw;
        int rc =
            s->read(s->payload, &p->weight, part, begin - part * share, stop - part * share, landing, err);
        if (rc) {
            return rc;
        }
        if (landing == raw && bl_convert(to, p->dtype, raw, type, n)) {
            return bl_fail(err, BL_E_FORMAT, "%s is stored as %s, which is no type for weights",
                           p->weight.name[part], bl_dtype_name(type));
        }
        to += n * bl_dtype_size(p->dtype);
        begin = stop;
    }
    return 0;
}

/* Where the input channels and kernel positions of a layout lie. Input channel i is at
 * i / inner * stride + place[i % inner]. */
typedef struct in_places {
    int64_t channels, positions, inner, stride;
    int64_t place[INNER_MAX];
    int64_t position[64];
    int64_t last; /* the highest place of all, that of the last block of channels */
} in_places;

static int64_t higher(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int find_places(in_places *f, const bl_packed *p, bl_error *err) {
    const bl_dnnl_blocking *b = &p->blocking;
    bool conv = p->weight.kind == BL_W_CONV;
    int dim = conv ? 1 : 0;
    f->channels = b->dims[dim];
    f->inner = 1;
    f->last = 0;
    for (int i = 0; i < b->inner; i++) {
        f->inner *= b->inner_dim[i] == dim ? b->inner_size[i] : 1;
    }
    f->stride = b->strides[dim];
    f->positions = conv ? b->dims[2] * b->dims[3] : 1;
    if (f->inner > INNER_MAX || f->positions > 64) {
        return bl_fail(err, BL_E_UNSUPPORTED, "%s: its packed layout is not one that we can write",
                       p->weight.name[0]);
    }
    int64_t place = 0, position = 0;
    for (int64_t i = 0; i < f->inner; i++) {
        f->place[i] = bl_dnnl_place(b, dim, i);
        place = higher(place, f->place[i]);
    }
    for (int64_t k = 0; k < f->positions; k++) {
        f->position[k] = conv ? bl_dnnl_place(b, 2, k / b->dims[3]) + bl_dnnl_place(b, 3, k % b->dims[3]) : 0;
        position = higher(position, f->position[k]);
    }
    f->last = (f->channels - 1) / f->inner * f->stride + place + position;
    return 0;
}

/* Where a channel's first position of the first row lies. */
static int64_t place_of(const in_places *f, int64_t channel) {
    return channel / f->inner * f->stride + f->place[channel % f->inner];
}

/* src [rows][channels][positions] -> packed. `out`: place of each row. Rows are the inner loop because
 * layouts keep output channels side by side. */
#define SCATTER(name, type)                                                                          \
    static void name(type *dst, const type *src, const int64_t *out, int rows, const in_places *f) { \
        int64_t k_count = f->positions, row = f->channels * k_count;                                 \
        for (int64_t i = 0; i < f->channels; i++) {                                                  \
            type *at = dst + place_of(f, i);                                                         \
            for (int64_t k = 0; k < k_count; k++) {                                                  \
                const type *from = src + i * k_count + k;                                            \
                type *to = at + f->position[k];                                                      \
                for (int r = 0; r < rows; r++) {                                                     \
                    to[out[r]] = from[r * row];                                                      \
                }                                                                                    \
            }                                                                                        \
        }                                                                                            \
    }
SCATTER(scatter_16, uint16_t)
SCATTER(scatter_32, uint32_t)

/* Layouts mostly keep GROUP output channels side by side, of bf16 each with two neighbouring input
 * channels: then a group of rows is a matrix of 32-bit words to be transposed. */
static bool in_words(const in_places *f, const int64_t *out, int64_t rows, int64_t per) {
    bool whole = rows == GROUP && f->channels % per == 0 && f->inner % per == 0 && f->stride % per == 0 &&
                 (per == 1 || f->positions % 2);
    for (int64_t r = 0; whole && r < rows; r++) {
        whole = out[r] % per == 0 && out[r] == out[0] + r * per;
    }
    for (int64_t i = 0; whole && i < f->inner; i++) {
        whole = f->place[i] == f->place[i - i % per] + i % per && f->place[i - i % per] % per == 0;
    }
    for (int64_t k = 0; whole && k < f->positions; k++) {
        whole = f->position[k] % per == 0;
    }
    return whole;
}

/* bf16 with an odd number of positions: src [channels / 2 * positions][GROUP] words, in which a pair of
 * channels has first the positions of one, then those of the other, to words of one position of both. */
static void join_pairs(uint32_t *dst, const uint32_t *src, const in_places *f) {
    int64_t positions = f->positions;
    for (int64_t i = 0; i < f->channels; i += 2, src += positions * GROUP) {
        uint32_t *at = dst + place_of(f, i) / 2;
        for (int64_t k = 0; k < positions; k++) {
            const uint32_t *one = src + k / 2 * GROUP, *other = src + (positions + k) / 2 * GROUP;
            uint32_t *to = at + f->position[k] / 2;
            for (int r = 0; r < GROUP; r++) {
                to[r] = k % 2 ? one[r] >> 16 | other[r] << 16 : (one[r] & 0xffffu) | (other[r] & 0xffff0000u);
            }
        }
    }
}

#define WORDS_AT_ONCE 256

/* Goes through the elements of a row: channels, each with its positions. */
typedef struct walk {
    int64_t in, base, position; /* channel inside its inner block, where that begins, position */
} walk;

/* Where the next word of `per` elements lies, in words. */
static int64_t next_place(walk *w, const in_places *f, int64_t per) {
    const int64_t place = (w->base + f->place[w->in] + f->position[w->position]) >> (per - 1); /* by 1 or 2 */
    w->position = f->positions > 1 ? w->position + 1 : 0;
    if (w->position == f->positions || f->positions == 1) {
        w->position = 0;
        w->in += f->positions > 1 ? 1 : per;
        if (w->in >= f->inner) {
            w->in = 0;
            w->base += f->stride;
        }
    }
    return place;
}

/* src [GROUP][channels][positions] of `per` elements a word -> packed, from the first row's place on.
 * `spare`: room for as much. */
static void transpose_group(const bl_kernels *kernels, uint32_t *dst, const uint32_t *src, uint32_t *spare,
                            const in_places *f, int64_t per) {
    int64_t row = f->channels * f->positions / per, place[WORDS_AT_ONCE];
    bool mixed =
        per == 2 && f->positions > 1; /* then a word has one position of two channels only by chance */
    walk w = {0};
    for (int64_t first = 0; first < row; first += WORDS_AT_ONCE) {
        int64_t count = row - first < WORDS_AT_ONCE ? row - first : WORDS_AT_ONCE;
        for (int64_t i = 0; i < count; i++) {
            place[i] = mixed ? (first + i) * GROUP : next_place(&w, f, per);
        }
        kernels->transpose(mixed ? spare : dst, place, src + first, row, count, !mixed);
    }
    if (mixed) {
        join_pairs(dst, spare, f);
    }
}

/* src [rows][channels][positions] of `size` bytes each -> packed. `spare`: room for as much. */
static void place_group(const bl_kernels *kernels, void *dst, const void *src, void *spare,
                        const in_places *f, const int64_t *out, int64_t rows, int64_t size) {
    int64_t per = 4 / size;
    if (in_words(f, out, rows, per)) {
        transpose_group(kernels, (uint32_t *)dst + out[0] / per, src, spare, f, per);
    } else if (size == 2) {
        scatter_16(dst, src, out, (int)rows, f);
    } else {
        scatter_32(dst, src, out, (int)rows, f);
    }
}

/* Is the weight stored and laid out so that groups of its rows go to their places as they are widened? */
static bool widens_straight(const bl_packed *p, const in_places *f) {
    const bl_dnnl_blocking *b = &p->blocking;
    const int64_t word = 2, parts = p->weight.parts;
    int64_t outs = 1; /* rows that lie side by side */
    for (int i = 0; i < b->inner; i++) {
        outs *= b->inner_dim[i] == 1 ? b->inner_size[i] : 1;
    }
    bool straight = p->dtype == BL_BF16 && p->weight.kind == BL_W_LINEAR && outs % GROUP == 0 &&
                    p->weight.shape[0] / parts % GROUP == 0 && half_rows(p) % GROUP == 0 &&
                    (word * WORDS_AT_ONCE) % f->inner == 0 && f->stride % (word * GROUP) == 0 &&
                    b->strides[1] % (word * GROUP) == 0;
    for (int i = 0; i < parts; i++) {
        straight = straight && p->small.form[i].storage == BL_STORED_Q8_0;
    }
    for (int64_t i = 0; i < f->inner && straight; i++) {
        const int64_t at = f->place[i - i % word];
        straight = f->place[i] == at + i % word && at % (word * GROUP) == 0;
    }
    for (int64_t r = 0; r < outs && straight; r++) {
        const int64_t at = bl_dnnl_place(b, 1, r - r % GROUP);
        straight = bl_dnnl_place(b, 1, r) == at + r % GROUP * word && at % (word * GROUP) == 0;
    }
    return straight;
}

/* `dst`: the place of row `row`, the first of its group. */
static void widen_group(const bl_kernels *kernels, uint32_t *dst, const bl_packed *p, const void *small,
                        const in_places *f, int64_t row) {
    const bl_storage_form *form = bl_storage_of(BL_STORED_Q8_0);
    const uint8_t *codes = bl_small_row(&p->small, &p->weight, small, row);
    const int64_t row_bytes = f->channels / form->values * form->bytes;
    int64_t place[WORDS_AT_ONCE];
    walk w = {0};
    for (int64_t i = 0; i < WORDS_AT_ONCE; i++) {
        place[i] = next_place(&w, f, 2);
    }
    for (int64_t c = 0; c < f->channels; c += 2 * WORDS_AT_ONCE) {
        const int64_t left = f->channels - c, count = left < 2 * WORDS_AT_ONCE ? left : 2 * WORDS_AT_ONCE;
        kernels->widen_q8_0(dst, place, codes, row_bytes, count / form->values);
        codes += count / form->values * form->bytes;
        dst += count / f->inner * f->stride / 2;
    }
}

/* One slice of one weight. `at`: where the weight's packed bytes begin; *written rises to the end of what was
 * written behind it. `small` as in read_rows. */
static int pack_slice(const bl_device_module *m, const bl_packed *p, unsigned char *at, const void *small,
                      int64_t slice, unsigned char *raw, int64_t *written, bl_error *err) {
    int64_t size = (int64_t)bl_dtype_size(p->dtype);
    int64_t step = slice_rows(p), each = (half_rows(p) + step - 1) / step;
    int64_t half = slice / each, begin = slice % each * step;
    int64_t end = begin + step < half_rows(p) ? begin + step : half_rows(p);
    unsigned char *converted =
        p->blocked ? raw + raw_bytes(p) : at + (size_t)(begin * row_elements(p)) * bl_dtype_size(p->dtype);
    int64_t first = half * half_rows(p);
    in_places f = {0};
    int rc = p->blocked ? find_places(&f, p, err) : 0;
    const bool straight =
        !rc && small && p->blocked && (uintptr_t)at % BL_ALIGN == 0 && widens_straight(p, &f);
    if (!rc && !straight) {
        rc = read_rows(converted, raw, &m->source, p, small, first + begin, first + end, err);
    }
    if (rc || !p->blocked) {
        *written = higher(*written, end * row_elements(p) * size);
        return rc;
    }
    size_t group_bytes = (size_t)(GROUP * row_elements(p) * size);
    int dim = p->weight.kind == BL_W_CONV ? 0 : 1;
    at += (uint64_t)half * p->half_bytes;
    for (; begin < end; begin += GROUP, converted += group_bytes) {
        int64_t out[GROUP], rows = end - begin < GROUP ? end - begin : GROUP, last = 0;
        for (int64_t r = 0; r < rows; r++) {
            out[r] = bl_dnnl_place(&p->blocking, dim, begin + r);
            last = higher(last, out[r]);
        }
        if (straight) {
            widen_group(m->cpu->kernels, (uint32_t *)(void *)at + out[0] / 2, p, small, &f, first + begin);
        } else {
            place_group(m->cpu->kernels, at, converted, raw, &f, out, rows, size);
        }
        *written = higher(*written, half * (int64_t)p->half_bytes + (f.last + last + 1) * size);
    }
    return 0;
}

/* The same rows as they are stored. */
static int store_slice(const bl_device_module *m, const bl_packed *p, unsigned char *at, int64_t slice,
                       int64_t *written, bl_error *err) {
    int64_t step = slice_rows(p), each = (half_rows(p) + step - 1) / step;
    int64_t begin = slice / each * half_rows(p) + slice % each * step, end = begin + step;
    int64_t stop = (slice / each + 1) * half_rows(p);
    *written = (int64_t)p->small.bytes;
    return bl_small_read(&m->source, &p->small, &p->weight, at, begin, end < stop ? end : stop, err);
}

/* Weights to be packed, or one to be widened. */
typedef struct pack_job {
    const bl_device_module *m;
    const bl_packed *first; /* [count] */
    int count;
    unsigned char *base;  /* of the block; of one that is widened where it goes */
    const void *small;    /* what is widened; NULL: weights are packed */
    int64_t slices;       /* of all weights, in their order */
    int64_t written;      /* from base on */
    _Atomic int64_t next; /* the first that nobody has taken: they differ in work, so no thread owns any */
    struct onload_worker {
        bl_error error;
        int64_t end; /* of what it wrote, from base on */
    } * workers;     /* [threads] */
} pack_job;

static void pack_some(void *context, int64_t begin, int64_t end, int thread) {
    pack_job *job = context;
    struct onload_worker *worker = &job->workers[thread];
    unsigned char *staging = job->m->cpu->staging + (uint64_t)thread * job->m->cpu->staging_bytes;
    const bl_packed *p = job->first;
    int64_t first = 0, slice; /* number of p's first slice */
    (void)begin, (void)end;
    while ((slice = atomic_fetch_add(&job->next, 1)) < job->slices) {
        while (slice - first >= slices(p)) {
            first += slices(p++);
        }
        int64_t written = 0;
        uint64_t offset = job->small ? 0 : bl_cpu_offset(job->m, p);
        unsigned char *at = job->base + offset;
        int rc =
            !job->small && bl_cpu_is_small(job->m, p)
                ? store_slice(job->m, p, at, slice - first, &written, &worker->error)
                : pack_slice(job->m, p, at, job->small, slice - first, staging, &written, &worker->error);
        if (rc) {
            return;
        }
        worker->end = higher(worker->end, (int64_t)offset + written);
    }
}

static int run_job(pack_job *job, bl_error *err) {
    const bl_device_module *m = job->m;
    const int threads = m->cpu->threads;
    job->workers = calloc((size_t)threads, sizeof *job->workers);
    if (!job->workers) {
        return bl_fail_memory(err, "packing weights", (uint64_t)threads * sizeof *job->workers);
    }
    for (const bl_packed *p = job->first; p < job->first + job->count; p++) {
        bool small = !job->small && bl_cpu_is_small(m, p);
        job->slices += slices(p);
        if (!small && p->blocked && p->blocking.padded) {
            uint64_t at = job->small ? 0 : bl_cpu_offset(m, p), bytes = p->half_bytes * (uint64_t)p->halves;
            memset(job->base + at, 0, (size_t)bytes);
            job->written = higher(job->written, (int64_t)(at + bytes));
        }
    }
    bl_parallel_for(job->slices < threads ? job->slices : threads, 1, pack_some, job);
    int rc = 0;
    for (int t = 0; t < threads && !rc; t++) {
        rc = job->workers[t].error.code;
        if (rc && err) {
            *err = job->workers[t].error;
        }
        job->written = higher(job->written, job->workers[t].end);
    }
    free(job->workers);
    return rc;
}

int bl_cpu_pack(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                bl_error *err) {
    bl_region *r = to->region;
    (void)stream;
    if (block < 0 || block >= m->block_count || offset % BL_ALIGN || offset > r->bytes ||
        m->costs[block].packed_bytes > r->bytes - offset) {
        return bl_fail(err, BL_E_INTERNAL, "block %d does not fit at offset %llu of the region", block,
                       (unsigned long long)offset);
    }
    bl_set_threads(m->cpu->threads);
    m->cpu->working = true;
    pack_job job = {.m = m,
                    .first = &m->weights[m->blocks[block].first_weight],
                    .count = m->blocks[block].weight_count,
                    .base = r->base + offset};
    int rc = run_job(&job, err);
    uint64_t end = offset + (uint64_t)job.written;
    r->used.end = end > r->used.end ? end : r->used.end;
    return rc;
}

int bl_cpu_widen(void *to, const bl_device_module *m, const bl_packed *p, const void *small, bl_error *err) {
    pack_job job = {.m = m, .first = p, .count = 1, .base = to, .small = small};
    return run_job(&job, err);
}
