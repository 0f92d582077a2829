/* Tuning of families whose denoiser is a transformer: its phases are measured, and what is kept for them
 * leaves their pictures as they are; and the runs of what is kept on trial. */
#include "pipeline/flow_rig.h"
#include "support/flux1_files.h"

#include <jansson.h>

/* These choices for every phase, which took so long without them. */
static void choose(const rig_studio *s, const json_t *tuned, const char *choices, double untuned,
                   bool on_trial) {
    ballast_error err = {0};
    json_t *phase, *list = json_array();
    size_t i;
    int count = 0;
    json_array_foreach(json_object_get(tuned, "phases"), i, phase) {
        json_t *entry = json_copy(phase);
        json_object_set_new(entry, "choices", json_string(choices));
        json_object_set_new(entry, "untuned_seconds", json_real(untuned));
        json_object_set_new(entry, "seconds", json_real(1));
        json_object_set_new(entry, "on_trial", json_boolean(on_trial));
        json_array_append_new(list, entry);
    }
    json_t *root = json_pack("{s:i, s:o}", "ballast_tuned", 1, "entries", list);
    char *text = json_dumps(root, 0);
    if (ballast_tuned_import(&count, s->context, text, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(count, json_array_size(json_object_get(tuned, "phases")));
    free(text);
    json_decref(root);
}

/* What a second of tuning says of two steps. */
static json_t *measure(rig_studio *s) {
    ballast_error err = {0};
    flow_taken t;
    ballast_generate_options o = flow_request(&t);
    ballast_tune_options to;
    char *text = NULL;
    ballast_tune_options_init(&to, sizeof to);
    to.seconds = 1;
    if (ballast_tune(&text, NULL, s->model, &o, &to, &err)) {
        fail_msg("%s", err.message);
    }
    json_t *report = json_loads(text, 0, NULL);
    assert_non_null(report);
    ballast_string_free(&text);
    assert_int_equal(ballast_tuned_forget(NULL, s->context, s->model, &err), 0);
    return report;
}

static void make(rig_studio *s, flow_taken *t) {
    ballast_error err = {0};
    ballast_generate_options o = flow_request(t);
    if (ballast_generate(NULL, s->model, &o, &err)) {
        fail_msg("%s", err.message);
    }
}

static void tune(const char *folder) {
    rig_studio s;
    flow_taken untuned, tuned;
    rig_open(&s, folder, "f32", "");
    make(&s, &untuned);
    json_t *report = measure(&s), *phase;
    bool denoises = false;
    size_t i;
    json_array_foreach(json_object_get(report, "phases"), i, phase) {
        denoises = denoises || (!strcmp(json_string_value(json_object_get(phase, "module")), "transformer") &&
                                json_integer_value(json_object_get(phase, "passes")) == 2 &&
                                json_number_value(json_object_get(phase, "untuned_seconds")) > 0);
    }
    if (!denoises) {
        fail_msg("%s: the denoiser was not measured", folder);
    }
    choose(&s, report, "level=1,pin=1,rest=1", 2, false);
    make(&s, &tuned);
    assert_int_equal(untuned.pictures.bytes, tuned.pictures.bytes);
    assert_memory_equal(untuned.pictures.rgb, tuned.pictures.rgb, tuned.pictures.bytes);
    json_decref(report);
    flow_drop(&untuned);
    flow_drop(&tuned);
    rig_close(&s);
}

static void klein(void **state) {
    (void)state;
    char folder[BL_TEST_PATH];
    bl_synth_folder(folder, "flux2/klein_2_2");
    tune(folder);
}

static void zimage(void **state) {
    (void)state;
    char folder[BL_TEST_PATH];
    bl_synth_folder(folder, "zimage");
    tune(folder);
}

static void flux1(void **state) {
    (void)state;
    char folder[BL_TEST_PATH];
    bl_test_folder(folder);
    bl_test_flux1_folder(folder, "flux1/dev");
    tune(folder);
    bl_test_folder_remove(folder);
}

/* Where nobody reads prompts there are no pictures to be made faster: refused as they are, until there is a
 * vocabulary. */
static void sd3(void **state) {
    (void)state;
    static const char *const parts[] = {"text_encoder", "text_encoder_2", "text_encoder_3",  "transformer",
                                        "vae",          "scheduler",      "model_index.json"};
    char synth[BL_TEST_PATH], folder[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    ballast_error err = {0};
    ballast_tune_options wish;
    rig_studio s;
    flow_taken t;
    bl_synth_folder(synth, "sd3/medium");
    rig_open(&s, synth, "f32", "");
    ballast_generate_options o = flow_request(&t);
    ballast_tune_options_init(&wish, sizeof wish);
    wish.seconds = 1;
    assert_int_equal(ballast_tune(NULL, NULL, s.model, &o, &wish, &err), BALLAST_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "T5's vocabulary is missing"));
    rig_close(&s);
    bl_test_folder(folder);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        bl_test_join(from, synth, parts[i]);
        bl_test_join(to, folder, parts[i]);
        assert_int_equal(symlink(from, to), 0);
    }
    bl_test_t5_vocabulary(folder, "tokenizer_3/tokenizer.json");
    tune(folder);
    bl_test_folder_remove(folder);
}

/* ---- runs with what was kept */

static int without, dropped; /* runs that went without it, and entries that are gone, as lines say */

static void count_lines(void *payload, int level, const char *line) {
    (void)payload, (void)level;
    without += strstr(line, "Phase denoise goes without") != NULL;
    dropped +=
        strstr(line, "What was tuned for phase denoise is dropped: over its last 10 runs it was 5% slower "
                     "than untuned") != NULL;
}

static int asked; /* of a run */

static int after_a_step(void *payload, int index) {
    (void)payload, (void)index;
    return asked++ > 0; /* first before the batch begins */
}

static int stop(void *payload, const ballast_progress *progress) {
    (void)payload;
    return progress->step > 0;
}

/* *report: of measuring; NULL: not yet. */
static void on_trial(rig_studio *s, const char *folder, int threads, json_t **report) {
    ballast_context_options co;
    ballast_model_options mo;
    rig_options(&co, &mo, folder, "f32");
    co.log = count_lines;
    co.threads = threads;
    rig_open_given(s, &co, &mo);
    *report = *report ? *report : measure(s);
    choose(s, *report, threads ? "threads=1,rest=1" : "rest=1", 2, true);
    without = 0;
}

/* A turn without what is on trial that is given up, or whose steps are left out, is not judged. What is on
 * trial is not left out again and again for that. */
static void a_turn_that_is_given_up(void **state) {
    (void)state;
    char folder[BL_TEST_PATH];
    rig_studio s;
    flow_taken t;
    json_t *report = NULL;
    ballast_error err = {0};
    bl_synth_folder(folder, "zimage");
    for (int way = 0; way < 2; way++) {
        on_trial(&s, folder, 0, &report);
        make(&s, &t);
        flow_drop(&t);
        assert_int_equal(without, 0);
        for (int run = 0; run < 4; run++) { /* it is its turn: once */
            ballast_generate_options o = flow_request(&t);
            o.save_latents = NULL;
            asked = 0;
            o.enough = way ? after_a_step : NULL;
            o.progress = way ? NULL : stop;
            const int result = ballast_generate(NULL, s.model, &o, &err);
            assert_int_equal(result, way ? 0 : BALLAST_E_CANCELLED);
            flow_drop(&t);
            assert_int_equal(without, 1);
        }
        rig_close(&s);
    }
    on_trial(&s, folder, 1, &report); /* the user's threads say nothing of those on trial */
    for (int run = 0; run < 4; run++) {
        make(&s, &t);
        flow_drop(&t);
    }
    assert_int_equal(without, 0);
    json_decref(report);
    rig_close(&s);
}

/* Slower than untuned over ten runs: it goes, and that is said. */
static void what_is_slower(void **state) {
    (void)state;
    char folder[BL_TEST_PATH];
    rig_studio s;
    flow_taken t;
    json_t *report = NULL;
    bl_synth_folder(folder, "zimage");
    on_trial(&s, folder, 0, &report);
    choose(&s, report, "rest=1", 1e-9, false);
    dropped = 0;
    for (int run = 0; run < 11; run++) {
        assert_int_equal(dropped, run == 10);
        make(&s, &t);
        flow_drop(&t);
    }
    assert_int_equal(dropped, 1);
    json_decref(report);
    rig_close(&s);
}

int main(void) {
    unsetenv("BALLAST_THREADS"); /* who gives them has chosen */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(klein),
        cmocka_unit_test(zimage),
        cmocka_unit_test(flux1),
        cmocka_unit_test(sd3),
        cmocka_unit_test(a_turn_that_is_given_up),
        cmocka_unit_test(what_is_slower),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
