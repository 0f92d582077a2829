/* The arena plan: nothing alive at the same time overlaps, in-place shares a place only when it is safe, and
 * the size is close to what no plan can go below. */
#include "graph/arena.h"

#include "core/checked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

static bl_weight_id conv_weight(bl_graph *g, int out, int in) {
    const char *names[] = {"w"};
    return bl_weight_new(g, BL_W_CONV, (int64_t[]){out, in, 3, 3}, 4, names, 1);
}

static bl_weight_id vector(bl_graph *g, int n) {
    const char *names[] = {"b"};
    return bl_weight_new(g, BL_W_VECTOR, (int64_t[]){n}, 1, names, 1);
}

/* conv -> (norm -> conv + residual) x depth, then all kept outputs are concatenated: a U-net in small. */
static bl_graph *skip_graph(int depth, int size) {
    bl_graph *g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_graph_block(g, "in");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_NCHW, 1, size, size, 32));
    bl_tensor_id kept[16];
    for (int i = 0; i < depth; i++) {
        bl_graph_block(g, "down.%d", i);
        bl_tensor_id h = bl_group_norm(g, x, vector(g, 32), vector(g, 32), 8, 1e-5f, BL_ACT_SILU);
        x = bl_conv(g, h, conv_weight(g, 32, 32), vector(g, 32),
                    (bl_conv_options){
                        .top = 1, .left = 1, .bottom = 1, .right = 1, .residual = x, .channels = BL_NONE});
        kept[i] = x;
    }
    for (int i = depth - 1; i >= 0; i--) {
        bl_graph_block(g, "up.%d", i);
        bl_tensor_id h = bl_concat(g, x, kept[i]);
        x = bl_conv(
            g, h, conv_weight(g, 32, 64), vector(g, 32),
            (bl_conv_options){
                .top = 1, .left = 1, .bottom = 1, .right = 1, .residual = BL_NONE, .channels = BL_NONE});
        x = bl_activation(g, x, BL_ACT_SILU);
    }
    bl_export(g, x, "y", BL_NCHW);
    bl_error err = {0};
    assert_int_equal(bl_graph_finish(g, &err), 0);
    return g;
}

typedef struct span {
    uint64_t begin, end;
    int first, last, owner;
} span;

static void check_plan(const bl_graph *g, const bl_op_memory *memory, const bl_arena_plan *p) {
    span *spans = calloc((size_t)(g->tensor_count + g->op_count), sizeof *spans);
    int n = 0;
    for (int i = 0; i < g->tensor_count; i++) {
        const bl_tensor *t = &g->tensors[i];
        if (t->place == BL_ARENA) {
            spans[n++] = (span){p->tensor_offset[i], p->tensor_offset[i] + bl_tensor_bytes(t), t->first_op,
                                t->last_op, i};
        }
    }
    for (int i = 0; i < g->op_count; i++) {
        if (memory[i].scratch_bytes) {
            spans[n++] =
                (span){p->scratch_offset[i], p->scratch_offset[i] + memory[i].scratch_bytes, i, i, -1};
        }
    }
    for (int i = 0; i < n; i++) {
        assert_true(spans[i].end <= p->bytes);
        assert_int_equal(spans[i].begin % BL_ALIGN, 0);
        for (int j = 0; j < i; j++) {
            bool apart = spans[i].end <= spans[j].begin || spans[j].end <= spans[i].begin;
            bool met = spans[i].first <= spans[j].last && spans[j].first <= spans[i].last;
            /* an in-place output meets its input at exactly one op */
            int op = spans[i].first > spans[j].first ? spans[i].first : spans[j].first;
            bool shared = p->inplace[op] &&
                          (spans[i].first == spans[j].last || spans[j].first == spans[i].last) &&
                          spans[i].begin == spans[j].begin;
            assert_true(apart || !met || shared);
        }
    }
    free(spans);
}

static void test_nothing_overlaps(void **state) {
    (void)state;
    for (int depth = 1; depth <= 12; depth++) {
        for (int mode = 0; mode < 3; mode++) {
            bl_graph *g = skip_graph(depth, 5 + depth);
            bl_op_memory *memory = calloc((size_t)g->op_count, sizeof *memory);
            for (int i = 0; i < g->op_count; i++) {
                memory[i].inplace = mode == 0 ? -1 : g->ops[i].kind == BL_OP_CONV ? 1 : 0;
                memory[i].scratch_bytes = mode == 2 ? (uint64_t)(i * 777 % 5000) : 0;
                if (g->ops[i].kind == BL_OP_CONCAT || g->ops[i].kind == BL_OP_IMPORT) {
                    memory[i].inplace = -1;
                }
            }
            bl_arena_plan p;
            bl_error err = {0};
            assert_int_equal(bl_arena_plan_make(&p, g, memory, &err), 0);
            check_plan(g, memory, &p);
            assert_true(p.bytes >= p.live_bytes);
            assert_true((double)p.bytes <= 1.25 * (double)p.live_bytes);
            bl_arena_plan_free(&p);
            free(memory);
            bl_graph_free(&g);
        }
    }
}

/* x is read again after the activation: it must not be overwritten. */
static void test_inplace_needs_a_dying_input(void **state) {
    (void)state;
    bl_graph *g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_graph_block(g, "only");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_NCHW, 1, 4, 4, 16));
    bl_tensor_id a = bl_activation(g, x, BL_ACT_SILU);
    bl_tensor_id b = bl_activation(g, a, BL_ACT_SILU);
    bl_tensor_id twice = bl_add(g, b, b);
    bl_export(g, bl_add(g, x, twice), "y", BL_NCHW);
    bl_error err = {0};
    assert_int_equal(bl_graph_finish(g, &err), 0);
    bl_op_memory memory[8] = {[0] = {.inplace = -1}, [5] = {.inplace = -1}};
    bl_arena_plan p;
    assert_int_equal(bl_arena_plan_make(&p, g, memory, &err), 0);
    assert_false(p.inplace[1]);
    assert_true(p.inplace[2]);
    assert_int_equal(p.tensor_offset[a], p.tensor_offset[b]);
    assert_false(p.inplace[3]);
    assert_true(p.inplace[4]);
    bl_arena_plan_free(&p);
    bl_graph_free(&g);
}

/* An output of another size takes over its input's address, and what it leaves free or does not need yet
 * others may use. */
static void test_resized_in_place(void **state) {
    (void)state;
    bl_graph *g = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_graph_block(g, "only");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_NCHW, 1, 8, 8, 32));
    bl_tensor_id large = bl_upsample(g, x, 16, 16);
    bl_conv_options o = {
        .top = 1, .left = 1, .bottom = 1, .right = 1, .residual = BL_NONE, .channels = BL_NONE};
    bl_tensor_id small = bl_conv(g, large, conv_weight(g, 16, 32), vector(g, 16), o);
    bl_tensor_id beside = bl_activation(g, small, BL_ACT_SILU);
    bl_export(g, bl_add(g, small, beside), "y", BL_NCHW);
    bl_error err = {0};
    assert_int_equal(bl_graph_finish(g, &err), 0);
    bl_op_memory memory[6] = {{.inplace = -1}, {.resizes = true}, {.resizes = true},
                              {.inplace = -1}, {.inplace = 0},    {.inplace = -1}};
    bl_arena_plan p;
    assert_int_equal(bl_arena_plan_make(&p, g, memory, &err), 0);
    check_plan(g, memory, &p);
    assert_true(p.inplace[1] && p.inplace[2] && p.inplace[4]);
    assert_int_equal(p.tensor_offset[x], p.tensor_offset[large]);
    assert_int_equal(p.tensor_offset[large], p.tensor_offset[small]);
    assert_int_equal(p.bytes, bl_tensor_bytes(&g->tensors[large])); /* `beside` lies where `large` ended */
    assert_int_equal(p.live_bytes, p.bytes);
    bl_arena_plan_free(&p);
    memory[1].resizes = memory[2].resizes = false;
    assert_int_equal(bl_arena_plan_make(&p, g, memory, &err), 0);
    check_plan(g, memory, &p);
    assert_true(!p.inplace[1] && !p.inplace[2]);
    bl_arena_plan_free(&p);
    bl_graph_free(&g);
}

/* Kept tensors lie at the begin in the order of keeping, in the graph that writes them as in the one that
 * reads them, and nothing else is put there, not even over them in place. */
static void test_kept_are_at_the_begin(void **state) {
    (void)state;
    bl_graph *writer = bl_graph_new(BL_UNET, BL_F32, NULL), *reader = bl_graph_new(BL_UNET, BL_F32, NULL);
    bl_error err = {0};
    bl_graph_block(writer, "only");
    bl_tensor_id x = bl_import(writer, bl_input(writer, "x", BL_F32, BL_CHANNELS_LAST, 1, 5, 1, 3));
    bl_tensor_id both[2] = {bl_activation(writer, x, BL_ACT_SILU), bl_activation(writer, x, BL_ACT_GELU)};
    bl_keep(writer, both[0]);
    bl_keep(writer, both[1]);
    assert_int_equal(bl_graph_finish(writer, &err), 0); /* without outputs */
    bl_graph_block(reader, "only");
    bl_tensor_id first = bl_kept(reader, 1, 5, 1, 3), second = bl_kept(reader, 1, 5, 1, 3);
    bl_tensor_id sum = bl_add(reader, first, second);
    bl_export(reader, bl_activation(reader, sum, BL_ACT_SILU), "y", BL_CHANNELS_LAST);
    assert_int_equal(bl_graph_finish(reader, &err), 0);

    bl_op_memory over[3] = {{.inplace = 0}, {.inplace = 0}, {.inplace = 0}};
    bl_arena_plan w, r;
    assert_int_equal(bl_arena_plan_make(&w, writer, over, &err), 0);
    assert_int_equal(bl_arena_plan_make(&r, reader, over, &err), 0);
    const uint64_t each = BL_ALIGN; /* 60 bytes and some more */
    assert_true(writer->kept_bytes == 2 * each && reader->kept_bytes == 2 * each);
    assert_true(w.tensor_offset[both[0]] == 0 && w.tensor_offset[both[1]] == each);
    assert_true(r.tensor_offset[first] == 0 && r.tensor_offset[second] == each);
    assert_true(w.tensor_offset[x] == 2 * each && r.tensor_offset[sum] == 2 * each);
    assert_true(w.bytes == 3 * each && w.live_bytes == 3 * each);
    assert_true(!w.inplace[1] && !w.inplace[2] && !r.inplace[0] && r.inplace[1]);
    bl_arena_plan_free(&w);
    bl_arena_plan_free(&r);
    bl_graph_free(&writer);
    bl_graph_free(&reader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_overlaps),
        cmocka_unit_test(test_inplace_needs_a_dying_input),
        cmocka_unit_test(test_resized_in_place),
        cmocka_unit_test(test_kept_are_at_the_begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
