/* What tuning chooses reaches the ops that it is meant for, and no others. */
#include "rig.h"

#include "device/device.h"

#define CHANNELS 32
#define SIDE 64 /* of the larger picture */

/* Two convolutions of a picture, two of one half as wide. */
static bl_graph *two_sizes(void) {
    bl_graph *g = bl_graph_new(BL_UNET, BL_BF16, NULL);
    assert_non_null(g);
    bl_tensor_id x = bl_input(g, "x", BL_F32, BL_CHANNELS_LAST, 1, SIDE, SIDE, CHANNELS);
    bl_graph_block(g, "block");
    x = bl_import(g, x);
    for (int i = 0; i < 3; i++) {
        char name[2] = {(char)('a' + i), 0}, bias_name[2] = {(char)('p' + i), 0};
        const char *w = name, *b = bias_name;
        bl_weight_id weight = bl_weight_new(g, BL_W_CONV, (int64_t[]){CHANNELS, CHANNELS, 3, 3}, 4, &w, 1);
        bl_weight_id bias = bl_weight_new(g, BL_W_VECTOR, (int64_t[]){CHANNELS}, 1, &b, 1);
        bl_conv_options o = {.stride = i == 1 ? 2 : 1,
                             .top = 1,
                             .left = 1,
                             .bottom = 1,
                             .right = 1,
                             .residual = BL_NONE,
                             .channels = BL_NONE};
        x = bl_conv(g, x, weight, bias, o);
        if (i != 1) {
            bl_export(g, x, i ? "half" : "whole", BL_CHANNELS_LAST);
        }
    }
    bl_error err = {0};
    if (bl_graph_finish(g, &err)) {
        fail_msg("%s", err.message);
    }
    return g;
}

static float in[SIDE * SIDE * CHANNELS], whole[3][SIDE * SIDE * CHANNELS],
    half[3][SIDE / 2 * SIDE / 2 * CHANNELS];

/* Convolutions of one size alone become oneDNN's: the others keep their bits, so does what they read. */
static void convolutions_by_size(void **state) {
    (void)state;
    bl_error err;
    bl_device *device;
    bl_cpu_options o = {.isa_max = BL_ISA_BEST, .threads = 1};
    assert_int_equal(bl_cpu_open(&device, &o, &err), 0);
    bl_device_caps caps = bl_device_caps_of(device);
    rig r = {.device = device, .graph = BL_BF16, .stored = BL_F32};
    bl_graph *g = two_sizes();
    for (int64_t i = 0; i < SIDE * SIDE * CHANNELS; i++) {
        in[i] = activation_value(&r, 1, i);
    }
    for (int k = 0; k < 3 && caps.convolves; k++) { /* as usual, of the whole size, of half of it */
        bl_prepare_options p = {0};
        if (k) {
            p.tuning.winograd[k - 1] = 1;
        }
        run_prepared(&r, g, &p, (const void *[]){in}, (void *[]){whole[k], half[k]});
    }
    bl_graph_free(&g);
    bl_device_close(&device);
    if (!caps.convolves) {
        skip();
    }
    assert_memory_not_equal(whole[0], whole[1], sizeof whole[0]);
    assert_memory_not_equal(half[0], half[2], sizeof half[0]);
    assert_memory_equal(whole[0], whole[2], sizeof whole[0]);
    for (int64_t i = 0; i < SIDE * SIDE * CHANNELS; i++) {
        assert_true(fabsf(whole[0][i] - whole[1][i]) < 0.05f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(convolutions_by_size)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
