#include "adapter/merge_internal.h"

#include <stdlib.h>
#include <string.h>

static double strength_of(const bl_wanted *w, bl_module module) {
    return module == BL_UNET || module == BL_TRANSFORMER ? w->denoiser : w->text;
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

double bl_merge_flops(const bl_adapted *x, bool bias) {
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
                cost->flops += bl_merge_flops(x, bias);
                cost->bytes += bytes_of(x, bias);
            }
        }
    }
    return any;
}

/* Do the changes reach a weight of the block that else stays small? */
static bool widens_block(const bl_merge *m, const bl_changes *changes, int block) {
    const bl_block *b = &m->blocks[block];
    bl_small_weight small;
    bool widens = false;
    for (int i = b->first_weight; i < b->first_weight + b->weight_count && !widens; i++) {
        const bl_weight *w = &m->weights[i];
        bool changed = i == m->table && changes->rows && changes->rows->count;
        for (int k = 0; k < changes->adapter_count * w->parts && !changed; k++) {
            const bl_wanted *x = &changes->adapters[k / w->parts];
            changed =
                strength_of(x, m->module) != 0 && touching(x->adapter, m->module, w, k % w->parts) != NULL;
        }
        widens = changed && bl_source_small(&small, &m->base, w);
    }
    return widens;
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

size_t bl_merge_row_bytes(const bl_merge *m) {
    const bl_weight *w = &m->weights[m->table];
    return (size_t)(bl_weight_elements(w) / w->shape[0]) * sizeof(float);
}

/* Are other rows replaced than now, or by others? */
static bool rows_differ(const bl_merge *m, const bl_rows *rows) {
    const float *vectors;
    int count = rows_of(&vectors, m, rows);
    return count != m->row_count ||
           (count && (memcmp(rows->row, m->rows, (size_t)count * sizeof *m->rows) != 0 ||
                      memcmp(vectors, m->vectors, (size_t)count * bl_merge_row_bytes(m)) != 0));
}

static int copy_rows(bl_merge *m, const bl_rows *rows, bl_error *err) {
    const float *vectors;
    int count = rows_of(&vectors, m, rows);
    if (!count) {
        return 0;
    }
    if ((size_t)rows->width[m->module == BL_TEXT_ENCODER_2] * sizeof *vectors != bl_merge_row_bytes(m)) {
        return bl_fail(err, BL_E_INTERNAL, "embeddings of another width than the table's");
    }
    m->rows = malloc((size_t)count * sizeof *m->rows);
    m->vectors = malloc((size_t)count * bl_merge_row_bytes(m));
    if (!m->rows || !m->vectors) {
        return bl_fail_memory(err, "embeddings", (size_t)count * bl_merge_row_bytes(m));
    }
    memcpy(m->rows, rows->row, (size_t)count * sizeof *m->rows);
    memcpy(m->vectors, vectors, (size_t)count * bl_merge_row_bytes(m));
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
        blocks[b] = (bl_merge_cost){.widens = widens_block(m, changes, b)};
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

/* ---- beginning, end, figures */

int bl_merge_new(bl_merge **out, const bl_graph *g, const bl_source *base, bl_error *err) {
    *out = NULL;
    bl_merge *m = calloc(1, sizeof *m);
    if (!m) {
        return bl_fail_memory(err, "a module's adapters", sizeof *m);
    }
    m->module = g->module;
    m->coarse = g->dtype == BL_BF16;
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
    for (int i = 0; i < g->weight_count; i++) {
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
