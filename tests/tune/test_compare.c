/* How much of a picture tuning changes: nothing by what leaves bits alone, little by what does not. */
#include "pipeline/rig.h"

#include <jansson.h>

#include "api/api.h"
#include "tune/compare.h"

#define SIDE 64

static rig_studio studio;

/* What a second of tuning says, with the names of the phases. */
static json_t *tune(const ballast_generate_options *o) {
    ballast_error err = {0};
    ballast_tune_options to;
    char *text = NULL;
    ballast_tune_options_init(&to, sizeof to);
    to.seconds = 1;
    to.bits = "any";
    assert_int_equal(ballast_tune(&text, NULL, studio.model, o, &to, &err), 0);
    json_t *tuned = json_loads(text, 0, NULL);
    ballast_string_free(&text);
    assert_int_equal(ballast_tuned_forget(NULL, studio.context, studio.model, &err), 0);
    return tuned;
}

/* Keeps these choices for all of the phases. */
static void choose(const json_t *tuned, const char *choices) {
    ballast_error err = {0};
    int count = 0;
    json_t *phase, *list = json_array();
    size_t i;
    json_array_foreach(json_object_get(tuned, "phases"), i, phase) {
        json_object_set_new(phase, "choices", json_string(choices));
        json_object_set_new(phase, "untuned_seconds", json_real(1));
        json_object_set_new(phase, "seconds", json_real(0.5));
        json_array_append(list, phase);
    }
    json_t *root = json_pack("{s:i, s:o}", "ballast_tuned", 1, "entries", list);
    char *text = json_dumps(root, 0);
    if (ballast_tuned_import(&count, studio.context, text, &err)) {
        fail_msg("%s", err.message);
    }
    assert_true(count >= 2); /* denoiser and decoder */
    free(text);
    json_decref(root);
}

static double difference(const ballast_generate_options *o) {
    bl_pipeline p = bl_pipeline_of(studio.model);
    ballast_generate_options own = *o;
    bl_error err = {0};
    double psnr = -1;
    own.offload = "auto";
    own.fit_check = 1;
    assert_int_equal(bl_tune_compare(&psnr, &p, &own, &err), 0);
    return psnr;
}

static void pictures(void **state) {
    (void)state;
    rig_pictures p = {0};
    rig_open_small(&studio);
    ballast_generate_options o = rig_request(&p, SIDE);
    json_t *tuned = tune(&o);
    choose(tuned, "level=2,pin=1");
    assert_true(difference(&o) == 0);
    choose(tuned, "threads=1,winograd=1"); /* in f32 sums may be cut by threads: why tuning compares bits */
    double psnr = difference(&o);
    assert_true(psnr == 0 || psnr > 40); /* 0: less than a pixel shows */
    json_decref(tuned);
    rig_close(&studio);
    rig_release(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pictures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
