/* Weights that stay small: widened late, before their op, they give the bits that they give widened early,
 * whatever form they are stored in, and whatever reads them. */
#include "device/cpu/cpu.h"
#include "device/run_once.h"
#include "graph/graph.h"
#include "graph/levels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What a source holds: codes that are a function of the weight's name. */
typedef struct stock {
    bl_storage stored[BL_WEIGHT_PARTS]; /* of each part */
    int rotation;
    bool wide; /* it hands all of them out wide, after all */
} stock;

static uint32_t hash(uint32_t x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

static int64_t row_of(const bl_weight *w) {
    return bl_weight_elements(w) / w->shape[0];
}

static bool form_of(bl_small *form, const stock *s, const bl_weight *w, int part) {
    const bl_storage_form *f = bl_storage_of(s->stored[part]);
    *form = (bl_small){.storage = s->stored[part], .scaled = f->values == 1};
    form->rotation = s->stored[part] == BL_STORED_I8 ? s->rotation : 0;
    return w->kind != BL_W_VECTOR && row_of(w) % f->values == 0;
}

/* An f16 of about 0.001, of either sign. */
static void put_scale(uint8_t *at, uint32_t seed) {
    at[0] = (uint8_t)seed;
    at[1] = (uint8_t)(0x10 | (seed >> 8 & 0x83));
}

static void fill_block(uint8_t *b, bl_storage s, uint32_t seed) {
    const int bytes = bl_storage_of(s)->bytes;
    for (int i = 0; i < bytes; i++) {
        b[i] = (uint8_t)hash(seed + (uint32_t)i * 977);
        b[i] &= s == BL_STORED_F8_E4M3 || s == BL_STORED_F8_E5M2 ? 0xb7 : 0xff; /* a number, not large */
    }
    if (bl_storage_of(s)->values > 1) {
        put_scale(b + (s == BL_STORED_Q6_K ? 208 : 0), seed);
    }
    if (s == BL_STORED_Q4_1 || s == BL_STORED_Q5_1 || s == BL_STORED_Q4_K || s == BL_STORED_Q5_K) {
        put_scale(b + 2, seed * 3);
    }
}

static int read_small(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *codes,
                      float *scales, bl_error *err) {
    const stock *s = payload;
    bl_small form;
    (void)err;
    assert_true(form_of(&form, s, w, part));
    const bl_storage_form *f = bl_storage_of(form.storage);
    uint8_t *at = codes;
    uint32_t seed = hash((uint32_t)(w->number * 3 + part));
    for (int64_t r = begin; r < end; r++) {
        for (int64_t b = 0; b < row_of(w) / f->values; b++, at += f->bytes) {
            fill_block(at, form.storage, hash(seed + (uint32_t)(r * 100003 + b)));
        }
        if (form.scaled) {
            scales[r - begin] = 0.001f * (float)(1 + r % 7);
        }
    }
    return 0;
}

static int read_wide(void *payload, const bl_weight *w, int part, int64_t begin, int64_t end, void *dst,
                     bl_error *err) {
    const int64_t row = row_of(w), rows = end - begin;
    bl_small form;
    if (form_of(&form, payload, w, part)) {
        void *codes = malloc((size_t)rows * (size_t)bl_small_row_bytes(&form, row));
        float *scales = malloc((size_t)rows * sizeof *scales);
        assert_true(codes && scales);
        read_small(payload, w, part, begin, end, codes, scales, err);
        bl_widen_rows(dst, &form, codes, scales, rows, row);
        free(codes);
        free(scales);
        return 0;
    }
    for (int64_t i = 0; i < rows * row; i++) {
        uint32_t x = hash((uint32_t)(w->number * 31 + part) + (uint32_t)(begin * row + i) * 7919);
        ((float *)dst)[i] = (float)(int32_t)x * 0x1p-33f;
    }
    return 0;
}

static bl_dtype dtype_of(void *payload, const bl_weight *w, int part) {
    (void)payload, (void)w, (void)part;
    return BL_F32;
}

static bool small_of(void *payload, const bl_weight *w, int part, bl_small *form) {
    return !((const stock *)payload)->wide && form_of(form, payload, w, part);
}

#define SIDE 16 /* of the pictures */
#define TOKENS 64
#define WIDE 256 /* channels: a row of one block of each form, and of ConvRot's groups */

static bl_weight_id weight(bl_graph *g, bl_weight_kind kind, const char *name, int parts,
                           const int64_t *shape, int rank) {
    char text[BL_WEIGHT_PARTS][BL_NAME_BYTES];
    const char *names[BL_WEIGHT_PARTS];
    for (int i = 0; i < parts; i++) {
        snprintf(text[i], sizeof text[i], "%s.%d", name, i);
        names[i] = text[i];
    }
    return bl_weight_new(g, kind, shape, rank, names, parts);
}

static bl_weight_id vector(bl_graph *g, const char *name, int64_t n) {
    return weight(g, BL_W_VECTOR, name, 1, &n, 1);
}

static bl_tensor_id linear(bl_graph *g, bl_tensor_id x, const char *name, int parts, int64_t out, bl_act act,
                           bl_tensor_id residual) {
    const int64_t shape[2] = {out, g->tensors[x].c};
    return bl_linear(g, x, weight(g, BL_W_LINEAR, name, parts, shape, 2), vector(g, name, out), act,
                     residual);
}

static bl_tensor_id conv(bl_graph *g, bl_tensor_id x, const char *name, int64_t out, int kernel, int stride,
                         bl_tensor_id residual) {
    const int64_t shape[4] = {out, g->tensors[x].c, kernel, kernel};
    const int pad = kernel / 2;
    return bl_conv(g, x, weight(g, BL_W_CONV, name, 1, shape, 4), vector(g, name, out),
                   (bl_conv_options){stride, pad, pad, pad, pad, residual, BL_NONE});
}

static bl_tensor_id norm(bl_graph *g, bl_tensor_id x, const char *name) {
    return bl_group_norm(g, x, vector(g, name, g->tensors[x].c), vector(g, "shift", g->tensors[x].c), 8,
                         1e-5f, BL_ACT_SILU);
}

/* All ops that read matrices, convolutions and tables; folded at the higher levels. */
static bl_graph *network(bl_dtype dtype, int batch) {
    bl_graph *g = bl_graph_new(BL_UNET, dtype, NULL);
    bl_error err;
    const int64_t table[2] = {40, WIDE}, places[2] = {TOKENS, WIDE};
    bl_tensor_id in = bl_input(g, "x", BL_F32, BL_NCHW, batch, SIDE, SIDE, WIDE);
    bl_tensor_id ids = bl_input(g, "ids", BL_I32, BL_CHANNELS_LAST, batch, TOKENS, 1, 1);
    bl_graph_block(g, "pictures");
    bl_tensor_id x = bl_import(g, in), y = norm(g, x, "norm"); /* a resnet with a shortcut: one is folded */
    y = norm(g, conv(g, y, "conv3", WIDE, 3, 1, BL_NONE), "norm2");
    x = linear(g, x, "short", 1, WIDE, BL_ACT_NONE, BL_NONE);
    y = conv(g, y, "conv3b", WIDE, 3, 1, x);
    x = conv(g, norm(g, y, "norm3"), "conv1", 24, 1, 1, BL_NONE);
    y = conv(g, y, "down", WIDE, 3, 2, BL_NONE);
    bl_export(g, x, "narrow", BL_NCHW);
    bl_graph_block(g, "tokens");
    bl_tensor_id t = bl_embed(g, ids, weight(g, BL_W_EMBEDDING, "table", 1, table, 2),
                              weight(g, BL_W_EMBEDDING, "places", 1, places, 2));
    bl_tensor_id qkv = linear(g, t, "qkv", 3, 3 * WIDE, BL_ACT_NONE, BL_NONE);
    bl_attention_options o = {
        .heads = 4, .head_dim = WIDE / 4, .k_offset = WIDE, .v_offset = 2 * WIDE, .key_counts = BL_NONE};
    t = linear(g, bl_attention(g, qkv, qkv, qkv, o), "out", 1, WIDE, BL_ACT_NONE, t);
    bl_graph_block(g, "feed forward");
    bl_tensor_id h = bl_layer_norm(g, t, vector(g, "scale", WIDE), vector(g, "shift", WIDE), 1e-5f);
    h = linear(g, h, "gate", 1, 8 * WIDE, BL_ACT_GEGLU, BL_NONE);
    t = linear(g, h, "back", 1, WIDE, BL_ACT_NONE, t);
    bl_export(g, t, "tokens", BL_CHANNELS_LAST);
    bl_export(g, y, "down", BL_NCHW);
    if (bl_graph_finish(g, &err)) {
        fail_msg("%s", err.message);
    }
    return g;
}

/* Every output, one behind the other. */
static size_t run(float **all, bl_device *d, const bl_graph *g, stock *s, int level) {
    bl_source source = {.payload = s, .dtype = dtype_of, .read = read_wide};
    if (!s->wide) {
        source.small = small_of;
        source.read_small = read_small;
    }
    const size_t n = (size_t)bl_tensor_elements(bl_graph_port(g, BL_INPUT, 0));
    float *x = malloc(n * sizeof *x);
    int32_t ids[2 * TOKENS];
    void *outputs[3];
    size_t count = 0;
    bl_error err = {0};
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(int32_t)hash((uint32_t)i) * 0x1p-31f;
    }
    for (int i = 0; i < 2 * TOKENS; i++) {
        ids[i] = (int32_t)(hash((uint32_t)i + 5) % 40);
    }
    assert_int_equal(g->output_count, 3);
    for (int i = 0; i < g->output_count; i++) {
        count += (size_t)bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, i));
    }
    *all = calloc(count, sizeof **all);
    assert_non_null(*all);
    float *at = *all;
    for (int i = 0; i < g->output_count; i++) {
        outputs[i] = at;
        at += bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, i));
    }
    const void *inputs[2] = {x, ids};
    if (bl_run_once(d, g, &source, &(bl_prepare_options){.arena_level = level}, inputs, outputs, &err)) {
        fail_msg("%s", err.message);
    }
    free(x);
    return count;
}

static void compare(bl_device *d, const bl_graph *g, const stock *s, int level, const char *what) {
    stock early = *s, late = *s;
    float *a, *b;
    early.wide = true;
    size_t n = run(&a, d, g, &early, level);
    assert_int_equal(run(&b, d, g, &late, level), n);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] * a[i];
    }
    assert_true(sum > 1 && sum < 1e30); /* something was computed, and all of it are numbers */
    if (memcmp(a, b, n * sizeof *a) != 0) {
        fail_msg("%s, level %d: late is not early", what, level);
    }
    free(a);
    free(b);
}

/* Each form, and three in one weight at every level. */
static void compare_all(bl_dtype dtype) {
    bl_device *d;
    bl_error err;
    if (bl_cpu_open(&d, &(bl_cpu_options){.threads = 2}, &err)) {
        fail_msg("%s", err.message);
    }
    const bool bf16 = bl_device_caps_of(d).bf16;
    if (dtype == BL_F32 || bf16) {
        bl_graph *g = network(dtype, 1), *pair = network(dtype, 2);
        for (int s = BL_STORED_PLAIN + 1; s < BL_STORAGE_COUNT; s++) {
            stock one = {{(bl_storage)s, (bl_storage)s, (bl_storage)s}, .rotation = 64};
            if (dtype == BL_BF16 || !bf16 || s % 4 == 1) { /* the same text makes F32 of all of them */
                compare(d, g, &one, 0, bl_storage_of((bl_storage)s)->name);
            }
        }
        stock mixed = {{BL_STORED_Q4_K, BL_STORED_F8_E4M3, BL_STORED_Q6_K}, .rotation = 0};
        for (int level = 0; level < BL_LEVELS; level++) {
            compare(d, level ? g : pair, &mixed, level, "mixed");
        }
        compare(d, pair, &mixed, 1, "apart");
        bl_graph_free(&pair);
        bl_graph_free(&g);
    }
    bl_device_close(&d);
}

static void late_is_early(void **state) {
    (void)state;
    compare_all(BL_BF16);
    compare_all(BL_F32);
}

/* What lies in the region are codes; what they are widened to is in the arena. */
static void blocks_are_as_small_as_stored(void **state) {
    (void)state;
    bl_error err;
    bl_device *d;
    bl_device_module *m[2];
    bl_executable *x[2];
    assert_int_equal(bl_cpu_open(&d, &(bl_cpu_options){.threads = 2}, &err), 0);
    bl_graph *g = network(BL_F32, 1);
    stock s[2] = {{{BL_STORED_Q8_0, BL_STORED_Q8_0, BL_STORED_Q8_0}, .wide = false}, {.wide = true}};
    bl_exec_info info[2];
    for (int i = 0; i < 2; i++) {
        bl_source source = {.payload = &s[i], .dtype = dtype_of, .read = read_wide};
        source.small = i ? NULL : small_of;
        source.read_small = i ? NULL : read_small;
        s[1].stored[0] = s[1].stored[1] = s[1].stored[2] = BL_STORED_Q8_0;
        assert_int_equal(bl_device_module_open(&m[i], d, g, &source, &err), 0);
        assert_int_equal(bl_device_prepare(&x[i], d, m[i], g, NULL, &err), 0);
        info[i] = bl_device_executable_info(d, x[i]);
    }
    for (int b = 0; b < g->block_count; b++) {
        const bl_block_cost *small = &bl_device_module_costs(d, m[0])[b];
        const bl_block_cost *wide = &bl_device_module_costs(d, m[1])[b];
        assert_true(small->packed_bytes * 10 < wide->packed_bytes * 3);
        assert_true(small->packed_bytes == small->small_bytes && small->wide_bytes == wide->packed_bytes);
        assert_true(wide->small_bytes == 0 && wide->wide_bytes == 0);
        assert_true(info[0].block_widened[b] >= WIDE * WIDE);
    }
    assert_true(info[0].arena_bytes >= info[1].arena_bytes);
    assert_true(info[1].block_widened == NULL);
    s[0].wide = true; /* an adapter came */
    bl_device_module_refresh(d, m[0]);
    for (int b = 0; b < g->block_count; b++) {
        const bl_block_cost *now = &bl_device_module_costs(d, m[0])[b];
        assert_true(now->packed_bytes == now->wide_bytes);
    }
    s[0].wide = false; /* and went */
    bl_device_module_refresh(d, m[0]);
    for (int b = 0; b < g->block_count; b++) {
        const bl_block_cost *now = &bl_device_module_costs(d, m[0])[b];
        assert_true(now->packed_bytes == now->small_bytes);
    }
    for (int i = 0; i < 2; i++) {
        bl_device_executable_close(d, x[i]);
        bl_device_module_close(d, m[i]);
    }
    bl_graph_free(&g);
    bl_device_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_is_early),
        cmocka_unit_test(blocks_are_as_small_as_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
