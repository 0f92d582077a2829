/* Tuning of families whose denoiser is a transformer: its phases are measured, and what is kept for them
 * leaves their pictures as they are. */
#include "pipeline/flow_rig.h"

#include <jansson.h>

/* These choices for every phase. */
static void choose(const rig_studio *s, const json_t *tuned, const char *choices) {
    ballast_error err = {0};
    json_t *phase, *list = json_array();
    size_t i;
    int count = 0;
    json_array_foreach(json_object_get(tuned, "phases"), i, phase) {
        json_t *entry = json_copy(phase);
        json_object_set_new(entry, "choices", json_string(choices));
        json_object_set_new(entry, "untuned_seconds", json_real(2));
        json_object_set_new(entry, "seconds", json_real(1));
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

static void make(rig_studio *s, flow_taken *t) {
    ballast_error err = {0};
    ballast_generate_options o = flow_request(t);
    if (ballast_generate(NULL, s->model, &o, &err)) {
        fail_msg("%s", err.message);
    }
}

static void tune(const char *family) {
    char folder[BL_TEST_PATH];
    ballast_error err = {0};
    rig_studio s;
    flow_taken untuned, tuned;
    ballast_tune_options to;
    char *text = NULL;
    bl_synth_folder(folder, family);
    rig_open(&s, folder, "f32", "");
    make(&s, &untuned);
    ballast_generate_options o = flow_request(&tuned);
    ballast_tune_options_init(&to, sizeof to);
    to.seconds = 1;
    if (ballast_tune(&text, NULL, s.model, &o, &to, &err)) {
        fail_msg("%s: %s", family, err.message);
    }
    json_t *report = json_loads(text, 0, NULL), *phase;
    bool denoises = false;
    size_t i;
    json_array_foreach(json_object_get(report, "phases"), i, phase) {
        denoises = denoises || (!strcmp(json_string_value(json_object_get(phase, "module")), "transformer") &&
                                json_integer_value(json_object_get(phase, "passes")) == o.steps &&
                                json_number_value(json_object_get(phase, "untuned_seconds")) > 0);
    }
    if (!denoises) {
        fail_msg("%s: %s", family, text);
    }
    assert_int_equal(ballast_tuned_forget(NULL, s.context, s.model, &err), 0);
    choose(&s, report, "level=1,pin=1,rest=1");
    make(&s, &tuned);
    assert_int_equal(untuned.pictures.bytes, tuned.pictures.bytes);
    assert_memory_equal(untuned.pictures.rgb, tuned.pictures.rgb, tuned.pictures.bytes);
    json_decref(report);
    ballast_string_free(&text);
    flow_drop(&untuned);
    flow_drop(&tuned);
    rig_close(&s);
}

static void klein(void **state) {
    (void)state;
    tune("flux2/klein_2_2");
}

static void zimage(void **state) {
    (void)state;
    tune("zimage");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(klein), cmocka_unit_test(zimage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
