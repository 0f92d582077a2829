/* Networks made of transformers' blocks, against the goldens of diffusers and transformers: Qwen3 as a text
 * encoder, Z-Image, Flux.2. At every arena level, on the cpu device or the one that BALLAST_TEST_DEVICE
 * names. */
#include "model/transformers.h"

#include "model/flux2.h"
#include "model/qwen3.h"
#include "model/rope.h"
#include "model/zimage.h"

/* ---- Qwen3 */

static const bl_qwen3 tiny_qwen3 = {.width = 32,
                                    .hidden = 96,
                                    .layers = 6,
                                    .heads = 4,
                                    .kv_heads = 2,
                                    .head_dim = 16,
                                    .eps = 1e-6f,
                                    .theta = 1e6};

/* Embeddings, positions and the number of tokens of a case: what a host gives. */
static void fill_qwen3(const bench *b, const bl_graph *g, void *const *inputs, const char *which,
                       int tokens) {
    char name[RIG_NAME];
    float *embeddings = input_named(g, inputs, "embeddings"), *rope = input_named(g, inputs, "rope");
    int32_t *counts = input_named(g, inputs, "counts");
    const bl_file_tensor *table = bl_safetensors_find(b->weights, "model.embed_tokens.weight");
    assert_non_null(table);
    rig_name(name, "%s.ids", which);
    int32_t *ids = bl_golden_bytes(&b->golden, name);
    rig_name(name, "%s.mask", which);
    int32_t *mask = bl_safetensors_find(b->golden.file, name) ? bl_golden_bytes(&b->golden, name) : NULL;
    counts[0] = 0;
    for (int i = 0; i < tokens; i++) {
        bl_error err;
        rig_ok(bl_tensor_read(b->weights, table, (int64_t)ids[i] * 32, 32, embeddings + (size_t)i * 32, &err),
               &err);
        bl_rope_row(rope + (size_t)i * 16, &i, &tiny_qwen3.head_dim, 1, tiny_qwen3.theta);
        counts[0] += mask ? mask[i] : 1;
    }
    free(ids);
    free(mask);
}

static void check_qwen3(const char *which, int tokens, bl_qwen3_outputs want, const char *golden,
                        bl_dtype dtype) {
    static const char *const plain[] = {"layers.0.input_layernorm", "layers.0.self_attn.q_norm", NULL};
    const char *const *taps = strcmp(which, "plain") ? NULL : plain;
    void *inputs[MOST_PORTS];
    bl_graph *g;
    bl_error err;
    bench b;
    bench_open(&b, "qwen3", "text_encoder", "hidden");
    rig_ok(bl_qwen3_graph(&g, &tiny_qwen3, 1, tokens, 0, want, dtype, taps, &err), &err);
    make_inputs(g, inputs);
    fill_qwen3(&b, g, inputs, which, tokens);
    check(&b, g, inputs, which, golden);
    bench_close(&b);
}

static void qwen3_gives_the_layers_that_are_read(void **state) {
    (void)state;
    const bl_qwen3_outputs fifth = {.taken = {5}, .count = 1}, three = {.taken = {1, 3, 5}, .count = 3},
                           last = {.taken = {6}, .count = 1, .last_norm = true};
    for (int i = 0; i < 2; i++) {
        const bl_dtype dtype = i ? BL_BF16 : BL_F32;
        check_qwen3("plain", 23, fifth, "hidden5", dtype);
        check_qwen3("plain", 23, three, "joined_1_3_5", dtype);
        check_qwen3("plain", 23, last, "last", dtype);
        check_qwen3("padded", 40, three, "joined_1_3_5", dtype);
        check_qwen3("padded", 40, last, "last", dtype);
    }
}

static void layers_behind_the_last_that_is_read_are_left_out(void **state) {
    (void)state;
    bl_graph *g;
    bl_error err;
    const bl_qwen3_outputs second = {.taken = {2}, .count = 1}, none = {.taken = {7}, .count = 1};
    rig_ok(bl_qwen3_graph(&g, &tiny_qwen3, 1, 8, 0, second, BL_F32, NULL, &err), &err);
    assert_int_equal(g->block_count, 2);
    bl_graph_free(&g);
    assert_int_equal(bl_qwen3_graph(&g, &tiny_qwen3, 1, 8, 0, none, BL_F32, NULL, &err), BL_E_ARGUMENT);
    assert_null(g);
}

/* ---- Z-Image */

static const bl_zimage tiny_zimage = {.channels = 16,
                                      .width = 32,
                                      .heads = 2,
                                      .hidden = 85,
                                      .layers = 2,
                                      .refiners = 1,
                                      .caption = 16,
                                      .time_hidden = 1024,
                                      .time = 32,
                                      .axis = {8, 4, 4},
                                      .eps = 1e-5f,
                                      .theta = 256};

static void check_zimage(const char *which, bl_zimage_shape shape, const char *const *taps, bl_dtype dtype) {
    void *inputs[MOST_PORTS];
    char name[RIG_NAME];
    bl_graph *g;
    bl_error err;
    bench b;
    bench_open(&b, "zimage", "transformer", "transformer");
    rig_ok(bl_zimage_graph(&g, &tiny_zimage, &shape, dtype, taps, &err), &err);
    make_inputs(g, inputs);
    rig_name(name, "%s.latents", which);
    take(&b, g, inputs, "latents", name);
    rig_name(name, "%s.caption", which);
    take_first(&b, g, inputs, "caption", name);
    for (int i = shape.caption; i < bl_zimage_caption_tokens(&shape); i++) {
        ((int32_t *)input_named(g, inputs, "caption_rows"))[i] = 1;
    }
    rig_name(name, "%s.t", which);
    take(&b, g, inputs, "t", name);
    *(float *)input_named(g, inputs, "t") *= 1000;
    float *rope = input_named(g, inputs, "rope"), *image = input_named(g, inputs, "image_rope"),
          *caption = input_named(g, inputs, "caption_rope");
    bl_zimage_rope(image, caption, &tiny_zimage, &shape);
    const size_t images = 16 * (size_t)bl_zimage_image_tokens(&shape),
                 captions = 16 * (size_t)bl_zimage_caption_tokens(&shape);
    memcpy(rope, image, images * sizeof *rope);
    memcpy(rope + images, caption, captions * sizeof *rope);
    check(&b, g, inputs, which, "output");
    bench_close(&b);
}

static void zimage_is_that_of_diffusers(void **state) {
    static const char *const taps[] = {"t_embedder", "noise_refiner.0", "context_refiner.0",
                                       "layers.0",   "layers.1",        NULL};
    (void)state;
    for (int i = 0; i < 2; i++) {
        const bl_dtype dtype = i ? BL_BF16 : BL_F32;
        check_zimage("a", (bl_zimage_shape){1, 12, 8, 13, false}, taps, dtype);
        check_zimage("b", (bl_zimage_shape){1, 14, 10, 40, false}, taps, dtype);
        check_zimage("full", (bl_zimage_shape){1, 16, 16, 32, false}, NULL, dtype); /* nothing to fill up */
    }
}

/* ---- Flux.2 */

static bl_flux2 tiny_flux2(int doubles, int singles, bool guided) {
    return (bl_flux2){.channels = 128,
                      .heads = 2,
                      .head_dim = 16,
                      .hidden = 96,
                      .doubles = doubles,
                      .singles = singles,
                      .context = 48,
                      .time = 256,
                      .guided = guided,
                      .axis = {4, 4, 4, 4},
                      .eps = 1e-6f,
                      .theta = 2000};
}

/* Rows of tokens [rows][c] to [c][rows], or back. */
static void turn(float *to, const float *from, int rows, int c, bool back) {
    for (int i = 0; i < rows; i++) {
        for (int k = 0; k < c; k++) {
            to[back ? i * c + k : k * rows + i] = from[back ? k * rows + i : i * c + k];
        }
    }
}

static void fill_flux2(const bench *b, const bl_graph *g, void *const *inputs, const char *which,
                       const bl_flux2 *a, const bl_flux2_shape *s) {
    char name[RIG_NAME];
    rig_name(name, "%s.hidden_states", which);
    float *tokens = bl_golden_f32(&b->golden, name);
    turn(input_named(g, inputs, "latents"), tokens, s->height * s->width, a->channels, false);
    free(tokens);
    rig_name(name, "%s.encoder_hidden_states", which);
    take(b, g, inputs, "context", name);
    rig_name(name, "%s.timestep", which);
    take(b, g, inputs, "t", name);
    *(float *)input_named(g, inputs, "t") *= 1000;
    if (a->guided) {
        rig_name(name, "%s.guidance", which);
        take(b, g, inputs, "guidance", name);
        *(float *)input_named(g, inputs, "guidance") *= 1000;
    }
    bl_flux2_rope(input_named(g, inputs, "rope"), a, s);
}

static void check_flux2(const char *family, const bl_flux2 *a, const char *which, bl_flux2_shape s,
                        bl_dtype dtype) {
    void *inputs[MOST_PORTS];
    char name[RIG_NAME];
    bl_graph *g;
    bl_error err;
    bench b;
    const int rows = s.height * s.width, values = rows * a->channels;
    bench_open(&b, family, "transformer", "transformer");
    rig_ok(bl_flux2_graph(&g, a, &s, dtype, NULL, &err), &err);
    make_inputs(g, inputs);
    fill_flux2(&b, g, inputs, which, a, &s);
    bl_source source = {.payload = b.weights, .dtype = file_dtype, .read = file_read};
    bl_device_caps caps = bl_device_caps_of(b.device);
    float *out = malloc((size_t)values * sizeof *out), *tokens = malloc((size_t)values * sizeof *tokens);
    assert_true(out && tokens);
    rig_name(name, "%s.output", which);
    for (int level = 0; level < caps.arena_levels; level++) {
        bl_prepare_options options = {.arena_level = level};
        rig_ok(
            bl_run_once(b.device, g, &source, &options, (const void *const *)inputs, (void *[]){out}, &err),
            &err);
        turn(tokens, out, rows, a->channels, true);
        bl_golden_check(&b.golden, name, tokens, values, dtype);
    }
    for (int i = 0; i < g->input_count; i++) {
        free(inputs[i]);
    }
    free(out);
    free(tokens);
    bl_graph_free(&g);
    bench_close(&b);
}

/* Sides of the goldens' latents: their ids say them. */
static void flux2_is_that_of_diffusers(void **state) {
    (void)state;
    const bl_flux2 klein = tiny_flux2(2, 2, false), dev = tiny_flux2(1, 2, true);
    for (int i = 0; i < 2; i++) {
        const bl_dtype dtype = i ? BL_BF16 : BL_F32;
        check_flux2("flux2/klein_2_2", &klein, "a", (bl_flux2_shape){1, 6, 4, 13, BL_UNET_WHOLE, 0}, dtype);
        check_flux2("flux2/klein_2_2", &klein, "b", (bl_flux2_shape){1, 7, 5, 40, BL_UNET_WHOLE, 0}, dtype);
        check_flux2("flux2/dev_1_2", &dev, "a", (bl_flux2_shape){1, 6, 4, 13, BL_UNET_WHOLE, 0}, dtype);
        check_flux2("flux2/dev_1_2", &dev, "b", (bl_flux2_shape){1, 7, 5, 40, BL_UNET_WHOLE, 0}, dtype);
    }
}

/* Where captions differ in length the graph says what numbers of keys come, so that a device is ready for
 * each. */
static void lengths_of_captions_are_expected(void **state) {
    (void)state;
    enum { LONGEST = 150 };
    bl_graph *g;
    bl_error err;
    int counted = 0;
    const bl_zimage_shape shape = {2, 10, 8, LONGEST, true};
    const int images = bl_zimage_image_tokens(&shape);
    rig_ok(bl_zimage_graph(&g, &tiny_zimage, &shape, BL_F32, NULL, &err), &err);
    for (int i = 0; i < g->op_count; i++) {
        const bl_op *op = &g->ops[i];
        if (op->kind != BL_OP_ATTENTION || op->in[3] == BL_NONE) {
            continue;
        }
        const int least = op->u.attention.key_least, step = op->u.attention.key_step;
        const bool both = g->tensors[op->in[1]].h > bl_zimage_caption_tokens(&shape);
        assert_true(step > 0);
        for (int caption = 1; caption <= LONGEST; caption++) {
            const bl_zimage_shape one = {1, shape.height, shape.width, caption, false};
            const int keys = bl_zimage_caption_tokens(&one) + (both ? images : 0);
            assert_true(keys >= least && (keys - least) % step == 0);
        }
        counted += both ? 1 : 100;
    }
    assert_int_equal(counted, tiny_zimage.layers + 100 * tiny_zimage.refiners);
    bl_graph_free(&g);
}

static void shapes_that_cannot_be_are_refused(void **state) {
    (void)state;
    bl_graph *g;
    bl_error err;
    const bl_zimage_shape odd = {1, 7, 8, 4, false};
    assert_int_equal(bl_zimage_graph(&g, &tiny_zimage, &odd, BL_F32, NULL, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "no whole patches"));
    assert_null(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qwen3_gives_the_layers_that_are_read),
        cmocka_unit_test(layers_behind_the_last_that_is_read_are_left_out),
        cmocka_unit_test(zimage_is_that_of_diffusers),
        cmocka_unit_test(flux2_is_that_of_diffusers),
        cmocka_unit_test(lengths_of_captions_are_expected),
        cmocka_unit_test(shapes_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
