/* Pictures of weights stored small: those of the same values stored wide, in every mode and budget. */
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

static rig_pictures pictures_of(rig_studio *s, const char *offload, const char *budget) {
    rig_pictures p = {0};
    ballast_generate_options o = rig_request(&p, SIDE);
    o.cfg = 3;
    o.offload = offload;
    o.budget = budget;
    rig_make(s, &o);
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
        rig_pictures wanted = pictures_of(&s, "none", "1G");
        rig_close(&s);
        rig_open(&s, gguf, dtypes[d], "");
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            rig_pictures p = pictures_of(&s, ways[w][0], ways[w][1]);
            rig_same(&p, &wanted, ways[w][0]);
            rig_release(&p);
        }
        rig_close(&s);
        rig_release(&wanted);
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
        rig_make(&s, &o);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_or_wide_the_same_picture),
        cmocka_unit_test(adapters_are_added_to_the_widened),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
