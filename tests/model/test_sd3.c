/* The transformer of SD3 and SD3.5 against the goldens of diffusers (tools/sd3_goldens.py), at every arena
 * level. */
#include "model/in_two.h"

#include "model/sd3.h"

static bl_sd3 tiny_sd3(const char *family) {
    const bool medium = !strcmp(family, "sd3/medium");
    return (bl_sd3){.channels = 16,
                    .heads = 2,
                    .head_dim = 16,
                    .hidden = 128,
                    .layers = medium ? 3 : 2,
                    .duals = medium,
                    .head_norms = medium,
                    .context = 96,
                    .pooled = 80,
                    .time = 256,
                    .positions = 12,
                    .eps = 1e-6f};
}

/* The middle of the table, by its definition: row by row. */
static void fill_positions(const bench *b, float *positions, const bl_sd3 *a, const bl_sd3_shape *s) {
    const int h = s->height / 2, w = s->width / 2, top = (a->positions - h) / 2,
              left = (a->positions - w) / 2;
    const bl_file_tensor *table = bl_safetensors_find(b->weights, BL_SD3_TABLE);
    bl_error err;
    assert_non_null(table);
    for (int i = 0; i < h * w; i++) {
        const int64_t row = (int64_t)(top + i / w) * a->positions + left + i % w;
        assert_true(row == bl_sd3_position(a, s, i / w) + i % w);
        rig_ok(bl_tensor_read(b->weights, table, row * 32, 32, positions + (size_t)i * 32, &err), &err);
    }
}

static void fill_sd3(const bench *b, const bl_graph *g, void *const *inputs, const char *which,
                     const bl_sd3 *a, const bl_sd3_shape *s) {
    static const char *const same[][2] = {{"latents", "hidden_states"},
                                          {"context", "encoder_hidden_states"},
                                          {"pooled", "pooled"},
                                          {"t", "timestep"}};
    char name[RIG_NAME];
    for (int i = 0; i < 4; i++) {
        if (bl_graph_input(g, same[i][0]) >= 0) {
            rig_name(name, "%s.%s", which, same[i][1]);
            take(b, g, inputs, same[i][0], name);
        }
    }
    fill_positions(b, input_named(g, inputs, "positions"), a, s);
}

static void check_sd3(const char *family, const char *which, bl_sd3_shape s, const char *const *taps,
                      bl_dtype dtype) {
    const bl_sd3 a = tiny_sd3(family);
    void *inputs[MOST_PORTS];
    bl_graph *g;
    bl_error err;
    bench b;
    bench_open(&b, family, "transformer", "transformer");
    rig_ok(bl_sd3_graph(&g, &a, &s, dtype, taps, &err), &err);
    make_inputs(g, inputs);
    fill_sd3(&b, g, inputs, which, &a, &s);
    check(&b, g, inputs, which, "output");
    bench_close(&b);
}

static void sd3_is_that_of_diffusers(void **state) {
    static const char *const taps[] = {"time_text_embed",        "transformer_blocks.0.0",
                                       "transformer_blocks.0.1", "transformer_blocks.1.1",
                                       "transformer_blocks.2.1", NULL};
    static const char *const families[] = {"sd3/medium", "sd3/first"};
    (void)state;
    for (int i = 0; i < 4; i++) {
        const bl_dtype dtype = i / 2 ? BL_BF16 : BL_F32;
        check_sd3(families[i % 2], "a", (bl_sd3_shape){.batch = 1, .height = 12, .width = 8, .tokens = 13},
                  taps, dtype);
        check_sd3(families[i % 2], "b", (bl_sd3_shape){.batch = 1, .height = 14, .width = 10, .tokens = 40},
                  NULL, dtype);
    }
}

/* The golden's step among others of other times: the step takes its row of what the prologue kept. */
static void modulations_of_all_steps_come_before_them(void **state) {
    enum { TIMES = 3, MINE = 1 };
    static const char *const names[] = {"t", "pooled"}, *const golden[] = {"b.timestep", "b.pooled"};
    const bl_sd3 a = tiny_sd3("sd3/medium");
    bl_sd3_shape s = {1, 14, 10, 40, BL_UNET_PROLOGUE, TIMES};
    const int64_t values = (int64_t)s.height * s.width * a.channels;
    void *first[MOST_PORTS], *second[MOST_PORTS];
    part prologue, step;
    bl_graph *g;
    bl_error err;
    bench b;
    (void)state;
    bench_open(&b, "sd3/medium", "transformer", "transformer");
    if (!bl_device_caps_of(b.device).host_store) {
        rig_ok(bl_sd3_graph(&g, &a, &s, BL_F32, NULL, &err), &err);
        load(&prologue, &b, g);
        make_inputs(prologue.g, first);
        for (int i = 0; i < 2; i++) {
            float *value = bl_golden_f32(&b.golden, golden[i]),
                  *to = input_named(prologue.g, first, names[i]);
            const int n = i ? a.pooled : 1;
            for (int k = 0; k < TIMES * n; k++) {
                to[k] = value[k % n] + (k / n == MINE ? 0.0f : 0.5f);
            }
            free(value);
        }
        s.form = BL_UNET_STEP;
        rig_ok(bl_sd3_graph(&g, &a, &s, BL_F32, NULL, &err), &err);
        load(&step, &b, g);
        make_inputs(step.g, second);
        *(int32_t *)input_named(step.g, second, "step") = MINE;
        fill_sd3(&b, step.g, second, "b", &a, &s);
        float *out = malloc((size_t)values * sizeof *out);
        assert_non_null(out);
        run_in_two(&b, &prologue, first, &step, second, out);
        bl_golden_check(&b.golden, "b.output", out, values, BL_F32);
        free(out);
    }
    bench_close(&b);
}

static void refused(int height, int width, const char *why) {
    const bl_sd3 a = tiny_sd3("sd3/medium");
    const bl_sd3_shape s = {.batch = 1, .height = height, .width = width, .tokens = 4};
    bl_graph *g;
    bl_error err;
    assert_int_equal(bl_sd3_graph(&g, &a, &s, BL_F32, NULL, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, why));
    assert_null(g);
}

static void sides_that_cannot_be_are_refused(void **state) {
    (void)state;
    refused(7, 8, "no whole patches");
    refused(8, 26, "at most 24 x 24, not 26 x 8");
    refused(26, 8, "at most 24 x 24, not 8 x 26");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sd3_is_that_of_diffusers),
        cmocka_unit_test(modulations_of_all_steps_come_before_them),
        cmocka_unit_test(sides_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
