/* Whole pictures on the cuda device, whose card is the tests' own (tests/device/cuda/fake.h): packing into
 * the host store, copies, events, arenas and kernels. Whatever the mode, the budget and the order in which
 * streams are worked off, the same bits. */
#include "pipeline/rig.h"

#include "support/gguf.h"

#define SIDE 64
#define BUDGETS 5

static char checkpoint[BL_TEST_PATH];

static void open_card(rig_studio *s, int seed, const char *dtype) {
    char name[32];
    snprintf(name, sizeof name, "fakecuda:%d", seed);
    rig_open_on(s, name, checkpoint, dtype, "");
}

/* What was planned is what was. */
static void check_figures(const char *text) {
    json_t *report = json_loads(text, 0, NULL);
    assert_non_null(report);
    for (size_t i = 0; i < json_array_size(json_object_get(report, "batches")); i++) {
        assert_int_equal(rig_figure(report, (int)i, "plan", "peak_bytes"),
                         rig_figure(report, (int)i, "ledger", "peak_bytes"));
        assert_int_equal(rig_figure(report, (int)i, "plan", "moved_bytes"),
                         rig_figure(report, (int)i, "ledger", "moved_bytes"));
    }
    json_decref(report);
    assert_non_null(strstr(text, "| GPU memory "));
}

/* A mode may refuse a budget that auto works in; else the picture is the same. Whether it did. */
static bool try_mode(rig_studio *s, const char *mode, const rig_size *budget, const rig_pictures *wanted) {
    rig_pictures got = {0};
    ballast_error err = {0};
    char *report = NULL;
    ballast_generate_options o = rig_request(&got, SIDE);
    o.offload = mode;
    o.budget = budget->text;
    int rc = ballast_generate(&report, s->model, &o, &err);
    if (rc && rc != BALLAST_E_BUDGET) {
        fail_msg("%s: %s", mode, err.message);
    }
    if (!rc) {
        check_figures(report);
        rig_same(&got, wanted, mode);
    }
    ballast_string_free(&report);
    rig_release(&got);
    return !rc;
}

static void modes_and_budgets(void **state) {
    (void)state;
    static const char *const modes[] = {"none", "model", "sequential", "balanced"};
    int worked = 0;
    for (int t = 0; t < 2; t++) { /* bf16: the least and the most */
        const char *dtype = t ? "bf16" : "f32";
        rig_studio s;
        rig_pictures wanted = {0};
        open_card(&s, 1, dtype);
        ballast_generate_options o = rig_request(&wanted, SIDE);
        uint64_t least = rig_planned(&s, &o, "min_budget_bytes"),
                 all = rig_planned(&s, &o, "working_set_bytes");
        o.offload = "none";
        rig_make(&s, &o);
        rig_close(&s);
        for (int i = 0; i < BUDGETS; i += t ? BUDGETS - 1 : 1) {
            rig_size budget = rig_bytes(least + (all - least) * (uint64_t)i / (BUDGETS - 1));
            open_card(&s, i + 2, dtype);
            assert_true(try_mode(&s, "auto", &budget, &wanted));
            for (size_t m = 0; m < sizeof modes / sizeof *modes && !t; m++) {
                bool did = try_mode(&s, modes[m], &budget, &wanted);
                assert_true(did || i < BUDGETS - 1); /* where all fits every mode works */
                worked += did;
            }
            rig_close(&s);
        }
        rig_release(&wanted);
    }
    assert_true(worked >= 2 * BUDGETS); /* sequential and balanced, at the least */
}

/* The picture is the cpu's, but for rounding. */
static void as_on_the_cpu(void **state) {
    (void)state;
    rig_studio s;
    rig_pictures p[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        if (i) {
            open_card(&s, 1, "f32");
        } else {
            rig_open(&s, checkpoint, "f32", "");
        }
        ballast_generate_options o = rig_request(&p[i], SIDE);
        rig_make(&s, &o);
        rig_close(&s);
    }
    assert_int_equal(p[0].bytes, p[1].bytes);
    for (size_t i = 0; i < p[0].bytes; i++) {
        assert_true(abs(p[0].rgb[i] - p[1].rgb[i]) <= 1);
    }
    rig_release(&p[0]);
    rig_release(&p[1]);
}

/* A batch's pictures have the bits that each has alone. */
static void batches(void **state) {
    (void)state;
    rig_studio s;
    rig_pictures alone = {0}, together = {0};
    open_card(&s, 1, "f32");
    ballast_generate_options o = rig_request(&alone, SIDE);
    o.count = 2;
    o.cfg = 5;
    rig_make(&s, &o);
    o.payload = &together;
    o.batch = 2;
    o.count = 1;
    rig_make(&s, &o);
    rig_same(&together, &alone, "batch");
    rig_close(&s);
    rig_release(&alone);
    rig_release(&together);
}

/* An adapter is added to weights while they are packed: where and when that is changes no bit, and it is no
 * other picture than the cpu's. */
static void adapters(void **state) {
    (void)state;
    static const char *const modes[] = {"model", "sequential", "balanced", "auto"};
    char path[BL_TEST_PATH];
    ballast_adapter adapter;
    rig_studio s;
    rig_pictures without = {0}, wanted = {0}, cpu = {0};
    bl_test_data(path, "sd15/adapters/lora/comfy.safetensors");
    ballast_adapter_init(&adapter, sizeof adapter);
    adapter.path = path;
    open_card(&s, 1, "f32");
    ballast_generate_options o = rig_request(&without, SIDE);
    rig_make(&s, &o);
    o.adapters = &adapter;
    o.adapter_count = 1;
    o.payload = &wanted;
    rig_make(&s, &o);
    assert_memory_not_equal(wanted.rgb, without.rgb, wanted.bytes);
    rig_size least = rig_bytes(rig_planned(&s, &o, "min_budget_bytes"));
    rig_close(&s);
    for (int m = 0; m < 4; m++) {
        rig_pictures got = {0};
        ballast_error err = {0};
        open_card(&s, m + 2, "f32");
        o.payload = &got;
        o.offload = modes[m];
        o.budget = m % 2 ? least.text : NULL;
        if (ballast_generate(NULL, s.model, &o, &err)) {
            fail_msg("%s: %s", modes[m], err.message);
        }
        rig_same(&got, &wanted, modes[m]);
        rig_close(&s);
        rig_release(&got);
    }
    rig_open(&s, checkpoint, "f32", "");
    o.payload = &cpu;
    o.offload = "none";
    o.budget = NULL;
    rig_make(&s, &o);
    for (size_t i = 0; i < cpu.bytes; i++) {
        assert_true(abs(cpu.rgb[i] - wanted.rgb[i]) <= 1);
    }
    rig_close(&s);
    rig_release(&cpu);
    rig_release(&wanted);
    rig_release(&without);
}

static rig_pictures picture_of(rig_studio *s, const char *offload, const char *budget,
                               const ballast_adapter *adapter) {
    rig_pictures p = {0};
    ballast_error err = {0};
    char *report = NULL;
    ballast_generate_options o = rig_request(&p, SIDE);
    o.offload = offload;
    o.budget = budget;
    o.adapters = adapter;
    o.adapter_count = adapter != NULL;
    if (ballast_generate(&report, s->model, &o, &err)) {
        fail_msg("%s: %s", offload, err.message);
    }
    check_figures(report);
    ballast_string_free(&report);
    return p;
}

/* Weights that a file stores small stay so on the card: the picture is that of the same weights stored wide,
 * in every mode, and in less memory. An adapter makes some blocks wide, and gives them back. */
static void stored_small(void **state) {
    (void)state;
    static const char *const modes[] = {"sequential", "balanced", "auto"};
    char folder[BL_TEST_PATH], gguf[BL_TEST_PATH], wide[BL_TEST_PATH], path[BL_TEST_PATH];
    uint64_t all[2];
    rig_studio s;
    rig_pictures wanted[2];
    ballast_adapter adapter;
    bl_test_folder(folder);
    bl_test_join(gguf, folder, "tiny.gguf");
    bl_test_join(wide, folder, "tiny.safetensors");
    bl_test_write_gguf(gguf, checkpoint);
    bl_test_write_widened(wide, gguf);
    bl_test_data(path, "sd15/adapters/lora/comfy.safetensors");
    ballast_adapter_init(&adapter, sizeof adapter);
    adapter.path = path;
    for (int small = 0; small < 2; small++) {
        rig_open_on(&s, "fakecuda:3", small ? gguf : wide, "bf16", "");
        ballast_generate_options o = rig_request(NULL, SIDE);
        all[small] = rig_planned(&s, &o, "working_set_bytes");
        for (int i = 0; !small && i < 2; i++) {
            wanted[i] = picture_of(&s, "none", NULL, i ? &adapter : NULL);
        }
        const rig_size budget = rig_bytes(rig_planned(&s, &o, "min_budget_bytes"));
        for (int i = 0; small && i < 3; i++) {
            rig_pictures p = picture_of(&s, modes[i], i == 1 ? NULL : budget.text, NULL);
            rig_same(&p, &wanted[0], modes[i]);
            rig_release(&p);
            p = picture_of(&s, modes[i], NULL, &adapter);
            rig_same(&p, &wanted[1], "with an adapter");
            rig_release(&p);
        }
        rig_close(&s);
    }
    assert_memory_not_equal(wanted[0].rgb, wanted[1].rgb, wanted[0].bytes);
    assert_true(all[1] * 4 < all[0] * 3);
    rig_release(&wanted[0]);
    rig_release(&wanted[1]);
    bl_test_folder_remove(folder);
}

/* The second picture of a card that all weights stream through: what does not fit into the pinned memory
 * there is, is planned as read again, and is; a line says so, and no hint asks for more of what is refused.
 */
static void try_pinned(const char *script, uint64_t most, const char *says, const rig_size *budget,
                       const rig_pictures *wanted) {
    rig_studio s;
    rig_pictures got = {0};
    setenv("BALLAST_FAKE_CUDA", script, 1);
    open_card(&s, 2, "f32");
    ballast_generate_options o = rig_request(&got, SIDE);
    o.budget = budget->text;
    for (int i = 0; i < 2; i++) {
        json_t *report = rig_generate(&s, &o);
        uint64_t host = rig_figure(report, 0, "plan", "host_bytes"),
                 loaded = rig_figure(report, 0, "plan", "loaded_bytes");
        rig_same(&got, wanted, script);
        rig_release(&got);
        assert_true(host <= most && loaded > 0);
        assert_int_equal(loaded, rig_figure(report, 0, "ledger", "loaded_bytes"));
        char *text = json_dumps(report, 0);
        assert_null(strstr(text, "--host-budget"));
        free(text);
        json_decref(report);
    }
    assert_non_null(strstr(s.warning, "of host memory cannot be pinned, "));
    assert_non_null(strstr(s.warning, says));
    rig_close(&s);
    unsetenv("BALLAST_FAKE_CUDA");
}

static void no_pinned_memory(void **state) {
    (void)state;
    rig_studio s;
    rig_pictures wanted = {0};
    char script[40];
    open_card(&s, 1, "f32");
    ballast_generate_options o = rig_request(&wanted, SIDE);
    rig_size least = rig_bytes(rig_planned(&s, &o, "min_budget_bytes"));
    o.budget = least.text;
    json_t *report = rig_generate(&s, &o);
    uint64_t store = rig_figure(report, 0, "plan", "store_peak_bytes");
    json_decref(report);
    rig_close(&s);
    try_pinned("pinned=0", store - 1, "nor can less: weights pass through", &least, &wanted);
    uint64_t most = store / 8 * 7;
    snprintf(script, sizeof script, "pinned=%llu", (unsigned long long)most);
    try_pinned(script, most, "can: weights that do not fit in are read from the file", &least, &wanted);
    rig_release(&wanted);
}

/* What a missing wait does: orders in which copies, or loads, come as late as they can show it, as an error
 * or another picture. */
static void a_missing_wait_is_found(void **state) {
    (void)state;
    enum { ORDERS = 4 };
    static const int seeds[ORDERS] = {1, 2, 7, 8};
    rig_studio s;
    rig_pictures wanted = {0};
    int found = 0;
    open_card(&s, 1, "f32");
    ballast_generate_options o = rig_request(&wanted, SIDE);
    rig_make(&s, &o);
    rig_close(&s);
    setenv("BALLAST_FAKE_CUDA", "waits=0", 1);
    for (size_t i = 0; i < ORDERS; i++) {
        rig_pictures got = {0};
        ballast_error err = {0};
        open_card(&s, seeds[i], "f32");
        o.payload = &got;
        found += ballast_generate(NULL, s.model, &o, &err) || got.bytes != wanted.bytes ||
                 memcmp(got.rgb, wanted.rgb, wanted.bytes) != 0;
        rig_close(&s);
        rig_release(&got);
    }
    unsetenv("BALLAST_FAKE_CUDA");
    rig_release(&wanted);
    assert_int_equal(found, ORDERS);
}

/* A card that is lost in the middle: one sentence, that names the op; a new context has the right picture. */
static void a_lost_card(void **state) {
    (void)state;
    rig_studio s;
    rig_pictures wanted = {0};
    open_card(&s, 1, "f32");
    ballast_generate_options o = rig_request(&wanted, SIDE);
    rig_make(&s, &o);
    rig_close(&s);
    for (int at = 2; at < 4000; at += 797) { /* the first is of opening */
        char script[32];
        rig_pictures got = {0};
        ballast_error err = {0};
        snprintf(script, sizeof script, "late=%d", at);
        setenv("BALLAST_FAKE_CUDA", script, 1);
        open_card(&s, at, "f32");
        unsetenv("BALLAST_FAKE_CUDA");
        o.payload = &got;
        int rc = ballast_generate(NULL, s.model, &o, &err);
        if (rc) {
            if (rc != BALLAST_E_DEVICE || !strstr(err.message, "CUDA_ERROR_ILLEGAL_ADDRESS")) {
                fail_msg("work %d: %s", at, err.message);
            }
            rig_release(&got);
            assert_int_equal(ballast_generate(NULL, s.model, &o, &err), BALLAST_E_DEVICE);
            assert_non_null(strstr(err.message, "opened again"));
            rig_release(&got);
        }
        rig_close(&s);
        rig_release(&got);
        open_card(&s, at, "f32");
        rig_make(&s, &o);
        rig_same(&got, &wanted, "after a lost card");
        rig_close(&s);
        rig_release(&got);
    }
    rig_release(&wanted);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_on_the_cpu),
                                       cmocka_unit_test(batches),
                                       cmocka_unit_test(modes_and_budgets),
                                       cmocka_unit_test(no_pinned_memory),
                                       cmocka_unit_test(adapters),
                                       cmocka_unit_test(stored_small),
                                       cmocka_unit_test(a_missing_wait_is_found),
                                       cmocka_unit_test(a_lost_card)};
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(checkpoint);
    return failed;
}
