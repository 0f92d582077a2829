/* Arena levels: whole networks with smaller arenas give the same bits, for shapes that bands divide evenly
 * and shapes that they do not, in F32 and BF16. Without an argument the program runs itself again with
 * AVX2 alone, where oneDNN has other kernels. */
#include "device/cpu/rig.h"

#include "model/autoencoder_kl.h"
#include "model/unet.h"
#include "support/again.h"
#include "support/slow.h"

#define PORTS 8

static bl_cpu_isa isa_max = BL_ISA_BEST;
static bl_device *device;
static bl_device_caps caps;

/* Small, but with channels enough for every way of convolving, and for sums that are taken in slices. */
static const bl_vae_architecture vae = {.has_encoder = true,
                                        .levels = 4,
                                        .channels = {32, 64, 160, 160},
                                        .resnets = 1,
                                        .latent_channels = 4,
                                        .quant_conv = true,
                                        .post_quant_conv = true,
                                        .groups = 16,
                                        .scale = 0.2};

static const bl_unet_architecture net = {.in_channels = 4,
                                         .out_channels = 4,
                                         .levels = 2,
                                         .channels = {32, 96},
                                         .resnets = {1, 1},
                                         .down_depth = {{1}, {1}},
                                         .mid_resnets = 2,
                                         .mid_depth = 1,
                                         .up_depth = {{1, 1}, {1, 1}},
                                         .heads = {2, 4},
                                         .context_dim = 48,
                                         .time_dim = 128,
                                         .groups = 16,
                                         .norm_eps = 1e-5f};

static float *values(const bl_tensor *t, uint64_t seed) {
    int64_t n = bl_tensor_elements(t);
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        if (t->dtype == BL_I32) { /* counts of keys */
            int32_t count = (int32_t)(1 + 30 * i);
            memcpy(&x[i], &count, sizeof count);
        } else {
            x[i] = noise(seed, (uint64_t)i);
        }
    }
    return x;
}

/* Frees the graph. `shrinks`: a higher level has to have a smaller arena. */
static void check(bl_graph *g, bool shrinks, const char *what) {
    rig r = {.device = device, .graph = g->dtype, .stored = BL_F32};
    const void *inputs[PORTS];
    float *taken[PORTS], *wanted[PORTS], *got[PORTS];
    uint64_t first = 0, least = UINT64_MAX;
    assert_true(g->input_count <= PORTS && g->output_count <= PORTS && caps.arena_levels > 1);
    for (int i = 0; i < g->input_count; i++) {
        inputs[i] = taken[i] = values(bl_graph_port(g, BL_INPUT, i), (uint64_t)i);
    }
    for (int i = 0; i < g->output_count; i++) {
        wanted[i] = values(bl_graph_port(g, BL_OUTPUT, i), 1);
        got[i] = values(bl_graph_port(g, BL_OUTPUT, i), 2);
    }
    for (int level = 0; level < caps.arena_levels; level++) {
        uint64_t arena = run_level(&r, g, level, inputs, (void **)(level ? got : wanted));
        first = level ? first : arena;
        least = arena < least ? arena : least;
        for (int i = 0; i < g->output_count && level; i++) {
            int64_t n = bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, i));
            for (int64_t k = 0; k < n; k++) {
                if (memcmp(&got[i][k], &wanted[i][k], sizeof(float)) != 0 || isnan(got[i][k])) {
                    fail_msg("%s %s, level %d: element %lld of %lld is %.9g and should be %.9g", what,
                             bl_dtype_name(g->dtype), level, (long long)k, (long long)n, (double)got[i][k],
                             (double)wanted[i][k]);
                }
            }
        }
    }
    if (shrinks && least >= first) {
        fail_msg("%s %s: the smallest arena has %llu bytes, the first %llu", what, bl_dtype_name(g->dtype),
                 (unsigned long long)least, (unsigned long long)first);
    }
    for (int i = 0; i < g->input_count; i++) {
        free(taken[i]);
    }
    for (int i = 0; i < g->output_count; i++) {
        free(wanted[i]);
        free(got[i]);
    }
    bl_graph_free(&g);
}

static bl_dtype types(int i) {
    return i ? BL_BF16 : BL_F32;
}

static int type_count(void) {
    return caps.bf16 ? 2 : 1;
}

/* Latents whose pictures have 1024 tiles of Winograd's, few, and a number of rows that is no multiple of a
 * band's. */
static const bl_vae_shape shapes[] = {{1, 16, 16}, {2, 6, 5}, {1, 9, 7}};

static void autoencoders(void **state) {
    (void)state;
    for (int t = 0; t < type_count(); t++) {
        for (size_t i = bl_test_slow() ? 2 : 0; i < sizeof shapes / sizeof *shapes; i++) {
            bl_graph *g = NULL;
            bl_error err = {0};
            char what[64];
            snprintf(what, sizeof what, "%d latents of %d x %d", shapes[i].batch, shapes[i].height,
                     shapes[i].width);
            assert_int_equal(bl_vae_decoder_graph(&g, &vae, shapes[i], types(t), NULL, &err), 0);
            check(g, true, what);
            assert_int_equal(bl_vae_encoder_graph(&g, &vae, shapes[i], types(t), NULL, &err), 0);
            check(g, true, what);
        }
    }
}

static void unets(void **state) {
    static const bl_unet_shape sizes[] = {{2, 24, 20, 77, false, false, BL_UNET_WHOLE},
                                          {1, 21, 13, 9, false, true, BL_UNET_WHOLE},
                                          {3, 5, 6, 77, true, false, BL_UNET_WHOLE}};
    (void)state;
    for (int t = 0; t < type_count(); t++) {
        for (size_t i = bl_test_slow() ? 2 : 0; i < sizeof sizes / sizeof *sizes; i++) {
            bl_graph *g = NULL;
            bl_error err = {0};
            char what[64];
            snprintf(what, sizeof what, "%d times %d x %d, denoised", sizes[i].batch, sizes[i].height,
                     sizes[i].width);
            assert_int_equal(bl_unet_graph(&g, &net, sizes[i], types(t), NULL, &err), 0);
            check(g, sizes[i].batch == 2, what);
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
    caps = bl_device_caps_of(device);
    return 0;
}

static int close_device(void **state) {
    (void)state;
    bl_device_close(&device);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(autoencoders),
        cmocka_unit_test(unets),
    };
    int failures = 0;
    if (argc > 1) {
        isa_max = (bl_cpu_isa)atoi(argv[1]);
    } else if (!bl_test_slow()) {
        failures += bl_test_again("2"); /* AVX2: other kernels of oneDNN */
    }
    return failures + cmocka_run_group_tests(tests, open_device, close_device);
}
