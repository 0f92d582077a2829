/* Attention of the cpu device against a plain reference in double precision, causal and not, biased, and
 * with keys that are counted. */
#include "device/cpu/ops.h"

static void check_attention(rig *r, int n, int rows, int keys, int heads, int dim, bool causal, bool biased) {
    int c = heads * dim, wide = causal ? 3 * c : c; /* causal: q, k, v in one tensor */
    int64_t out = (int64_t)n * rows * c;
    float *q = filled(r, 1, (int64_t)n * rows * wide), *kv = filled(r, 2, (int64_t)n * keys * 2 * c);
    float *got = malloc((size_t)out * sizeof *got);
    const int distances = rows + keys - 1;
    float *bias = filled(r, 3, (int64_t)n * heads * distances);
    double *want = malloc((size_t)out * sizeof *want), *p = malloc((size_t)keys * sizeof *p);
    for (int64_t i = 0; i < (int64_t)n * rows * wide; i++) {
        q[i] *= 2.0f / (biased ? sqrtf((float)dim) : 1.0f); /* so that softmax is not flat */
    }
    bl_graph *g = graph_of(r);
    bl_tensor_id tq = input(g, "q", n, rows, 1, wide), tk = input(g, "kv", n, keys, 1, 2 * c);
    bl_attention_options o = {
        .heads = heads, .head_dim = dim, .v_offset = c, .causal = causal, .key_counts = BL_NONE};
    if (causal) {
        o.k_offset = c;
        o.v_offset = 2 * c;
        tk = tq;
    }
    const bl_tensor_id tb =
        biased ? bl_input(g, "bias", BL_F32, BL_CHANNELS_LAST, n, heads, 1, distances) : BL_NONE;
    bl_export(g, bl_biased_attention(g, tq, tk, tk, tb, o), "y", BL_CHANNELS_LAST);
    run_graph(r, g, (const void *[]){q, kv, bias}, (void *[]){got});
    for (int64_t i = 0; i < (int64_t)n * rows * heads; i++) {
        int64_t row = i / heads, head = i % heads, image = row / rows;
        int seen = causal ? (int)(row % rows) + 1 : keys;
        double most = -INFINITY, sum = 0;
        const float *k0 = causal ? q + image * rows * wide + c : kv + image * keys * 2 * c;
        int64_t step = causal ? wide : 2 * c;
        for (int j = 0; j < seen; j++) {
            p[j] = 0;
            for (int d = 0; d < dim; d++) {
                p[j] += (double)q[row * wide + head * dim + d] * (double)k0[j * step + head * dim + d];
            }
            p[j] /= biased ? 1 : sqrt(dim);
            p[j] += biased ? (double)bias[(image * heads + head) * distances + row % rows - j + keys - 1] : 0;
            most = p[j] > most ? p[j] : most;
        }
        for (int j = 0; j < seen; j++) {
            p[j] = exp(p[j] - most);
            sum += p[j];
        }
        for (int d = 0; d < dim; d++) {
            double s = 0;
            for (int j = 0; j < seen; j++) {
                s += p[j] * (double)k0[c + j * step + head * dim + d];
            }
            want[row * c + head * dim + d] = s / sum;
        }
    }
    CHECK_CLOSE(r, got, want, out, "attention %dx%d, %d keys, %d heads of %d%s%s", n, rows, keys, heads, dim,
                causal ? ", causal" : "", biased ? ", biased" : "");
    free(q);
    free(kv);
    free(bias);
    free(got);
    free(want);
    free(p);
}

static void attention(void **state) {
    (void)state;
    for (int t = 0; t < type_count; t += 2) {
        rig r = rig_of(t);
        check_attention(&r, 2, 77, 77, 4, 8, true, false);
        check_attention(&r, 1, 300, 300, 2, 64, true, false);
        check_attention(&r, 2, 70, 77, 3, 40, false, false);
        check_attention(&r, 1, 1, 1, 1, 13, false, false);
        check_attention(&r, 1, 500, 600, 2, 80, false, false);
        check_attention(&r, 1, 64, 64, 2, 160, false, false);
        check_attention(&r, 2, 60, 60, 1, 512, false, false);
        check_attention(&r, 1, 33, 257, 1, 9, false, false);
        check_attention(&r, 2, 77, 77, 3, 16, false, true);
        check_attention(&r, 1, 70, 300, 2, 64, false, true);
        check_attention(&r, 2, 13, 13, 2, 8, true, true);
    }
}

/* Attention of `n` pictures to `keys` rows each; `counts` as the graph's input says it, or NULL. */
static void attend_to(rig *r, float *y, int n, int keys, const float *q, const float *kv,
                      const int32_t *counts) {
    enum { rows = 40, heads = 3, dim = 20, c = heads * dim };
    bl_graph *g = graph_of(r);
    bl_tensor_id tq = input(g, "q", n, rows, 1, c), tk = input(g, "kv", n, keys, 1, 2 * c);
    bl_attention_options o = {.heads = heads, .head_dim = dim, .v_offset = c, .key_counts = BL_NONE};
    if (counts) {
        o.key_counts = bl_input(g, "counts", BL_I32, BL_CHANNELS_LAST, n, 1, 1, 1);
    }
    bl_export(g, bl_attention(g, tq, tk, tk, o), "y", BL_CHANNELS_LAST);
    run_graph(r, g, (const void *[]){q, kv, counts}, (void *[]){y});
}

/* Who sees fewer keys than there are gets the bits that it gets where there are no more, whatever lies behind
 * them. */
static void counted_keys(void **state) {
    (void)state;
    enum { n = 4, keys = 231, row = 2 * 60, out = 40 * 60 };
    static const int32_t counts[n] = {77, 231, 1, 154};
    for (int t = 0; t < type_count; t++) {
        rig r = rig_of(t);
        float *q = filled(&r, 1, (int64_t)n * out), *kv = filled(&r, 2, (int64_t)n * keys * row);
        float *all = malloc(n * out * sizeof *all), *own = malloc(out * sizeof *own);
        assert_non_null(all);
        assert_non_null(own);
        attend_to(&r, all, n, keys, q, kv, counts);
        for (int i = 0; i < n; i++) {
            attend_to(&r, own, 1, counts[i], q + (size_t)(i * out), kv + (size_t)(i * keys * row), NULL);
            assert_memory_equal(own, all + (size_t)(i * out), out * sizeof *own);
        }
        free(q);
        free(kv);
        free(all);
        free(own);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention),
        cmocka_unit_test(counted_keys),
    };
    int failures = on_lower_isas(argc, argv);
    return failures + cmocka_run_group_tests(tests, open_device, close_device);
}
