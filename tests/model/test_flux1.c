/* The networks of Flux.1 against the goldens of transformers and diffusers (tools/flux1_goldens.py), at every
 * arena level. */
#include "model/transformers.h"

#include "model/t5.h"

/* ---- T5 */

static const bl_t5 tiny_t5 = {.vocab = 1000,
                              .width = 48,
                              .hidden = 96,
                              .layers = 2,
                              .heads = 4,
                              .head_dim = 16,
                              .buckets = 32,
                              .distance = 128,
                              .eps = 1e-6f};

/* What a host gives: rows of the tokens, and the bias from the table. */
static void fill_t5(const bench *b, const bl_graph *g, void *const *inputs, const char *which, int tokens) {
    char name[RIG_NAME];
    bl_error err;
    float *embeddings = input_named(g, inputs, "embeddings"), buckets[32 * 4];
    const bl_file_tensor *table = bl_safetensors_find(b->weights, "shared.weight");
    const bl_file_tensor *bias = bl_safetensors_find(
        b->weights, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
    assert_true(table && bias);
    rig_name(name, "%s.ids", which);
    int32_t *ids = bl_golden_bytes(&b->golden, name);
    for (int i = 0; i < tokens; i++) {
        rig_ok(bl_tensor_read(b->weights, table, (int64_t)ids[i] * 48, 48, embeddings + (size_t)i * 48, &err),
               &err);
    }
    rig_ok(bl_tensor_read(b->weights, bias, 0, 32 * 4, buckets, &err), &err);
    bl_t5_bias(input_named(g, inputs, "bias"), &tiny_t5, buckets, tokens);
    free(ids);
}

static void check_t5(const char *which, int tokens, const char *const *taps, bl_dtype dtype) {
    void *inputs[MOST_PORTS];
    bl_graph *g;
    bl_error err;
    bench b;
    bench_open(&b, "flux1/dev", "text_encoder_2", "t5");
    rig_ok(bl_t5_graph(&g, &tiny_t5, BL_TEXT_ENCODER_2, 1, tokens, dtype, taps, &err), &err);
    make_inputs(g, inputs);
    fill_t5(&b, g, inputs, which, tokens);
    check(&b, g, inputs, which, "context");
    bench_close(&b);
}

/* The long text reaches further than the last bucket. */
static void t5_is_that_of_transformers(void **state) {
    static const char *const taps[] = {"encoder.block.0", NULL};
    (void)state;
    for (int i = 0; i < 2; i++) {
        check_t5("short", 8, taps, i ? BL_BF16 : BL_F32);
        check_t5("long", 160, NULL, i ? BL_BF16 : BL_F32);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(t5_is_that_of_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
