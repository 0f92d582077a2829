/* Z-Image from files of eight-bit weights, and with adapters on them: the pictures of the same values stored
 * wide, in every mode and budget. */
#include "pipeline/flow_rig.h"

#include "support/gguf.h"
#include "support/small_files.h"
#include "support/zimage_files.h"
#include "support/zimage_lora.h"

static char folder[BL_TEST_PATH], single[BL_TEST_PATH], small[BL_TEST_PATH], wide[BL_TEST_PATH],
    encoder[BL_TEST_PATH], vae[BL_TEST_PATH], lora[BL_TEST_PATH];

static int make_files(void **state) {
    char synth[BL_TEST_PATH];
    (void)state;
    bl_test_folder(folder);
    bl_synth_folder(synth, "zimage");
    bl_test_join(encoder, synth, "text_encoder/model.safetensors");
    bl_test_join(vae, synth, "vae/diffusion_pytorch_model.safetensors");
    bl_test_join(single, folder, "single.safetensors");
    bl_test_join(wide, folder, "wide.safetensors");
    bl_test_join(lora, folder, "lora.safetensors");
    bl_test_zimage_single(single, "");
    bl_test_zimage_lora(lora, &bl_test_lora_forms[3]);
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    bl_test_folder_remove(folder);
    return 0;
}

static void open_with(rig_studio *s, const char *transformer) {
    flow_open_files(s, transformer, encoder, vae);
}

static ballast_generate_options request(rig_pictures *p) {
    ballast_generate_options o = rig_request(p, 64);
    *p = (rig_pictures){0};
    o.negative_prompt = NULL;
    return o;
}

/* The file's picture in every mode, and in budgets from the least to enough. `adapter`: NULL: none. */
static void check_placements(rig_studio *s, const rig_pictures *wanted, const ballast_adapter *adapter,
                             const char *what) {
    static const char *const modes[] = {"none", "model", "sequential", "balanced", "auto"};
    enum { MODES = 5, BUDGETS = 4 };
    rig_pictures p;
    ballast_generate_options o = request(&p);
    o.adapters = adapter;
    o.adapter_count = adapter != NULL;
    const uint64_t least = rig_planned(s, &o, "min_budget_bytes"),
                   all = rig_planned(s, &o, "working_set_bytes");
    for (int i = 0; i < MODES + BUDGETS; i++) {
        const rig_size budget =
            rig_bytes(least + (all - least) * (uint64_t)(i < MODES ? 0 : i - MODES) / (BUDGETS - 1));
        o = request(&p);
        o.adapters = adapter;
        o.adapter_count = adapter != NULL;
        o.offload = modes[i < MODES ? i : MODES - 1];
        o.budget = i < MODES ? NULL : budget.text;
        rig_make(s, &o);
        rig_same(&p, wanted, what);
        rig_release(&p);
    }
}

static rig_pictures picture(rig_studio *s, const ballast_adapter *adapter) {
    rig_pictures p;
    ballast_generate_options o = request(&p);
    o.adapters = adapter;
    o.adapter_count = adapter != NULL;
    rig_make(s, &o);
    return p;
}

static rig_pictures picture_of(const char *file, const ballast_adapter *adapter) {
    rig_studio s;
    open_with(&s, file);
    rig_pictures p = picture(&s, adapter);
    rig_close(&s);
    return p;
}

static void eight_bits_or_wide_the_same_picture(void **state) {
    rig_studio s;
    (void)state;
    bl_test_join(small, folder, "small.safetensors");
    bl_test_write_small(small, single, BL_TEST_ALL);
    bl_test_write_widened(wide, small);
    rig_pictures wanted = picture_of(wide, NULL), p;
    open_with(&s, small);
    ballast_generate_options o = request(&p);
    json_t *plan = rig_plan(&s, &o);
    assert_true(json_number_value(json_object_get(plan, "widen_seconds")) > 0); /* it stays small */
    json_decref(plan);
    check_placements(&s, &wanted, NULL, "fp8 and int8");
    rig_close(&s);
    rig_release(&wanted);
}

/* The adapter comes to weights that stay small, changes its strength, and goes. */
static void adapters_are_added_to_what_is_widened(void **state) {
    (void)state;
    rig_studio s;
    ballast_adapter a;
    ballast_adapter_init(&a, sizeof a);
    a.path = lora;
    a.text = 0;
    bl_test_join(small, folder, "small.gguf");
    bl_test_write_gguf(small, single);
    bl_test_write_widened(wide, small);
    open_with(&s, wide);
    rig_pictures plain = picture(&s, NULL), half, whole;
    a.denoiser = 0.5;
    half = picture(&s, &a);
    a.denoiser = 1;
    whole = picture(&s, &a);
    rig_close(&s);
    assert_int_equal(plain.bytes, whole.bytes);
    assert_memory_not_equal(plain.rgb, whole.rgb, plain.bytes);
    assert_memory_not_equal(half.rgb, whole.rgb, plain.bytes);
    open_with(&s, small);
    check_placements(&s, &whole, &a, "GGUF with an adapter");
    a.denoiser = 0.5;
    check_placements(&s, &half, &a, "GGUF with half of it");
    a.text = 1; /* the file has nothing for the text encoder */
    rig_pictures p = picture(&s, &a);
    rig_same(&p, &half, "with a strength for the text encoder");
    rig_release(&p);
    ballast_generate_options o = request(&p);
    o.prompt = "a photo of a red fox in the snow<lora:lora:0.5>";
    o.adapter_folders = folder;
    rig_make(&s, &o);
    rig_same(&p, &half, "by a tag");
    rig_release(&p);
    a.denoiser = 0;
    p = picture(&s, &a);
    rig_same(&p, &plain, "with none of it");
    rig_release(&p);
    p = picture(&s, NULL);
    rig_same(&p, &plain, "without it again");
    rig_release(&p);
    rig_close(&s);
    rig_release(&plain);
    rig_release(&half);
    rig_release(&whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_bits_or_wide_the_same_picture),
        cmocka_unit_test(adapters_are_added_to_what_is_widened),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
