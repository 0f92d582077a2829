/* cuDNN proposes engines for a card that is not here: every convolution and attention of the published
 * networks at full size has one that repeats its bits and keeps to our scratch. The card is described by what
 * is published of it; `test_device_cuda_described FILE` asks for another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/cuda/cuda.h"
#include "device/cuda/internal.h"
#include "kernels/made_up.h"

#include <stdio.h>
#include <stdlib.h>

static const char *card = CARD;

typedef struct tally {
    int plans, none;
    uint64_t most;
} tally;

static void count(void *payload, const char *what, uint64_t key, int choice, uint64_t workspace_bytes) {
    tally *t = payload;
    (void)what, (void)key;
    t->plans++;
    t->none += choice < 0;
    t->most = workspace_bytes > t->most ? workspace_bytes : t->most;
}

static void every_shape(void **state) {
    (void)state;
    static const struct {
        const char *what;
        bl_dtype dtype;
        int size, batch;
    } networks[] = {{"sdxl", BL_BF16, 1024, 2},   {"unet", BL_BF16, 512, 2},   {"vae", BL_BF16, 1024, 1},
                    {"zimage", BL_BF16, 1024, 1}, {"klein", BL_BF16, 1024, 1}, {"qwen3", BL_BF16, 1024, 1}};
    bl_error err = {0};
    bl_cuda_libs *libs = calloc(1, sizeof *libs);
    bl_device *d;
    const bl_source source = {.dtype = made_up_dtype, .read = made_up_read};
    assert_int_equal(bl_cuda_libraries_open(libs, &err), 0);
    if (bl_cuda_describe(&d, libs, card, NULL, &err)) {
        fail_msg("%s", err.message);
    }
    made_up_begin();
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        bl_graph *g;
        bl_device_module *m;
        bl_executable *x;
        assert_int_equal(
            made_up_graph(&g, networks[i].what, networks[i].dtype, networks[i].size, networks[i].batch, &err),
            0);
        assert_int_equal(bl_device_module_open(&m, d, g, &source, &err), 0);
        if (bl_device_prepare(&x, d, m, g, &(bl_prepare_options){0}, &err)) {
            fail_msg("%s", err.message);
        }
        tally t = {0};
        bl_cuda_visit_convs((bl_cuda *)d, count, &t);
        bl_cuda_visit_attentions((bl_cuda *)d, count, &t);
        printf("%s %d: %d plans of cuDNN so far, %d it has not, scratch of at most %llu bytes; arena %llu\n",
               networks[i].what, networks[i].size, t.plans, t.none, (unsigned long long)t.most,
               (unsigned long long)bl_device_executable_info(d, x).arena_bytes);
        assert_true(t.plans > 0);
        assert_int_equal(t.none, 0);
        bl_device_executable_close(d, x);
        bl_device_module_close(d, m);
        bl_graph_free(&g);
    }
    bl_device_close(&d);
}

/* Heads of q that share one of k and v, a fourth as many. */
static void shared_heads(void **state) {
    (void)state;
    bl_error err = {0};
    bl_cuda_libs *libs = calloc(1, sizeof *libs);
    bl_device *d;
    const bl_cuda_attention *a;
    const bl_cuda_attention_shape shape = {.rows = 4160,
                                           .keys = 4160,
                                           .heads = 32,
                                           .kv_heads = 8,
                                           .dim = 128,
                                           .q_width = 4096,
                                           .k_width = 1024,
                                           .v_width = 1024,
                                           .q_align = 64,
                                           .k_align = 64,
                                           .v_align = 64,
                                           .dtype = BL_BF16,
                                           .scale = 0.1f};
    assert_int_equal(bl_cuda_libraries_open(libs, &err), 0);
    assert_int_equal(bl_cuda_describe(&d, libs, card, NULL, &err), 0);
    assert_int_equal(bl_cuda_find_attention(&a, (bl_cuda *)d, &shape, &err), 0);
    assert_true(a->has_plan);
    bl_device_close(&d);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_shape), cmocka_unit_test(shared_heads)};
    card = argc > 1 ? argv[1] : card;
    if (!bl_cuda_stub_open()) {
        printf("neither a driver nor the toolkit's stub of one: nothing to test\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
