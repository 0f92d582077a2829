/* Folding: a resnet, its shortcut and an upsampler become two and one convolutions, feed-forward layers one
 * op; what others read as well, what is small and what is no 3x3 convolution stays; weights, blocks and ports
 * are those of the graph. */
#include "graph/fold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const bl_conv_options plain = {
    .top = 1, .left = 1, .bottom = 1, .right = 1, .residual = BL_NONE, .channels = BL_NONE};

static bl_weight_id weight(bl_graph *g, bl_weight_kind kind, int out, int in) {
    const char *name = "w";
    int rank = kind == BL_W_CONV ? 4 : kind == BL_W_LINEAR ? 2 : 1;
    return bl_weight_new(g, kind, (int64_t[]){out, in, 3, 3}, rank, &name, 1);
}

static bl_tensor_id normed(bl_graph *g, bl_tensor_id x, int c) {
    return bl_group_norm(g, x, weight(g, BL_W_VECTOR, c, 0), weight(g, BL_W_VECTOR, c, 0), 4, 1e-5f,
                         BL_ACT_SILU);
}

static bl_tensor_id conv(bl_graph *g, bl_tensor_id x, int out, int in, bl_conv_options o) {
    return bl_conv(g, x, weight(g, BL_W_CONV, out, in), weight(g, BL_W_VECTOR, out, 0), o);
}

/* From 32 channels to 16. */
static bl_tensor_id resnet(bl_graph *g, bl_tensor_id x) {
    bl_conv_options o = plain;
    o.residual =
        bl_linear(g, x, weight(g, BL_W_LINEAR, 16, 32), weight(g, BL_W_VECTOR, 16, 0), BL_ACT_NONE, BL_NONE);
    bl_tensor_id y = conv(g, normed(g, x, 32), 16, 32, plain);
    return conv(g, normed(g, y, 16), 16, 16, o);
}

static bl_graph *folded(const bl_graph *g, bl_folds what) {
    bl_graph *f = NULL;
    bl_error err = {0};
    assert_int_equal(bl_graph_fold(&f, g, what, &err), 0);
    assert_int_equal(f->weight_count, g->weight_count);
    assert_int_equal(f->block_count, g->block_count);
    assert_int_equal(f->input_count, g->input_count);
    assert_int_equal(f->output_count, g->output_count);
    int ops = 0;
    for (int b = 0; b < f->block_count; b++) {
        assert_int_equal(f->blocks[b].first_op, ops);
        assert_int_equal(f->blocks[b].first_weight, g->blocks[b].first_weight);
        assert_int_equal(f->blocks[b].weight_count, g->blocks[b].weight_count);
        for (int i = 0; i < f->blocks[b].op_count; i++) {
            assert_int_equal(f->ops[ops++].block, b);
        }
    }
    assert_int_equal(f->op_count, ops);
    return f;
}

static int count(const bl_graph *g, bl_op_kind kind) {
    int n = 0;
    for (int i = 0; i < g->op_count; i++) {
        n += g->ops[i].kind == kind;
    }
    return n;
}

static void test_resnet_and_upsampler(void **state) {
    (void)state;
    bl_graph *g = bl_graph_new(BL_VAE_DECODER, BL_F32, NULL);
    bl_error err = {0};
    bl_graph_block(g, "resnet");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_NCHW, 1, 8, 8, 32));
    x = resnet(g, x);
    bl_graph_block(g, "up");
    x = conv(g, bl_upsample(g, x, 16, 8), 16, 16, plain);
    bl_export(g, x, "y", BL_NCHW);
    assert_int_equal(bl_graph_finish(g, &err), 0);

    bl_graph *f = folded(g, BL_FOLD_INPUTS);
    assert_int_equal(count(f, BL_OP_FOLDED_CONV), 3);
    assert_int_equal(count(f, BL_OP_NORM_FACTORS), 2);
    assert_int_equal(count(f, BL_OP_LINEAR), 1);
    assert_int_equal(count(f, BL_OP_UPSAMPLE) + count(f, BL_OP_GROUP_NORM) + count(f, BL_OP_CONV), 0);
    bl_graph_free(&f);

    f = folded(g, BL_FOLD_PRODUCTS);
    assert_int_equal(count(f, BL_OP_FOLDED_CONV), 3);
    assert_int_equal(count(f, BL_OP_LINEAR), 0);
    const bl_op *first = &f->ops[f->blocks[0].first_op + 2], *second = first + 2;
    assert_int_equal(first->kind, BL_OP_FOLDED_CONV);
    assert_int_equal(second->kind, BL_OP_FOLDED_CONV);
    assert_int_equal(f->tensors[first->out].c, 32);
    assert_int_equal(second->in[0], first->out);
    assert_int_equal(second->in[1], first->out);
    assert_int_equal(f->weights[first->weight3].kind, BL_W_LINEAR);
    assert_int_equal(f->tensors[second->in[3]].c, 16);
    bl_graph_free(&f);
    bl_graph_free(&g);
}

static void test_feed_forward(void **state) {
    (void)state;
    bl_graph *g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_error err = {0};
    bl_graph_block(g, "all");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_CHANNELS_LAST, 1, 64, 1, 16));
    bl_tensor_id hidden = bl_linear(g, x, weight(g, BL_W_LINEAR, 128, 16), BL_NONE, BL_ACT_GEGLU, BL_NONE);
    bl_tensor_id y = bl_linear(g, hidden, weight(g, BL_W_LINEAR, 16, 64), BL_NONE, BL_ACT_NONE, x);
    bl_export(g, y, "y", BL_CHANNELS_LAST);
    assert_int_equal(bl_graph_finish(g, &err), 0);
    bl_graph *f = folded(g, BL_FOLD_INPUTS);
    assert_int_equal(count(f, BL_OP_LINEAR), 2);
    bl_graph_free(&f);
    f = folded(g, BL_FOLD_PRODUCTS);
    assert_int_equal(count(f, BL_OP_LINEAR), 0);
    assert_int_equal(f->op_count, 3);
    const bl_op *op = &f->ops[1];
    assert_int_equal(op->kind, BL_OP_FEED_FORWARD);
    assert_int_equal(op->in[0], x);
    assert_int_equal(op->in[1], x);
    assert_int_equal(f->weights[op->weight].shape[0], 128);
    assert_int_equal(f->weights[op->weight3].shape[1], 64);
    bl_graph_free(&f);
    bl_graph_free(&g);
}

static void test_what_stays(void **state) {
    (void)state;
    bl_graph *g = bl_graph_new(BL_VAE_DECODER, BL_F32, NULL);
    bl_error err = {0};
    bl_graph_block(g, "all");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_NCHW, 1, 8, 8, 16));
    bl_tensor_id twice = normed(g, x, 16);
    bl_tensor_id y = conv(g, twice, 16, 16, plain);
    bl_conv_options half = plain;
    half.stride = 2;
    bl_tensor_id strided = conv(g, normed(g, y, 16), 32, 16, half);      /* not of stride 1 */
    bl_tensor_id small = conv(g, normed(g, strided, 32), 16, 32, plain); /* half of the largest */
    bl_tensor_id tiny = conv(g, normed(g, small, 16), 16, 16, plain);    /* too small */
    bl_export(g, bl_add(g, y, twice), "y", BL_NCHW);
    bl_export(g, tiny, "z", BL_NCHW);
    assert_int_equal(bl_graph_finish(g, &err), 0);
    bl_graph *f = folded(g, BL_FOLD_PRODUCTS);
    assert_int_equal(count(f, BL_OP_FOLDED_CONV), 1);
    assert_int_equal(count(f, BL_OP_NORM_FACTORS), 1);
    assert_int_equal(count(f, BL_OP_GROUP_NORM), 3);
    assert_int_equal(f->op_count, g->op_count);
    bl_graph_free(&f);
    bl_graph_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resnet_and_upsampler),
        cmocka_unit_test(test_feed_forward),
        cmocka_unit_test(test_what_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
