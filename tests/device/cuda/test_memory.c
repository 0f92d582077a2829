/* Memory and cards: what libraries load is loaded and counted before a region opens; nobody allocates between
 * steps, and who did would be found; copies from memory that is not pinned; two devices in one program, on
 * two cards or on one that is lost. */
#include "rig.h"

#include "device/cuda/args.h"

enum { H = 8, W = 6, C = 16, OUT = H * W * C };

static float in[OUT];

static bl_graph *network(void) {
    bl_error err = {0};
    bl_graph *g = bl_graph_new(BL_UNET, BL_BF16, NULL);
    bl_graph_block(g, "first");
    bl_tensor_id x = input(g, "x", 1, H, W, C), y;
    bl_conv_options o = {
        .top = 1, .left = 1, .bottom = 1, .right = 1, .residual = BL_NONE, .channels = BL_NONE};
    y = bl_conv(g, x, weight(g, BL_W_CONV, "aw", C, C, 3, 3), weight(g, BL_W_VECTOR, "ab", C, 0, 0, 0), o);
    bl_graph_block(g, "second");
    o.residual = x;
    y = bl_conv(g, y, weight(g, BL_W_CONV, "bw", C, C, 3, 3), weight(g, BL_W_VECTOR, "bb", C, 0, 0, 0), o);
    y = bl_linear(g, y, weight(g, BL_W_LINEAR, "cw", C, C, 0, 0), BL_NONE, BL_ACT_SILU, BL_NONE);
    bl_export(g, y, "y", BL_NCHW);
    assert_int_equal(bl_graph_finish(g, &err), 0);
    return g;
}

static void run_once(bl_device *d, how h, float *out) {
    bl_graph *g = network();
    run_well(d, g, h, (const void *[]){in}, (void *[]){out});
    bl_graph_free(&g);
}

/* Opens the card of this number beside what is open. */
static bl_device *open_beside(const char *number) {
    bl_device *d;
    bl_error err = {0};
    if (bl_cuda_open(&d, fake_libs(), number, NULL, &err)) {
        fail_msg("%s", err.message);
    }
    return d;
}

/* Two convolutions are two plans, each of which loads something when it runs for the first time. */
static void what_libraries_load(void **state) {
    (void)state;
    enum { EACH = 3 << 20 };
    bl_error err = {0};
    bl_graph *g = network();
    bl_device *card = open_fake(&(fake_script){.seed = 1, .lazy = EACH});
    bl_source source = {.dtype = source_dtype, .read = source_read};
    bl_device_module *m;
    bl_executable *x;
    uint64_t before = bl_device_caps_of(card).free_bytes;
    assert_int_equal(bl_device_caps_of(card).own_bytes, 0);
    assert_int_equal(bl_device_module_open(&m, card, g, &source, &err), 0);
    for (int i = 0; i < 2; i++) { /* the second time nothing is new */
        assert_int_equal(bl_device_prepare(&x, card, m, g, &(bl_prepare_options){0}, &err), 0);
        assert_int_equal(bl_device_caps_of(card).own_bytes, 2 * EACH);
        assert_int_equal(bl_device_caps_of(card).free_bytes, before - 2 * EACH);
        bl_device_executable_close(card, x);
    }
    bl_device_module_close(card, m);
    bl_graph_free(&g);
    close_fake(&card);
}

/* Without memory for a first run plans are made all the same. */
static void no_room_for_a_first_run(void **state) {
    (void)state;
    bl_error err = {0};
    bl_graph *g = network();
    bl_device *card = open_fake(&(fake_script){.seed = 1, .memory = 1024, .lazy = 512});
    bl_source source = {.dtype = source_dtype, .read = source_read};
    bl_device_module *m;
    bl_executable *x;
    assert_int_equal(bl_device_module_open(&m, card, g, &source, &err), 0);
    assert_int_equal(bl_device_prepare(&x, card, m, g, &(bl_prepare_options){0}, &err), 0);
    assert_int_equal(bl_device_caps_of(card).own_bytes, 0);
    bl_device_executable_close(card, x);
    bl_device_module_close(card, m);
    bl_graph_free(&g);
    close_fake(&card);
}

/* What must not happen between the first step and the last, done behind the device's back. */
static void an_allocation_between_steps(void **state) {
    (void)state;
    for (int what = 0; what < 4; what++) {
        const bl_cuda_libs *l = fake_begin(&(fake_script){.seed = 1});
        bl_cu_context context;
        bl_cu_stream stream;
        bl_cu_module module;
        bl_cu_function kernel;
        bl_cu_pointer first, second = 0;
        void *pinned = NULL;
        assert_int_equal(l->cu.cuDevicePrimaryCtxRetain(&context, 0) | l->cu.cuCtxSetCurrent(context), 0);
        assert_int_equal(l->cu.cuStreamCreateWithPriority(&stream, BL_CU_STREAM_NON_BLOCKING, 0), 0);
        assert_int_equal(l->cu.cuModuleLoadData(&module, "fake f32"), 0);
        assert_int_equal(l->cu.cuModuleGetFunction(&kernel, module, "add"), 0);
        assert_int_equal(l->cu.cuMemAlloc(&first, 4096), 0);
        struct add_args a = {.a = first, .b = first, .y = first, .count = 1};
        void *args[] = {&a};
        assert_int_equal(l->cu.cuLaunchKernel(kernel, 1, 1, 1, BL_FLAT, 1, 1, 0, stream, args, NULL), 0);
        if (what == 0) {
            l->cu.cuStreamSynchronize(stream);
        }
        if (what < 2) {
            assert_int_equal(l->cu.cuMemAlloc(&second, 64) | l->cu.cuMemFree(second), 0);
        } else if (what == 2) {
            assert_int_equal(l->cu.cuMemFree(first), 0);
        } else {
            assert_int_equal(l->cu.cuMemHostAlloc(&pinned, 64, 0), 0);
        }
        l->cu.cuStreamSynchronize(stream);
        if (pinned) {
            l->cu.cuMemFreeHost(pinned);
        }
        if (what != 2) {
            l->cu.cuMemFree(first);
        }
        l->cu.cuModuleUnload(module);
        l->cu.cuStreamDestroy(stream);
        l->cu.cuDevicePrimaryCtxRelease(0);
        const char *fault = fake_end();
        assert_true(what == 0 || (fault && strstr(fault, "between the first step and the last")));
    }
}

/* A store that is not pinned goes through pinned slots where there are some, in any order of the streams. */
static void a_store_that_is_not_pinned(void **state) {
    (void)state;
    static float wanted[OUT], got[OUT];
    bl_device *card = open_fake(&(fake_script){.seed = 1});
    run_once(card, (how){.store = true}, wanted);
    close_fake(&card);
    for (uint64_t seed = 0; seed < 16; seed++) {
        card = open_fake(&(fake_script){.seed = seed, .refuse_pinned = seed % 2, .pinned_most = 20u << 20});
        run_once(card, (how){.store = true, .unpinned = true}, got);
        assert_memory_equal(got, wanted, sizeof got);
        close_fake(&card);
    }
    /* Nothing at all can be pinned but the progress of works. */
    card = open_fake(&(fake_script){.seed = 3, .refuse_pinned = true, .pinned_most = 8});
    run_once(card, (how){.store = true, .unpinned = true}, got);
    assert_memory_equal(got, wanted, sizeof got);
    close_fake(&card);
}

static void two_cards(void **state) {
    (void)state;
    static float first[OUT], second[OUT];
    bl_device *a = open_fake(&(fake_script){.seed = 2, .second_sm = 80}), *b = open_beside("1");
    assert_non_null(strstr(bl_device_caps_of(a).name, "Fake card 0, SM 9.0"));
    assert_non_null(strstr(bl_device_caps_of(b).name, "Fake card 1, SM 8.0"));
    for (int i = 0; i < 2; i++) {
        run_once(a, (how){.store = true}, first);
        run_once(b, (how){.store = i}, second);
        assert_memory_equal(first, second, sizeof first);
    }
    bl_device_close(&a);
    run_once(b, (how){.store = true}, second);
    assert_memory_equal(first, second, sizeof first);
    close_fake(&b);
}

/* Two devices on one card share its context: when it is lost, it is lost for both, and comes back once both
 * are closed. */
static void one_card_twice(void **state) {
    (void)state;
    static float wanted[OUT], got[OUT];
    bl_error err = {0};
    bl_graph *g = network();
    bl_device *a = open_fake(&(fake_script){.seed = 2}), *b = open_beside(""), *c = NULL;
    run_once(a, (how){.store = true}, wanted);
    run_once(b, (how){.store = true}, got);
    assert_memory_equal(got, wanted, sizeof got);
    int works = fake_works();
    bl_device_close(&a);
    run_once(b, (how){.store = true}, got);
    assert_memory_equal(got, wanted, sizeof got);
    close_fake(&b);

    a = open_fake(&(fake_script){.seed = 2, .late = works - 3});
    b = open_beside("");
    const void *inputs[] = {in};
    void *outputs[] = {got};
    run_once(a, (how){.store = true}, got);
    assert_int_equal(run_on(b, g, (how){.store = true}, inputs, outputs, &err), BL_E_DEVICE);
    assert_non_null(strstr(err.message, "has to be opened again"));
    assert_int_equal(run_on(a, g, (how){.store = true}, inputs, outputs, &err), BL_E_DEVICE);
    bl_device_close(&b);
    assert_int_equal(bl_cuda_open(&c, fake_libs(), "0", NULL, &err), BL_E_DEVICE);
    assert_null(c);
    assert_non_null(strstr(err.message, "once they have closed it"));
    bl_device_close(&a);
    c = open_beside("0");
    run_once(c, (how){.store = true}, got);
    assert_memory_equal(got, wanted, sizeof got);
    bl_graph_free(&g);
    close_fake(&c);
}

static int prepare(void **state) {
    (void)state;
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    for (int i = 0; i < OUT; i++) {
        in[i] = noise(1, (uint64_t)i);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_libraries_load),
                                       cmocka_unit_test(no_room_for_a_first_run),
                                       cmocka_unit_test(an_allocation_between_steps),
                                       cmocka_unit_test(a_store_that_is_not_pinned),
                                       cmocka_unit_test(two_cards),
                                       cmocka_unit_test(one_card_twice)};
    return cmocka_run_group_tests(tests, prepare, NULL);
}
