/* The graphs that we write down for cuDNN, to cuDNN itself: it finalizes tensors, operations and graphs
 * without a card. What it would choose for them, and whether it has it at all, only a card tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/cuda/dnn.h"
#include "device/cuda/libs.h"

#include <stdio.h>

static bl_cuda_libs libs;

static void finish(bl_dnn_graph *g) {
    bl_dnn_operations(g);
    if (g->status) {
        fail_msg("%s: %s", g->what, libs.dnn.cudnnGetErrorString(g->status));
    }
    bl_dnn_free(g);
}

static void convolutions(void **state) {
    (void)state;
    static const bl_cuda_conv_shape shapes[] = {
        {.h = 128,
         .w = 128,
         .c = 320,
         .o = 320,
         .oh = 128,
         .ow = 128,
         .kh = 3,
         .kw = 3,
         .stride = 1,
         .top = 1,
         .left = 1,
         .bottom = 1,
         .right = 1},
        {.h = 128,
         .w = 128,
         .c = 320,
         .o = 320,
         .oh = 64,
         .ow = 64,
         .kh = 3,
         .kw = 3,
         .stride = 2,
         .top = 1,
         .left = 1,
         .bottom = 1,
         .right = 1},
        {.h = 256,
         .w = 256,
         .c = 128,
         .o = 128,
         .oh = 128,
         .ow = 128,
         .kh = 3,
         .kw = 3,
         .stride = 2,
         .bottom = 1,
         .right = 1},
        {.h = 32, .w = 32, .c = 1920, .o = 640, .oh = 32, .ow = 32, .kh = 1, .kw = 1, .stride = 1},
    };
    for (size_t i = 0; i < 4 * sizeof shapes / sizeof *shapes; i++) {
        bl_cuda_conv_shape s = shapes[i / 4];
        bl_dnn_graph g = {.dnn = &libs.dnn};
        s.residual = i % 2;
        s.dtype = i / 2 % 2 ? BL_BF16 : BL_F32;
        bl_dnn_conv_graph(&g, &s);
        finish(&g);
    }
}

static void attention(void **state) {
    (void)state;
    static const int dims[] = {40, 64, 80, 160};
    for (size_t i = 0; i < 2 * sizeof dims / sizeof *dims; i++) {
        int64_t dim = dims[i / 2], c = 10 * dim;
        bl_cuda_attention_shape s = {.rows = 4096,
                                     .keys = i % 2 ? 77 : 4096,
                                     .heads = 10,
                                     .kv_heads = 10,
                                     .dim = dim,
                                     .q_width = i % 2 ? c : 3 * c,
                                     .k_width = i % 2 ? 2 * c : 3 * c,
                                     .v_width = i % 2 ? 2 * c : 3 * c,
                                     .q_align = 16,
                                     .k_align = 16,
                                     .v_align = 16,
                                     .dtype = BL_BF16,
                                     .scale = 0.125f};
        bl_dnn_graph g = {.dnn = &libs.dnn};
        bl_dnn_attention_graph(&g, &s);
        finish(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(convolutions), cmocka_unit_test(attention)};
    bl_error err = {0};
    if (bl_cuda_libraries_open(&libs, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
