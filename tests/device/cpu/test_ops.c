/* Ops of the cpu device against a plain reference in double precision, over odd shapes; attention has a file
 * of its own. */
#include "device/cpu/ops.h"

static double gelu_of(double x) {
    return 0.5 * x * erfc(-x / sqrt(2.0));
}

static double act_of(double x, bl_act act) {
    return act == BL_ACT_SILU         ? x / (1.0 + exp(-x))
           : act == BL_ACT_QUICK_GELU ? x / (1.0 + exp(-1.702 * x))
           : act == BL_ACT_GELU       ? gelu_of(x)
           : act == BL_ACT_GELU_TANH  ? x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)))
                                      : x;
}

/* ---- convolutions */

typedef struct conv_case {
    int n, h, w, c, o, k, stride, top, left, bottom, right;
    bool residual, channels;
} conv_case;

static void conv_reference(double *y, const rig *r, const conv_case *k, const float *x, const float *residual,
                           const float *channels, int oh, int ow) {
    int64_t row = (int64_t)k->c * k->k * k->k;
    float *w = malloc((size_t)(row * k->o) * sizeof *w);
    for (int64_t i = 0; i < row * k->o; i++) {
        w[i] = weight_value(r, "w", i, row, false);
    }
    for (int64_t i = 0; i < (int64_t)k->n * oh * ow; i++) {
        int64_t image = i / (oh * ow), py = i / ow % oh, px = i % ow;
        for (int o = 0; o < k->o; o++) {
            double s = (double)weight_value(r, "b", o, 1, true);
            for (int ky = 0; ky < k->k; ky++) {
                for (int kx = 0; kx < k->k; kx++) {
                    int64_t sy = py * k->stride + ky - k->top, sx = px * k->stride + kx - k->left;
                    if (sy < 0 || sy >= k->h || sx < 0 || sx >= k->w) {
                        continue;
                    }
                    const float *from = x + ((image * k->h + sy) * k->w + sx) * k->c;
                    for (int c = 0; c < k->c; c++) {
                        s += (double)from[c] *
                             (double)w[((int64_t)o * k->c + c) * k->k * k->k + ky * k->k + kx];
                    }
                }
            }
            s += residual ? (double)residual[i * k->o + o] : 0.0;
            s += channels ? (double)channels[image * k->o + o] : 0.0;
            y[i * k->o + o] = s;
        }
    }
    free(w);
}

static void check_conv(rig *r, const conv_case *k) {
    int oh = (k->h + k->top + k->bottom - k->k) / k->stride + 1,
        ow = (k->w + k->left + k->right - k->k) / k->stride + 1;
    int64_t in = (int64_t)k->n * k->h * k->w * k->c, out = (int64_t)k->n * oh * ow * k->o;
    float *x = filled(r, 1, in), *residual = filled(r, 2, out),
          *channels = filled(r, 3, (int64_t)k->n * k->o);
    float *got = malloc((size_t)out * sizeof *got);
    double *want = malloc((size_t)out * sizeof *want);
    bl_graph *g = graph_of(r);
    bl_tensor_id tx = input(g, "x", k->n, k->h, k->w, k->c), tr = input(g, "r", k->n, oh, ow, k->o);
    bl_tensor_id tc = input(g, "c", k->n, 1, 1, k->o);
    bl_conv_options o = {.stride = k->stride,
                         .top = k->top,
                         .left = k->left,
                         .bottom = k->bottom,
                         .right = k->right,
                         .residual = k->residual ? tr : BL_NONE,
                         .channels = k->channels ? tc : BL_NONE};
    bl_tensor_id y = bl_conv(g, tx, weight(g, BL_W_CONV, "w", k->o, k->c, k->k, k->k),
                             weight(g, BL_W_VECTOR, "b", k->o, 0, 0, 0), o);
    bl_export(g, y, "y", BL_CHANNELS_LAST);
    run_graph(r, g, (const void *[]){x, residual, channels}, (void *[]){got});
    conv_reference(want, r, k, x, k->residual ? residual : NULL, k->channels ? channels : NULL, oh, ow);
    CHECK_CLOSE(r, got, want, out, "conv %dx%dx%dx%d -> %d, kernel %d, stride %d", k->n, k->h, k->w, k->c,
                k->o, k->k, k->stride);
    free(x);
    free(residual);
    free(channels);
    free(got);
    free(want);
}

static void convolutions(void **state) {
    (void)state;
    static const conv_case cases[] = {
        {1, 7, 5, 3, 20, 3, 1, 1, 1, 1, 1, false, false},
        {2, 9, 6, 33, 17, 3, 1, 1, 1, 1, 1, true, true},
        {2, 1, 1, 64, 48, 3, 1, 1, 1, 1, 1, false, true},
        {1, 8, 8, 32, 32, 3, 2, 1, 1, 1, 1, false, false},
        {1, 9, 12, 16, 24, 3, 2, 0, 0, 1, 1, false, false},
        {2, 5, 7, 40, 24, 1, 1, 0, 0, 0, 0, true, false},
        {1, 16, 16, 64, 4, 3, 1, 1, 1, 1, 1, false, false},
        {2, 32, 32, 20, 36, 3, 1, 1, 1, 1, 1, false, true},
        {1, 17, 30, 48, 64, 3, 1, 1, 1, 1, 1, true, false},
        {1, 130, 126, 17, 35, 3, 1, 1, 1, 1, 1, true, true},
        {1, 35, 33, 340, 40, 3, 1, 1, 1, 1, 1, false, true},
        {2, 16, 16, 320, 320, 3, 2, 1, 1, 1, 1, false, false},
        {1, 9, 7, 64, 48, 3, 2, 0, 0, 1, 1, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int t = 0; t < type_count; t++) {
            rig r = rig_of(t);
            check_conv(&r, &cases[i]);
        }
    }
}

/* ---- linear layers */

static void check_linear(rig *r, int n, int rows, int c, int o, bl_act act, bool residual, bool bias) {
    int64_t in = (int64_t)n * rows * c, out = (int64_t)n * rows * o;
    int wide = act == BL_ACT_GEGLU ? 2 * o : o;
    float *x = filled(r, 1, in), *add = filled(r, 2, out), *got = malloc((size_t)out * sizeof *got);
    double *want = malloc((size_t)out * sizeof *want);
    bl_graph *g = graph_of(r);
    bl_tensor_id tx = input(g, "x", n, rows, 1, c), tr = input(g, "r", n, rows, 1, o);
    bl_tensor_id y =
        bl_linear(g, tx, weight(g, BL_W_LINEAR, "w", wide, c, 0, 0),
                  bias ? weight(g, BL_W_VECTOR, "b", wide, 0, 0, 0) : BL_NONE, act, residual ? tr : BL_NONE);
    bl_export(g, y, "y", BL_CHANNELS_LAST);
    run_graph(r, g, (const void *[]){x, add}, (void *[]){got});
    float *w = malloc((size_t)(wide * c) * sizeof *w);
    for (int64_t i = 0; i < (int64_t)wide * c; i++) {
        w[i] = weight_value(r, "w", i, c, false);
    }
    for (int64_t i = 0; i < out; i++) {
        double s[2] = {0, 0};
        for (int half = 0; half < wide / o; half++) {
            int64_t row = i % o + half * o;
            s[half] = bias ? (double)weight_value(r, "b", row, 1, true) : 0.0;
            for (int k = 0; k < c; k++) {
                s[half] += (double)x[i / o * c + k] * (double)w[row * c + k];
            }
        }
        want[i] = (act == BL_ACT_GEGLU ? s[0] * gelu_of(s[1]) : act_of(s[0], act)) +
                  (residual ? (double)add[i] : 0.0);
    }
    CHECK_CLOSE(r, got, want, out, "linear %dx%dx%d -> %d, act %d", n, rows, c, o, act);
    free(w);
    free(x);
    free(add);
    free(got);
    free(want);
}

static void linear_layers(void **state) {
    (void)state;
    for (int t = 0; t < type_count; t++) {
        rig r = rig_of(t);
        check_linear(&r, 1, 1, 320, 1280, BL_ACT_SILU, false, true);
        check_linear(&r, 2, 77, 24, 56, BL_ACT_QUICK_GELU, false, true);
        check_linear(&r, 1, 13, 24, 40, BL_ACT_GELU_TANH, false, true);
        check_linear(&r, 2, 77, 64, 64, BL_ACT_NONE, true, true);
        check_linear(&r, 2, 13, 19, 7, BL_ACT_GELU, false, false);
        check_linear(&r, 2, 50, 48, 80, BL_ACT_GEGLU, false, true);
        check_linear(&r, 1, 64, 40, 24, BL_ACT_GEGLU, true, true);
        check_linear(&r, 1, 300, 96, 100, BL_ACT_NONE, true, false);
    }
}

/* ---- norms */

static void check_group_norm(rig *r, int n, int h, int w, int c, int groups, bl_act act, float offset) {
    int64_t all = (int64_t)n * h * w * c;
    float *x = filled(r, 1, all), *got = malloc((size_t)all * sizeof *got);
    double *want = malloc((size_t)all * sizeof *want);
    float eps = 1e-5f;
    for (int64_t i = 0; i < all; i++) {
        float v = x[i] * 0.25f + offset;
        x[i] = r->graph == BL_BF16 ? bl_bf16_to_f32(bl_f32_to_bf16(v)) : v;
    }
    bl_graph *g = graph_of(r);
    bl_tensor_id y = bl_group_norm(g, input(g, "x", n, h, w, c), weight(g, BL_W_VECTOR, "s", c, 0, 0, 0),
                                   weight(g, BL_W_VECTOR, "b", c, 0, 0, 0), groups, eps, act);
    bl_export(g, y, "y", BL_CHANNELS_LAST);
    run_graph(r, g, (const void *[]){x}, (void *[]){got});
    int size = c / groups;
    for (int image = 0; image < n; image++) {
        for (int k = 0; k < groups; k++) {
            double mean = 0, square = 0, count = (double)h * w * size;
            for (int pass = 0; pass < 3; pass++) {
                for (int64_t p = 0; p < (int64_t)h * w; p++) {
                    for (int j = 0; j < size; j++) {
                        int64_t at = ((int64_t)image * h * w + p) * c + k * size + j;
                        double d = (double)x[at] - mean;
                        if (pass == 0) {
                            mean += 0.0;
                            square += (double)x[at];
                        } else if (pass == 1) {
                            square += d * d;
                        } else {
                            double v = d / sqrt(square / count + (double)eps);
                            v = v * (double)weight_value(r, "s", k * size + j, 1, true) +
                                (double)weight_value(r, "b", k * size + j, 1, true);
                            want[at] = act_of(v, act);
                        }
                    }
                }
                if (pass == 0) {
                    mean = square / count;
                    square = 0;
                }
            }
        }
    }
    CHECK_CLOSE(r, got, want, all, "group norm %dx%dx%dx%d / %d", n, h, w, c, groups);
    free(x);
    free(got);
    free(want);
}

static void check_layer_norm(rig *r, int rows, int c) {
    int64_t all = (int64_t)rows * c;
    float *x = filled(r, 1, all), *got = malloc((size_t)all * sizeof *got);
    double *want = malloc((size_t)all * sizeof *want);
    bl_graph *g = graph_of(r);
    bl_tensor_id y = bl_layer_norm(g, input(g, "x", 1, rows, 1, c), weight(g, BL_W_VECTOR, "s", c, 0, 0, 0),
                                   weight(g, BL_W_VECTOR, "b", c, 0, 0, 0), 1e-5f);
    bl_export(g, y, "y", BL_CHANNELS_LAST);
    run_graph(r, g, (const void *[]){x}, (void *[]){got});
    for (int i = 0; i < rows; i++) {
        double mean = 0, square = 0;
        for (int k = 0; k < c; k++) {
            mean += (double)x[i * c + k] / c;
        }
        for (int k = 0; k < c; k++) {
            square += ((double)x[i * c + k] - mean) * ((double)x[i * c + k] - mean) / c;
        }
        for (int k = 0; k < c; k++) {
            want[i * c + k] = ((double)x[i * c + k] - mean) / sqrt(square + 1e-5) *
                                  (double)weight_value(r, "s", k, 1, true) +
                              (double)weight_value(r, "b", k, 1, true);
        }
    }
    CHECK_CLOSE(r, got, want, all, "layer norm %dx%d", rows, c);
    free(x);
    free(got);
    free(want);
}

static void norms(void **state) {
    (void)state;
    for (int t = 0; t < type_count; t++) {
        rig r = rig_of(t);
        check_group_norm(&r, 2, 7, 5, 40, 4, BL_ACT_SILU, 0.0f);
        check_group_norm(&r, 1, 1, 1, 64, 32, BL_ACT_NONE, 0.5f);
        check_group_norm(&r, 2, 64, 40, 320, 32, BL_ACT_SILU, 0.0f);
        check_group_norm(&r, 1, 64, 64, 24, 8, BL_ACT_NONE, 3.0f);
        check_layer_norm(&r, 77, 24);
        check_layer_norm(&r, 5, 323);
        check_layer_norm(&r, 1, 7);
    }
}

/* ---- the rest */

static void elementwise(void **state) {
    (void)state;
    enum { n = 2, h = 5, w = 3, c = 21, all = n * h * w * c };
    for (int t = 0; t < type_count; t++) {
        rig r = rig_of(t);
        const bl_act acts[] = {BL_ACT_SILU, BL_ACT_GELU, BL_ACT_QUICK_GELU, BL_ACT_GELU_TANH};
        for (size_t k = 0; k < sizeof acts / sizeof *acts; k++) {
            const bl_act act = acts[k];
            float *a = filled(&r, 1, all), *b = filled(&r, 2, all), got[2][all];
            double want[2][all];
            for (int i = 0; i < all; i++) {
                a[i] *= 8.0f;
                want[0][i] = act_of((double)a[i], act);
                want[1][i] = (double)a[i] + (double)b[i];
            }
            bl_graph *g = graph_of(&r);
            bl_tensor_id x = input(g, "a", n, h, w, c), y = input(g, "b", n, h, w, c);
            bl_export(g, bl_add(g, x, y), "sum", BL_CHANNELS_LAST);
            bl_export(g, bl_activation(g, x, act), "act", BL_CHANNELS_LAST);
            run_graph(&r, g, (const void *[]){a, b}, (void *[]){got[1], got[0]});
            CHECK_CLOSE(&r, got[0], want[0], all, "act %d", act);
            CHECK_CLOSE(&r, got[1], want[1], all, "add");
            free(a);
            free(b);
        }
    }
}

static void moves(void **state) {
    (void)state;
    enum { n = 2, h = 3, w = 5, a = 7, b = 4, oh = 7, ow = 9 };
    for (int t = 0; t < type_count; t += 2) {
        rig r = rig_of(t);
        float *x = filled(&r, 1, n * a * h * w), *y = filled(&r, 2, n * h * w * b);
        float both[n * (a + b) * h * w], up[n * oh * ow * a];
        bl_graph *g = graph_of(&r);
        bl_tensor_id tx = bl_import(g, bl_input(g, "x", BL_F32, BL_NCHW, n, h, w, a)),
                     ty = input(g, "y", n, h, w, b);
        bl_export(g, bl_concat(g, tx, ty), "both", BL_NCHW);
        bl_export(g, bl_upsample(g, tx, oh, ow), "up", BL_CHANNELS_LAST);
        run_graph(&r, g, (const void *[]){x, y}, (void *[]){both, up});
        for (int i = 0; i < n * (a + b) * h * w; i++) {
            int image = i / ((a + b) * h * w), c = i / (h * w) % (a + b), p = i % (h * w);
            float want = c < a ? x[(image * a + c) * h * w + p] : y[(image * h * w + p) * b + c - a];
            assert_true(both[i] == want);
        }
        for (int i = 0; i < n * oh * ow * a; i++) {
            int image = i / (oh * ow * a), row = i / (ow * a) % oh * h / oh, column = i / a % ow * w / ow,
                c = i % a;
            assert_true(up[i] == x[((image * a + c) * h + row) * w + column]);
        }
        free(x);
        free(y);
    }
}

static void text_ops(void **state) {
    (void)state;
    enum { n = 2, tokens = 6, c = 24, dim = 10 };
    static const int32_t ids[n * tokens] = {0, 5, 9, 1, 1, 30, 2, 2, 30, 7, 8, 3}, rows[n] = {5, 2};
    static const float times[n * 3] = {999.0f, 0.0f, 1.5f, 512.0f, 1024.0f, 3.0f};
    for (int t = 0; t < type_count; t += 2) {
        rig r = rig_of(t);
        float taken[n * c], waves[n * 3 * dim];
        double want[n * c], want_waves[n * 3 * dim];
        bl_graph *g = graph_of(&r);
        bl_tensor_id ti = bl_input(g, "ids", BL_I32, BL_CHANNELS_LAST, n, tokens, 1, 1);
        bl_tensor_id tr = bl_input(g, "rows", BL_I32, BL_CHANNELS_LAST, n, 1, 1, 1);
        bl_tensor_id tt = bl_input(g, "times", BL_F32, BL_CHANNELS_LAST, n, 1, 1, 3);
        bl_tensor_id x = bl_embed(g, ti, weight(g, BL_W_EMBEDDING, "t", 31, c, 0, 0),
                                  weight(g, BL_W_EMBEDDING, "p", tokens, c, 0, 0));
        bl_export(g, bl_take_row(g, x, tr), "row", BL_CHANNELS_LAST);
        bl_export(g, bl_sinusoid(g, tt, dim), "waves", BL_CHANNELS_LAST);
        run_graph(&r, g, (const void *[]){ids, rows, times}, (void *[]){taken, waves});
        for (int i = 0; i < n * c; i++) {
            int row = rows[i / c];
            want[i] =
                (double)weight_value(&r, "t", (int64_t)ids[i / c * tokens + row] * c + i % c, c, false) +
                (double)weight_value(&r, "p", (int64_t)row * c + i % c, c, false);
        }
        for (int i = 0; i < n * 3 * dim; i++) {
            double angle = (double)times[i / dim] * pow(10000.0, -(double)(i % dim % (dim / 2)) / (dim / 2));
            want_waves[i] = i % dim < dim / 2 ? cos(angle) : sin(angle);
        }
        CHECK_CLOSE(&r, taken, want, n * c, "embed and take row");
        CHECK_CLOSE(&r, waves, want_waves, n * 3 * dim, "sinusoid");
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions), cmocka_unit_test(linear_layers), cmocka_unit_test(norms),
        cmocka_unit_test(elementwise),  cmocka_unit_test(moves),         cmocka_unit_test(text_ops),
    };
    int failures = on_lower_isas(argc, argv);
    return failures + cmocka_run_group_tests(tests, open_device, close_device);
}
