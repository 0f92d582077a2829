/* The ops of transformers alone, against torch (tests/data/common/transformer_ops), and what does not fit
 * refused. */
#include "device/cpu/rig.h"

#include "support/goldens.h"

static bl_device *device;
static bl_golden gold;

static bl_graph *graph_of(void) {
    bl_graph *g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_graph_block(g, "all");
    return g;
}

static bl_tensor_id input(bl_graph *g, const char *name, int n, int rows, int c) {
    return bl_import(g, bl_input(g, name, BL_F32, BL_CHANNELS_LAST, n, rows, 1, c));
}

/* Runs the graph, whose output is `y`, and compares it with the golden of this name. */
static void check(bl_graph *g, bl_tensor_id y, const void *const *inputs, const char *name) {
    const int64_t n = bl_golden_tensor(&gold, name)->bytes / sizeof(float);
    float *out = malloc((size_t)n * sizeof *out);
    rig r = {.device = device, .graph = BL_F32, .stored = BL_F32};
    assert_non_null(out);
    bl_export(g, y, "y", BL_CHANNELS_LAST);
    run_graph(&r, g, inputs, (void *[]){out});
    bl_golden_check(&gold, name, out, n, BL_F32);
    free(out);
}

static void rotary_embedding_turns_both_kinds_of_pairs(void **state) {
    (void)state;
    enum { ROWS = 9, HEADS = 4, DIM = 16 };
    float *x = bl_golden_f32(&gold, "rope.x"), *angles = bl_golden_f32(&gold, "rope.angles"),
          table[ROWS * DIM];
    for (int i = 0; i < ROWS * DIM / 2; i++) {
        const int row = i / (DIM / 2) * DIM + i % (DIM / 2);
        table[row] = cosf(angles[i]);
        table[row + DIM / 2] = sinf(angles[i]);
    }
    for (int halves = 0; halves < 2; halves++) {
        bl_graph *g = graph_of();
        bl_tensor_id a = input(g, "x", 1, ROWS, HEADS * DIM);
        bl_tensor_id t = bl_input(g, "table", BL_F32, BL_CHANNELS_LAST, 1, ROWS, 1, DIM);
        check(g, bl_rope(g, a, t, DIM, halves), (const void *[]){x, table},
              halves ? "rope.half_split" : "rope.interleaved");
    }
    free(x);
    free(angles);
}

/* A vector [shift, scale, gate] stands for the three of the golden. */
static void vectors_modulate_and_gate(void **state) {
    (void)state;
    enum { N = 1, ROWS = 24, C = 16 }; /* of one picture: the golden's vectors are those of all */
    float *x = bl_golden_f32(&gold, "norm.x"),
          *parts[3] = {bl_golden_f32(&gold, "mod.shift"), bl_golden_f32(&gold, "mod.scale"),
                       bl_golden_f32(&gold, "mod.gate")};
    float m[3 * C], normed[ROWS * C];
    float *layer = bl_golden_f32(&gold, "norm.layer_1e-6");
    memcpy(normed, layer, sizeof normed);
    for (int i = 0; i < 3; i++) {
        memcpy(m + i * C, parts[i], C * sizeof *m);
        free(parts[i]);
    }
    bl_graph *g = graph_of();
    bl_tensor_id a = input(g, "x", N, ROWS, C);
    check(g, bl_layer_norm(g, a, BL_NONE, BL_NONE, 1e-6f), (const void *[]){x}, "norm.layer_1e-6");
    g = graph_of();
    a = input(g, "x", N, ROWS, C);
    bl_tensor_id v = input(g, "m", N, 1, 3 * C);
    check(g, bl_modulate(g, a, v, C, 0), (const void *[]){normed, m}, "mod.modulated");
    float other[ROWS * C]; /* what is added: in each four pictures' six rows the last first */
    for (int i = 0; i < ROWS * C; i++) {
        other[i] = x[(i / (6 * C) * 6 + 5 - i / C % 6) * C + i % C];
    }
    g = graph_of();
    a = input(g, "x", N, ROWS, C);
    bl_tensor_id b = input(g, "y", N, ROWS, C);
    v = input(g, "m", N, 1, 3 * C);
    check(g, bl_gated_add(g, a, b, v, 2 * C, true), (const void *[]){x, other, m}, "mod.gated");
    free(layer);
    free(x);
}

static void gates_are_silu_of_the_first_half(void **state) {
    (void)state;
    float *x = bl_golden_f32(&gold, "act.swiglu_x");
    bl_graph *g = graph_of();
    check(g, bl_glu(g, input(g, "x", 4, 6, 16), BL_ACT_SILU), (const void *[]){x}, "act.swiglu_first_half");
    free(x);
}

/* [1, heads, rows, dim] -> [rows, heads, dim], and back. */
static float *turned(const float *x, int heads, int rows, int dim, bool back) {
    float *y = malloc((size_t)heads * (size_t)rows * (size_t)dim * sizeof *y);
    assert_non_null(y);
    for (int h = 0; h < heads; h++) {
        for (int r = 0; r < rows; r++) {
            const int apart = (h * rows + r) * dim, side = (r * heads + h) * dim;
            memcpy(y + (back ? apart : side), x + (back ? side : apart), (size_t)dim * sizeof *y);
        }
    }
    return y;
}

/* Four heads of queries share two of keys and values. */
static void heads_of_queries_share_keys(void **state) {
    (void)state;
    enum { ROWS = 9, HEADS = 4, SHARED = 2, DIM = 128 };
    static const struct {
        const char *name;
        bool causal, masked;
    } cases[] = {{"attention.gqa", false, false},
                 {"attention.gqa_masked", false, true},
                 {"attention.gqa_causal_masked", true, true}};
    float *parts[3], *flat[3];
    static const char *const names[] = {"attention.q", "attention.k", "attention.v"};
    int32_t *mask = bl_golden_bytes(&gold, "attention.mask"), seen = 0;
    for (int i = 0; i < 3; i++) {
        parts[i] = bl_golden_f32(&gold, names[i]);
        flat[i] = turned(parts[i], i ? SHARED : HEADS, ROWS, DIM, false);
        free(parts[i]);
    }
    for (int i = 0; i < ROWS; i++) {
        assert_true(!mask[i] || seen == i); /* padding is at the right */
        seen += mask[i];
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_graph *g = graph_of();
        bl_tensor_id q = input(g, "q", 1, ROWS, HEADS * DIM), k = input(g, "k", 1, ROWS, SHARED * DIM),
                     v = input(g, "v", 1, ROWS, SHARED * DIM);
        bl_tensor_id counts = bl_input(g, "counts", BL_I32, BL_CHANNELS_LAST, 1, 1, 1, 1);
        bl_attention_options o = {.heads = HEADS,
                                  .kv_heads = SHARED,
                                  .head_dim = DIM,
                                  .causal = cases[i].causal,
                                  .key_counts = cases[i].masked ? counts : BL_NONE};
        float out[ROWS * HEADS * DIM];
        rig r = {.device = device, .graph = BL_F32, .stored = BL_F32};
        bl_export(g, bl_attention(g, q, k, v, o), "y", BL_CHANNELS_LAST);
        run_graph(&r, g, (const void *[]){flat[0], flat[1], flat[2], &seen}, (void *[]){out});
        float *heads = turned(out, HEADS, ROWS, DIM, true);
        bl_golden_check(&gold, cases[i].name, heads, ROWS * HEADS * DIM, BL_F32);
        free(heads);
    }
    for (int i = 0; i < 3; i++) {
        free(flat[i]);
    }
    free(mask);
}

/* Patches of a picture, cut, joined behind others and put back, are the picture. */
static void rows_go_where_they_belong(void **state) {
    (void)state;
    enum { N = 2, H = 4, W = 6, C = 3, PATCHES = H / 2 * (W / 2), ALL = N * H * W * C };
    float x[ALL], y[ALL], cut[ALL];
    rig r = {.device = device, .graph = BL_F32, .stored = BL_F32};
    for (int i = 0; i < ALL; i++) {
        x[i] = (float)i;
    }
    bl_graph *g = graph_of();
    bl_tensor_id a = bl_import(g, bl_input(g, "x", BL_F32, BL_CHANNELS_LAST, N, H, W, C));
    bl_tensor_id p = bl_patchify(g, a, 2);
    bl_tensor_id joined = bl_join(g, bl_slice(g, p, 0, 2), bl_slice(g, p, 2, PATCHES - 2));
    bl_export(g, bl_unpatchify(g, joined, 2, H, W), "y", BL_CHANNELS_LAST);
    bl_export(g, p, "cut", BL_CHANNELS_LAST);
    run_graph(&r, g, (const void *[]){x}, (void *[]){y, cut});
    assert_memory_equal(y, x, sizeof x);
    /* The second patch of the second picture, its lower right pixel. */
    const int at = ((PATCHES + 1) * 4 + 3) * C, from = ((1 * H + 1) * W + 3) * C;
    assert_true(cut[at] == x[from]);
    g = graph_of(); /* and channel by channel */
    p = bl_patchify_planes(g, bl_import(g, bl_input(g, "x", BL_F32, BL_CHANNELS_LAST, N, H, W, C)), 2);
    bl_export(g, bl_unpatchify_planes(g, p, 2, H, W), "y", BL_CHANNELS_LAST);
    bl_export(g, p, "cut", BL_CHANNELS_LAST);
    run_graph(&r, g, (const void *[]){x}, (void *[]){y, cut});
    assert_memory_equal(y, x, sizeof x);
    assert_true(cut[(PATCHES + 1) * 4 * C + 2 * 4 + 3] == x[from + 2]);
}

static void refused(bl_graph *g, const char *text) {
    bl_error err = {0};
    assert_int_not_equal(bl_graph_finish(g, &err), 0);
    if (!strstr(err.message, text)) {
        fail_msg("no %s in: %s", text, err.message);
    }
    bl_graph_free(&g);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    bl_graph *g = graph_of();
    bl_modulate(g, input(g, "x", 2, 4, 8), input(g, "m", 1, 1, 16), 0, 8);
    refused(g, "MODULATE");
    g = graph_of();
    bl_gated_add(g, input(g, "x", 1, 4, 8), input(g, "y", 1, 4, 8), input(g, "m", 1, 1, 8), 1, false);
    refused(g, "GATED_ADD");
    g = graph_of();
    bl_rope(g, input(g, "x", 1, 4, 8), bl_input(g, "t", BL_F32, BL_CHANNELS_LAST, 1, 3, 1, 8), 8, true);
    refused(g, "ROPE");
    g = graph_of();
    bl_glu(g, input(g, "x", 1, 4, 7), BL_ACT_SILU);
    refused(g, "GLU");
    g = graph_of();
    bl_glu(g, input(g, "x", 1, 4, 8), BL_ACT_GELU);
    refused(g, "GLU");
    g = graph_of();
    bl_slice(g, input(g, "x", 1, 4, 8), 2, 3);
    refused(g, "SLICE");
    g = graph_of();
    bl_channels(g, input(g, "x", 1, 4, 8), 6, 3);
    refused(g, "CHANNELS");
    g = graph_of();
    bl_join(g, input(g, "x", 1, 4, 8), input(g, "y", 1, 4, 9));
    refused(g, "JOIN");
    g = graph_of();
    bl_unpatchify(g, input(g, "x", 1, 5, 8), 2, 4, 4);
    refused(g, "UNPATCHIFY");
    g = graph_of();
    bl_tensor_id q = input(g, "q", 1, 4, 12);
    bl_attention(g, q, q, q,
                 (bl_attention_options){.heads = 3, .kv_heads = 2, .head_dim = 4, .key_counts = BL_NONE});
    refused(g, "ATTENTION");
    g = graph_of();
    q = input(g, "q", 1, 4, 12);
    bl_biased_attention(g, q, q, q, bl_input(g, "bias", BL_F32, BL_CHANNELS_LAST, 1, 3, 1, 8),
                        (bl_attention_options){.heads = 3, .head_dim = 4, .key_counts = BL_NONE});
    refused(g, "a bias for each head and distance");
}

static int open_all(void **state) {
    (void)state;
    bl_error err;
    bl_golden_open(&gold, "common/transformer_ops/ops.safetensors");
    return bl_cpu_open(&device, NULL, &err);
}

static int close_all(void **state) {
    (void)state;
    bl_golden_close(&gold);
    bl_device_close(&device);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotary_embedding_turns_both_kinds_of_pairs),
        cmocka_unit_test(vectors_modulate_and_gate),
        cmocka_unit_test(gates_are_silu_of_the_first_half),
        cmocka_unit_test(heads_of_queries_share_keys),
        cmocka_unit_test(rows_go_where_they_belong),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
