/* What ballast.h promises to callers besides the picture: seeds, hints, reserves, versions, what a call
 * leaves behind for the next one. */
#include "pipeline/rig.h"

#define SIDE 64

typedef struct seen {
    int count, hints;
    uint64_t seeds[4];
    char parameters[4][2048];
} seen;

static int take(void *payload, const ballast_image *image) {
    seen *s = payload;
    assert_true(s->count < 4 && image->index == s->count);
    s->seeds[s->count] = image->seed;
    snprintf(s->parameters[s->count++], sizeof s->parameters[0], "%s", image->parameters);
    return 0;
}

static void count_hints(void *payload, int level, const char *line) {
    seen *s = payload;
    (void)level;
    s->hints += !strncmp(line, "Hint: ", 6);
}

static void open_model(rig_studio *s, const char *path, const char *device, seen *log) {
    ballast_context_options co;
    ballast_model_options mo;
    rig_options(&co, &mo, path, "f32");
    co.device = device;
    co.log = log ? count_hints : NULL;
    co.log_payload = log;
    rig_open_given(s, &co, &mo);
}

static ballast_generate_options request(seen *got) {
    ballast_generate_options o = rig_request(NULL, SIDE);
    o.image = take;
    o.payload = got;
    return o;
}

static void make(rig_studio *s, const ballast_generate_options *o) {
    ballast_error err = {0};
    if (ballast_generate(NULL, s->model, o, &err)) {
        fail_msg("%s", err.message);
    }
}

/* A1111: with a variation the seed stays and the variation's goes up. */
static void test_seeds(void **state) {
    char checkpoint[BL_TEST_PATH];
    rig_studio s = {0};
    seen plain = {0}, varied = {0};
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    open_model(&s, checkpoint, NULL, NULL);
    ballast_generate_options o = request(&plain);
    o.batch = o.count = 2;
    make(&s, &o);
    o.payload = &varied;
    o.variation_seed = 90;
    o.variation_strength = 0.3;
    make(&s, &o);
    assert_int_equal(plain.count, 4);
    assert_int_equal(varied.count, 4);
    for (int i = 0; i < 4; i++) {
        char seed[40], variation[40];
        snprintf(seed, sizeof seed, "Seed: %d,", 7 + i);
        snprintf(variation, sizeof variation, "Variation seed: %d,", 90 + i);
        assert_int_equal(plain.seeds[i], 7 + i);
        assert_non_null(strstr(plain.parameters[i], seed));
        assert_int_equal(varied.seeds[i], 7);
        assert_non_null(strstr(varied.parameters[i], "Seed: 7,"));
        assert_non_null(strstr(varied.parameters[i], variation));
    }
    rig_close(&s);
}

/* After the last seed there is comes the first. JSON's readers stop at 2^63 - 1: past it, a seed is a string.
 */
static void test_largest_seed(void **state) {
    char checkpoint[BL_TEST_PATH];
    rig_studio s = {0};
    seen got = {0};
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    open_model(&s, checkpoint, NULL, NULL);
    ballast_generate_options o = request(&got);
    o.count = 2;
    o.seed = UINT64_MAX;
    json_t *report = rig_generate(&s, &o);
    assert_string_equal(json_string_value(json_object_get(report, "seed")), "18446744073709551615");
    json_decref(report);
    assert_true(got.seeds[0] == UINT64_MAX && got.seeds[1] == 0);
    assert_non_null(strstr(got.parameters[0], "Seed: 18446744073709551615,"));
    assert_non_null(strstr(got.parameters[1], "Seed: 0,"));
    got.count = 0;
    o.count = 1;
    o.seed = INT64_MAX;
    report = rig_generate(&s, &o);
    assert_true(json_integer_value(json_object_get(report, "seed")) == INT64_MAX);
    json_decref(report);
    rig_close(&s);
}

static void test_one_hint(void **state) {
    char checkpoint[BL_TEST_PATH];
    rig_studio s = {0};
    seen got = {0};
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    open_model(&s, checkpoint, NULL, &got);
    ballast_generate_options o = request(&got);
    o.count = 3;
    o.hints = 1;
    o.offload = "sequential";
    make(&s, &o);
    assert_int_equal(got.count, 3);
    assert_in_range(got.hints, 0, 1);
    rig_close(&s);
}

static uint64_t planned_budget(rig_studio *s, const ballast_generate_options *o) {
    ballast_error err = {0};
    char *text = NULL;
    if (ballast_plan(&text, NULL, s->model, o, NULL, &err)) {
        fail_msg("%s", err.message);
    }
    json_t *plan = json_loads(text, 0, NULL);
    uint64_t budget = (uint64_t)json_integer_value(json_object_get(plan, "budget_bytes"));
    json_decref(plan);
    ballast_string_free(&text);
    return budget;
}

/* A reserve without a budget is taken from what is free. A simulated card: nobody else uses its memory. */
static void test_reserve(void **state) {
    char checkpoint[BL_TEST_PATH];
    const char *data = getenv("BALLAST_TEST_DATA");
    char device[BL_TEST_PATH + 64];
    rig_studio s = {0};
    seen got = {0};
    ballast_error err = {0};
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    assert_non_null(data);
    snprintf(device, sizeof device, "sim:%s/../../share/devices/rtx4090.json", data);
    open_model(&s, checkpoint, device, NULL);
    ballast_generate_options o = request(&got);
    uint64_t all = planned_budget(&s, &o);
    assert_true(all > 2000000000);
    o.reserve = "1G";
    assert_true(planned_budget(&s, &o) == all - 1000000000);
    o.reserve = "100%";
    assert_int_equal(ballast_plan(NULL, NULL, s.model, &o, NULL, &err), BALLAST_E_BUDGET);
    assert_non_null(strstr(err.message, "reserve"));
    assert_int_equal(ballast_eval(s.model, "unet", "in", "out", 0, &err), BALLAST_E_UNSUPPORTED);
    rig_close(&s);
}

/* A clip skip leaves other weights on the device, which inspecting finds there. */
static void test_inspect_after_clip_skip(void **state) {
    char checkpoint[BL_TEST_PATH], *text = NULL;
    rig_studio s = {0};
    seen got = {0};
    ballast_error err = {0};
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    open_model(&s, checkpoint, NULL, NULL);
    ballast_generate_options o = request(&got);
    o.clip_skip = 2;
    make(&s, &o);
    if (ballast_model_inspect(&text, s.model, SIDE, SIDE, &err)) {
        fail_msg("%s", err.message);
    }
    ballast_string_free(&text);
    o.clip_skip = 0;
    got.count = 0;
    make(&s, &o);
    rig_close(&s);
}

/* Latents for each of two batches: measuring makes one batch only. */
static void test_calibrate_with_latents(void **state) {
    char checkpoint[BL_TEST_PATH];
    rig_studio s = {0};
    seen got = {0};
    ballast_error err = {0};
    float *latents = calloc(2 * 4 * (SIDE / 8) * (SIDE / 8), sizeof *latents);
    (void)state;
    assert_non_null(latents);
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    open_model(&s, checkpoint, NULL, NULL);
    ballast_generate_options o = request(&got);
    o.count = 2;
    o.latents = latents;
    o.latents_batch = 2;
    o.latents_height = o.latents_width = SIDE / 8;
    if (ballast_calibrate(s.model, &o, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(got.count, 0);
    free(latents);
    rig_close(&s);
}

typedef struct previews {
    int count, sides[16], steps[16], indices[16];
    uint64_t seeds[16], sums[16];
} previews;

static int see_preview(void *payload, const ballast_image *image) {
    previews *p = payload;
    assert_true(p->count < 16 && image->width == image->height);
    assert_string_equal(image->parameters, "");
    for (int i = 0; i < 3 * image->width * image->height; i++) {
        p->sums[p->count] = p->sums[p->count] * 31 + image->rgb[i];
    }
    p->sides[p->count] = image->width;
    p->steps[p->count] = image->step;
    p->seeds[p->count] = image->seed;
    p->indices[p->count++] = image->index;
    return 0;
}

/* Two pictures, three steps and two of the second pass: a small picture of each after each, the same again.
 */
static void test_previews(void **state) {
    static const int steps[] = {1, 1, 2, 2, 3, 3, 1, 1, 2, 2};
    char checkpoint[BL_TEST_PATH];
    rig_studio s = {0};
    previews first = {0}, second = {0};
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    open_model(&s, checkpoint, NULL, NULL);
    ballast_generate_options o = request(NULL);
    o.image = NULL;
    o.batch = 2;
    o.steps = 3;
    o.hires_scale = 1.5;
    o.hires_steps = 2;
    o.hires_strength = 1;
    o.preview = see_preview;
    o.payload = &first;
    make(&s, &o);
    o.payload = &second;
    make(&s, &o);
    assert_int_equal(first.count, 10);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(first.steps[i], steps[i]);
        assert_int_equal(first.sides[i], (i < 6 ? SIDE : SIDE * 3 / 2) / 8);
        assert_int_equal(first.indices[i], i % 2);
        assert_int_equal(first.seeds[i], 7 + i % 2);
        assert_true(i < 2 || first.sums[i] != first.sums[i - 2]); /* it changes as it becomes */
    }
    assert_memory_equal(&first, &second, sizeof first);
    rig_close(&s);
}

static int ignore_preview(void *payload, const ballast_image *image) {
    (void)payload;
    (void)image;
    return 0;
}

/* What the host does between the passes has stages of its own, where it does it. */
static void test_host_stages(void **state) {
    static const char *const upscalers[] = {"latent", "Lanczos"}, *const names[] = {"upscale", "preview",
                                                                                    "save"};
    char checkpoint[BL_TEST_PATH];
    rig_studio s = {0};
    seen got = {0};
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    open_model(&s, checkpoint, NULL, &got);
    ballast_generate_options o = request(&got);
    for (int i = 0; i < 3; i++) {
        o.hires_scale = i ? 1.25 : 0;
        o.hires_upscaler = upscalers[i / 2];
        o.preview = i == 1 ? ignore_preview : NULL;
        got.count = 0;
        json_t *report = rig_generate(&s, &o);
        json_t *batch = json_array_get(json_object_get(report, "batches"), 0);
        json_t *stages = json_object_get(json_object_get(batch, "ledger"), "stages");
        const bool wanted[] = {i > 0, i == 1, true};
        for (int k = 0; k < 3; k++) {
            json_t *seconds = json_object_get(stages, names[k]);
            if ((seconds != NULL) != wanted[k] || (seconds && !(json_real_value(seconds) > 0))) {
                fail_msg("request %d, stage %s: there %d", i, names[k], seconds != NULL);
            }
        }
        json_decref(report);
    }
    rig_close(&s);
}

static int refuse_image(void *payload, const ballast_image *image) {
    ++*(int *)payload;
    return image->index == 1;
}

/* A callback that says no to the second of four pictures gets no third. */
static void test_image_stops(void **state) {
    char checkpoint[BL_TEST_PATH];
    rig_studio s = {0};
    ballast_error err = {0};
    char *report = NULL;
    int pictures = 0;
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    open_model(&s, checkpoint, NULL, NULL);
    ballast_generate_options o = request(NULL);
    o.count = 4;
    o.image = refuse_image;
    o.payload = &pictures;
    assert_int_equal(ballast_generate(&report, s.model, &o, &err), BALLAST_E_CANCELLED);
    assert_int_equal(pictures, 2);
    assert_null(report);
    rig_close(&s);
}

/* A file's name may be any bytes; JSON and pictures take UTF-8. */
static void test_name_in_latin1(void **state) {
    char checkpoint[BL_TEST_PATH], folder[BL_TEST_PATH], path[BL_TEST_PATH], *text = NULL;
    rig_studio s = {0};
    seen got = {0};
    ballast_error err = {0};
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    bl_test_folder(folder);
    bl_test_join(path, folder, "caf\xe9.safetensors");
    assert_int_equal(symlink(checkpoint, path), 0);
    open_model(&s, path, NULL, NULL);
    ballast_generate_options o = request(&got);
    make(&s, &o);
    assert_non_null(strstr(got.parameters[0], "Model: caf?"));
    if (ballast_model_inspect(&text, s.model, 0, 0, &err)) {
        fail_msg("%s", err.message);
    }
    assert_non_null(strstr(text, "caf?.safetensors"));
    ballast_string_free(&text);
    rig_close(&s);
    bl_test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_largest_seed),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_one_hint),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_inspect_after_clip_skip),
        cmocka_unit_test(test_calibrate_with_latents),
        cmocka_unit_test(test_name_in_latin1),
        cmocka_unit_test(test_previews),
        cmocka_unit_test(test_image_stops),
        cmocka_unit_test(test_host_stages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
