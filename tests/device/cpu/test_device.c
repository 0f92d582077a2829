/* What the cpu device promises beside its arithmetic: the same bytes every time, for a batch those of its
 * pictures, no allocation while it runs, and an answer to what cannot be. */
#include "device/cpu/rig.h"

#include "core/parallel.h"

#include <errno.h>
#include <stdatomic.h>

/* Bytes that an allocation during a run may have: oneDNN keeps lists of arguments, and its matrix products
 * without AVX-512 take 64 bytes for each element of a row. */
#define SMALL 32768

/* ---- a watch on the allocator. The sanitizers have one of their own, which this must not replace. */

static atomic_bool watching;
static atomic_size_t largest;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static void note(size_t bytes) {
    size_t before = atomic_load(&largest);
    while (atomic_load(&watching) && bytes > before &&
           !atomic_compare_exchange_weak(&largest, &before, bytes)) {
    }
}

void *__libc_malloc(size_t n);
void *__libc_memalign(size_t to, size_t n);
__attribute__((visibility("default"))) void *malloc(size_t n);
__attribute__((visibility("default"))) int posix_memalign(void **out, size_t to, size_t n);

void *malloc(size_t n) {
    note(n);
    return __libc_malloc(n);
}

int posix_memalign(void **out, size_t to, size_t n) {
    note(n);
    *out = __libc_memalign(to, n);
    return *out ? 0 : ENOMEM;
}
#endif

/* ---- a small network with every op that has scratch */

static bl_weight_id weight(bl_graph *g, bl_weight_kind kind, const char *name, int64_t a, int64_t b,
                           int64_t k) {
    int64_t shape[4] = {a, b, k, k};
    return bl_weight_new(g, kind, shape, kind == BL_W_CONV ? 4 : kind == BL_W_VECTOR ? 1 : 2, &name, 1);
}

#define C 64

static bl_graph *network(bl_dtype dtype, int n, int side) {
    bl_graph *g = bl_graph_new(BL_UNET, dtype, NULL);
    bl_conv_options same = {
        .top = 1, .left = 1, .bottom = 1, .right = 1, .residual = BL_NONE, .channels = BL_NONE};
    bl_conv_options half = {.stride = 2, .top = 1, .left = 1, .bottom = 1, .right = 1};
    bl_graph_block(g, "first");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_NCHW, n, side, side, 4));
    bl_tensor_id t = bl_import(g, bl_input(g, "t", BL_F32, BL_CHANNELS_LAST, n, 1, 1, C));
    x = bl_conv(g, x, weight(g, BL_W_CONV, "in", C, 4, 3), weight(g, BL_W_VECTOR, "in.b", C, 0, 0), same);
    bl_tensor_id h = bl_group_norm(g, x, weight(g, BL_W_VECTOR, "n.s", C, 0, 0),
                                   weight(g, BL_W_VECTOR, "n.b", C, 0, 0), 8, 1e-5f, BL_ACT_SILU);
    same.channels = t;
    same.residual = x;
    h = bl_conv(g, h, weight(g, BL_W_CONV, "c", C, C, 3), weight(g, BL_W_VECTOR, "c.b", C, 0, 0), same);
    half.residual = half.channels = BL_NONE;
    h = bl_conv(g, h, weight(g, BL_W_CONV, "d", C, C, 3), weight(g, BL_W_VECTOR, "d.b", C, 0, 0), half);
    bl_graph_block(g, "second");
    bl_tensor_id q = bl_linear(g, h, weight(g, BL_W_LINEAR, "q", 3 * C, C, 0), BL_NONE, BL_ACT_NONE, BL_NONE);
    bl_attention_options o = {
        .heads = 2, .head_dim = C / 2, .k_offset = C, .v_offset = 2 * C, .key_counts = BL_NONE};
    h = bl_linear(g, bl_attention(g, q, q, q, o), weight(g, BL_W_LINEAR, "o", C, C, 0),
                  weight(g, BL_W_VECTOR, "o.b", C, 0, 0), BL_ACT_NONE, h);
    h = bl_linear(g, h, weight(g, BL_W_LINEAR, "g", 4 * C, C, 0), weight(g, BL_W_VECTOR, "g.b", 4 * C, 0, 0),
                  BL_ACT_GEGLU, BL_NONE);
    h = bl_layer_norm(g, h, weight(g, BL_W_VECTOR, "l.s", 2 * C, 0, 0),
                      weight(g, BL_W_VECTOR, "l.b", 2 * C, 0, 0), 1e-5f);
    bl_export(g, h, "y", BL_NCHW);
    return g;
}

static float *numbers(uint64_t seed, int64_t n) {
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = noise(seed, (uint64_t)i);
    }
    return x;
}

static bl_device *device_with(int threads) {
    bl_device *d = NULL;
    bl_error err;
    if (bl_cpu_open(&d, &(bl_cpu_options){.threads = threads}, &err)) {
        fail_msg("%s", err.message);
    }
    return d;
}

static bool runs(const bl_device *d, bl_dtype dtype) {
    bl_device_caps caps = bl_device_caps_of((bl_device *)(uintptr_t)d);
    return dtype == BL_F32 || caps.bf16;
}

/* Output [n, 2 C, side / 2, side / 2] of pictures [first, first + n) of the same numbers. */
static float *evaluate(bl_device *d, bl_dtype dtype, int first, int n, int side) {
    int64_t x_size = (int64_t)4 * side * side, y_size = (int64_t)2 * C * (side / 2) * (side / 2);
    float *x = numbers(1, (first + n) * x_size), *t = numbers(2, (int64_t)(first + n) * C);
    float *y = malloc((size_t)(n * y_size) * sizeof *y);
    rig r = {.device = d, .graph = dtype, .stored = BL_F16};
    run_graph(&r, network(dtype, n, side), (const void *[]){x + first * x_size, t + (int64_t)first * C},
              (void *[]){y});
    free(x);
    free(t);
    return y;
}

static void the_same_bytes(void **state) {
    (void)state;
    bl_device *d = device_with(2);
    for (bl_dtype dtype = BL_F32; dtype <= BL_BF16; dtype += BL_BF16 - BL_F32) {
        for (int side = 12; side <= 36 && runs(d, dtype); side += 24) {
            size_t bytes = (size_t)2 * C * (size_t)(side / 2) * (size_t)(side / 2) * sizeof(float);
            float *both = evaluate(d, dtype, 0, 2, side), *again = evaluate(d, dtype, 0, 2, side);
            float *one = evaluate(d, dtype, 0, 1, side), *two = evaluate(d, dtype, 1, 1, side);
            assert_memory_equal(both, again, 2 * bytes);
            assert_memory_equal(both, one, bytes);
            assert_memory_equal((char *)both + bytes, two, bytes);
            free(both);
            free(again);
            free(one);
            free(two);
        }
    }
    bl_device_close(&d);
}

static void no_allocation(void **state) {
    (void)state;
    bl_error err = {0};
    bl_device *d = device_with(0);
    rig r = {.device = d, .graph = BL_F32, .stored = BL_F32};
    bl_source source = {.payload = &r, .dtype = source_dtype, .read = source_read};
    for (bl_dtype dtype = BL_F32; dtype <= BL_BF16; dtype += BL_BF16 - BL_F32) {
        bl_graph *g = network(dtype, 2, 40);
        bl_device_module *m = NULL;
        bl_executable *x = NULL;
        bl_region *region = NULL;
        r.graph = dtype;
        if (!runs(d, dtype) || bl_graph_finish(g, &err)) {
            bl_graph_free(&g);
            continue;
        }
        assert_int_equal(bl_device_module_open(&m, d, g, &source, &err), 0);
        assert_int_equal(bl_device_prepare(&x, d, m, g, &(bl_prepare_options){0}, &err), 0);
        bl_exec_info info = bl_device_executable_info(d, x);
        const bl_block_cost *costs = bl_device_module_costs(d, m);
        uint64_t offsets[2] = {0, costs[0].packed_bytes}, arena = offsets[1] + costs[1].packed_bytes;
        assert_int_equal(bl_device_region_open(&region, d, arena + info.arena_bytes, &err), 0);
        float *in = numbers(1, 2 * 4 * 40 * 40), *t = numbers(2, 2 * C), *y = numbers(3, 2 * 2 * C * 20 * 20);
        bl_binding b = {region, arena, offsets, (const void *[]){in, t}, (void *[]){y}};
        for (int i = 0; i < 2; i++) {
            assert_int_equal(
                bl_device_pack(d, m, i, bl_device_region_host(d, region), offsets[i], BL_STREAM_COPY, &err),
                0);
        }
        for (int pass = 0; pass < 2; pass++) { /* the first starts the threads */
            atomic_store(&largest, 0);
            atomic_store(&watching, pass == 1);
            for (int i = 0; i < 2; i++) {
                assert_int_equal(bl_device_run(d, x, i, &b, BL_STREAM_COMPUTE, &err), 0);
            }
            atomic_store(&watching, false);
        }
        assert_true(atomic_load(&largest) <= SMALL);
        /* a block that would lie outside the region is refused */
        assert_int_equal(bl_device_pack(d, m, 0, bl_device_region_host(d, region), arena + info.arena_bytes,
                                        BL_STREAM_COPY, &err),
                         BL_E_INTERNAL);
        assert_int_equal(bl_device_pack(d, m, 0, bl_device_region_host(d, region), 1, BL_STREAM_COPY, &err),
                         BL_E_INTERNAL);
        free(in);
        free(t);
        free(y);
        bl_device_region_close(d, region);
        bl_device_executable_close(d, x);
        bl_device_module_close(d, m);
        bl_graph_free(&g);
    }
    bl_device_close(&d);
}

static void refusals(void **state) {
    (void)state;
    bl_error err = {0};
    bl_device *d = NULL;
    bl_region *region = NULL;
    assert_int_equal(bl_cpu_open(&d, &(bl_cpu_options){.threads = -1}, &err), BL_E_ARGUMENT);
    assert_int_equal(bl_cpu_open(&d, &(bl_cpu_options){.threads = 2000}, &err), BL_E_ARGUMENT);
    assert_null(d);
    d = device_with(1);
    bl_device_caps caps = bl_device_caps_of(d);
    assert_true(caps.f32 && caps.free_bytes <= caps.memory_bytes && caps.name[0]);
    assert_int_equal(bl_device_region_open(&region, d, UINT64_MAX, &err), BL_E_MEMORY);
    assert_int_equal(bl_device_region_open(&region, d, caps.memory_bytes * 2, &err), BL_E_MEMORY);
    assert_null(region);

    /* A token outside the table. */
    bl_graph *g = bl_graph_new(BL_TEXT_ENCODER, BL_F32, NULL);
    bl_graph_block(g, "all");
    bl_tensor_id ids = bl_input(g, "ids", BL_I32, BL_CHANNELS_LAST, 1, 2, 1, 1);
    bl_export(
        g, bl_embed(g, ids, weight(g, BL_W_EMBEDDING, "t", 5, 8, 0), weight(g, BL_W_EMBEDDING, "p", 2, 8, 0)),
        "y", BL_CHANNELS_LAST);
    assert_int_equal(bl_graph_finish(g, &err), 0);
    rig r = {.device = d, .graph = BL_F32, .stored = BL_F32};
    bl_source source = {.payload = &r, .dtype = source_dtype, .read = source_read};
    bl_device_module *m = NULL;
    bl_executable *x = NULL;
    assert_int_equal(bl_device_module_open(&m, d, g, &source, &err), 0);
    assert_int_equal(bl_device_prepare(&x, d, m, g, &(bl_prepare_options){0}, &err), 0);
    bl_exec_info info = bl_device_executable_info(d, x);
    uint64_t packed = bl_device_module_costs(d, m)[0].packed_bytes, offset = 0;
    assert_int_equal(bl_device_region_open(&region, d, packed + info.arena_bytes, &err), 0);
    assert_int_equal(bl_device_pack(d, m, 0, bl_device_region_host(d, region), 0, BL_STREAM_COPY, &err), 0);
    int32_t tokens[2] = {4, 5};
    float y[16];
    bl_binding b = {region, packed, &offset, (const void *[]){tokens}, (void *[]){y}};
    assert_int_equal(bl_device_run(d, x, 0, &b, BL_STREAM_COMPUTE, &err), BL_E_ARGUMENT);
    tokens[1] = -1;
    assert_int_equal(bl_device_run(d, x, 0, &b, BL_STREAM_COMPUTE, &err), BL_E_ARGUMENT);
    tokens[1] = 0;
    assert_int_equal(bl_device_run(d, x, 0, &b, BL_STREAM_COMPUTE, &err), 0);
    bl_device_region_close(d, region);
    bl_device_executable_close(d, x);
    bl_device_module_close(d, m);
    bl_graph_free(&g);
    bl_device_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_bytes),
        cmocka_unit_test(no_allocation),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
