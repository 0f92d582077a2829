/* Weights that stay small, for every device: a source of codes that are a function of a weight's name, and a
 * small network of all that reads them. Whoever includes this has included cmocka. */
#ifndef BALLAST_TESTS_DEVICE_STOCK_H
#define BALLAST_TESTS_DEVICE_STOCK_H

#include "graph/graph.h"
#include "graph/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a source holds: codes that are a function of the weight's name. */
typedef struct stock {
    bl_storage stored[BL_WEIGHT_PARTS]; /* of each part */
    int rotation;
    bool in_turn; /* each part of each weight has the next of all forms instead */
    bool wide;    /* it hands all of them out wide, after all */
} stock;

static inline uint32_t stock_hash(uint32_t x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

static inline int64_t stock_row(const bl_weight *w) {
    return bl_weight_elements(w) / w->shape[0];
}

static inline bool stock_form(bl_small *form, const stock *s, const bl_weight *w, int part) {
    const bl_storage stored =
        s->in_turn ? (bl_storage)(1 + (w->number + part) % (BL_STORAGE_COUNT - 1)) : s->stored[part];
    const bl_storage_form *f = bl_storage_of(stored);
    *form = (bl_small){.storage = stored, .scaled = f->values == 1};
    form->rotation = stored == BL_STORED_I8 ? s->rotation : 0;
    return w->kind != BL_W_VECTOR && stock_row(w) % f->values == 0;
}

/* An f16 of about 0.001, of either sign. */
static inline void stock_scale(uint8_t *at, uint32_t seed) {
    at[0] = (uint8_t)seed;
    at[1] = (uint8_t)(0x10 | (seed >> 8 & 0x83));
}

static inline void stock_block(uint8_t *b, bl_storage s, uint32_t seed) {
    const int bytes = bl_storage_of(s)->bytes;
    for (int i = 0; i < bytes; i++) {
        b[i] = (uint8_t)stock_hash(seed + (uint32_t)i * 977);
        b[i] &= s == BL_STORED_F8_E4M3 || s == BL_STORED_F8_E5M2 ? 0xb7 : 0xff; /* a number, not large */
    }
    if (bl_storage_of(s)->values > 1) {
        stock_scale(b + (s == BL_STORED_Q6_K ? 208 : 0), seed);
    }
    if (s == BL_STORED_Q4_1 || s == BL_STORED_Q5_1 || s == BL_STORED_Q4_K || s == BL_STORED_Q5_K) {
        stock_scale(b + 2, seed * 3);
    }
}

static inline int stock_read_small(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end,
                                   void *codes, float *scales, bl_error *err) {
    const stock *s = payload;
    bl_small form;
    (void)err;
    assert_true(stock_form(&form, s, w, part));
    const bl_storage_form *f = bl_storage_of(form.storage);
    uint8_t *at = codes;
    uint32_t seed = stock_hash((uint32_t)(w->number * 3 + part));
    for (int64_t r = begin; r < end; r++) {
        for (int64_t b = 0; b < stock_row(w) / f->values; b++, at += f->bytes) {
            stock_block(at, form.storage, stock_hash(seed + (uint32_t)(r * 100003 + b)));
        }
        if (form.scaled) {
            scales[r - begin] = 0.001f * (float)(1 + r % 7);
        }
    }
    return 0;
}

static inline int stock_read(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end,
                             void *dst, bl_error *err) {
    const int64_t row = stock_row(w), rows = end - begin;
    bl_small form;
    if (stock_form(&form, payload, w, part)) {
        void *codes = malloc((size_t)rows * (size_t)bl_small_row_bytes(&form, row));
        float *scales = malloc((size_t)rows * sizeof *scales);
        assert_true(codes && scales);
        stock_read_small(payload, w, part, begin, end, codes, scales, err);
        bl_widen_rows(dst, &form, codes, scales, rows, row);
        free(codes);
        free(scales);
        return 0;
    }
    for (int64_t i = 0; i < rows * row; i++) {
        uint32_t x = stock_hash((uint32_t)(w->number * 31 + part) + (uint32_t)(begin * row + i) * 7919);
        ((float *)dst)[i] = (float)(int32_t)x * 0x1p-33f;
    }
    return 0;
}

static inline bl_dtype stock_dtype(void *payload, const bl_weight *w, int part) {
    (void)payload, (void)w, (void)part;
    return BL_F32;
}

static inline bool stock_small(void *payload, const bl_weight *w, int part, bl_small *form) {
    return !((const stock *)payload)->wide && stock_form(form, payload, w, part);
}

#ifndef SIDE
#define SIDE 16 /* of the pictures */
#define TOKENS 64
#endif
#define WIDE 256 /* channels: a row of one block of each form, and of ConvRot's groups */

static inline bl_weight_id stock_weight(bl_graph *g, bl_weight_kind kind, const char *name, int parts,
                                        const int64_t *shape, int rank) {
    char text[BL_WEIGHT_PARTS][BL_NAME_BYTES];
    const char *names[BL_WEIGHT_PARTS];
    for (int i = 0; i < parts; i++) {
        snprintf(text[i], sizeof text[i], "%s.%d", name, i);
        names[i] = text[i];
    }
    return bl_weight_new(g, kind, shape, rank, names, parts);
}

static inline bl_weight_id stock_vector(bl_graph *g, const char *name, int64_t n) {
    return stock_weight(g, BL_W_VECTOR, name, 1, &n, 1);
}

static inline bl_tensor_id stock_linear(bl_graph *g, bl_tensor_id x, const char *name, int parts, int64_t out,
                                        bl_act act, bl_tensor_id residual) {
    const int64_t shape[2] = {out, g->tensors[x].c};
    return bl_linear(g, x, stock_weight(g, BL_W_LINEAR, name, parts, shape, 2), stock_vector(g, name, out),
                     act, residual);
}

static inline bl_tensor_id stock_conv(bl_graph *g, bl_tensor_id x, const char *name, int64_t out, int kernel,
                                      int stride, bl_tensor_id residual) {
    const int64_t shape[4] = {out, g->tensors[x].c, kernel, kernel};
    const int pad = kernel / 2;
    return bl_conv(g, x, stock_weight(g, BL_W_CONV, name, 1, shape, 4), stock_vector(g, name, out),
                   (bl_conv_options){stride, pad, pad, pad, pad, residual, BL_NONE});
}

static inline bl_tensor_id stock_norm(bl_graph *g, bl_tensor_id x, const char *name) {
    return bl_group_norm(g, x, stock_vector(g, name, g->tensors[x].c),
                         stock_vector(g, "shift", g->tensors[x].c), 8, 1e-5f, BL_ACT_SILU);
}

/* All ops that read matrices, convolutions and tables; folded at the higher levels. */
static inline bl_graph *stock_network(bl_dtype dtype, int batch) {
    bl_graph *g = bl_graph_new(BL_UNET, dtype, NULL);
    bl_error err;
    const int64_t table[2] = {40, WIDE}, places[2] = {TOKENS, WIDE};
    bl_tensor_id in = bl_input(g, "x", BL_F32, BL_NCHW, batch, SIDE, SIDE, WIDE);
    bl_tensor_id ids = bl_input(g, "ids", BL_I32, BL_CHANNELS_LAST, batch, TOKENS, 1, 1);
    bl_graph_block(g, "pictures");
    bl_tensor_id x = bl_import(g, in),
                 y = stock_norm(g, x, "norm"); /* a resnet with a shortcut: one is folded */
    y = stock_norm(g, stock_conv(g, y, "conv3", WIDE, 3, 1, BL_NONE), "norm2");
    x = stock_linear(g, x, "short", 1, WIDE, BL_ACT_NONE, BL_NONE);
    y = stock_conv(g, y, "conv3b", WIDE, 3, 1, x);
    x = stock_conv(g, stock_norm(g, y, "norm3"), "conv1", 24, 1, 1, BL_NONE);
    y = stock_conv(g, y, "down", WIDE, 3, 2, BL_NONE);
    bl_export(g, x, "narrow", BL_NCHW);
    bl_graph_block(g, "tokens");
    bl_tensor_id t = bl_embed(g, ids, stock_weight(g, BL_W_EMBEDDING, "table", 1, table, 2),
                              stock_weight(g, BL_W_EMBEDDING, "places", 1, places, 2));
    bl_tensor_id qkv = stock_linear(g, t, "qkv", 3, 3 * WIDE, BL_ACT_NONE, BL_NONE);
    bl_attention_options o = {
        .heads = 4, .head_dim = WIDE / 4, .k_offset = WIDE, .v_offset = 2 * WIDE, .key_counts = BL_NONE};
    t = stock_linear(g, bl_attention(g, qkv, qkv, qkv, o), "out", 1, WIDE, BL_ACT_NONE, t);
    bl_graph_block(g, "feed forward");
    bl_tensor_id h =
        bl_layer_norm(g, t, stock_vector(g, "scale", WIDE), stock_vector(g, "shift", WIDE), 1e-5f);
    h = stock_linear(g, h, "gate", 1, 8 * WIDE, BL_ACT_GEGLU, BL_NONE);
    t = stock_linear(g, h, "back", 1, WIDE, BL_ACT_NONE, t);
    bl_export(g, t, "tokens", BL_CHANNELS_LAST);
    bl_export(g, y, "down", BL_NCHW);
    if (bl_graph_finish(g, &err)) {
        fail_msg("%s", err.message);
    }
    return g;
}

/* It hands them out small while it is not `wide`. */
static inline bl_source stock_source(stock *s) {
    bl_source source = {.payload = s, .dtype = stock_dtype, .read = stock_read};
    if (!s->wide) {
        source.small = stock_small;
        source.read_small = stock_read_small;
    }
    return source;
}

/* The inputs of the network: pictures [n, WIDE, SIDE, SIDE] and ids [n, TOKENS]; and how many values it
 * gives, one output behind the other. */
typedef struct stock_run {
    float *x, *all;
    int32_t ids[2 * TOKENS];
    void *outputs[3];
    const void *inputs[2];
    size_t count;
} stock_run;

static inline void stock_begin(stock_run *r, const bl_graph *g) {
    const size_t n = (size_t)bl_tensor_elements(bl_graph_port(g, BL_INPUT, 0));
    r->x = malloc(n * sizeof *r->x);
    r->count = 0;
    assert_non_null(r->x);
    for (size_t i = 0; i < n; i++) {
        r->x[i] = (float)(int32_t)stock_hash((uint32_t)i) * 0x1p-31f;
    }
    for (int i = 0; i < 2 * TOKENS; i++) {
        r->ids[i] = (int32_t)(stock_hash((uint32_t)i + 5) % 40);
    }
    assert_int_equal(g->output_count, 3);
    for (int i = 0; i < g->output_count; i++) {
        r->count += (size_t)bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, i));
    }
    r->all = calloc(r->count, sizeof *r->all);
    assert_non_null(r->all);
    float *at = r->all;
    for (int i = 0; i < g->output_count; i++) {
        r->outputs[i] = at;
        at += bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, i));
    }
    r->inputs[0] = r->x;
    r->inputs[1] = r->ids;
}

static inline void stock_end(stock_run *r) {
    free(r->x);
    free(r->all);
}

/* Something was computed, all of it are numbers, and both have the same bits. */
static inline void stock_same(const stock_run *a, const stock_run *b, const char *what, int level) {
    double sum = 0;
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        sum += a->all[i] * a->all[i];
    }
    assert_true(sum > 1 && sum < 1e30);
    if (memcmp(a->all, b->all, a->count * sizeof *a->all) != 0) {
        fail_msg("%s, level %d: late is not early", what, level);
    }
}

#endif
