/* Pictures of weights stored small: those of the same values stored wide, in every mode and budget, in less
 * memory. */
#include "pipeline/rig.h"

#include "support/gguf.h"

#define SIDE 64

static char folder[BL_TEST_PATH], gguf[BL_TEST_PATH], wide[BL_TEST_PATH];

static int make_files(void **state) {
    char checkpoint[BL_TEST_PATH];
    (void)state;
    bl_test_folder(folder);
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    bl_test_join(gguf, folder, "tiny.gguf");
    bl_test_join(wide, folder, "tiny.safetensors");
    bl_test_write_gguf(gguf, checkpoint);
    bl_test_write_widened(wide, gguf);
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    bl_test_folder_remove(folder);
    return 0;
}

static ballast_generate_options request_of(rig_pictures *p, const char *offload, const char *budget) {
    ballast_generate_options o = rig_request(p, SIDE);
    o.cfg = 3;
    o.offload = offload;
    o.budget = budget;
    return o;
}

/* What happened is what was planned, and widening has a name of its own. */
static void check_report(json_t *report, bool widens) {
    json_t *batch = json_array_get(json_object_get(report, "batches"), 0);
    json_t *plan = json_object_get(batch, "plan"), *ledger = json_object_get(batch, "ledger");
    double planned = json_number_value(json_object_get(plan, "widen_seconds")),
           was = json_number_value(json_object_get(ledger, "widen_seconds")),
           named = json_number_value(json_object_get(json_object_get(ledger, "stages"), "widen"));
    assert_true(json_equal(json_object_get(plan, "peak_bytes"), json_object_get(ledger, "peak_bytes")));
    assert_true(json_equal(json_object_get(plan, "moved_bytes"), json_object_get(ledger, "moved_bytes")));
    for (size_t i = 0; i < json_array_size(json_object_get(plan, "phases")); i++) {
        json_t *arena = json_array_get(json_object_get(ledger, "arena_bytes"), i);
        json_t *phase = json_array_get(json_object_get(plan, "phases"), i);
        assert_true(json_equal(json_object_get(phase, "arena_bytes"), arena));
    }
    assert_true(widens == (planned > 0));
    assert_true(widens == (was > 0));
    assert_true(widens == (named > 0));
}

static rig_pictures pictures_of(rig_studio *s, const char *offload, const char *budget, bool widens) {
    rig_pictures p = {0};
    ballast_generate_options o = request_of(&p, offload, budget);
    json_t *report = rig_generate(s, &o);
    check_report(report, widens);
    json_decref(report);
    return p;
}

static void small_or_wide_the_same_picture(void **state) {
    static const char *const dtypes[] = {"f32", "auto"};
    static const char *const ways[][2] = {{"none", "1G"},        {"auto", "1G"},  {"auto", "20M"},
                                          {"sequential", "20M"}, {"model", "1G"}, {"balanced", "40M"}};
    (void)state;
    for (int d = 0; d < 2; d++) {
        rig_studio s;
        rig_open(&s, wide, dtypes[d], "");
        rig_pictures wanted = pictures_of(&s, "none", "1G", false);
        rig_close(&s);
        rig_open(&s, gguf, dtypes[d], "");
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            rig_pictures p = pictures_of(&s, ways[w][0], ways[w][1], true);
            rig_same(&p, &wanted, ways[w][0]);
            rig_release(&p);
        }
        rig_close(&s);
        rig_release(&wanted);
    }
}

/* What is in the file, and what of it memory takes. */
static void inspect_tells_small_and_wide(void **state) {
    rig_studio s;
    char *text;
    ballast_error err;
    (void)state;
    rig_open(&s, gguf, "f32", "");
    if (ballast_model_inspect(&text, s.model, 0, 0, &err)) {
        fail_msg("%s", err.message);
    }
    json_t *root = json_loads(text, 0, NULL);
    json_t *unet = json_object_get(json_object_get(root, "modules"), "unet");
    assert_string_equal(json_string_value(json_object_get(unet, "dtypes")), "F32, Q8_0");
    json_int_t packed = json_integer_value(json_object_get(unet, "packed_bytes")),
               wide_bytes = json_integer_value(json_object_get(unet, "wide_bytes"));
    assert_true(packed > 0 && packed * 3 < wide_bytes);
    json_decref(root);
    ballast_string_free(&text);
    rig_close(&s);
}

/* A card with the host's memory between it and the file, and one without. */
static void make_card(char path[BL_TEST_PATH], const char *name, const char *host) {
    bl_test_join(path, folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fprintf(f,
            "{\"name\": \"%s\", \"memory_bytes\": 2000000000, \"copy_rate\": 1e9, \"copy_latency\": 1e-5,"
            " \"memory_rate\": 1e10, \"flops\": {\"f32\": 1e11, \"bf16\": 2e11}%s}",
            name, host);
    assert_int_equal(fclose(f), 0);
}

/* In a plan weights have the bytes that they have in the file, on every device, in every mode and budget. */
static void plans_count_stored_bytes(void **state) {
    static const char *const ways[][2] = {
        {"none", "1G"}, {"auto", "40M"}, {"sequential", "40M"}, {"model", "1G"}, {"balanced", "60M"}};
    char cards[2][BL_TEST_PATH], device[3][BL_TEST_PATH + 8] = {"cpu"};
    (void)state;
    make_card(cards[0], "plain.json", "");
    make_card(cards[1], "store.json",
              ", \"host_bytes\": 1000000000, \"file_rate\": 5e8, \"file_latency\": 1e-4");
    snprintf(device[1], sizeof device[1], "sim:%s", cards[0]);
    snprintf(device[2], sizeof device[2], "sim:%s", cards[1]);
    for (int i = 0; i < 3; i++) {
        rig_studio small, large;
        rig_open_on(&small, device[i], gguf, "f32", "");
        rig_open_on(&large, device[i], wide, "f32", "");
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            ballast_generate_options o = request_of(NULL, ways[w][0], ways[w][1]);
            json_t *a = rig_plan(&small, &o), *b = rig_plan(&large, &o);
            json_t *denoise = json_array_get(json_object_get(a, "phases"), 2);
            uint64_t moved = (uint64_t)json_integer_value(json_object_get(a, "moved_bytes"));
            uint64_t before = (uint64_t)json_integer_value(json_object_get(b, "moved_bytes"));
            if (moved * 10 > before * 4) {
                fail_msg("%s, %s: %llu of %llu bytes are moved", device[i], ways[w][0],
                         (unsigned long long)moved, (unsigned long long)before);
            }
            assert_true(json_number_value(json_object_get(a, "widen_seconds")) > 0);
            assert_true(json_number_value(json_object_get(b, "widen_seconds")) == 0);
            assert_string_equal(json_string_value(json_object_get(denoise, "weights")), "F32, Q8_0");
            json_decref(a);
            json_decref(b);
        }
        rig_close(&small);
        rig_close(&large);
    }
}

/* Adapters are added to the values that were stored small, never put back into codes. */
static void adapters_are_added_to_the_widened(void **state) {
    static const char *const files[] = {wide, gguf};
    char adapter[BL_TEST_PATH];
    rig_pictures made[2] = {{0}}, plain = {0};
    (void)state;
    bl_test_data(adapter, "sd15/adapters/lora/kohya.safetensors");
    for (int i = 0; i < 2; i++) {
        rig_studio s;
        ballast_adapter a;
        ballast_adapter_init(&a, sizeof a);
        a.path = adapter;
        rig_open(&s, files[i], "f32", "");
        ballast_generate_options o = rig_request(&made[i], SIDE);
        o.adapters = &a;
        o.adapter_count = 1;
        o.offload = i ? "sequential" : "none";
        json_t *report = rig_generate(&s, &o);
        check_report(report, i);
        json_decref(report);
        if (i) {
            o = rig_request(&plain, SIDE);
            rig_make(&s, &o);
        }
        rig_close(&s);
    }
    rig_same(&made[1], &made[0], "with an adapter");
    assert_int_equal(plain.bytes, made[1].bytes);
    assert_true(memcmp(plain.rgb, made[1].rgb, plain.bytes) != 0);
    rig_release(&made[0]);
    rig_release(&made[1]);
    rig_release(&plain);
}

/* With blocks that lie on the device: an adapter makes some wide and gives them back, at any room. */
static void adapters_come_and_go(void **state) {
    static const char *const ways[][2] = {{"auto", "1G"}, {"auto", "12M"}, {"balanced", "16M"}};
    char adapter[BL_TEST_PATH];
    rig_studio s;
    ballast_adapter a;
    rig_pictures first[2] = {{0}};
    (void)state;
    bl_test_data(adapter, "sd15/adapters/lora/kohya.safetensors");
    ballast_adapter_init(&a, sizeof a);
    a.path = adapter;
    rig_open(&s, gguf, "f32", "");
    for (size_t i = 0; i < 2 * sizeof ways / sizeof *ways; i++) {
        rig_pictures p = {0};
        ballast_generate_options o = rig_request(&p, SIDE);
        o.adapters = &a;
        o.adapter_count = i % 2;
        o.offload = ways[i / 2][0];
        o.budget = ways[i / 2][1];
        json_t *report = rig_generate(&s, &o);
        check_report(report, true);
        json_decref(report);
        if (i < 2) {
            first[i] = p;
        } else {
            rig_same(&p, &first[i % 2], o.offload);
            rig_release(&p);
        }
    }
    assert_true(memcmp(first[0].rgb, first[1].rgb, first[0].bytes) != 0);
    rig_release(&first[0]);
    rig_release(&first[1]);
    rig_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_or_wide_the_same_picture), cmocka_unit_test(inspect_tells_small_and_wide),
        cmocka_unit_test(plans_count_stored_bytes),       cmocka_unit_test(adapters_are_added_to_the_widened),
        cmocka_unit_test(adapters_come_and_go),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
