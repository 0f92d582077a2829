/* A transformer's block as newer families have it, without their rotary embedding: RMS norms over channels
 * and over each head. Against a plain reference in double precision, in F32 and BF16, and with the same bits
 * at every arena level. CONTRIBUTING.md shows RMS_NORM as the example of an op. */
#include "device/cpu/rig.h"

#define EPS 1e-6f

enum { BATCH = 3, TOKENS = 19, HEADS = 3, DIM = 24, C = HEADS * DIM, HIDDEN = 2 * C };

static bl_device *device;

static bl_weight_id vector(bl_graph *g, const char *name, int64_t n) {
    return bl_weight_new(g, BL_W_VECTOR, &n, 1, &name, 1);
}

static bl_tensor_id linear(bl_graph *g, bl_tensor_id x, const char *name, int64_t out, int64_t in, bl_act act,
                           bl_tensor_id residual) {
    bl_weight_id w = bl_weight_new(g, BL_W_LINEAR, (int64_t[]){out, in}, 2, &name, 1);
    return bl_linear(g, x, w, BL_NONE, act, residual);
}

static bl_tensor_id block(bl_graph *g, bl_tensor_id x) {
    bl_tensor_id y = bl_rms_norm(g, x, vector(g, "norm1", C), EPS);
    bl_tensor_id q = linear(g, y, "q", C, C, BL_ACT_NONE, BL_NONE);
    bl_tensor_id k = linear(g, y, "k", C, C, BL_ACT_NONE, BL_NONE);
    bl_tensor_id v = linear(g, y, "v", C, C, BL_ACT_NONE, BL_NONE);
    q = bl_rms_norm(g, q, vector(g, "norm_q", DIM), EPS);
    k = bl_rms_norm(g, k, vector(g, "norm_k", DIM), EPS);
    y = bl_attention(g, q, k, v,
                     (bl_attention_options){.heads = HEADS, .head_dim = DIM, .key_counts = BL_NONE});
    x = linear(g, y, "o", C, C, BL_ACT_NONE, x);
    y = bl_rms_norm(g, x, vector(g, "norm2", C), EPS);
    y = linear(g, y, "up", HIDDEN, C, BL_ACT_SILU, BL_NONE);
    return linear(g, y, "down", C, HIDDEN, BL_ACT_NONE, x);
}

/* ---- the reference: rows of double */

static void norm(double *y, const double *x, const rig *r, const char *scale, int rows, int c) {
    for (int i = 0; i < rows; i++) {
        double square = 0;
        for (int k = 0; k < c; k++) {
            square += x[i * c + k] * x[i * c + k];
        }
        for (int k = 0; k < c; k++) {
            y[i * c + k] =
                x[i * c + k] / sqrt(square / c + (double)EPS) * (double)weight_value(r, scale, k, 1, true);
        }
    }
}

/* Adds to y. */
static void product(double *y, const double *x, const rig *r, const char *weight, int rows, int out, int in) {
    for (int i = 0; i < rows; i++) {
        for (int o = 0; o < out; o++) {
            for (int k = 0; k < in; k++) {
                y[i * out + o] += x[i * in + k] * (double)weight_value(r, weight, o * in + k, in, false);
            }
        }
    }
}

/* y [TOKENS, C] of one picture. */
static void attend(double *y, const double *q, const double *k, const double *v) {
    for (int at = 0; at < TOKENS * HEADS; at++) {
        const int row = at / HEADS * C + at % HEADS * DIM;
        double p[TOKENS], sum = 0;
        for (int j = 0; j < TOKENS; j++) {
            double s = 0;
            for (int d = 0; d < DIM; d++) {
                s += q[row + d] * k[j * C + at % HEADS * DIM + d];
            }
            sum += p[j] = exp(s / sqrt(DIM));
        }
        for (int d = 0; d < DIM; d++) {
            y[row + d] = 0;
            for (int j = 0; j < TOKENS; j++) {
                y[row + d] += p[j] / sum * v[j * C + at % HEADS * DIM + d];
            }
        }
    }
}

static void reference(double *x, const rig *r) {
    enum { ROWS = BATCH * TOKENS };
    static double y[ROWS * C], q[ROWS * C], k[ROWS * C], v[ROWS * C], hidden[ROWS * HIDDEN];
    memset(q, 0, sizeof q);
    memset(k, 0, sizeof k);
    memset(v, 0, sizeof v);
    memset(hidden, 0, sizeof hidden);
    norm(y, x, r, "norm1", ROWS, C);
    product(q, y, r, "q", ROWS, C, C);
    product(k, y, r, "k", ROWS, C, C);
    product(v, y, r, "v", ROWS, C, C);
    norm(q, q, r, "norm_q", ROWS * HEADS, DIM);
    norm(k, k, r, "norm_k", ROWS * HEADS, DIM);
    for (int i = 0; i < BATCH; i++) {
        const int at = i * TOKENS * C;
        attend(y + at, q + at, k + at, v + at);
    }
    product(x, y, r, "o", ROWS, C, C);
    norm(y, x, r, "norm2", ROWS, C);
    product(hidden, y, r, "up", ROWS, HIDDEN, C);
    for (int i = 0; i < ROWS * HIDDEN; i++) {
        hidden[i] = hidden[i] / (1 + exp(-hidden[i]));
    }
    product(x, hidden, r, "down", ROWS, C, HIDDEN);
}

static void check_type(bl_dtype dtype, double allowed) {
    enum { ALL = BATCH * TOKENS * C };
    static float x[ALL], got[ALL], again[ALL];
    static double want[ALL];
    rig r = {.device = device, .graph = dtype, .stored = BL_F32};
    bl_error err = {0};
    bl_device_caps caps;
    for (int i = 0; i < ALL; i++) {
        want[i] = (double)(x[i] = activation_value(&r, 1, i));
    }
    bl_graph *g = bl_graph_new(BL_UNET, dtype, NULL);
    bl_graph_block(g, "import");
    bl_tensor_id in = bl_import(g, bl_input(g, "x", BL_F32, BL_CHANNELS_LAST, BATCH, TOKENS, 1, C));
    bl_graph_block(g, "block");
    bl_export(g, block(g, in), "y", BL_CHANNELS_LAST);
    if (bl_graph_finish(g, &err)) {
        fail_msg("%s", err.message);
    }
    run_level(&r, g, 0, (const void *[]){x}, (void *[]){got});
    reference(want, &r);
    double error = error_of(got, want, ALL);
    if (!(error <= allowed)) {
        fail_msg("%s: error %.3g of the peak", bl_dtype_name(dtype), error);
    }
    caps = bl_device_caps_of(device);
    for (int level = 1; level < caps.arena_levels; level++) {
        run_level(&r, g, level, (const void *[]){x}, (void *[]){again});
        assert_memory_equal(again, got, sizeof got);
    }
    bl_graph_free(&g);
}

static void a_transformer_block(void **state) {
    (void)state;
    bl_device_caps caps = bl_device_caps_of(device);
    check_type(BL_F32, 1e-5);
    if (caps.bf16) {
        check_type(BL_BF16, 2e-2);
    }
}

static void a_norm_that_does_not_fit_is_refused(void **state) {
    (void)state;
    bl_error err = {0};
    bl_graph *g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_graph_block(g, "block");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_CHANNELS_LAST, 1, 4, 1, 10));
    bl_rms_norm(g, x, vector(g, "norm", 3), EPS);
    assert_int_not_equal(bl_graph_finish(g, &err), 0);
    assert_non_null(strstr(err.message, "RMS_NORM"));
    bl_graph_free(&g);
}

static int open_device(void **state) {
    (void)state;
    bl_error err;
    return bl_cpu_open(&device, NULL, &err);
}

static int close_device(void **state) {
    (void)state;
    bl_device_close(&device);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transformer_block),
        cmocka_unit_test(a_norm_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
