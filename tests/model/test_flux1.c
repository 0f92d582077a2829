/* The networks of Flux.1 against the goldens of transformers and diffusers (tools/flux1_goldens.py), at every
 * arena level. */
#include "model/in_two.h"

#include "model/flux1.h"
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

/* What a host gives: rows of the tokens, and the bias from the table. `behind`: what is behind the names of a
 * text's ports. */
static void fill_t5(const bench *b, const bl_graph *g, void *const *inputs, const char *which, int tokens,
                    const char *behind) {
    char name[RIG_NAME];
    bl_error err;
    rig_name(name, "embeddings%s", behind);
    float *embeddings = input_named(g, inputs, name), buckets[32 * 4];
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
    rig_name(name, "bias%s", behind);
    bl_t5_bias(input_named(g, inputs, name), &tiny_t5, buckets, tokens);
    free(ids);
}

static void check_t5(const char *which, int tokens, const char *const *taps, bl_dtype dtype) {
    void *inputs[MOST_PORTS];
    bl_graph *g;
    bl_error err;
    bench b;
    bench_open(&b, "flux1/dev", "text_encoder_2", "t5");
    rig_ok(bl_t5_graph(&g, &tiny_t5, BL_TEXT_ENCODER_2, 1, tokens, 0, dtype, taps, &err), &err);
    make_inputs(g, inputs);
    fill_t5(&b, g, inputs, which, tokens, "");
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

/* Runs one text, or two together, each rows [rows][width] of its own, which the caller frees. */
static void run_t5(float **outputs, const bench *b, const int *rows, const char *const *names) {
    const bl_source source = {.payload = b->weights, .dtype = file_dtype, .read = file_read};
    const bl_prepare_options options = {0};
    void *inputs[MOST_PORTS], *out[2];
    bl_graph *g;
    bl_error err;
    rig_ok(bl_t5_graph(&g, &tiny_t5, BL_TEXT_ENCODER_2, 1, rows[0], rows[1], BL_F32, NULL, &err), &err);
    make_inputs(g, inputs);
    for (int k = 0; k < g->output_count; k++) {
        fill_t5(b, g, inputs, names[k], rows[k], k ? " 2" : "");
        out[k] = outputs[k] = malloc((size_t)rows[k] * 48 * sizeof(float));
        assert_non_null(out[k]);
    }
    rig_ok(bl_run_once(b->device, g, &source, &options, (const void *const *)inputs, out, &err), &err);
    for (int i = 0; i < g->input_count; i++) {
        free(inputs[i]);
    }
    bl_graph_free(&g);
}

/* Weights are there once; either text has the bits that it has alone. */
static void two_texts_take_one_pass(void **state) {
    static const int rows[2] = {160, 8}, long_rows[2] = {160, 0}, short_rows[2] = {8, 0};
    static const char *const names[2] = {"long", "short"};
    float *both[2], *alone[2];
    bl_graph *one, *two;
    bl_error err;
    bench b;
    (void)state;
    rig_ok(bl_t5_graph(&one, &tiny_t5, BL_TEXT_ENCODER_2, 1, 8, 0, BL_F32, NULL, &err), &err);
    rig_ok(bl_t5_graph(&two, &tiny_t5, BL_TEXT_ENCODER_2, 1, 160, 8, BL_F32, NULL, &err), &err);
    assert_true(two->weight_count == one->weight_count && two->block_count == one->block_count);
    assert_true(two->output_count == 2);
    bl_graph_free(&one);
    bl_graph_free(&two);
    bench_open(&b, "flux1/dev", "text_encoder_2", "t5");
    run_t5(both, &b, rows, names);
    run_t5(&alone[0], &b, long_rows, &names[0]);
    run_t5(&alone[1], &b, short_rows, &names[1]);
    for (int k = 0; k < 2; k++) {
        assert_memory_equal(both[k], alone[k], (size_t)rows[k] * 48 * sizeof(float));
        free(both[k]);
        free(alone[k]);
    }
    bench_close(&b);
}

/* ---- the transformer */

static bl_flux1 tiny_flux1(int doubles, bool guided) {
    return (bl_flux1){.channels = 16,
                      .heads = 2,
                      .head_dim = 16,
                      .hidden = 128,
                      .doubles = doubles,
                      .singles = 2,
                      .context = 48,
                      .pooled = 32,
                      .time = 256,
                      .guided = guided,
                      .axis = {4, 4, 8},
                      .eps = 1e-6f,
                      .theta = 10000};
}

/* The golden's tokens [rows][c, dy, dx] to latents [c, 2 rows, 2 columns], or back. */
static void unpack(float *latents, float *tokens, const bl_flux1_shape *s, int channels, bool back) {
    const int h = s->height, w = s->width;
    for (int c = 0; c < channels; c++) {
        for (int i = 0; i < h * w; i++) {
            const int y = i / w, x = i % w;
            float *cut = &tokens[((y / 2 * (w / 2) + x / 2) * channels + c) * 4 + y % 2 * 2 + x % 2];
            float *flat = &latents[c * h * w + i];
            *(back ? cut : flat) = *(back ? flat : cut);
        }
    }
}

static void fill_flux1(const bench *b, const bl_graph *g, void *const *inputs, const char *which,
                       const bl_flux1 *a, const bl_flux1_shape *s) {
    static const char *const same[][2] = {{"context", "encoder_hidden_states"},
                                          {"pooled", "pooled"},
                                          {"t", "timestep"},
                                          {"guidance", "guidance"}};
    char name[RIG_NAME];
    rig_name(name, "%s.hidden_states", which);
    float *tokens = bl_golden_f32(&b->golden, name);
    unpack(input_named(g, inputs, "latents"), tokens, s, a->channels, false);
    free(tokens);
    for (int i = 0; i < 3 + a->guided; i++) {
        rig_name(name, "%s.%s", which, same[i][1]);
        take(b, g, inputs, same[i][0], name);
        if (i > 1) {
            *(float *)input_named(g, inputs, same[i][0]) *= 1000;
        }
    }
    bl_flux1_rope(input_named(g, inputs, "rope"), a, s);
}

/* The output lies as latents, the golden's as tokens: it is turned before it is compared. */
static void check_flux1(const char *family, const bl_flux1 *a, const char *which, bl_flux1_shape s,
                        const char *const *taps, bl_dtype dtype) {
    void *inputs[MOST_PORTS];
    bl_graph *g;
    bl_error err;
    bench b;
    bench_open(&b, family, "transformer", "transformer");
    rig_ok(bl_flux1_graph(&g, a, &s, dtype, taps, &err), &err);
    make_inputs(g, inputs);
    fill_flux1(&b, g, inputs, which, a, &s);
    bl_source source = {.payload = b.weights, .dtype = file_dtype, .read = file_read};
    bl_device_caps caps = bl_device_caps_of(b.device);
    for (int level = 0; level < caps.arena_levels; level++) {
        const int64_t values = (int64_t)s.height * s.width * a->channels;
        void *outputs[MOST_PORTS];
        for (int i = 0; i < g->output_count; i++) {
            outputs[i] = malloc((size_t)bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, i)) * sizeof(float));
            assert_non_null(outputs[i]);
        }
        bl_prepare_options options = {.arena_level = level};
        rig_ok(bl_run_once(b.device, g, &source, &options, (const void *const *)inputs, outputs, &err), &err);
        for (int i = 0; i < g->output_count; i++) {
            const bl_tensor *t = bl_graph_port(g, BL_OUTPUT, i);
            const bool whole = !strcmp(t->name, "output");
            char name[RIG_NAME];
            float *got = outputs[i], *tokens = malloc((size_t)values * sizeof *tokens);
            assert_non_null(tokens);
            rig_name(name, whole ? "%s.%s" : "%s.at.%s", which, t->name);
            if (whole) {
                unpack(got, tokens, &s, a->channels, true);
                got = tokens;
            }
            bl_golden_check(&b.golden, name, got, bl_tensor_elements(t), dtype);
            free(tokens);
            free(outputs[i]);
        }
    }
    for (int i = 0; i < g->input_count; i++) {
        free(inputs[i]);
    }
    bl_graph_free(&g);
    bench_close(&b);
}

static void flux1_is_that_of_diffusers(void **state) {
    static const char *const taps[] = {"time_text_embed", "transformer_blocks.0.0", "transformer_blocks.0.1",
                                       "single_transformer_blocks.0", NULL};
    (void)state;
    const bl_flux1 dev = tiny_flux1(2, true), schnell = tiny_flux1(1, false);
    for (int i = 0; i < 2; i++) {
        const bl_dtype dtype = i ? BL_BF16 : BL_F32;
        check_flux1("flux1/dev", &dev, "a",
                    (bl_flux1_shape){.batch = 1, .height = 12, .width = 8, .tokens = 13}, taps, dtype);
        check_flux1("flux1/dev", &dev, "b",
                    (bl_flux1_shape){.batch = 1, .height = 14, .width = 10, .tokens = 40}, NULL, dtype);
        check_flux1("flux1/schnell", &schnell, "a",
                    (bl_flux1_shape){.batch = 1, .height = 12, .width = 8, .tokens = 13}, taps, dtype);
        check_flux1("flux1/schnell", &schnell, "b",
                    (bl_flux1_shape){.batch = 1, .height = 14, .width = 10, .tokens = 40}, NULL, dtype);
    }
}

/* ---- the transformer in two */

/* The golden's step among others of other times: the step takes its row of what the prologue kept. */
static void modulations_of_all_steps_come_before_them(void **state) {
    enum { TIMES = 3, MINE = 1 };
    static const char *const names[] = {"t", "guidance", "pooled"}, *const golden[] = {"b.timestep",
                                                                                       "b.guidance",
                                                                                       "b.pooled"};
    const bl_flux1 a = tiny_flux1(2, true);
    bl_flux1_shape s = {1, 14, 10, 40, BL_UNET_PROLOGUE, TIMES};
    const int64_t values = (int64_t)s.height * s.width * a.channels;
    void *first[MOST_PORTS], *second[MOST_PORTS];
    part prologue, step;
    bl_graph *g;
    bl_error err;
    bench b;
    (void)state;
    bench_open(&b, "flux1/dev", "transformer", "transformer");
    if (!bl_device_caps_of(b.device).host_store) {
        rig_ok(bl_flux1_graph(&g, &a, &s, BL_F32, NULL, &err), &err);
        load(&prologue, &b, g);
        make_inputs(prologue.g, first);
        for (int i = 0; i < 3; i++) {
            float *value = bl_golden_f32(&b.golden, golden[i]),
                  *to = input_named(prologue.g, first, names[i]);
            const int n = i < 2 ? 1 : a.pooled;
            for (int k = 0; k < TIMES * n; k++) {
                to[k] = value[k % n] * (i < 2 ? 1000.0f : 1.0f) + (k / n == MINE ? 0.0f : 0.5f);
            }
            free(value);
        }
        s.form = BL_UNET_STEP;
        rig_ok(bl_flux1_graph(&g, &a, &s, BL_F32, NULL, &err), &err);
        load(&step, &b, g);
        make_inputs(step.g, second);
        *(int32_t *)input_named(step.g, second, "step") = MINE;
        float *tokens = bl_golden_f32(&b.golden, "b.hidden_states"),
              *out = malloc((size_t)values * sizeof *out);
        assert_non_null(out);
        unpack(input_named(step.g, second, "latents"), tokens, &s, a.channels, false);
        take(&b, step.g, second, "context", "b.encoder_hidden_states");
        bl_flux1_rope(input_named(step.g, second, "rope"), &a, &s);
        run_in_two(&b, &prologue, first, &step, second, out);
        unpack(out, tokens, &s, a.channels, true);
        bl_golden_check(&b.golden, "b.output", tokens, values, BL_F32);
        free(tokens);
        free(out);
    }
    bench_close(&b);
}

static void half_a_patch_is_refused(void **state) {
    (void)state;
    bl_graph *g;
    bl_error err;
    const bl_flux1 a = tiny_flux1(1, false);
    const bl_flux1_shape odd = {.batch = 1, .height = 7, .width = 8, .tokens = 4};
    assert_int_equal(bl_flux1_graph(&g, &a, &odd, BL_F32, NULL, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "no whole patches"));
    assert_null(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(t5_is_that_of_transformers),
        cmocka_unit_test(two_texts_take_one_pass),
        cmocka_unit_test(flux1_is_that_of_diffusers),
        cmocka_unit_test(modulations_of_all_steps_come_before_them),
        cmocka_unit_test(half_a_patch_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
