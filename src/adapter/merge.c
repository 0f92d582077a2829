#include "adapter/merge.h"

#include "adapter/delta.h"
#include "core/checked.h"
#include "core/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_ROWS 64 /* that are looked at together for the lengths of a layer's inputs */

/* One adapter's change of one part of a weight, or of its bias. */
typedef struct touch {
    const bl_adapter *adapter;
    const bl_adapted *x;
    float strength;
    double *lengths; /* [inner] of DoRA's inputs, once they are known; else NULL */
} touch;

/* The touches of one part of one weight, in the order of the adapters. */
typedef struct place {
    int first, count; /* in bl_merge.touches */
    bool bias;
} place;

/* Factors in memory for one place. Whoever reads takes one that nobody has. */
typedef struct slot {
    const place *of;
    bl_factors factors[BL_MOST_ADAPTERS]; /* [count of the place] */
    int filled;
    bool taken;
    struct slot *next;
} slot;

struct bl_merge {
    bl_module module;
    bl_source base;
    bl_weight *weights; /* [weight_count] */
    bl_block *blocks;   /* [block_count] */
    int weight_count, block_count;
    bl_wanted held[BL_MOST_ADAPTERS]; /* [held_count] in force, strength 0 left out */
    int held_count;
    int table;      /* number of the table of tokens; -1: there is none */
    int row_count;  /* of rows that are replaced in it */
    int32_t *rows;  /* [row_count] */
    float *vectors; /* [row_count, width] */
    place *places;  /* [weight_count * BL_WEIGHT_PARTS] */
    touch *touches; /* [touch_count] */
    int touch_count;
    pthread_mutex_t lock; /* of the slots and of `lengths` */
    slot *slots;
    _Atomic uint64_t nanoseconds;
    _Atomic uint64_t kiloflops;
};

static double strength_of(const bl_wanted *w, bl_module module) {
    return module == BL_UNET ? w->denoiser : w->text;
}

/* ---- which adapter changes what */

/* Length of a weight's name without its last word, and whether that is "bias". */
static size_t layer_length(const char *name, bool *bias) {
    const char *dot = strrchr(name, '.');
    *bias = dot && !strcmp(dot, ".bias");
    return dot ? (size_t)(dot - name) : strlen(name);
}

/* What the adapter does to a part of a weight; NULL: nothing. */
static const bl_adapted *touching(const bl_adapter *a, bl_module module, const bl_weight *w, int part) {
    bool bias;
    size_t n = layer_length(w->name[part], &bias);
    const bl_adapted *x = bl_adapter_find(a, module, w->name[part], n);
    bool does = x && (bias ? x->part[BL_PART_DIFF_B] != NULL : x->change != BL_CHANGE_NONE);
    return does ? x : NULL;
}

static double flops_of(const bl_adapted *x, bool bias) {
    double n = (double)x->layer->rows * (bias ? 1 : (double)x->layer->inner * (double)x->layer->positions);
    int64_t rank = bias || x->change == BL_CHANGE_LOKR ? 0 : bl_adapted_rank(x);
    return n * (2 + 2 * (double)rank * (x->change == BL_CHANGE_LOHA ? 2 : 1) + (x->dora ? 8 : 0));
}

static uint64_t bytes_of(const bl_adapted *x, bool bias) {
    uint64_t bytes = 0;
    for (int i = 0; i < BL_PART_COUNT; i++) {
        bytes += x->part[i] && (i == BL_PART_DIFF_B) == bias ? x->part[i]->bytes : 0;
    }
    return bytes;
}

/* What an adapter does to a block. */
static bool touches_block(bl_merge_cost *cost, const bl_merge *m, const bl_adapter *a, int block) {
    bool any = false, bias;
    const bl_block *b = &m->blocks[block];
    for (int i = b->first_weight; i < b->first_weight + b->weight_count; i++) {
        for (int part = 0; part < m->weights[i].parts; part++) {
            const bl_adapted *x = touching(a, m->module, &m->weights[i], part);
            if (x) {
                any = true;
                layer_length(m->weights[i].name[part], &bias);
                cost->flops += flops_of(x, bias);
                cost->bytes += bytes_of(x, bias);
            }
        }
    }
    return any;
}

/* The next of a list that touches the block at all. */
static int next_for(bl_merge_cost *cost, const bl_merge *m, const bl_wanted *list, int count, int from,
                    int block) {
    while (from < count &&
           (strength_of(&list[from], m->module) == 0 || !touches_block(cost, m, list[from].adapter, block))) {
        from++;
    }
    return from;
}

/* This module's rows of them: how many there are. */
static int rows_of(const float **vectors, const bl_merge *m, const bl_rows *rows) {
    bool has = m->table >= 0 && rows && rows->count;
    *vectors = has ? rows->values[m->module == BL_TEXT_ENCODER_2] : NULL;
    return has ? rows->count : 0;
}

static size_t row_bytes(const bl_merge *m) {
    const bl_weight *w = &m->weights[m->table];
    return (size_t)(bl_weight_elements(w) / w->shape[0]) * sizeof(float);
}

/* Are other rows replaced than now, or by others? */
static bool rows_differ(const bl_merge *m, const bl_rows *rows) {
    const float *vectors;
    int count = rows_of(&vectors, m, rows);
    return count != m->row_count ||
           (count && (memcmp(rows->row, m->rows, (size_t)count * sizeof *m->rows) != 0 ||
                      memcmp(vectors, m->vectors, (size_t)count * row_bytes(m)) != 0));
}

static int copy_rows(bl_merge *m, const bl_rows *rows, bl_error *err) {
    const float *vectors;
    int count = rows_of(&vectors, m, rows);
    if (!count) {
        return 0;
    }
    if ((size_t)rows->width[m->module == BL_TEXT_ENCODER_2] * sizeof *vectors != row_bytes(m)) {
        return bl_fail(err, BL_E_INTERNAL, "embeddings of another width than the table's");
    }
    m->rows = malloc((size_t)count * sizeof *m->rows);
    m->vectors = malloc((size_t)count * row_bytes(m));
    if (!m->rows || !m->vectors) {
        return bl_fail_memory(err, "embeddings", (size_t)count * row_bytes(m));
    }
    memcpy(m->rows, rows->row, (size_t)count * sizeof *m->rows);
    memcpy(m->vectors, vectors, (size_t)count * row_bytes(m));
    m->row_count = count;
    return 0;
}

int bl_merge_look(bl_merge_cost *blocks, const bl_merge *m, const bl_changes *changes, bl_error *err) {
    const bl_wanted *wanted = changes->adapters;
    const int count = changes->adapter_count;
    if (count > BL_MOST_ADAPTERS) {
        return bl_fail(err, BL_E_ARGUMENT, "%d adapters at once: at most %d are merged", count,
                       BL_MOST_ADAPTERS);
    }
    for (int b = 0; b < m->block_count; b++) {
        bl_merge_cost ignored;
        blocks[b] = (bl_merge_cost){.differs = false};
        int now = -1, then = -1;
        do { /* both lists side by side, without those that leave the block as it is */
            now = next_for(&ignored, m, m->held, m->held_count, now + 1, b);
            then = next_for(&blocks[b], m, wanted, count, then + 1, b);
            bool both = now < m->held_count && then < count;
            if (both ? m->held[now].adapter != wanted[then].adapter ||
                           strength_of(&m->held[now], m->module) != strength_of(&wanted[then], m->module)
                     : now < m->held_count || then < count) {
                blocks[b].differs = true;
            }
        } while (now < m->held_count || then < count);
    }
    if (m->table >= 0 && rows_differ(m, changes->rows)) {
        blocks[m->weights[m->table].block].differs = true;
    }
    return 0;
}

/* ---- changing them */

static void forget(bl_merge *m) {
    for (slot *s = m->slots, *next; s; s = next) {
        next = s->next;
        for (int i = 0; i < s->filled; i++) {
            bl_factors_clear(&s->factors[i]);
        }
        free(s);
    }
    m->slots = NULL;
    for (int i = 0; i < m->touch_count; i++) {
        free(m->touches[i].lengths);
    }
    free(m->touches);
    m->touches = NULL;
    m->touch_count = 0;
    for (int i = 0; i < m->held_count; i++) {
        bl_adapter_drop(&m->held[i].adapter);
    }
    m->held_count = 0;
    free(m->rows);
    free(m->vectors);
    m->rows = NULL;
    m->vectors = NULL;
    m->row_count = 0;
    memset(m->places, 0, (size_t)m->weight_count * BL_WEIGHT_PARTS * sizeof *m->places);
}

static int find_touches(bl_merge *m, bl_error *err) {
    size_t room = 0;
    for (int i = 0; i < m->held_count; i++) {
        room += 2 * (size_t)m->held[i].adapter->count; /* a weight and a bias each */
    }
    m->touches = calloc(room + 1, sizeof *m->touches);
    if (!m->touches) {
        return bl_fail_memory(err, "what adapters change", (room + 1) * sizeof *m->touches);
    }
    for (int w = 0; w < m->weight_count; w++) {
        for (int part = 0; part < m->weights[w].parts; part++) {
            place *p = &m->places[w * BL_WEIGHT_PARTS + part];
            layer_length(m->weights[w].name[part], &p->bias);
            p->first = m->touch_count;
            for (int i = 0; i < m->held_count; i++) {
                const bl_adapted *x = touching(m->held[i].adapter, m->module, &m->weights[w], part);
                if (x && (size_t)m->touch_count < room) {
                    m->touches[m->touch_count++] =
                        (touch){.adapter = m->held[i].adapter,
                                .x = x,
                                .strength = (float)strength_of(&m->held[i], m->module)};
                    p->count++;
                }
            }
        }
    }
    return 0;
}

int bl_merge_set(bl_merge *m, const bl_changes *changes, bl_error *err) {
    const bl_wanted *wanted = changes->adapters;
    const int count = changes->adapter_count;
    bl_wanted kept[BL_MOST_ADAPTERS];
    int n = 0;
    if (count > BL_MOST_ADAPTERS) {
        return bl_fail(err, BL_E_ARGUMENT, "%d adapters at once: at most %d are merged", count,
                       BL_MOST_ADAPTERS);
    }
    for (int i = 0; i < count; i++) {
        if (strength_of(&wanted[i], m->module) != 0) {
            kept[n] = wanted[i];
            kept[n++].adapter = bl_adapter_hold(wanted[i].adapter);
        }
    }
    forget(m);
    memcpy(m->held, kept, (size_t)n * sizeof *kept);
    m->held_count = n;
    int rc = find_touches(m, err);
    rc = rc ? rc : copy_rows(m, changes->rows, err);
    if (rc) {
        forget(m);
    }
    return rc;
}

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
        rc = bl_factors_fill(&s->factors[i], t->adapter, t->x, err);
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

static bl_dtype merged_dtype(void *payload, const bl_weight *w, int part) {
    const bl_merge *m = payload;
    return place_of(m, w, part)->count || (w->number == m->table && m->row_count)
               ? BL_F32
               : m->base.dtype(m->base.payload, w, part);
}

static uint64_t merged_bytes(void *payload, const bl_weight *w, int part) {
    const bl_merge *m = payload;
    return bl_source_part_bytes(&m->base, w, part);
}

static void replace_rows(float *out, const bl_merge *m, int64_t begin, int64_t end) {
    const size_t bytes = row_bytes(m), width = bytes / sizeof *out;
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
        rc = p->bias ? merge_bias(dst, m, p, begin, end, err)
                     : merge_weight(dst, m, p, w, part, begin, end, columns, err);
    }
    if (!rc && replaces) {
        replace_rows(dst, m, begin, end);
    }
    double flops = 0, share = (double)(end - begin) * w->parts / (double)w->shape[0];
    for (int i = 0; i < p->count; i++) {
        flops += share * flops_of(m->touches[p->first + i].x, p->bias);
    }
    atomic_fetch_add(&m->nanoseconds, (uint64_t)((bl_now() - began) * 1e9));
    atomic_fetch_add(&m->kiloflops, (uint64_t)(flops * 1e-3));
    return rc;
}

bl_source bl_merge_source(bl_merge *m) {
    return (bl_source){.payload = m, .dtype = merged_dtype, .bytes = merged_bytes, .read = merged_read};
}

/* ---- beginning, end, figures */

int bl_merge_new(bl_merge **out, const bl_graph *g, const bl_source *base, bl_error *err) {
    *out = NULL;
    bl_merge *m = calloc(1, sizeof *m);
    if (!m) {
        return bl_fail_memory(err, "a module's adapters", sizeof *m);
    }
    m->module = g->module;
    m->base = *base;
    m->weight_count = g->weight_count;
    m->block_count = g->block_count;
    m->weights = malloc((size_t)g->weight_count * sizeof *m->weights + 1);
    m->blocks = malloc((size_t)g->block_count * sizeof *m->blocks + 1);
    m->places = calloc((size_t)g->weight_count * BL_WEIGHT_PARTS + 1, sizeof *m->places);
    pthread_mutex_init(&m->lock, NULL);
    if (!m->weights || !m->blocks || !m->places) {
        bl_merge_free(&m);
        return bl_fail_memory(err, "a module's adapters", (uint64_t)g->weight_count * sizeof *m->weights);
    }
    memcpy(m->weights, g->weights, (size_t)g->weight_count * sizeof *m->weights);
    m->table = -1;
    for (int i = 0; i < g->weight_count && g->module != BL_UNET; i++) {
        if (!strcmp(g->weights[i].name[0], "text_model.embeddings.token_embedding.weight")) {
            m->table = i;
        }
    }
    memcpy(m->blocks, g->blocks, (size_t)g->block_count * sizeof *m->blocks);
    *out = m;
    return 0;
}

void bl_merge_free(bl_merge **mp) {
    bl_merge *m = *mp;
    if (m) {
        if (m->places) {
            forget(m);
        }
        pthread_mutex_destroy(&m->lock);
        free(m->places);
        free(m->blocks);
        free(m->weights);
        free(m);
        *mp = NULL;
    }
}

uint64_t bl_merge_working_bytes(const bl_merge *m, int threads) {
    uint64_t most = 0;
    for (int i = 0; i < m->weight_count * BL_WEIGHT_PARTS; i++) {
        uint64_t bytes = 0;
        for (int k = 0; k < m->places[i].count && !m->places[i].bias; k++) {
            bytes += bl_factors_bytes(m->touches[m->places[i].first + k].x);
        }
        most = bytes > most ? bytes : most;
    }
    return most * (uint64_t)threads;
}

void bl_merge_spent(const bl_merge *m, double *seconds, double *flops) {
    *seconds = (double)atomic_load(&m->nanoseconds) * 1e-9;
    *flops = (double)atomic_load(&m->kiloflops) * 1e3;
}
