/* Every op of the cuda device against the cpu device, on small odd shapes, in F32 and BF16: plans, scratch,
 * packing, strides and kernels; cuDNN and cuBLASLt are the fake's. */
#include "rig.h"

static bl_device *cpu, *card;

static bl_dtype dtype;

static bl_graph *begin(void) {
    bl_graph *g = bl_graph_new(BL_UNET, dtype, NULL);
    bl_graph_block(g, "all");
    return g;
}

/* Finishes the graph, runs it on both, and takes it away. Its output has `n` elements. */
static void compare(bl_graph *g, const void *const *inputs, int64_t n, const char *what) {
    bl_error err = {0};
    float *got = malloc((size_t)n * sizeof *got), *want = malloc((size_t)n * sizeof *want);
    if (bl_graph_finish(g, &err)) {
        fail_msg("%s", err.message);
    }
    run_well(cpu, g, (how){0}, inputs, (void *[]){want});
    run_well(card, g, (how){.store = n % 2}, inputs, (void *[]){got});
    double error = error_of(got, want, n);
    if (!(error <= (dtype == BL_BF16 ? 1e-2 : 1e-5))) {
        fail_msg("%s %s: error %.3g of the peak", what, bl_dtype_name(dtype), error);
    }
    free(got);
    free(want);
    bl_graph_free(&g);
}

typedef struct conv_case {
    int n, h, w, c, o, k, stride, top, left, bottom, right;
    bool residual, channels;
} conv_case;

static void check_conv(const conv_case *k) {
    int oh = (k->h + k->top + k->bottom - k->k) / k->stride + 1;
    int ow = (k->w + k->left + k->right - k->k) / k->stride + 1;
    bl_graph *g = begin();
    bl_tensor_id x = input(g, "x", k->n, k->h, k->w, k->c), r = input(g, "r", k->n, oh, ow, k->o);
    bl_tensor_id c = input(g, "c", k->n, 1, 1, k->o);
    bl_conv_options o = {.stride = k->stride,
                         .top = k->top,
                         .left = k->left,
                         .bottom = k->bottom,
                         .right = k->right,
                         .residual = k->residual ? r : BL_NONE,
                         .channels = k->channels ? c : BL_NONE};
    bl_tensor_id y = bl_conv(g, x, weight(g, BL_W_CONV, "w", k->o, k->c, k->k, k->k),
                             weight(g, BL_W_VECTOR, "b", k->o, 0, 0, 0), o);
    bl_export(g, y, "y", k->n % 2 ? BL_NCHW : BL_CHANNELS_LAST);
    int64_t out = (int64_t)k->n * oh * ow * k->o;
    float *in = filled(1, (int64_t)k->n * k->h * k->w * k->c, 1.7f), *residual = filled(2, out, 1.0f),
          *channels = filled(3, (int64_t)k->n * k->o, 1.0f);
    char what[96];
    snprintf(what, sizeof what, "conv %dx%dx%dx%d -> %d, kernel %d, stride %d", k->n, k->h, k->w, k->c, k->o,
             k->k, k->stride);
    compare(g, (const void *[]){in, residual, channels}, out, what);
    free(in);
    free(residual);
    free(channels);
}

static void convolutions(void **state) {
    (void)state;
    static const conv_case cases[] = {
        {1, 7, 5, 3, 20, 3, 1, 1, 1, 1, 1, false, false},   {2, 9, 6, 32, 16, 3, 1, 1, 1, 1, 1, true, true},
        {2, 6, 5, 33, 17, 3, 1, 1, 1, 1, 1, true, true},    {1, 8, 8, 32, 32, 3, 2, 1, 1, 1, 1, false, true},
        {1, 9, 12, 16, 24, 3, 2, 0, 0, 1, 1, false, false}, {2, 5, 7, 40, 24, 1, 1, 0, 0, 0, 0, true, false},
        {3, 5, 7, 12, 4, 1, 1, 0, 0, 0, 0, true, true},     {1, 1, 1, 64, 48, 3, 1, 1, 1, 1, 1, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_conv(&cases[i]);
    }
}

static void check_linear(int n, int rows, int c, int o, bl_act act, bool residual, bool bias) {
    int wide = act == BL_ACT_GEGLU ? 2 * o : o;
    int64_t out = (int64_t)n * rows * o;
    bl_graph *g = begin();
    bl_tensor_id x = input(g, "x", n, rows, 1, c), r = input(g, "r", n, rows, 1, o);
    bl_tensor_id y =
        bl_linear(g, x, weight(g, BL_W_LINEAR, "w", wide, c, 0, 0),
                  bias ? weight(g, BL_W_VECTOR, "b", wide, 0, 0, 0) : BL_NONE, act, residual ? r : BL_NONE);
    bl_export(g, y, "y", BL_CHANNELS_LAST);
    float *in = filled(1, (int64_t)n * rows * c, 1.7f), *add = filled(2, out, 1.0f);
    compare(g, (const void *[]){in, add}, out, "linear");
    free(in);
    free(add);
}

static void linear_layers(void **state) {
    (void)state;
    check_linear(1, 1, 32, 128, BL_ACT_SILU, false, true);
    check_linear(2, 7, 24, 56, BL_ACT_QUICK_GELU, true, true);
    check_linear(2, 7, 64, 64, BL_ACT_NONE, true, true);
    check_linear(3, 5, 19, 7, BL_ACT_GELU, false, false);
    check_linear(2, 9, 48, 80, BL_ACT_GEGLU, false, true);
    check_linear(1, 6, 40, 24, BL_ACT_GEGLU, true, true);
    check_linear(1, 30, 96, 100, BL_ACT_NONE, true, false);
}

static void check_norm(int n, int h, int w, int c, int groups, bl_act act, float offset) {
    int64_t all = (int64_t)n * h * w * c;
    bl_graph *g = begin();
    bl_tensor_id x = input(g, "x", n, h, w, c);
    bl_weight_id s = weight(g, BL_W_VECTOR, "s", c, 0, 0, 0), b = weight(g, BL_W_VECTOR, "b", c, 0, 0, 0);
    bl_export(g, groups ? bl_group_norm(g, x, s, b, groups, 1e-5f, act) : bl_layer_norm(g, x, s, b, 1e-5f),
              "y", BL_CHANNELS_LAST);
    float *in = filled(1, all, 0.4f);
    for (int64_t i = 0; i < all; i++) {
        in[i] = bl_bf16_to_f32(bl_f32_to_bf16(in[i] + offset));
    }
    compare(g, (const void *[]){in}, all, groups ? "group norm" : "layer norm");
    free(in);
}

static void norms(void **state) {
    (void)state;
    check_norm(2, 7, 5, 40, 4, BL_ACT_SILU, 0.0f);
    check_norm(1, 1, 1, 64, 32, BL_ACT_NONE, 0.5f);
    check_norm(2, 33, 17, 24, 8, BL_ACT_NONE, 3.0f);
    check_norm(1, 77, 64, 8, 2, BL_ACT_SILU, -30.0f); /* 256 chunks */
    check_norm(1, 7, 1, 24, 0, BL_ACT_NONE, 0.0f);
    check_norm(2, 5, 1, 323, 0, BL_ACT_NONE, 1.0f);
    int64_t all = 2 * 5 * 72;
    bl_graph *g = begin();
    bl_tensor_id x =
        bl_rms_norm(g, input(g, "x", 2, 5, 1, 72), weight(g, BL_W_VECTOR, "s", 72, 0, 0, 0), 1e-6f);
    bl_export(g, bl_rms_norm(g, x, weight(g, BL_W_VECTOR, "t", 24, 0, 0, 0), 1e-6f), "y", BL_CHANNELS_LAST);
    float *in = filled(1, all, 2.0f);
    compare(g, (const void *[]){in}, all, "rms norm");
    free(in);
}

/* `shared`: how many heads of q have one of k and v. */
static void check_attention(int n, int rows, int keys, int heads, int shared, int dim, bool causal,
                            const int32_t *counts, bool biased) {
    int c = heads * dim, kc = c / shared, wide = causal ? c + 2 * kc : c; /* causal: q, k, v in one tensor */
    bl_graph *g = begin();
    bl_tensor_id q = input(g, "q", n, rows, 1, wide), k = input(g, "kv", n, keys, 1, 2 * kc);
    bl_attention_options o = {.heads = heads,
                              .kv_heads = heads / shared,
                              .head_dim = dim,
                              .v_offset = kc,
                              .causal = causal,
                              .key_counts = BL_NONE};
    if (causal) {
        o.k_offset = c;
        o.v_offset = c + kc;
        k = q;
    }
    if (counts) {
        o.key_counts = bl_input(g, "counts", BL_I32, BL_CHANNELS_LAST, n, 1, 1, 1);
    }
    const int distances = rows + keys - 1;
    const bl_tensor_id b =
        biased ? bl_input(g, "bias", BL_F32, BL_CHANNELS_LAST, n, heads, 1, distances) : BL_NONE;
    bl_export(g, bl_biased_attention(g, q, k, k, b, o), "y", BL_CHANNELS_LAST);
    float *in = filled(1, (int64_t)n * rows * wide, 3.4f), *kv = filled(2, (int64_t)n * keys * 2 * kc, 1.7f);
    float *bias = filled(3, (int64_t)n * heads * distances, 2.0f);
    const void *inputs[4] = {in, kv}; /* in the order in which they are declared */
    inputs[2] = counts ? (const void *)counts : bias;
    inputs[3] = bias;
    compare(g, inputs, (int64_t)n * rows * c, "attention");
    free(bias);
    free(in);
    free(kv);
}

static void attention(void **state) {
    (void)state;
    check_attention(2, 11, 11, 4, 1, 8, true, NULL, false);
    check_attention(2, 20, 13, 3, 1, 40, false, NULL, false);
    check_attention(1, 1, 1, 1, 1, 13, false, NULL, false);
    check_attention(1, 16, 16, 2, 1, 160, false, NULL, false);
    check_attention(2, 9, 9, 1, 1, 512, false, NULL, false);
    check_attention(3, 9, 31, 2, 1, 16, false, (const int32_t[]){31, 1, 17}, false);
    check_attention(2, 9, 12, 4, 2, 128, false, NULL, false);
    check_attention(3, 10, 10, 6, 3, 128, true, (const int32_t[]){7, 10, 1}, false);
    check_attention(2, 7, 7, 4, 4, 9, false, (const int32_t[]){7, 3}, false);
    check_attention(2, 9, 9, 4, 1, 8, false, NULL, true);
    check_attention(2, 7, 12, 4, 2, 128, false, (const int32_t[]){12, 5}, true);
    check_attention(2, 3, 1300, 1, 1, 8, false, (const int32_t[]){1300, 1270},
                    false); /* a text behind a picture */
}

/* Who sees fewer keys gets the bits that it gets where there are no more. */
static void counted_keys(void **state) {
    (void)state;
    enum { ROWS = 6, HEADS = 2, DIM = 8, C = HEADS * DIM, KEYS = 21, SEEN = 13 };
    float *q = filled(1, ROWS * C, 2.0f), *kv = filled(2, KEYS * 2 * C, 1.0f), got[2][ROWS * C];
    int32_t count = SEEN;
    for (int i = 0; i < 2; i++) {
        bl_error err = {0};
        bl_graph *g = begin();
        bl_tensor_id tq = input(g, "q", 1, ROWS, 1, C), tk = input(g, "kv", 1, i ? SEEN : KEYS, 1, 2 * C);
        bl_attention_options o = {.heads = HEADS, .head_dim = DIM, .v_offset = C, .key_counts = BL_NONE};
        o.key_counts = i ? BL_NONE : bl_input(g, "counts", BL_I32, BL_CHANNELS_LAST, 1, 1, 1, 1);
        bl_export(g, bl_attention(g, tq, tk, tk, o), "y", BL_CHANNELS_LAST);
        assert_int_equal(bl_graph_finish(g, &err), 0);
        run_well(card, g, (how){0}, (const void *[]){q, kv, &count}, (void *[]){got[i]});
        bl_graph_free(&g);
    }
    assert_memory_equal(got[0], got[1], sizeof got[0]);
    free(q);
    free(kv);
}

/* Numbers of keys that the graph expects have plans before anything runs; of others these are made in
 * between. */
static void expected_keys(void **state) {
    (void)state;
    enum { ROWS = 5, HEADS = 2, DIM = 16, C = HEADS * DIM, KEYS = 40 };
    for (int expected = 0; expected < 2; expected++) {
        const int before = fake_late_plans();
        bl_graph *g = begin();
        bl_tensor_id q = input(g, "q", 3, ROWS, 1, C), k = input(g, "kv", 3, KEYS, 1, 2 * C);
        bl_attention_options o = {.heads = HEADS,
                                  .head_dim = DIM,
                                  .v_offset = C,
                                  .key_least = expected ? 8 : 0,
                                  .key_step = expected ? 16 : 0};
        o.key_counts = bl_input(g, "counts", BL_I32, BL_CHANNELS_LAST, 3, 1, 1, 1);
        bl_export(g, bl_attention(g, q, k, k, o), "y", BL_CHANNELS_LAST);
        float *in = filled(1, 3 * ROWS * C, 2.0f), *kv = filled(2, (int64_t)3 * KEYS * 2 * C, 1.0f);
        const int32_t counts[2][3] = {{32, 7, 9}, {24, 8, 40}};
        compare(g, (const void *[]){in, kv, counts[expected]}, 3 * ROWS * C, "expected keys");
        assert_int_equal(fake_late_plans() - before, dtype == BL_F32 || expected ? 0 : 3);
        free(in);
        free(kv);
    }
    static const int wrong[][2] = {{8, 15}, {0, 8}, {48, 8}, {8, -16}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bl_error err = {0};
        bl_graph *g = begin();
        bl_tensor_id q = input(g, "q", 1, ROWS, 1, C), k = input(g, "kv", 1, KEYS, 1, 2 * C);
        bl_attention_options o = {.heads = HEADS,
                                  .head_dim = DIM,
                                  .v_offset = C,
                                  .key_least = wrong[i][0],
                                  .key_step = wrong[i][1]};
        o.key_counts = bl_input(g, "counts", BL_I32, BL_CHANNELS_LAST, 1, 1, 1, 1);
        bl_export(g, bl_attention(g, q, k, k, o), "y", BL_CHANNELS_LAST);
        assert_true(bl_graph_finish(g, &err) != 0);
        bl_graph_free(&g);
    }
}

/* Two tables, one of them read in two blocks; pairs side by side and halves apart. */
static void turned(void **state) {
    (void)state;
    enum { N = 2, T = 5, HEADS = 3, DIM = 12, C = HEADS * DIM, ALL = N * T * C };
    bl_graph *g = begin();
    bl_tensor_id table = bl_input(g, "table", BL_F32, BL_CHANNELS_LAST, N, T, 1, DIM);
    bl_tensor_id other = bl_input(g, "other", BL_F32, BL_CHANNELS_LAST, N, T, 1, C);
    bl_tensor_id x = input(g, "x", N, T, 1, C);
    x = bl_add(g, bl_rope(g, x, table, DIM, false), bl_rope(g, x, other, C, true));
    bl_graph_block(g, "second");
    bl_export(g, bl_rope(g, x, table, DIM, true), "y", BL_CHANNELS_LAST);
    float *a = filled(3, N * T * DIM, 1.0f), *b = filled(4, ALL, 1.0f), *in = filled(1, ALL, 2.0f);
    compare(g, (const void *[]){a, b, in}, ALL, "rope");
    free(a);
    free(b);
    free(in);
}

static void gates(void **state) {
    (void)state;
    enum { N = 3, T = 7, C = 10, ALL = N * T * C };
    float *x = filled(1, ALL, 2.0f), *y = filled(2, ALL, 1.0f), *m = filled(3, N * 3 * C, 1.5f);
    for (int form = 0; form < 2; form++) {
        bl_graph *g = begin();
        bl_tensor_id a = input(g, "x", N, T, 1, C), b = input(g, "y", N, T, 1, C);
        bl_tensor_id by = input(g, "m", N, 1, 1, 3 * C);
        a = bl_modulate(g, a, by, C, form ? 2 * C : BL_NONE);
        a = bl_gated_add(g, a, b, by, form ? C : 1, form);
        bl_export(g, bl_glu(g, a, form ? BL_ACT_GELU_TANH : BL_ACT_SILU), "y", BL_CHANNELS_LAST);
        compare(g, (const void *[]){x, y, m}, ALL / 2, "modulate, gated add and glu");
    }
    free(x);
    free(y);
    free(m);
}

static void rows_and_patches(void **state) {
    (void)state;
    enum { N = 2, H = 4, W = 6, C = 5, SIDE = 2, MORE = 3, ALL = N * H * W * C };
    bl_graph *g = begin();
    bl_tensor_id x = bl_patchify(g, input(g, "x", N, H, W, C), SIDE);
    x = bl_join(g, input(g, "more", N, MORE, 1, SIDE * SIDE * C), x);
    x = bl_join(g, bl_slice(g, x, MORE + 1, H * W / 4 - 1), bl_slice(g, x, 1, 1));
    x = bl_unpatchify(g, bl_layer_norm(g, x, BL_NONE, BL_NONE, 1e-6f), SIDE, H, W);
    x = bl_unpatchify(g, bl_patchify_planes(g, x, SIDE), SIDE, H, W);
    x = bl_unpatchify_planes(g, bl_patchify(g, bl_add(g, x, x), SIDE), SIDE, H, W);
    bl_export(g, bl_channels(g, x, 1, 3), "y", BL_CHANNELS_LAST);
    float *in = filled(1, ALL, 1.0f), *more = filled(2, N * MORE * SIDE * SIDE * C, 1.0f);
    compare(g, (const void *[]){in, more}, N * H * W * 3, "patches, rows and channels");
    free(in);
    free(more);
}

static void the_rest(void **state) {
    (void)state;
    enum { N = 2, H = 5, W = 3, C = 21, ALL = N * H * W * C };
    float *a = filled(1, ALL, 8.0f), *b = filled(2, ALL, 1.0f);
    for (bl_act act = BL_ACT_SILU; act <= BL_ACT_QUICK_GELU; act++) {
        bl_graph *g = begin();
        bl_tensor_id x = bl_import(g, bl_input(g, "a", BL_F32, BL_NCHW, N, H, W, C)),
                     y = input(g, "b", N, H, W, C);
        x = bl_add(g, bl_activation(g, x, act), y);
        bl_export(g, bl_concat(g, bl_upsample(g, x, 7, 8), bl_upsample(g, y, 7, 8)), "y", BL_NCHW);
        compare(g, (const void *[]){a, b}, N * 7 * 8 * 2 * C, "act, add, upsample and concat");
    }
    free(a);
    free(b);
    static const int32_t ids[2 * 6] = {0, 5, 9, 1, 1, 30, 2, 2, 30, 7, 8, 3}, rows[2] = {5, 2};
    static const float times[2 * 3] = {999.0f, 0.0f, 1.5f, 512.0f, 1024.0f, 3.0f};
    bl_graph *g = begin();
    bl_tensor_id ti = bl_input(g, "ids", BL_I32, BL_CHANNELS_LAST, 2, 6, 1, 1);
    bl_tensor_id tr = bl_input(g, "rows", BL_I32, BL_CHANNELS_LAST, 2, 1, 1, 1);
    bl_tensor_id x = bl_embed(g, ti, weight(g, BL_W_EMBEDDING, "t", 31, 24, 0, 0),
                              weight(g, BL_W_EMBEDDING, "p", 6, 24, 0, 0));
    bl_export(g, bl_take_row(g, x, tr), "row", BL_CHANNELS_LAST);
    compare(g, (const void *[]){ids, rows}, 2 * 24, "embed and take row");
    g = begin();
    ti = bl_input(g, "ids", BL_I32, BL_CHANNELS_LAST, 2, 6, 1, 1);
    bl_export(g, bl_embed(g, ti, weight(g, BL_W_EMBEDDING, "t", 31, 24, 0, 0), BL_NONE), "y",
              BL_CHANNELS_LAST);
    compare(g, (const void *[]){ids}, 2 * 6 * 24, "embed without places");
    g = begin();
    bl_export(g, bl_sinusoid(g, bl_input(g, "t", BL_F32, BL_CHANNELS_LAST, 2, 1, 1, 3), 10), "y",
              BL_CHANNELS_LAST);
    compare(g, (const void *[]){times}, 2 * 3 * 10, "sinusoid");
}

static void all_ops(void **state) {
    for (int i = 0; i < 2; i++) {
        dtype = i ? BL_BF16 : BL_F32;
        bl_device_caps caps = bl_device_caps_of(cpu);
        if (dtype == BL_BF16 && !caps.bf16) {
            continue;
        }
        card = open_fake(&(fake_script){.seed = (uint64_t)i + 1});
        convolutions(state);
        linear_layers(state);
        norms(state);
        attention(state);
        counted_keys(state);
        expected_keys(state);
        turned(state);
        gates(state);
        rows_and_patches(state);
        the_rest(state);
        close_fake(&card);
    }
}

static int open_cpu(void **state) {
    (void)state;
    bl_error err;
    return bl_cpu_open(&cpu, &(bl_cpu_options){.threads = 2}, &err);
}

static int close_cpu(void **state) {
    (void)state;
    bl_device_close(&cpu);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_ops)};
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    return cmocka_run_group_tests(tests, open_cpu, close_cpu);
}
