/* What goes wrong, one thing at a time: each call fails once, each work ends the card, a file ends early,
 * memory is short. Nothing is left open, nothing is written beside its place, and what was not refused has
 * the right bits. */
#include "rig.h"

#include <glob.h>
#include <unistd.h>

enum { N = 2, H = 6, W = 5, C = 16, OUT = N * H * W * C };

static float in[N * H * W * C], wanted[OUT];

/* A bit of everything: cuDNN's convolution and attention, one by patches and one in bands, products, norms.
 */
static bl_graph *network(void) {
    bl_error err = {0};
    bl_graph *g = bl_graph_new(BL_UNET, BL_BF16, NULL);
    bl_graph_block(g, "first");
    bl_tensor_id x = bl_import(g, bl_input(g, "x", BL_F32, BL_CHANNELS_LAST, N, H, W, C));
    bl_tensor_id y = bl_conv(
        g, x, weight(g, BL_W_CONV, "aw", C, C, 3, 3), weight(g, BL_W_VECTOR, "ab", C, 0, 0, 0),
        (bl_conv_options){.top = 1, .left = 1, .bottom = 1, .right = 1, .residual = x, .channels = BL_NONE});
    bl_graph_block(g, "second");
    y = bl_group_norm(g, y, weight(g, BL_W_VECTOR, "bs", C, 0, 0, 0),
                      weight(g, BL_W_VECTOR, "bb", C, 0, 0, 0), 4, 1e-5f, BL_ACT_SILU);
    bl_tensor_id z =
        bl_linear(g, y, weight(g, BL_W_LINEAR, "cw", 3 * C, C, 0, 0), BL_NONE, BL_ACT_NONE, BL_NONE);
    bl_attention_options o = {
        .heads = 2, .head_dim = 8, .k_offset = C, .v_offset = 2 * C, .key_counts = BL_NONE};
    bl_tensor_id a = bl_attention(g, z, z, z, o);
    o.causal = true;
    a = bl_add(g, a, bl_attention(g, z, z, z, o));
    bl_graph_block(g, "third");
    a = bl_linear(g, a, weight(g, BL_W_LINEAR, "dw", 2 * C, C, 0, 0),
                  weight(g, BL_W_VECTOR, "db", 2 * C, 0, 0, 0), BL_ACT_GEGLU, y);
    a = bl_conv(g, a, weight(g, BL_W_CONV, "ew", 12, C, 1, 1), weight(g, BL_W_VECTOR, "eb", 12, 0, 0, 0),
                (bl_conv_options){.residual = BL_NONE, .channels = BL_NONE});
    a = bl_concat(g, a,
                  bl_linear(g, y, weight(g, BL_W_LINEAR, "fw", 4, C, 0, 0), BL_NONE, BL_ACT_GELU, BL_NONE));
    bl_export(g, a, "y", BL_NCHW);
    assert_int_equal(bl_graph_finish(g, &err), 0);
    return g;
}

/* Opens a card with this script, runs the network and closes it. The code; on success the bits are right. */
static int try_once(const fake_script *script, how h, bl_error *err) {
    static float got[OUT];
    bl_graph *g = network();
    bl_device *card = NULL;
    memset(got, 0, sizeof got);
    *err = (bl_error){0};
    int rc = bl_cuda_open(&card, fake_begin(script), "0", NULL, err);
    if (!rc) {
        rc = run_on(card, g, h, (const void *[]){in}, (void *[]){got}, err);
    }
    bl_device_close(&card);
    bl_graph_free(&g);
    const char *fault = fake_end();
    if (fault) {
        fail_msg("call %d, work %d: %s", script->fail, script->late, fault);
    }
    if (!rc && memcmp(got, wanted, sizeof got)) {
        fail_msg("call %d, work %d: other bits", script->fail, script->late);
    }
    if (rc && !err->message[0]) {
        fail_msg("call %d, work %d: no message", script->fail, script->late);
    }
    return rc;
}

static void every_call(void **state) {
    (void)state;
    bl_error err;
    for (int store = 0; store < 2; store++) {
        int calls, refused = 0;
        assert_int_equal(try_once(&(fake_script){.seed = 1}, (how){.store = store}, &err), 0);
        calls = fake_calls();
        for (int i = 1; i <= calls; i += 4 - 3 * store) { /* without a store the same but for packing */
            refused += try_once(&(fake_script){.seed = 1, .fail = i}, (how){.store = store}, &err) != 0;
        }
        assert_true(refused > (store ? calls / 2 : calls / 8));
    }
}

static void every_work(void **state) {
    (void)state;
    bl_error err;
    int works, named = 0;
    assert_int_equal(try_once(&(fake_script){.seed = 1}, (how){.store = true}, &err), 0);
    works = fake_works();
    for (int i = 1; i <= works; i++) {
        fake_script script = {.seed = 1, .late = i};
        assert_int_equal(try_once(&script, (how){.store = true}, &err), BL_E_DEVICE);
        assert_non_null(strstr(err.message, "CUDA_ERROR_ILLEGAL_ADDRESS"));
        named += strstr(err.message, "of block ") != NULL;
    }
    assert_true(named > works / 2); /* those of ops */
}

/* Seeds are orders of the streams' works: always the same bits. */
static void every_order(void **state) {
    (void)state;
    bl_error err;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        assert_int_equal(try_once(&(fake_script){.seed = seed}, (how){.store = seed % 2}, &err), 0);
    }
    assert_int_equal(try_once(&(fake_script){.seed = 1}, (how){.store = true, .unpinned = true}, &err), 0);
}

/* A forgotten wait between any two streams. */
static void a_missing_wait(void **state) {
    (void)state;
    static float got[OUT];
    int found = 0;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        bl_error err = {0};
        bl_graph *g = network();
        bl_device *card = open_fake(&(fake_script){.seed = seed, .without_waits = true});
        found += run_on(card, g, (how){.store = true}, (const void *[]){in}, (void *[]){got}, &err) ||
                 memcmp(got, wanted, sizeof got);
        bl_device_close(&card);
        bl_graph_free(&g);
    }
    assert_int_equal(found, 2);
}

/* Each wait alone: some order of the streams shows that it is missing. */
static void each_missing_wait(void **state) {
    (void)state;
    static float got[OUT];
    bl_error err = {0};
    assert_int_equal(try_once(&(fake_script){.seed = 1}, (how){.store = true}, &err), 0);
    int waits = fake_waits();
    assert_int_equal(waits, 6); /* of three blocks: file before copy, copy before use */
    for (int i = 1; i <= waits; i++) {
        bool found = false;
        for (uint64_t seed = 0; seed < 48 && !found; seed++) {
            bl_graph *g = network();
            bl_device *card = open_fake(&(fake_script){.seed = seed, .lost_wait = i});
            found = run_on(card, g, (how){.store = true}, (const void *[]){in}, (void *[]){got}, &err) ||
                    memcmp(got, wanted, sizeof got);
            bl_device_close(&card);
            bl_graph_free(&g);
        }
        if (!found) {
            fail_msg("nobody misses wait %d", i);
        }
    }
}

/* The file ends while blocks are packed on the LOAD stream: who waits behind it learns, and the next run is
 * fine on the same device. */
static void a_file_that_ends(void **state) {
    (void)state;
    static float got[OUT];
    for (int store = 0; store < 2; store++) {
        for (int reads = 0; reads < 8; reads++) {
            bl_error err = {0};
            int left = reads;
            bl_graph *g = network();
            bl_device *card = open_fake(&(fake_script){.seed = (uint64_t)reads});
            how h = {.store = store, .reads_left = &left};
            assert_int_equal(run_on(card, g, h, (const void *[]){in}, (void *[]){got}, &err), BL_E_IO);
            assert_string_equal(err.message, "the file ends here");
            run_well(card, g, (how){.store = store}, (const void *[]){in}, (void *[]){got});
            assert_memory_equal(got, wanted, sizeof got);
            close_fake(&card);
            bl_graph_free(&g);
        }
    }
}

static void short_memory(void **state) {
    (void)state;
    bl_error err;
    assert_int_equal(try_once(&(fake_script){.seed = 1, .memory = 4096}, (how){0}, &err), BL_E_MEMORY);
    assert_non_null(strstr(err.message, "the card has no memory for weights and activations"));
    assert_int_equal(try_once(&(fake_script){.seed = 1, .refuse_pinned = true}, (how){.store = true}, &err),
                     BL_E_MEMORY);
    assert_non_null(strstr(err.message, "cannot be pinned"));
}

static void which_card(void **state) {
    (void)state;
    static const struct {
        const char *which, *words;
        int code;
    } cases[] = {{"1", "has SM 7.5", BL_E_UNSUPPORTED},   {"2", "no card 2; there are 2", BL_E_NOT_FOUND},
                 {"x", "no card \"x\"", BL_E_ARGUMENT},   {"-1", "no card \"-1\"", BL_E_ARGUMENT},
                 {"0x", "no card \"0x\"", BL_E_ARGUMENT}, {" 0", "no card \" 0\"", BL_E_ARGUMENT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_device *d;
        bl_error err = {0};
        assert_int_equal(bl_cuda_open(&d, fake_begin(&(fake_script){0}), cases[i].which, NULL, &err),
                         cases[i].code);
        assert_null(d);
        assert_non_null(strstr(err.message, cases[i].words));
        assert_null(fake_end());
    }
}

/* What does not come from a card: libraries that are not there. */
static void libraries(void **state) {
    (void)state;
    bl_cuda_libs libs;
    bl_error err = {0};
    setenv("BALLAST_CUDA_LIBS", "/nowhere::/nor/here", 1);
    assert_int_equal(bl_cuda_libraries_open(&libs, &err), BL_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "were not found together: run `make cuda-libs`"));
    unsetenv("BALLAST_CUDA_LIBS");
}

/* Compiled kernels are kept; a file that is cut, changed or another's is not taken. */
static void kept_kernels(void **state) {
    (void)state;
    char folder[] = "/tmp/ballast-kernels-XXXXXX", path[512];
    bl_error err;
    glob_t g;
    assert_non_null(mkdtemp(folder));
    setenv("XDG_CACHE_HOME", folder, 1);
    int before = fake_compiled();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(try_once(&(fake_script){.seed = 1}, (how){0}, &err), 0);
        assert_int_equal(fake_compiled(), before + 1);
        assert_int_equal(fake_kept_plans(), i * 2); /* a convolution, attention */
    }
    snprintf(path, sizeof path, "%s/ballast/cuda-*.cubin", folder);
    assert_int_equal(glob(path, 0, NULL, &g), 0);
    assert_int_equal(g.gl_pathc, 1);
    for (int i = 0; i < 3; i++) { /* cut; its last byte changed; empty */
        FILE *f = fopen(g.gl_pathv[0], i == 2 ? "w" : "r+");
        assert_non_null(f);
        if (i == 1) {
            fseek(f, -1, SEEK_END);
            fputc('?', f);
        }
        fclose(f);
        assert_int_equal(i ? 0 : truncate(g.gl_pathv[0], 30), 0);
        assert_int_equal(try_once(&(fake_script){.seed = 1}, (how){0}, &err), 0);
        assert_int_equal(fake_compiled(), before + 2 + i);
    }
    globfree(&g);
    /* A card that is newer than NVRTC. */
    assert_int_equal(try_once(&(fake_script){.seed = 1, .sm = 999}, (how){0}, &err), 0);
    assert_int_equal(fake_compiled(), before + 6);
    snprintf(path, sizeof path, "%s/ballast/cuda-*", folder);
    assert_int_equal(glob(path, 0, NULL, &g), 0);
    for (size_t i = 0; i < g.gl_pathc; i++) {
        unlink(g.gl_pathv[i]);
    }
    globfree(&g);
    snprintf(path, sizeof path, "%s/ballast", folder);
    rmdir(path);
    assert_int_equal(rmdir(folder), 0);
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
}

static int prepare(void **state) {
    (void)state;
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    for (int i = 0; i < N * H * W * C; i++) {
        in[i] = noise(1, (uint64_t)i);
    }
    bl_graph *g = network();
    bl_device *card = open_fake(&(fake_script){.seed = 5});
    run_well(card, g, (how){.store = true}, (const void *[]){in}, (void *[]){wanted});
    close_fake(&card);
    bl_graph_free(&g);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_order),       cmocka_unit_test(a_missing_wait),
        cmocka_unit_test(each_missing_wait), cmocka_unit_test(a_file_that_ends),
        cmocka_unit_test(every_call),        cmocka_unit_test(every_work),
        cmocka_unit_test(short_memory),      cmocka_unit_test(which_card),
        cmocka_unit_test(libraries),         cmocka_unit_test(kept_kernels)};
    return cmocka_run_group_tests(tests, prepare, NULL);
}
