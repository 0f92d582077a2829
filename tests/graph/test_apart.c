/* A batch taken apart: each block runs for one share after the other, activations live for their share alone,
 * inputs and outputs are views of the batch; what cannot be taken apart is left. */
#include "graph/apart.h"
#include "graph/arena.h"
#include "graph/levels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define SIDE 8

static bl_tensor_id linear(bl_graph *g, bl_tensor_id x, int out, int in) {
    const char *name = "w";
    bl_weight_id w = bl_weight_new(g, BL_W_LINEAR, (int64_t[]){out, in}, 2, &name, 1);
    return bl_linear(g, x, w, BL_NONE, BL_ACT_NONE, BL_NONE);
}

/* Two blocks, each of which widens what it gets and narrows it again. `side_batch`: of another input, that is
 * added at the end; 0: there is none. */
static bl_graph *wide_blocks(int batch, int side_batch) {
    bl_graph *g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_error err = {0};
    bl_graph_block(g, "first");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_NCHW, batch, SIDE, SIDE, 16));
    x = linear(g, linear(g, x, 256, 16), 16, 256);
    bl_graph_block(g, "second");
    x = linear(g, linear(g, x, 256, 16), 16, 256);
    bl_export(g, x, "y", BL_NCHW);
    if (side_batch) {
        bl_tensor_id z = bl_import(g, bl_input(g, "z", BL_F32, BL_NCHW, side_batch, 1, 1, 16));
        bl_export(g, z, "w", BL_NCHW);
    }
    assert_int_equal(bl_graph_finish(g, &err), 0);
    return g;
}

static bl_graph *apart(const bl_graph *g) {
    bl_graph *a = NULL;
    bl_error err = {0};
    assert_int_equal(bl_graph_apart(&a, g, &err), 0);
    return a;
}

/* `shares` of `items`, the last of `rest`. */
static void check_shares(int batch, int shares, int items, int rest) {
    bl_graph *g = wide_blocks(batch, 0), *a = apart(g);
    assert_non_null(a);
    assert_int_equal(a->op_count, g->op_count * shares);
    assert_int_equal(a->weight_count, g->weight_count);
    assert_int_equal(a->block_count, g->block_count);
    for (int b = 0, at = 0; b < g->block_count; b++) {
        const bl_block *from = &g->blocks[b], *to = &a->blocks[b];
        assert_int_equal(to->first_op, at);
        assert_int_equal(to->op_count, from->op_count * shares);
        assert_int_equal(to->weight_count, from->weight_count);
        for (int i = 0; i < to->op_count; i++, at++) {
            const bl_op *op = &a->ops[at], *like = &g->ops[from->first_op + i % from->op_count];
            const bl_tensor *in = &a->tensors[op->in[0]], *out = &a->tensors[op->out];
            int share = i / from->op_count;
            assert_int_equal(op->kind, like->kind);
            assert_int_equal(op->weight, like->weight);
            assert_int_equal(op->block, b);
            assert_int_equal(out->n, share == shares - 1 ? rest : items);
            assert_int_equal(out->item, share * items);
            assert_int_equal(out->batch, batch);
            assert_int_equal(in->n, out->n);
            assert_int_equal(in->item, out->item);
            assert_true(in->place != BL_ARENA || in->first_op < at);
        }
    }
    /* the host's tensors are still there whole */
    assert_int_equal(bl_graph_port(a, BL_INPUT, bl_graph_input(a, "x"))->n, batch);
    assert_int_equal(bl_graph_port(a, BL_OUTPUT, bl_graph_output(a, "y"))->n, batch);
    bl_graph_free(&a);
    bl_graph_free(&g);
}

static void test_parts(void **state) {
    (void)state;
    check_shares(2, 2, 1, 1);
    check_shares(3, 3, 1, 1);
    check_shares(5, 3, 2, 1);
    check_shares(8, 4, 2, 2);
}

static void test_nothing_to_take_apart(void **state) {
    (void)state;
    bl_graph *one = wide_blocks(1, 0), *mixed = wide_blocks(2, 3);
    assert_null(apart(one));
    assert_null(apart(mixed));
    for (int l = 0; l < BL_LEVELS; l++) { /* nor anything to fold */
        bl_graph *g = NULL;
        bl_error err = {0};
        assert_int_equal(bl_graph_at_level(&g, one, (bl_level){.apart = bl_levels[l].apart}, &err), 0);
        assert_null(g);
    }
    bl_graph_free(&one);
    bl_graph_free(&mixed);
}

static uint64_t arena_of(const bl_graph *g) {
    bl_error err = {0};
    bl_arena_plan plan;
    bl_op_memory *memory = calloc((size_t)g->op_count, sizeof *memory);
    assert_non_null(memory);
    for (int i = 0; i < g->op_count; i++) {
        memory[i].inplace = -1;
    }
    assert_int_equal(bl_arena_plan_make(&plan, g, memory, &err), 0);
    uint64_t bytes = plan.bytes;
    bl_arena_plan_free(&plan);
    free(memory);
    return bytes;
}

/* Whole: 16 and 256 channels of each picture at once. Apart: 256 of one, and 16 of each, of which one picture
 * has what it came from and what it becomes. */
static void test_arena(void **state) {
    (void)state;
    const uint64_t channel = SIDE * SIDE * sizeof(float);
    bl_graph *g = wide_blocks(4, 0), *a = apart(g);
    assert_int_equal(arena_of(g), 4 * (256 + 16) * channel);
    assert_int_equal(arena_of(a), (256 + 4 * 16) * channel);
    bl_graph_free(&a);
    bl_graph_free(&g);
}

/* Shares of what is kept are views of the whole, as those of the host's tensors are. */
static void test_kept(void **state) {
    (void)state;
    bl_error err = {0};
    bl_graph *g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_graph_block(g, "only");
    bl_kept(g, 5, 1, 1, 16);
    bl_tensor_id kept = bl_kept(g, 5, 3, 1, 8); /* 96 bytes each */
    bl_export(g, bl_activation(g, kept, BL_ACT_SILU), "y", BL_CHANNELS_LAST);
    assert_int_equal(bl_graph_finish(g, &err), 0);
    bl_graph *a = apart(g);
    assert_non_null(a);
    assert_int_equal(a->kept_bytes, g->kept_bytes);
    for (int i = 0; i < a->op_count; i += 2) {
        const bl_tensor *share = &a->tensors[a->ops[i].in[0]];
        assert_true(share->kept && share->item == i / 2 * 2);
        assert_int_equal(share->kept_at, g->tensors[kept].kept_at + (uint64_t)share->item * 96);
    }
    assert_int_equal(arena_of(a), g->kept_bytes + 2 * 96);
    bl_graph_free(&a);
    bl_graph_free(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_nothing_to_take_apart),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
