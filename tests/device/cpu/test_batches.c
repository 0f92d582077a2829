/* A picture's rows come out of a batch with the bits that they have alone, taken apart or not: one row and
 * more, short sums and long ones, which oneDNN may cut at other places where there are fewer rows. Without an
 * argument the program runs itself again with AVX2 alone, where oneDNN has other kernels. */
#include "rig.h"

#include "device/device.h"
#include "support/again.h"

#define PICTURES 3

static bl_cpu_isa isa_max = BL_ISA_BEST;
static bl_device *device;
static bl_device_caps caps;

/* x [n, rows, c] to y [n, rows, o] and back to z [n, rows, c], which x is added to. */
static bl_graph *two_linears(bl_dtype dtype, int n, int rows, int c, int o) {
    bl_graph *g = bl_graph_new(BL_UNET, dtype, NULL);
    assert_non_null(g);
    const char *w = "w", *v = "v", *b = "b";
    bl_tensor_id x = bl_input(g, "x", BL_F32, BL_CHANNELS_LAST, n, rows, 1, c);
    bl_graph_block(g, "block");
    x = bl_import(g, x);
    bl_weight_id first = bl_weight_new(g, BL_W_LINEAR, (int64_t[]){o, c}, 2, &w, 1);
    bl_weight_id bias = bl_weight_new(g, BL_W_VECTOR, (int64_t[]){o}, 1, &b, 1);
    bl_tensor_id y = bl_linear(g, x, first, bias, BL_ACT_SILU, BL_NONE);
    bl_weight_id second = bl_weight_new(g, BL_W_LINEAR, (int64_t[]){c, o}, 2, &v, 1);
    bl_tensor_id z = bl_linear(g, y, second, BL_NONE, BL_ACT_NONE, x);
    bl_export(g, y, "y", BL_CHANNELS_LAST);
    bl_export(g, z, "z", BL_CHANNELS_LAST);
    bl_error err = {0};
    if (bl_graph_finish(g, &err)) {
        fail_msg("%s", err.message);
    }
    return g;
}

static float *room(int64_t n) {
    float *p = malloc((size_t)n * sizeof *p);
    assert_non_null(p);
    return p;
}

static void check(bl_dtype dtype, int rows, int c, int o) {
    rig r = {.device = device, .graph = dtype, .stored = BL_F32};
    int64_t in = (int64_t)rows * c, out = (int64_t)rows * o;
    float *x = room(PICTURES * in), *y = room(PICTURES * out), *z = room(PICTURES * in), *own = room(out),
          *back = room(in);
    for (int64_t i = 0; i < PICTURES * in; i++) {
        x[i] = noise(1, (uint64_t)i);
    }
    bl_graph *one = two_linears(dtype, 1, rows, c, o), *all = two_linears(dtype, PICTURES, rows, c, o);
    for (int level = 0; level < 2; level++) {
        run_level(&r, all, level, (const void *[]){x}, (void *[]){y, z});
        for (int i = 0; i < PICTURES; i++) {
            run_level(&r, one, level, (const void *[]){x + i * in}, (void *[]){own, back});
            if (memcmp(own, y + i * out, (size_t)out * sizeof *own) != 0 ||
                memcmp(back, z + i * in, (size_t)in * sizeof *back) != 0) {
                fail_msg("%s, %d rows, %d to %d, level %d: picture %d has other bits alone",
                         bl_dtype_name(dtype), rows, c, o, level, i);
            }
        }
    }
    bl_graph_free(&one);
    bl_graph_free(&all);
    free(x);
    free(y);
    free(z);
    free(own);
    free(back);
}

static void linear_layers(void **state) {
    static const int rows[] = {1, 77}, widths[][2] = {{64, 64}, {1584, 96}, {320, 1280}};
    (void)state;
    for (int t = 0; t < (caps.bf16 ? 2 : 1); t++) {
        for (int i = 0; i < 2; i++) {
            for (int k = 0; k < 3; k++) {
                check(t ? BL_BF16 : BL_F32, rows[i], widths[k][0], widths[k][1]);
            }
        }
    }
}

static int open_device(void **state) {
    (void)state;
    bl_error err;
    bl_cpu_options o = {.isa_max = isa_max, .threads = 2};
    if (bl_cpu_open(&device, &o, &err)) {
        fail_msg("%s", err.message);
    }
    device->ops->caps(device, &caps);
    return 0;
}

static int close_device(void **state) {
    (void)state;
    bl_device_close(&device);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(linear_layers)};
    int failures = 0;
    if (argc > 1) {
        isa_max = (bl_cpu_isa)atoi(argv[1]);
    } else {
        failures += bl_test_again("2"); /* AVX2 */
    }
    return failures + cmocka_run_group_tests(tests, open_device, close_device);
}
