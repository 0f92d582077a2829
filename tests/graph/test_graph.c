/* Building graphs: shapes, ports, blocks, taps, flops, and that mistakes are caught with a message. */
#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static bl_weight_id weight(bl_graph *g, bl_weight_kind kind, int rank, const int64_t *shape) {
    const char *names[] = {"w"};
    return bl_weight_new(g, kind, shape, rank, names, 1);
}

static const char *const no_taps[] = {NULL};

static void test_shapes_and_ports(void **state) {
    (void)state;
    const char *const taps[] = {"mid", NULL};
    bl_graph *g = bl_graph_new(BL_UNET, BL_BF16, taps);
    bl_graph_block(g, "first");
    bl_tensor_id in = bl_input(g, "sample", BL_F32, BL_NCHW, 2, 9, 7, 4);
    bl_tensor_id x = bl_import(g, in);
    bl_conv_options down = {
        .stride = 2, .top = 1, .left = 1, .bottom = 1, .right = 1, .residual = BL_NONE, .channels = BL_NONE};
    x = bl_conv(g, x, weight(g, BL_W_CONV, 4, (int64_t[]){32, 4, 3, 3}),
                weight(g, BL_W_VECTOR, 1, (int64_t[]){32}), down);
    bl_tap(g, x, "m%s", "id");
    bl_tap(g, x, "not wanted");
    bl_graph_block(g, "second");
    bl_tensor_id y =
        bl_linear(g, x, weight(g, BL_W_LINEAR, 2, (int64_t[]){64, 32}), BL_NONE, BL_ACT_GEGLU, x);
    y = bl_upsample(g, y, 9, 7);
    bl_export(g, y, "output", BL_NCHW);
    bl_error err = {0};
    assert_int_equal(bl_graph_finish(g, &err), 0);
    assert_int_equal(g->tensors[x].h, 5);
    assert_int_equal(g->tensors[x].w, 4);
    assert_int_equal(g->tensors[x].c, 32);
    assert_int_equal(g->tensors[x].dtype, BL_BF16);
    assert_int_equal(g->block_count, 2);
    assert_int_equal(g->blocks[0].op_count, 3);
    assert_int_equal(g->blocks[0].weight_count, 2);
    assert_int_equal(g->blocks[1].first_weight, 2);
    assert_int_equal(bl_graph_input(g, "sample"), 0);
    assert_int_equal(bl_graph_output(g, "mid"), 0);
    assert_int_equal(bl_graph_output(g, "output"), 1);
    assert_int_equal(bl_graph_output(g, "not wanted"), -1);
    assert_ptr_equal(bl_graph_port(g, BL_INPUT, 0), &g->tensors[in]);
    /* 2 * weights * output pixels */
    assert_true(bl_op_flops(g, &g->ops[1]) == 2.0 * 32 * 4 * 9 * 2 * 5 * 4);
    bl_graph_free(&g);
    assert_null(g);
}

static void expect_mistake(bl_graph *g, const char *part) {
    bl_error err = {0};
    assert_int_not_equal(bl_graph_finish(g, &err), 0);
    if (!strstr(err.message, part)) {
        fail_msg("message \"%s\" does not say \"%s\"", err.message, part);
    }
    bl_graph_free(&g);
}

static bl_graph *graph_with_input(bl_tensor_id *x) {
    bl_graph *g = bl_graph_new(BL_UNET, BL_F32, no_taps);
    bl_graph_block(g, "the block");
    *x = bl_import(g, bl_input(g, "x", BL_F32, BL_NCHW, 1, 4, 4, 8));
    return g;
}

static void test_mistakes_are_named(void **state) {
    (void)state;
    bl_tensor_id x;
    bl_graph *g = graph_with_input(&x);
    bl_linear(g, x, weight(g, BL_W_LINEAR, 2, (int64_t[]){8, 9}), BL_NONE, BL_ACT_NONE, BL_NONE);
    bl_add(g, x, x); /* does nothing after the first mistake */
    expect_mistake(g, "LINEAR");

    g = graph_with_input(&x);
    bl_group_norm(g, x, weight(g, BL_W_VECTOR, 1, (int64_t[]){8}), weight(g, BL_W_VECTOR, 1, (int64_t[]){8}),
                  3, 1e-5f, BL_ACT_NONE);
    expect_mistake(g, "the block");

    g = graph_with_input(&x);
    bl_conv_options o = {.residual = BL_NONE, .channels = BL_NONE};
    bl_conv(g, x, weight(g, BL_W_CONV, 4, (int64_t[]){8, 8, 5, 5}), weight(g, BL_W_VECTOR, 1, (int64_t[]){8}),
            o);
    expect_mistake(g, "CONV");

    g = graph_with_input(&x);
    bl_attention(g, x, x, x,
                 (bl_attention_options){.heads = 2, .head_dim = 4, .v_offset = 1, .key_counts = BL_NONE});
    expect_mistake(g, "ATTENTION");

    g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_input(g, "x", BL_F32, BL_NCHW, 1 << 20, 1 << 20, 1 << 20, 1 << 20);
    expect_mistake(g, "cannot be");

    g = bl_graph_new(BL_UNET, BL_F16, NULL);
    expect_mistake(g, "F16");

    g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_import(g, bl_input(g, "x", BL_F32, BL_NCHW, 1, 4, 4, 8));
    expect_mistake(g, "before the first block");

    g = graph_with_input(&x);
    expect_mistake(g, "without ops or outputs");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_and_ports),
        cmocka_unit_test(test_mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
