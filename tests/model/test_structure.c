/* What can be said of the graphs without running them: parameters, work, memory, blocks, at the published
 * sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "graph/arena.h"
#include "model/autoencoder_kl.h"
#include "model/clip_text.h"
#include "model/unet.h"
#include "published.h"

static int64_t parameters(const bl_graph *g) {
    int64_t n = 0;
    for (int i = 0; i < g->weight_count; i++) {
        n += bl_weight_elements(&g->weights[i]);
    }
    return n;
}

/* Of convolutions and linear layers, as profilers of PyTorch models count: attention's products are left out.
 */
static double flops(const bl_graph *g) {
    double sum = 0;
    for (int i = 0; i < g->op_count; i++) {
        sum += g->ops[i].kind == BL_OP_ATTENTION ? 0 : bl_op_flops(g, &g->ops[i]);
    }
    return sum;
}

static bl_graph *unet(const bl_unet_architecture *arch, int batch, int height, int width) {
    bl_graph *g = NULL;
    bl_error err = {0};
    bl_unet_shape shape = {.batch = batch, .height = height, .width = width, .tokens = 77};
    int rc = bl_unet_graph(&g, arch, shape, BL_F32, NULL, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(rc, 0);
    return g;
}

/* Parameter counts as PyTorch gives them for the published models, and floating-point operations of one
 * evaluation. */
static void test_unet_sizes(void **state) {
    (void)state;
    const struct {
        const bl_unet_architecture *arch;
        int side, blocks;
        int64_t parameters;
        double low, high;
    } models[] = {
        {&published_sd15_unet, 64, 46, 859520964, 0.67e12, 0.69e12},
        {&published_sd21_unet, 96, 46, 865910724, 1.5e12, 1.7e12},
        {&published_sdxl_unet, 128, 93, 2567463684, 5.95e12, 6.0e12},
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        bl_graph *g = unet(models[i].arch, 1, models[i].side, models[i].side);
        assert_int_equal(parameters(g), models[i].parameters);
        assert_int_equal(g->block_count, models[i].blocks);
        assert_true(flops(g) > models[i].low && flops(g) < models[i].high);
        bl_graph *two = unet(models[i].arch, 2, models[i].side, models[i].side);
        assert_true(flops(two) == 2 * flops(g));
        bl_graph_free(&two);
        bl_graph_free(&g);
    }
}

static bl_graph *text(const bl_text_architecture *arch, bl_clip_text_outputs want) {
    bl_graph *g = NULL;
    bl_error err = {0};
    assert_int_equal(bl_clip_text_graph(&g, BL_TEXT_ENCODER, arch, 2, 77, want, BL_F32, NULL, &err), 0);
    return g;
}

static void test_autoencoder_sizes(void **state) {
    (void)state;
    bl_graph *decoder = NULL, *encoder = NULL;
    bl_vae_shape shape = {.batch = 1, .height = 64, .width = 64};
    assert_int_equal(bl_vae_decoder_graph(&decoder, &published_vae, shape, BL_F32, NULL, NULL), 0);
    assert_int_equal(bl_vae_encoder_graph(&encoder, &published_vae, shape, BL_F32, NULL, NULL), 0);
    assert_int_equal(parameters(decoder), 49490199);
    assert_int_equal(parameters(encoder), 34163664);
    const bl_tensor *image = bl_graph_port(decoder, BL_OUTPUT, 0),
                    *moments = bl_graph_port(encoder, BL_OUTPUT, 0);
    assert_true(image->h == 512 && image->w == 512 && image->c == 3);
    assert_true(moments->h == 64 && moments->w == 64 && moments->c == 8);
    assert_true(flops(decoder) > 2.4e12 && flops(decoder) < 2.7e12);
    bl_graph_free(&encoder);
    bl_graph_free(&decoder);
}

/* Only the layers that the outputs need are there. */
static void test_text_sizes(void **state) {
    (void)state;
    const int64_t l_layer = 7087872, h_layer = 12596224, norm = 2 * 768;
    const struct {
        const bl_text_architecture *arch;
        bl_clip_text_outputs want;
        int64_t parameters;
    } cases[] = {
        {&published_clip_l, {.context = true}, 123060480},
        {&published_clip_l, {.context = true, .clip_skip = 1}, 123060480},
        {&published_clip_l, {.context = true, .clip_skip = 2}, 123060480 - l_layer},
        {&published_clip_l, {.context = true, .clip_skip = 12}, 123060480 - 11 * l_layer},
        {&published_clip_l, {.penultimate = true}, 123060480 - l_layer - norm},
        {&published_clip_l, {.pooled = true, .context = true, .clip_skip = 5}, 123060480},
        {&published_clip_l_sdxl, {.context = true}, 123060480 - l_layer - norm},
        {&published_clip_l_sdxl, {.context = true, .clip_skip = 4}, 123060480 - 3 * l_layer - norm},
        {&published_clip_l_sdxl,
         {.context = true, .own_context = true, .clip_skip = 4},
         123060480 - l_layer - norm},
        {&published_clip_l_sdxl, {.context = true, .clip_skip = 1}, 123060480 - norm},
        {&published_clip_l_sdxl, {.last_hidden_state = true}, 123060480},
        {&published_clip_h, {.context = true}, 340387840},
        {&published_clip_h, {.last_hidden_state = true}, 340387840},
        {&published_clip_h, {.penultimate_ln = true}, 340387840 - h_layer},
        {&published_clip_g, {.context = true, .text_embeds = true}, 694659840},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_graph *g = text(cases[i].arch, cases[i].want);
        assert_int_equal(parameters(g), cases[i].parameters);
        bl_graph_free(&g);
    }
}

static void check_blocks(const bl_graph *g) {
    int ops = 0, weights = 0;
    for (int b = 0; b < g->block_count; b++) {
        assert_int_equal(g->blocks[b].first_op, ops);
        assert_int_equal(g->blocks[b].first_weight, weights);
        assert_true(g->blocks[b].op_count > 0);
        ops += g->blocks[b].op_count;
        weights += g->blocks[b].weight_count;
    }
    assert_int_equal(ops, g->op_count);
    assert_int_equal(weights, g->weight_count);
    for (int i = 0; i < g->op_count; i++) {
        const bl_op *op = &g->ops[i];
        assert_true(op->weight == BL_NONE || g->weights[op->weight].block == op->block);
        assert_true(op->weight2 == BL_NONE || g->weights[op->weight2].block == op->block);
    }
}

static void assert_same_weights(const bl_graph *a, const bl_graph *b) {
    assert_int_equal(a->weight_count, b->weight_count);
    assert_memory_equal(a->weights, b->weights, (size_t)a->weight_count * sizeof *a->weights);
    assert_int_equal(a->block_count, b->block_count);
    for (int i = 0; i < a->block_count; i++) {
        assert_string_equal(a->blocks[i].name, b->blocks[i].name);
        assert_int_equal(a->blocks[i].first_weight, b->blocks[i].first_weight);
    }
}

/* Blocks follow each other without holes, read only weights of their own, and are the same at every shape,
 * with taps and without. */
static void test_blocks(void **state) {
    (void)state;
    const bl_unet_architecture *archs[] = {&published_sd15_unet, &published_sd21_unet, &published_sdxl_unet};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        bl_graph *a = unet(archs[i], 1, 64, 64), *b = unet(archs[i], 2, 33, 91), *c = NULL;
        const char *taps[] = {"conv_in", "conv_norm_out", "time_embedding", "up_blocks.1", NULL};
        bl_unet_shape shape = {.batch = 1, .height = 8, .width = 8, .tokens = 231};
        assert_int_equal(bl_unet_graph(&c, archs[i], shape, BL_BF16, taps, NULL), 0);
        assert_int_equal(c->output_count, 5);
        check_blocks(a);
        check_blocks(c);
        assert_same_weights(a, b);
        assert_same_weights(a, c);
        bl_graph_free(&a);
        bl_graph_free(&b);
        bl_graph_free(&c);
    }
    bl_vae_shape shape = {.batch = 1, .height = 8, .width = 8};
    bl_graph *g = NULL;
    assert_int_equal(bl_vae_decoder_graph(&g, &published_vae, shape, BL_F32, NULL, NULL), 0);
    check_blocks(g);
    bl_graph_free(&g);
    assert_int_equal(bl_vae_encoder_graph(&g, &published_vae, shape, BL_F32, NULL, NULL), 0);
    check_blocks(g);
    bl_graph_free(&g);
    g = text(&published_clip_g, (bl_clip_text_outputs){.context = true, .text_embeds = true});
    check_blocks(g);
    bl_graph_free(&g);
}

/* Activations at the published sizes, kernels' scratch not counted: the plan reaches the bound that liveness
 * sets, or comes within 2% of it. */
static void test_arenas(void **state) {
    (void)state;
    bl_vae_shape large = {.batch = 1, .height = 128, .width = 128};
    bl_graph *graphs[3] = {unet(&published_sd15_unet, 2, 64, 64), unet(&published_sdxl_unet, 2, 128, 128),
                           NULL};
    assert_int_equal(bl_vae_decoder_graph(&graphs[2], &published_vae, large, BL_BF16, NULL, NULL), 0);
    for (int i = 0; i < 3; i++) {
        bl_graph *g = graphs[i];
        bl_op_memory *memory = test_calloc((size_t)g->op_count, sizeof *memory);
        for (int k = 0; k < g->op_count; k++) {
            memory[k].inplace =
                g->ops[k].kind == BL_OP_GROUP_NORM || g->ops[k].kind == BL_OP_LAYER_NORM ? 0 : -1;
        }
        bl_arena_plan plan;
        assert_int_equal(bl_arena_plan_make(&plan, g, memory, NULL), 0);
        print_message("%s: arena %.1f MB, live %.1f MB at %s\n", bl_module_name(g->module),
                      (double)plan.bytes / 1e6, (double)plan.live_bytes / 1e6,
                      g->blocks[g->ops[plan.live_op].block].name);
        assert_true(plan.bytes >= plan.live_bytes);
        assert_true((double)plan.bytes <= 1.02 * (double)plan.live_bytes);
        bl_arena_plan_free(&plan);
        test_free(memory);
        bl_graph_free(&g);
    }
}

static void assert_refused(int rc, int code, const bl_graph *g, const bl_error *err) {
    assert_int_equal(rc, code);
    assert_int_equal(err->code, code);
    assert_true(strlen(err->message) > 0);
    assert_null(g);
}

static void test_refusals(void **state) {
    (void)state;
    bl_graph *g = NULL;
    bl_error err = {0};
    const int shapes[][4] = {{0, 64, 64, 77},      {1, -8, 64, 77},           {1, 64, 0, 77},
                             {1, 64, 64, 0},       {1, 1 << 30, 1 << 30, 77}, {INT32_MAX, 64, 64, 77},
                             {1, INT32_MAX, 1, 77}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int *s = shapes[i];
        bl_unet_shape shape = {.batch = s[0], .height = s[1], .width = s[2], .tokens = s[3]};
        int rc = bl_unet_graph(&g, &published_sd15_unet, shape, BL_F32, NULL, &err);
        assert_refused(rc, BL_E_ARGUMENT, g, &err);
    }
    bl_unet_shape good = {.batch = 1, .height = 64, .width = 64, .tokens = 77};
    assert_refused(bl_unet_graph(&g, &published_sd15_unet, good, BL_F16, NULL, &err), BL_E_ARGUMENT, g, &err);
    bl_vae_shape huge = {1, 1 << 29, 1};
    assert_refused(bl_vae_decoder_graph(&g, &published_vae, huge, BL_F32, NULL, &err), BL_E_ARGUMENT, g,
                   &err);
    assert_refused(bl_vae_encoder_graph(&g, &published_vae, huge, BL_F32, NULL, &err), BL_E_ARGUMENT, g,
                   &err);

    const bl_clip_text_outputs none = {0}, far = {.context = true, .clip_skip = 13},
                               embeds = {.text_embeds = true};
    const bl_clip_text_outputs context = {.context = true};
    assert_refused(
        bl_clip_text_graph(&g, BL_TEXT_ENCODER, &published_clip_l, 1, 77, none, BL_F32, NULL, &err),
        BL_E_ARGUMENT, g, &err);
    assert_refused(bl_clip_text_graph(&g, BL_TEXT_ENCODER, &published_clip_l, 1, 77, far, BL_F32, NULL, &err),
                   BL_E_ARGUMENT, g, &err);
    assert_refused(
        bl_clip_text_graph(&g, BL_TEXT_ENCODER, &published_clip_l, 1, 77, embeds, BL_F32, NULL, &err),
        BL_E_UNSUPPORTED, g, &err);
    assert_refused(
        bl_clip_text_graph(&g, BL_TEXT_ENCODER, &published_clip_l, 1, 78, context, BL_F32, NULL, &err),
        BL_E_ARGUMENT, g, &err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unet_sizes), cmocka_unit_test(test_autoencoder_sizes),
        cmocka_unit_test(test_text_sizes), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_arenas),     cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
