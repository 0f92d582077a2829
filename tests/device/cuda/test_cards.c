/* What is known of a card beside what it says itself: its file, with the proposals that were the fastest;
 * cards that are not here; CUDA's graphs; kernels that the build brought along. */
#include "rig.h"

#include "device/card_file.h"
#include "device/cuda/internal.h"
#include "device/cuda/kernels_text.h"
#include "support/files.h"

#include <unistd.h>

enum { H = 8, W = 6, C = 16, OUT = H * W * C };

static float in[OUT], wanted[OUT];
static char path[] = "/tmp/ballast-card-XXXXXX";

static bl_graph *network(void) {
    bl_error err = {0};
    bl_graph *g = bl_graph_new(BL_UNET, BL_BF16, NULL);
    bl_graph_block(g, "first");
    bl_tensor_id x = input(g, "x", 1, H, W, C), y, z;
    bl_tensor_id table = bl_input(g, "table", BL_F32, BL_CHANNELS_LAST, 1, H, W, 8);
    bl_conv_options o = {
        .top = 1, .left = 1, .bottom = 1, .right = 1, .residual = BL_NONE, .channels = BL_NONE};
    y = bl_conv(g, x, weight(g, BL_W_CONV, "aw", C, C, 3, 3), weight(g, BL_W_VECTOR, "ab", C, 0, 0, 0), o);
    y = bl_rope(g, y, table, 8, false);
    bl_graph_block(g, "second");
    y = bl_conv(g, bl_rope(g, y, table, 8, true), weight(g, BL_W_CONV, "bw", C, C, 3, 3),
                weight(g, BL_W_VECTOR, "bb", C, 0, 0, 0),
                (bl_conv_options){.stride = 2, .residual = BL_NONE, .channels = BL_NONE});
    z = bl_linear(g, y, weight(g, BL_W_LINEAR, "cw", 3 * C, C, 0, 0), BL_NONE, BL_ACT_NONE, BL_NONE);
    z = bl_attention(g, z, z, z,
                     (bl_attention_options){
                         .heads = 2, .head_dim = 8, .k_offset = C, .v_offset = 2 * C, .key_counts = BL_NONE});
    bl_graph_block(g, "third");
    bl_export(g,
              bl_group_norm(g, z, weight(g, BL_W_VECTOR, "ds", C, 0, 0, 0),
                            weight(g, BL_W_VECTOR, "db", C, 0, 0, 0), 4, 1e-5f, BL_ACT_SILU),
              "y", BL_NCHW);
    assert_int_equal(bl_graph_finish(g, &err), 0);
    return g;
}

enum { COUNT = 3 * 2 * C }; /* 3x3 without padding, every second: [3, 2] */

static void run_checked(bl_device *d) {
    static float got[OUT];
    bl_graph *g = network();
    memset(got, 0, sizeof got);
    run_well(d, g, (how){.store = true}, (const void *[]){in, in}, (void *[]){got});
    assert_memory_equal(got, wanted, COUNT * sizeof *got);
    bl_graph_free(&g);
}

/* Writes the fake card's file; the JSON. */
static json_t *make_file(double seconds) {
    bl_error err = {0};
    json_t *card = NULL;
    bl_graph *g = network();
    bl_device *d = open_fake(&(fake_script){.seed = 1, .lazy = 1 << 20});
    if (card_file_make(&card, d, (const bl_graph *const[]){g}, 1, seconds, &err)) {
        fail_msg("%s", err.message);
    }
    bl_graph_free(&g);
    close_fake(&d);
    return card;
}

static void save(const json_t *card) {
    assert_int_equal(json_dump_file(card, path, 0), 0);
}

static uint64_t arena_of(bl_device *d) {
    bl_error err = {0};
    bl_graph *g = network();
    bl_source source = {.dtype = source_dtype, .read = source_read};
    bl_device_module *m;
    bl_executable *x;
    assert_int_equal(bl_device_module_open(&m, d, g, &source, &err), 0);
    if (bl_device_prepare(&x, d, m, g, &(bl_prepare_options){0}, &err)) {
        fail_msg("%s", err.message);
    }
    bl_exec_info info = bl_device_executable_info(d, x);
    assert_true(info.block_seconds && info.block_seconds[0] > 0);
    bl_device_executable_close(d, x);
    bl_device_module_close(d, m);
    bl_graph_free(&g);
    return info.arena_bytes;
}

typedef struct seen {
    int convs, second, none;
    uint64_t bytes;
} seen;

static void look(void *payload, const char *what, uint64_t key, int choice, uint64_t workspace_bytes) {
    seen *s = payload;
    (void)key;
    if (!strcmp(what, "a convolution")) {
        s->convs++;
        s->second += choice == 1;
        s->none += choice < 0;
        s->bytes += workspace_bytes;
    }
}

static seen look_at(bl_device *d) {
    seen s = {0};
    bl_cuda_visit_convs((bl_cuda *)d, look, &s);
    return s;
}

/* The row of the one convolution that cuDNN does. */
static json_t *row_of_conv(const json_t *card) {
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(card, "plans"), i, row) {
        if (!strcmp(json_string_value(json_array_get(row, 3)), "a convolution") &&
            json_integer_value(json_array_get(row, 1)) >= 0) {
            return row;
        }
    }
    fail_msg("no convolution in the file");
    return NULL;
}

/* The file says another proposal: it is taken, by the card that the file is of and with its libraries alone.
 */
static void a_table_chooses(void **state) {
    (void)state;
    static const struct {
        const char *field;
        int value, second;
    } cases[] = {
        {"graphs", 0, 1}, {"processors", 5, 0}, {"cudnn", 91901, 0}, {"cublaslt", 1, 0}, {"sm", 80, 0}};
    json_t *card = make_file(0);
    json_array_set_new(row_of_conv(card), 1, json_integer(1));
    setenv("BALLAST_CUDA_CARD", path, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *changed = json_deep_copy(card);
        json_object_set_new(changed, cases[i].field, i ? json_integer(cases[i].value) : json_false());
        save(changed);
        json_decref(changed);
        bl_device *d = open_fake(&(fake_script){.seed = 1});
        run_checked(d);
        seen s = look_at(d);
        assert_int_equal(s.convs, 2);
        assert_int_equal(s.none, 1);
        assert_int_equal(s.second, cases[i].second);
        assert_int_equal(s.bytes, 512 * (1 + cases[i].second));
        close_fake(&d);
    }
    unsetenv("BALLAST_CUDA_CARD");
    json_decref(card);
}

static void a_file_that_is_none(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "[]",
        "{\"name\": \"x\"}",
        "{\"name\": \"x\", \"sm\": 90, \"processors\": 0, \"memory_bytes\": 1}",
        "{\"name\": \"x\", \"sm\": 9000, \"processors\": 1, \"memory_bytes\": 1}",
        "{\"name\": \"x\", \"sm\": 90, \"processors\": 1, \"memory_bytes\": 1e99}",
        "{\"name\": \"x\", \"sm\": 90, \"processors\": 1, \"memory_bytes\": 9, \"shares_cores\": true}",
        "{\"name\": \"x\", \"sm\": 90, \"processors\": 1, \"memory_bytes\": 9, \"plans\": [[\"0\", 0, 0]]}",
        "{\"name\": \"x\", \"sm\": 90, \"processors\": 1, \"memory_bytes\": 9, \"plans\": 7}",
        "{\"name\": \"x\", \"sm\": 90, \"processors\": 1, \"memory_bytes\": 9, \"properties\": 7}",
        "{\"name\": \"x\", \"sm\": 90, \"processors\": 1, \"memory_bytes\": 9, \"graphs\": 7}",
        "{\"name\": \"x\", \"sm\": 90, \"processors\": 1, \"memory_bytes\": 9, \"copy_slowdown\": 11}",
        "{\"name\": \"x\", \"sm\": 90, \"processors\": 1, \"memory_bytes\": 9, \"own_bytes\": 9}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bl_error err = {0};
        bl_device *d;
        bl_test_write(path, texts[i], strlen(texts[i]));
        assert_int_equal(bl_cuda_describe(&d, calloc(1, sizeof(bl_cuda_libs)), path, NULL, &err),
                         BL_E_FORMAT);
        assert_null(d);
        assert_non_null(strstr(err.message, path));
    }
    bl_error err = {0};
    bl_device *d;
    assert_int_equal(bl_cuda_describe(&d, calloc(1, sizeof(bl_cuda_libs)), "/nowhere/card.json", NULL, &err),
                     BL_E_NOT_FOUND);
    setenv("BALLAST_CUDA_CARD", "/nowhere/card.json", 1);
    assert_int_equal(bl_cuda_open(&d, fake_begin(&(fake_script){0}), "", NULL, &err), BL_E_NOT_FOUND);
    unsetenv("BALLAST_CUDA_CARD");
    assert_null(fake_end());
}

static char last_line[512];

static void keep_line(void *payload, bl_log_level level, const char *line) {
    (void)payload, (void)level;
    snprintf(last_line, sizeof last_line, "%s", line);
}

static bl_device *describe(bool with_cudnn) {
    static const bl_log log = {keep_line, NULL};
    bl_cuda_libs *libs = calloc(1, sizeof *libs);
    bl_device *d;
    bl_error err = {0};
    if (with_cudnn) {
        libs->dnn = fake_begin(&(fake_script){0})->dnn;
        libs->cudnn = 91900;
    }
    last_line[0] = 0;
    if (bl_cuda_describe(&d, libs, path, &log, &err)) {
        fail_msg("%s", err.message);
    }
    return d;
}

/* From the card's file the arena is what the card would need; what the file lacks is asked of cuDNN, or
 * guessed, and that is said. */
static void a_card_that_is_not_here(void **state) {
    (void)state;
    bl_error err = {0};
    bl_region *region;
    json_t *card = make_file(0);
    bl_device *d = open_fake(&(fake_script){.seed = 1});
    uint64_t exact = arena_of(d);
    close_fake(&d);
    for (int cudnn = 0; cudnn < 2; cudnn++) {
        json_object_set_new(card, "copy_slowdown", json_real(0.125));
        save(card);
        d = describe(cudnn);
        bl_device_caps caps = bl_device_caps_of(d);
        assert_int_equal(arena_of(d), exact);
        assert_string_equal(last_line, "");
        assert_int_equal(caps.memory_bytes, 1 << 30);
        assert_true(caps.copy_slowdown == 0.125);
        assert_int_equal(caps.own_bytes, 2 << 20); /* a convolution, attention */
        assert_int_equal(caps.free_bytes, (1 << 30) - (2 << 20) - (1 << 25));
        assert_int_equal(bl_device_region_open(&region, d, 1, &err), BL_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "planned for alone"));
        bl_device_close(&d);
    }
    json_object_del(card, "plans");
    save(card);
    for (int cudnn = 0; cudnn < 2; cudnn++) {
        d = describe(cudnn);
        assert_true(arena_of(d) > exact);
        assert_non_null(strstr(last_line, cudnn ? "cuDNN makes its plans here" : "is missing or was not"));
        assert_int_equal(look_at(d).none, cudnn); /* cuDNN alone knows that it has no plan */
        bl_device_close(&d);
        assert_null(fake_end());
    }
    json_decref(card);
}

/* The proposals are timed within the time that is given. */
static void proposals_are_timed(void **state) {
    (void)state;
    json_t *card = make_file(20);
    json_t *row = row_of_conv(card);
    assert_true(json_real_value(json_array_get(row, 4)) > 0);
    assert_int_equal(json_integer_value(json_array_get(row, 1)),
                     0); /* none is faster on a clock that counts works */
    json_decref(card);
}

/* Blocks that lie where they lay are launched as graphs, from the third time on, if the card's file says so
 * or it was tuned so, and not if it was tuned otherwise; the bits are the same. */
static void blocks_as_graphs(void **state) {
    (void)state;
    json_t *card = make_file(0);
    json_object_set_new(card, "graphs", json_true());
    save(card);
    for (uint64_t seed = 0; seed < 6; seed++) {
        static float got[OUT], other[OUT];
        const bl_prepare_options options = {.tuning = {.graphs = (int)seed % 3}};
        setenv("BALLAST_CUDA_CARD", options.tuning.graphs == 2 ? "" : path, 1);
        bl_error err = {0};
        bl_graph *g = network();
        bl_device *d = open_fake(&(fake_script){.seed = seed});
        bl_source source = {.dtype = source_dtype, .read = source_read};
        bl_device_module *m;
        bl_executable *x;
        bl_region *r;
        bool lost;
        assert_int_equal(bl_device_module_open(&m, d, g, &source, &err), 0);
        assert_int_equal(bl_device_prepare(&x, d, m, g, &options, &err), 0);
        uint64_t offsets[4], at = bl_device_executable_info(d, x).arena_bytes, arena = at;
        for (int b = 0; b < g->block_count; b++) {
            offsets[b] = at;
            at += bl_device_module_costs(d, m)[b].packed_bytes;
        }
        assert_int_equal(bl_device_region_open(&r, d, at + 4096, &err), 0);
        for (int pass = 0; pass < 5; pass++) {
            if (pass == 0 || pass == 4) { /* later the last block comes to another place */
                offsets[2] += pass ? 1024 : 0;
                for (int b = 0; b < g->block_count; b++) {
                    assert_int_equal(bl_device_pack(d, m, b, bl_device_region_host(d, r), offsets[b],
                                                    BL_STREAM_COMPUTE, &err),
                                     0);
                }
                bl_device_region_used(d, r);
            }
            float *to = pass % 2 ? other : got;
            const void *inputs[] = {in, in};
            void *outputs[] = {to};
            bl_binding binding = {.region = r, .block_offset = offsets, .inputs = inputs, .outputs = outputs};
            memset(to, 0, sizeof got);
            for (int b = 0; b < g->block_count; b++) {
                assert_int_equal(bl_device_run(d, x, b, &binding, BL_STREAM_COMPUTE, &err), 0);
            }
            assert_int_equal(bl_device_sync(d, &lost, &err), 0);
            assert_memory_equal(to, wanted, COUNT * sizeof *got);
            assert_int_equal(bl_device_region_used(d, r).arena, arena);
        }
        assert_int_equal(fake_graphs(), options.tuning.graphs == 1 ? 0 : 3 * 3 + 2);
        bl_device_executable_close(d, x);
        bl_device_region_close(d, r);
        bl_device_module_close(d, m);
        bl_graph_free(&g);
        close_fake(&d);
    }
    unsetenv("BALLAST_CUDA_CARD");
    json_decref(card);
}

/* Without NVRTC the kernels of the build are taken, if it made any. */
static void without_a_compiler(void **state) {
    (void)state;
    bl_device *d = open_fake(&(fake_script){.seed = 1, .no_nvrtc = true});
    bl_error err = {0};
    if (bl_cuda_kernels_ptx[0]) {
        run_checked(d);
    } else {
        assert_int_equal(bl_cuda_kernels_open((bl_cuda *)d, BL_BF16, &err), BL_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "NVRTC is missing"));
    }
    close_fake(&d);
}

static int prepare(void **state) {
    (void)state;
    int f = mkstemp(path);
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    unsetenv("BALLAST_CUDA_CARD");
    for (int i = 0; i < OUT; i++) {
        in[i] = noise(1, (uint64_t)i);
    }
    bl_graph *g = network();
    bl_device *card = open_fake(&(fake_script){.seed = 5});
    run_well(card, g, (how){.store = true}, (const void *[]){in, in}, (void *[]){wanted});
    close_fake(&card);
    bl_graph_free(&g);
    return f < 0 || close(f);
}

static int finish(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_chooses),         cmocka_unit_test(a_file_that_is_none),
        cmocka_unit_test(a_card_that_is_not_here), cmocka_unit_test(proposals_are_timed),
        cmocka_unit_test(blocks_as_graphs),        cmocka_unit_test(without_a_compiler)};
    return cmocka_run_group_tests(tests, prepare, finish);
}
