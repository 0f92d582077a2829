/* Each allocation of the device fails once: out of memory in its own words, or the right bits without it;
 * nothing is left open or leaked, and the same card runs the graph afterwards. Of the allocations to which
 * the same chain of our calls leads one fails (support/failing.h). */
#include "rig.h"

#include "core/parallel.h"
#include "device/card_file.h"
#include "support/failing.h"
#include "support/files.h"

#include <sys/stat.h>
#include <unistd.h>

enum { H = 6, W = 5, C = 16, OUT = H * W * C, ROOM = 1024 };

static float in[OUT], table[OUT], wanted[OUT];
static char folder[BL_TEST_PATH], kept[BL_TEST_PATH], card_path[BL_TEST_PATH];

/* What cuDNN does and what it does not, bands, tables, norms. */
static bl_graph *network(void) {
    bl_error err = {0};
    bl_graph *g = bl_graph_new(BL_UNET, BL_BF16, NULL);
    bl_graph_block(g, "first");
    bl_tensor_id x = input(g, "x", 1, H, W, C);
    bl_tensor_id turns = bl_input(g, "turns", BL_F32, BL_CHANNELS_LAST, 1, H, W, 8);
    bl_conv_options o = {.top = 1, .left = 1, .bottom = 1, .right = 1, .residual = x, .channels = BL_NONE};
    x = bl_conv(g, x, weight(g, BL_W_CONV, "aw", C, C, 3, 3), weight(g, BL_W_VECTOR, "ab", C, 0, 0, 0), o);
    bl_graph_block(g, "second");
    bl_tensor_id z =
        bl_linear(g, x, weight(g, BL_W_LINEAR, "bw", 3 * C, C, 0, 0), BL_NONE, BL_ACT_NONE, BL_NONE);
    bl_attention_options a = {
        .heads = 2, .head_dim = 8, .k_offset = C, .v_offset = 2 * C, .key_counts = BL_NONE};
    x = bl_attention(g, z, z, z, a);
    a.causal = true;
    x = bl_add(g, bl_rope(g, x, turns, 8, false), bl_attention(g, z, z, z, a));
    bl_graph_block(g, "third");
    x = bl_conv(g, x, weight(g, BL_W_CONV, "cw", C, C, 1, 1), weight(g, BL_W_VECTOR, "cb", C, 0, 0, 0),
                (bl_conv_options){.stride = 1, .residual = BL_NONE, .channels = BL_NONE});
    x = bl_conv(g, x, weight(g, BL_W_CONV, "dw", 12, C, 1, 1), weight(g, BL_W_VECTOR, "db", 12, 0, 0, 0),
                (bl_conv_options){.stride = 1, .residual = BL_NONE, .channels = BL_NONE});
    bl_export(g, x, "y", BL_NCHW);
    assert_int_equal(bl_graph_finish(g, &err), 0);
    return g;
}

/* ---- what is tried */

static bl_graph *graph;
static bool again; /* nothing fails any more */

static int run_to(bl_device *d, how h, bl_error *err) {
    static float got[OUT];
    memset(got, 0, sizeof got);
    int rc = run_on(d, graph, h, (const void *[]){in, table}, (void *[]){got}, err);
    if (!rc && memcmp(got, wanted, sizeof got)) {
        fail_msg("other bits");
    }
    return rc;
}

static int run_how(const fake_script *script, how h, bl_error *err) {
    bl_device *d = NULL;
    bl_error ignored;
    int rc = bl_cuda_open(&d, fake_begin(script), "", NULL, err);
    assert_true(rc ? !d : d != NULL);
    rc = rc ? rc : run_to(d, h, err);
    again = bl_test_failed();
    if (d && again && run_to(d, h, &ignored)) {
        fail_msg("and afterwards: %s", ignored.message);
    }
    bl_device_close(&d);
    return rc;
}

static int by_store(bl_error *err) {
    return run_how(&(fake_script){.seed = 1}, (how){.store = true}, err);
}

static int straight_and_built(bl_error *err) {
    return run_how(&(fake_script){.seed = 2, .no_nvrtc = true}, (how){0}, err);
}

static int unpinned(bl_error *err) {
    return run_how(&(fake_script){.seed = 3, .refuse_pinned = true}, (how){.store = true, .unpinned = true},
                   err);
}

/* With a card's file, and what was kept of kernels and plans. */
static int by_file_and_folder(bl_error *err) {
    setenv("BALLAST_CUDA_CARD", card_path, 1);
    setenv("XDG_CACHE_HOME", kept, 1);
    int rc = by_store(err);
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    unsetenv("BALLAST_CUDA_CARD");
    return rc;
}

/* Nothing was kept yet. */
static int by_empty_folder(bl_error *err) {
    bl_test_folder_remove(kept);
    assert_int_equal(mkdir(kept, 0700), 0);
    return by_file_and_folder(err);
}

static int described(bl_error *err) {
    bl_source source = {.dtype = source_dtype, .read = source_read};
    bl_device *d = NULL;
    bl_device_module *m = NULL;
    bl_executable *x = NULL;
    bl_cuda_libs *libs = malloc(sizeof *libs);
    if (!libs) {
        return bl_fail_memory(err, "the libraries", sizeof *libs);
    }
    *libs = *fake_begin(&(fake_script){.seed = 1});
    int rc = bl_cuda_describe(&d, libs, card_path, NULL, err);
    assert_true(rc ? !d : d != NULL);
    rc = rc ? rc : bl_device_module_open(&m, d, graph, &source, err);
    rc = rc ? rc : bl_device_prepare(&x, d, m, graph, &(bl_prepare_options){0}, err);
    again = bl_test_failed();
    bl_device_executable_close(d, x);
    bl_device_module_close(d, m);
    bl_device_close(&d);
    return rc;
}

/* ---- */

/* true: done without it */
static bool fail_at(const char *name, int (*run)(bl_error *err), long n) {
    bl_error err = {0};
    uint64_t taken = bl_test_taken();
    bl_test_fail(n);
    int rc = run(&err);
    const char *fault = fake_end();
    if (fault) {
        fail_msg("%s, allocation %ld: %s", name, n, fault);
    }
    if (rc && (rc != BL_E_MEMORY || err.code != rc || strncmp(err.message, "out of memory", 13) != 0)) {
        fail_msg("%s, allocation %ld: %d, %s", name, n, rc, err.message);
    }
    if (bl_test_taken() > taken) {
        fail_msg("%s, allocation %ld: %llu bytes are not given back", name, n,
                 (unsigned long long)(bl_test_taken() - taken));
    }
    if (n < 0 && rc) {
        fail_msg("%s: %s", name, err.message);
    }
    return !rc && n >= 0;
}

static void fail_each(const char *name, int (*run)(bl_error *err)) {
    static long numbers[ROOM];
    long lived = 0;
    fail_at(name, run, -1);
    bl_test_watch();
    bl_error err = {0};
    if (run(&err)) {
        fail_msg("%s: %s", name, err.message);
    }
    assert_null(fake_end());
    long count = bl_test_allocations(), worth = bl_test_ways(numbers, ROOM);
    assert_true(worth > 0);
    for (long i = 0; i < worth; i++) {
        lived += fail_at(name, run, numbers[i]);
    }
    fail_at(name, run, -1);
    print_message("%s: %ld allocations, %ld tried, done without %ld\n", name, count, worth, lived);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    fail_each("by the host store", by_store);
    fail_each("straight, with the build's kernels", straight_and_built);
    fail_each("memory that is not pinned", unpinned);
    fail_each("what is to be kept", by_empty_folder);
    fail_each("a card's file and what is kept", by_file_and_folder);
    fail_each("a described card", described);
}

static int prepare(void **state) {
    (void)state;
    bl_error err = {0};
    json_t *card = NULL;
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    unsetenv("BALLAST_CUDA_CARD");
    bl_test_folder(folder);
    bl_test_join(kept, folder, "kept");
    bl_test_join(card_path, folder, "card.json");
    bl_set_threads(1);
    for (int i = 0; i < OUT; i++) {
        in[i] = noise(1, (uint64_t)i);
        table[i] = noise(2, (uint64_t)i);
    }
    graph = network();
    bl_device *d = open_fake(&(fake_script){.seed = 5});
    run_well(d, graph, (how){.store = true}, (const void *[]){in, table}, (void *[]){wanted});
    int rc = card_file_make(&card, d, (const bl_graph *const[]){graph}, 1, 0, &err);
    close_fake(&d);
    rc = rc ? rc : json_dump_file(card, card_path, 0);
    json_decref(card);
    bl_test_fail_json(true);
    return rc;
}

static int finish(void **state) {
    (void)state;
    bl_test_fail_json(false);
    bl_graph_free(&graph);
    bl_test_folder_remove(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, prepare, finish);
}
