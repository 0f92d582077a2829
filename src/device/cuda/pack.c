/* Packing: rows from the file, converted, on all cores. Into host memory it happens on the LOAD stream, in a
 * function that CUDA calls when the stream has come to it, so that nobody waits. Into a region, where there
 * is no host store, blocks pass through a few pinned slots; the caller packs, and the card copies meanwhile.
 */
#include "device/cuda/internal.h"

#include "core/checked.h"
#include "core/parallel.h"

#include <stdlib.h>
#include <string.h>

#define SLICE_ELEMENTS (64 << 10) /* read and converted at once: what a core's own cache holds */

typedef struct rows_job {
    const bl_device_module *m;
    const bl_cuda_weight *p;
    int part;              /* of a weight that stays small, whose rows they are; else of the whole */
    int64_t begin, end;    /* rows */
    unsigned char *to;     /* where row `begin` goes */
    unsigned char *scales; /* where its factor does, if it stays small and has one */
    bl_error *errors;      /* [bl_threads()] */
} rows_job;

static int64_t row_elements(const bl_cuda_weight *p) {
    return bl_weight_elements(&p->weight) / p->weight.shape[0];
}

static int64_t positions(const bl_cuda_weight *p) {
    return p->weight.kind == BL_W_CONV ? p->weight.shape[2] * p->weight.shape[3] : 1;
}

/* src [rows][channels][positions] -> dst [rows][positions][channels], of `size` bytes each */
static void turn(unsigned char *dst, const unsigned char *src, int64_t rows, int64_t channels, int64_t count,
                 size_t size) {
    for (int64_t r = 0; r < rows;
         r++, dst += (size_t)(channels * count) * size, src += (size_t)(channels * count) * size) {
        for (int64_t k = 0; k < count; k++) {
            for (int64_t i = 0; i < channels; i++) {
                memcpy(dst + (size_t)(k * channels + i) * size, src + (size_t)(i * count + k) * size, size);
            }
        }
    }
}

/* Rows [begin, end) of one part, the first of which is row `first` of the whole. `raw` and `converted`: room
 * for as many. */
static int pack_slice(const rows_job *j, int part, int64_t first, int64_t begin, int64_t end,
                      unsigned char *raw, unsigned char *converted, bl_error *err) {
    const bl_cuda_weight *p = j->p;
    const bl_source *s = &j->m->source;
    bl_dtype stored = s->dtype(s->payload, &p->weight, part);
    unsigned char *to = j->to + (uint64_t)(first - j->begin) * p->row_bytes;
    bool turns = positions(p) > 1;
    unsigned char *straight = turns ? converted : to;
    int rc = s->read(s->payload, &p->weight, part, begin, end, stored == p->dtype ? straight : raw, err);
    size_t count = (size_t)((end - begin) * row_elements(p));
    if (!rc && stored != p->dtype && bl_convert(straight, p->dtype, raw, stored, count)) {
        rc = bl_fail(err, BL_E_FORMAT, "%s is stored as %s, which is no type for weights",
                     p->weight.name[part], bl_dtype_name(stored));
    }
    if (!rc && turns) {
        turn(to, converted, end - begin, row_elements(p) / positions(p), positions(p),
             bl_dtype_size(p->dtype));
    }
    return rc;
}

static void pack_range(void *context, int64_t begin, int64_t end, int thread) {
    const rows_job *j = context;
    const bl_cuda_weight *p = j->p;
    bl_error *err = &j->errors[thread];
    int64_t share = p->weight.shape[0] / p->weight.parts, step = SLICE_ELEMENTS / row_elements(p);
    step = step ? step : 1;
    size_t elements = (size_t)(step * row_elements(p));
    unsigned char *raw = malloc(elements * 8),
                  *converted = malloc(elements * 4); /* 8: the widest stored type */
    if (!raw || !converted) {
        bl_fail_memory(err, "packing weights", elements * 12);
    }
    for (int64_t row = j->begin + begin, stop; row < j->begin + end && !err->code; row = stop) {
        int part = (int)(row / share);
        stop = row + step < j->begin + end ? row + step : j->begin + end;
        stop = stop < (part + 1) * share ? stop : (part + 1) * share;
        pack_slice(j, part, row, row - part * share, stop - part * share, raw, converted, err);
    }
    free(raw);
    free(converted);
}

static uint64_t small_row_bytes(const bl_cuda_weight *p, int part) {
    return bl_small_row_bytes(&p->small.form[part], row_elements(p));
}

/* Rows of one part, as they are stored. */
static void store_range(void *context, int64_t begin, int64_t end, int thread) {
    const rows_job *j = context;
    const bl_source *s = &j->m->source;
    s->read_small(s->payload, &j->p->weight, j->part, j->begin + begin, j->begin + end,
                  j->to + (uint64_t)begin * small_row_bytes(j->p, j->part),
                  (float *)(void *)j->scales + begin, &j->errors[thread]);
}

static int run_job(rows_job *j, bl_range_fn *range, bl_error *err) {
    int threads = bl_threads(), rc = 0;
    j->errors = calloc((size_t)threads, sizeof *j->errors);
    if (!j->errors) {
        return bl_fail_memory(err, "packing weights", (uint64_t)threads * sizeof *j->errors);
    }
    bl_parallel_for(j->end - j->begin, SLICE_ELEMENTS / row_elements(j->p) + 1, range, j);
    for (int i = 0; i < threads && !rc; i++) {
        rc = j->errors[i].code;
        if (rc && err) {
            *err = j->errors[i];
        }
    }
    free(j->errors);
    return rc;
}

static int pack_rows(const bl_device_module *m, const bl_cuda_weight *p, int64_t begin, int64_t end,
                     unsigned char *to, bl_error *err) {
    rows_job j = {.m = m, .p = p, .begin = begin, .end = end, .to = to};
    return run_job(&j, pack_range, err);
}

/* A weight as it lies small in its block. */
static int store_weight(const bl_device_module *m, const bl_cuda_weight *p, unsigned char *to,
                        bl_error *err) {
    int rc = 0;
    for (int i = 0; i < p->weight.parts && !rc; i++) {
        rows_job j = {.m = m,
                      .p = p,
                      .part = i,
                      .end = p->weight.shape[0] / p->weight.parts,
                      .to = to + p->small.codes[i],
                      .scales = to + p->small.scales[i]};
        rc = run_job(&j, store_range, err);
    }
    return rc;
}

/* ---- into host memory */

/* Of a card that was lost CUDA calls no function any more: so the device has a list of them. */
struct bl_cuda_load {
    struct bl_cuda_load *next;
    bl_cuda *c;
    bool done;
    const unsigned char *from; /* not NULL: only copied, `bytes` */
    uint64_t bytes;
    bl_device_module *m;
    int block, threads;
    unsigned char *to;
    bl_stream stream;
    uint64_t work;
};

static void note_done(struct bl_cuda_load *j) {
    bl_cuda *c = j->c;
    pthread_mutex_lock(&c->lock);
    j->done = true;
    pthread_mutex_unlock(&c->lock);
}

static void load(void *payload) {
    struct bl_cuda_load *j = payload;
    const bl_block *b = &j->m->blocks[j->block];
    bl_error err = {0};
    bl_set_threads(j->threads);
    for (int i = b->first_weight; i < b->first_weight + b->weight_count && !err.code; i++) {
        const bl_cuda_weight *p = &j->m->weights[i];
        unsigned char *to = j->to + bl_cuda_offset(j->m, p);
        if (bl_cuda_is_small(j->m, p)) {
            store_weight(j->m, p, to, &err);
        } else {
            pack_rows(j->m, p, 0, p->weight.shape[0], to, &err);
        }
    }
    if (err.code) {
        bl_cuda_failed(j->c, j->stream, j->work, &err);
    }
    note_done(j);
}

static void copy(void *payload) {
    struct bl_cuda_load *j = payload;
    memcpy(j->to, j->from, j->bytes);
    note_done(j);
}

void bl_cuda_loads_free(bl_cuda *c, bool all) {
    pthread_mutex_lock(&c->lock);
    for (struct bl_cuda_load **p = &c->loads, *j; (j = *p) != NULL;) {
        if (all || j->done) {
            *p = j->next;
            free(j);
        } else {
            p = &j->next;
        }
    }
    pthread_mutex_unlock(&c->lock);
}

/* Puts what is in *job on a stream, from where a function of ours is called. */
static int put(const struct bl_cuda_load *job, bl_cu_stream stream, bl_cu_host_fn *fn, bl_error *err) {
    bl_cuda *c = job->c;
    struct bl_cuda_load *j = malloc(sizeof *j);
    if (!j) {
        return bl_fail_memory(err, "packing weights", sizeof *j);
    }
    bl_cuda_loads_free(c, false);
    *j = *job;
    int rc = bl_cuda_check(c, c->libs->cu.cuLaunchHostFunc(stream, fn, j), "packing weights", err);
    pthread_mutex_lock(&c->lock);
    j->done = j->done || rc;
    j->next = c->loads;
    c->loads = j;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int bl_cuda_put_copy(bl_cuda *c, bl_cu_stream stream, void *to, const void *from, uint64_t bytes,
                     bl_error *err) {
    return put(&(struct bl_cuda_load){.c = c, .to = to, .from = from, .bytes = bytes}, stream, copy, err);
}

static int pack_to_host(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                        bl_error *err) {
    struct bl_cuda_load job = {.c = m->c,
                               .m = m,
                               .block = block,
                               .threads = bl_threads(),
                               .to = to->memory + offset,
                               .stream = stream,
                               .work = bl_cuda_work(m->c, stream)};
    return put(&job, m->c->stream[stream], load, err);
}

/* ---- into a region */

/* Waits until the card has read what was last put into it. */
static int wait_for_slot(const bl_cuda_slot *slot, bl_cuda *c, bl_error *err) {
    return slot->used ? bl_cuda_check(c, c->libs->cu.cuEventSynchronize(slot->free), "a copy of weights", err)
                      : 0;
}

static int send(bl_cuda *c, bl_cu_pointer to, const void *from, uint64_t bytes, bl_stream stream,
                bl_error *err) {
    return bl_cuda_check(c, c->libs->cu.cuMemcpyHtoDAsync(to, from, bytes, c->stream[stream]),
                         "a copy of weights", err);
}

static int send_rows(bl_device_module *m, const bl_cuda_weight *p, int64_t begin, int64_t end,
                     bl_cu_pointer to, bl_stream stream, bl_error *err) {
    bl_cuda *c = m->c;
    bl_cuda_slot *slot = &c->slot[c->next_slot++ % BL_CUDA_SLOTS];
    int rc = wait_for_slot(slot, c, err);
    rc = rc ? rc : pack_rows(m, p, begin, end, slot->memory, err);
    rc = rc ? rc
            : send(c, to + (uint64_t)begin * p->row_bytes, slot->memory,
                   (uint64_t)(end - begin) * p->row_bytes, stream, err);
    rc =
        rc ? rc : bl_cuda_check(c, c->libs->cu.cuEventRecord(slot->free, c->stream[stream]), "an event", err);
    slot->used = slot->used || !rc;
    return rc;
}

/* Rows of a part that stays small: their codes, and behind these in the slot their factors. */
static int send_small(bl_device_module *m, const bl_cuda_weight *p, int part, int64_t begin, int64_t end,
                      bl_cu_pointer to, bl_stream stream, bl_error *err) {
    bl_cuda *c = m->c;
    bl_cuda_slot *slot = &c->slot[c->next_slot++ % BL_CUDA_SLOTS];
    const uint64_t row = small_row_bytes(p, part), bytes = (uint64_t)(end - begin) * row;
    unsigned char *scales = slot->memory + bl_align_up(bytes, BL_ALIGN);
    rows_job j = {
        .m = m, .p = p, .part = part, .begin = begin, .end = end, .to = slot->memory, .scales = scales};
    int rc = wait_for_slot(slot, c, err);
    rc = rc ? rc : run_job(&j, store_range, err);
    rc = rc ? rc
            : send(c, to + p->small.codes[part] + (uint64_t)begin * row, slot->memory, bytes, stream, err);
    if (!rc && p->small.form[part].scaled) {
        rc = send(c, to + p->small.scales[part] + (uint64_t)begin * sizeof(float), scales,
                  (uint64_t)(end - begin) * sizeof(float), stream, err);
    }
    rc =
        rc ? rc : bl_cuda_check(c, c->libs->cu.cuEventRecord(slot->free, c->stream[stream]), "an event", err);
    slot->used = slot->used || !rc;
    return rc;
}

/* As many rows at once as a slot holds. */
static int send_weight(bl_device_module *m, const bl_cuda_weight *p, bl_cu_pointer to, bl_stream stream,
                       bl_error *err) {
    const bool small = bl_cuda_is_small(m, p);
    const int parts = small ? p->weight.parts : 1;
    const int64_t rows = p->weight.shape[0] / parts;
    int rc = 0;
    for (int part = 0; part < parts && !rc; part++) {
        const uint64_t row = small ? small_row_bytes(p, part) + sizeof(float) : p->row_bytes;
        const int64_t step = (int64_t)((BL_CUDA_SLOT_BYTES - BL_ALIGN) / row);
        if (!step) {
            return bl_fail(err, BL_E_UNSUPPORTED,
                           "cuda: a row of %s has %llu bytes, at most %u can be copied", p->weight.name[0],
                           (unsigned long long)row, BL_CUDA_SLOT_BYTES - BL_ALIGN);
        }
        for (int64_t at = 0; at < rows && !rc; at += step) {
            const int64_t end = at + step < rows ? at + step : rows;
            rc = small ? send_small(m, p, part, at, end, to, stream, err)
                       : send_rows(m, p, at, end, to, stream, err);
        }
    }
    return rc;
}

static int pack_to_region(bl_device_module *m, int block, bl_region *r, uint64_t offset, bl_stream stream,
                          bl_error *err) {
    const bl_block *b = &m->blocks[block];
    int rc = bl_cuda_slots_open(m->c, err);
    bl_cuda_work(m->c, stream);
    for (int i = b->first_weight; i < b->first_weight + b->weight_count && !rc; i++) {
        const bl_cuda_weight *p = &m->weights[i];
        rc = send_weight(m, p, r->base + offset + bl_cuda_offset(m, p), stream, err);
    }
    bl_cuda_reach(&r->used.end, offset + m->costs[block].packed_bytes);
    return rc;
}

int bl_cuda_pack(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                 bl_error *err) {
    if (block < 0 || block >= m->block_count || offset % BL_ALIGN || offset > to->bytes ||
        m->costs[block].packed_bytes > to->bytes - offset) {
        return bl_fail(err, BL_E_INTERNAL, "block %d does not fit at offset %llu", block,
                       (unsigned long long)offset);
    }
    int rc = bl_cuda_enter(m->c, err);
    if (rc) {
        return rc;
    }
    return to->region ? pack_to_region(m, block, to->region, offset, stream, err)
                      : pack_to_host(m, block, to, offset, stream, err);
}
