#include "adapter/merge_internal.h"

#include "core/clock.h"

#include <stdlib.h>
#include <string.h>

#define LENGTH_ROWS 64 /* that are looked at together for the lengths of a layer's inputs */

/* ---- slots */

/* One that nobody has, if possible with the place's factors in it. NULL: no memory. */
static slot *take(bl_merge *m, const place *p) {
    slot *found = NULL;
    pthread_mutex_lock(&m->lock);
    for (slot *s = m->slots; s && !(found && found->of == p); s = s->next) {
        found = !s->taken && (!found || s->of == p) ? s : found;
    }
    if (!found && (found = calloc(1, sizeof *found)) != NULL) {
        found->next = m->slots;
        m->slots = found;
    }
    if (found) {
        found->taken = true;
    }
    pthread_mutex_unlock(&m->lock);
    return found;
}

static void give(bl_merge *m, slot *s) {
    pthread_mutex_lock(&m->lock);
    s->taken = false;
    pthread_mutex_unlock(&m->lock);
}

static int fill(slot *s, const bl_merge *m, const place *p, bl_error *err) {
    int rc = 0;
    if (s->of == p) {
        return 0;
    }
    s->of = NULL;
    for (int i = 0; i < p->count && !rc; i++) {
        const touch *t = &m->touches[p->first + i];
        s->filled = i + 1 > s->filled ? i + 1 : s->filled;
        rc = bl_factors_fill(&s->factors[i], t->adapter, t->x, m->coarse, err);
    }
    s->of = rc ? NULL : p;
    return rc;
}

/* ---- reading */

static int read_base(float *out, const bl_merge *m, const bl_weight *w, int part, int64_t begin, int64_t end,
                     int64_t columns, bl_error *err) {
    bl_dtype type = m->base.dtype(m->base.payload, w, part);
    size_t n = (size_t)((end - begin) * columns);
    if (type == BL_F32) {
        return m->base.read(m->base.payload, w, part, begin, end, out, err);
    }
    void *stored = malloc(n * bl_dtype_size(type) + 1);
    int rc = stored ? m->base.read(m->base.payload, w, part, begin, end, stored, err)
                    : bl_fail_memory(err, "rows of a weight", n * bl_dtype_size(type));
    if (!rc && bl_convert(out, BL_F32, stored, type, n)) {
        rc = bl_fail(err, BL_E_FORMAT, "%s is stored as %s, which is no type for weights", w->name[part],
                     bl_dtype_name(type));
    }
    free(stored);
    return rc;
}

/* base + delta of some rows, in v. */
static int with_delta(float *v, const float *base, const touch *t, const bl_factors *f, int64_t begin,
                      int64_t end, float *spare, bl_error *err) {
    memcpy(v, base, (size_t)((end - begin) * f->columns) * sizeof *v);
    return bl_delta_rows(v, 1, true, f, t->adapter, begin, end, spare, err);
}

/* Once for all rows of a layer: how long what each input reads is, with the delta. */
static int find_lengths(touch *t, const bl_merge *m, const bl_weight *w, int part, const bl_factors *f,
                        bl_error *err) {
    const bl_layer *l = t->x->layer;
    size_t n = (size_t)(LENGTH_ROWS * f->columns);
    double *sums = calloc((size_t)l->inner, sizeof *sums);
    float *rows = malloc(3 * n * sizeof *rows);
    int rc = sums && rows ? 0 : bl_fail_memory(err, "the lengths of a layer's inputs", 3 * n * sizeof *rows);
    for (int64_t begin = 0; begin < l->rows && !rc; begin += LENGTH_ROWS) {
        int64_t end = begin + LENGTH_ROWS < l->rows ? begin + LENGTH_ROWS : l->rows;
        rc = read_base(rows, m, w, part, begin, end, f->columns, err);
        rc = rc ? rc : with_delta(rows + n, rows, t, f, begin, end, rows + 2 * n, err);
        if (!rc) {
            bl_delta_squares(sums, rows + n, f, end - begin);
        }
    }
    free(rows);
    if (rc) {
        free(sums);
        return rc;
    }
    for (int64_t i = 0; i < l->inner; i++) {
        sums[i] = __builtin_sqrt(sums[i]);
    }
    t->lengths = sums;
    return 0;
}

/* The lengths are made by the first thread that needs them; the others wait. */
static int lengths_known(bl_merge *m, touch *t, const bl_weight *w, int part, const bl_factors *f,
                         bl_error *err) {
    int rc = 0;
    if (!t->x->dora || t->x->dora_by_output) {
        return 0;
    }
    pthread_mutex_lock(&m->lock);
    if (!t->lengths) {
        rc = find_lengths(t, m, w, part, f, err);
    }
    pthread_mutex_unlock(&m->lock);
    return rc;
}

/* `rows`: three times n floats, those of out, where needs_rows says so: the base, the base with a delta, what
 * deltas are made in. */
static int add_touch(float *out, float *rows, size_t n, bl_merge *m, touch *t, const bl_factors *f,
                     const bl_weight *w, int part, int64_t begin, int64_t end, bl_error *err) {
    int rc = lengths_known(m, t, w, part, f, err);
    if (rc) {
        return rc;
    }
    if (!t->x->dora) {
        return bl_delta_rows(out, t->strength, true, f, t->adapter, begin, end, rows + 2 * n, err);
    }
    rc = with_delta(rows + n, rows, t, f, begin, end, rows + 2 * n, err);
    if (!rc) {
        bl_delta_dora(out, t->strength, rows, rows + n, f, t->lengths, begin, end - begin);
    }
    return rc;
}

/* Does a place need the base beside the sum, and room for deltas? Plain products are added where they go. */
static bool needs_rows(const bl_merge *m, const place *p) {
    bool needs = false;
    for (int i = 0; i < p->count; i++) {
        const bl_adapted *x = m->touches[p->first + i].x;
        needs = needs || x->dora || (x->change != BL_CHANGE_LORA && x->change != BL_CHANGE_LOKR);
    }
    return needs;
}

static int merge_weight(float *out, bl_merge *m, const place *p, const bl_weight *w, int part, int64_t begin,
                        int64_t end, int64_t columns, bl_error *err) {
    size_t n = needs_rows(m, p) ? (size_t)((end - begin) * columns) : 0;
    slot *s = take(m, p);
    float *rows = malloc(3 * n * sizeof *rows + 1);
    int rc = s && rows ? fill(s, m, p, err) : bl_fail_memory(err, "merging adapters", 3 * n * sizeof *rows);
    if (!rc) {
        memcpy(rows, out, n * sizeof *rows);
    }
    for (int i = 0; i < p->count && !rc; i++) {
        rc = add_touch(out, rows, n, m, &m->touches[p->first + i], &s->factors[i], w, part, begin, end, err);
    }
    free(rows);
    if (s) {
        give(m, s);
    }
    return rc;
}

static int merge_bias(float *out, const bl_merge *m, const place *p, int64_t begin, int64_t end,
                      bl_error *err) {
    int rc = 0;
    for (int i = 0; i < p->count && !rc; i++) {
        const touch *t = &m->touches[p->first + i];
        rc = bl_delta_bias(out, t->strength, t->adapter, t->x, begin, end, err);
    }
    return rc;
}

static const place *place_of(const bl_merge *m, const bl_weight *w, int part) {
    return &m->places[w->number * BL_WEIGHT_PARTS + part];
}

/* Is any of the part's values another than the base's? */
static bool is_changed(const bl_merge *m, const bl_weight *w, int part) {
    return place_of(m, w, part)->count || (w->number == m->table && m->row_count);
}

static bl_dtype merged_dtype(void *payload, const bl_weight *w, int part) {
    const bl_merge *m = payload;
    return is_changed(m, w, part) ? BL_F32 : m->base.dtype(m->base.payload, w, part);
}

/* A sum is never put back into codes: what is changed stays wide. */
static bool merged_small(void *payload, const bl_weight *w, int part, bl_small *form) {
    const bl_merge *m = payload;
    return !is_changed(m, w, part) && m->base.small && m->base.small(m->base.payload, w, part, form);
}

static int merged_read_small(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end,
                             void *codes, float *scales, bl_error *err) {
    const bl_merge *m = payload;
    return m->base.read_small(m->base.payload, w, part, begin, end, codes, scales, err);
}

static uint64_t merged_bytes(void *payload, const bl_weight *w, int part) {
    const bl_merge *m = payload;
    return bl_source_part_bytes(&m->base, w, part);
}

static void replace_rows(float *out, const bl_merge *m, int64_t begin, int64_t end) {
    const size_t bytes = bl_merge_row_bytes(m), width = bytes / sizeof *out;
    for (int i = 0; i < m->row_count; i++) {
        if (m->rows[i] >= begin && m->rows[i] < end) {
            memcpy(out + (size_t)(m->rows[i] - begin) * width, m->vectors + (size_t)i * width, bytes);
        }
    }
}

static int merged_read(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *dst,
                       bl_error *err) {
    bl_merge *m = payload;
    const place *p = place_of(m, w, part);
    const bool replaces = w->number == m->table && m->row_count;
    if (!p->count && !replaces) {
        return m->base.read(m->base.payload, w, part, begin, end, dst, err);
    }
    int64_t columns = bl_weight_elements(w) / w->shape[0];
    int rc = read_base(dst, m, w, part, begin, end, columns, err);
    double began = bl_now();
    if (!rc && p->count) {
        rc = p->bias
                 ? merge_bias(dst, m, p, begin * columns, end * columns, err) /* one may be a table's row */
                 : merge_weight(dst, m, p, w, part, begin, end, columns, err);
    }
    if (!rc && replaces) {
        replace_rows(dst, m, begin, end);
    }
    double flops = 0, share = (double)(end - begin) * w->parts / (double)w->shape[0];
    for (int i = 0; i < p->count; i++) {
        flops += share * bl_merge_flops(m->touches[p->first + i].x, p->bias);
    }
    atomic_fetch_add(&m->nanoseconds, (uint64_t)((bl_now() - began) * 1e9));
    atomic_fetch_add(&m->kiloflops, (uint64_t)(flops * 1e-3));
    return rc;
}

bl_source bl_merge_source(bl_merge *m) {
    return (bl_source){.payload = m,
                       .dtype = merged_dtype,
                       .bytes = merged_bytes,
                       .read = merged_read,
                       .small = merged_small,
                       .read_small = merged_read_small};
}
