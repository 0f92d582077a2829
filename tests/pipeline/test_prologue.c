/* What does not change from step to step is computed once: where prologues stand among the phases, and that a
 * picture is the same with the denoiser in two graphs and whole, wherever either is chosen. */
#include "pipeline/modules.h"
#include "rig.h"

#include <jansson.h>

#define SIDE 64

static rig_studio studio;

/* The names of a batch's phases that begin with `prefix`, one behind the other. */
static void phases_of(char *text, size_t room, json_t *report, int batch, const char *prefix) {
    json_t *b = json_array_get(json_object_get(report, "batches"), (size_t)batch), *phase;
    size_t i, at = 0;
    text[0] = 0;
    json_array_foreach(json_object_get(json_object_get(b, "plan"), "phases"), i, phase) {
        const char *name = json_string_value(json_object_get(phase, "name"));
        if (!strncmp(name, prefix, strlen(prefix))) {
            at += (size_t)snprintf(text + at, room - at, "%s;", name);
            assert_true(at < room);
        }
    }
}

static void check_phases(const ballast_generate_options *o, const char *wanted, const char *again) {
    char text[256];
    json_t *report = rig_generate(&studio, o);
    phases_of(text, sizeof text, report, 0, "prologue");
    assert_string_equal(text, wanted);
    if (o->count > 1) {
        phases_of(text, sizeof text, report, 1, "prologue");
        assert_string_equal(text, again);
    }
    json_decref(report);
}

/* One before each pass of the sampler, and in each batch; none before a second pass that follows at once:
 * what is kept is still there. */
static void where_prologues_stand(void **state) {
    (void)state;
    rig_pictures p = {0};
    ballast_generate_options o = rig_request(&p, SIDE);
    check_phases(&o, "prologue;", NULL);
    o.hires_scale = 1.5;
    o.hires_upscaler = "Lanczos";
    o.count = 2;
    check_phases(&o, "prologue;prologue hires;", "prologue;prologue hires;");
    o.hires_upscaler = "Latent";
    check_phases(&o, "prologue;", "prologue;");
    rig_release(&p);
}

/* Long prompts in a large batch keep more than the prologue's weights are: where not all fits, the denoiser
 * is whole, and so it is where it alone fits. Same pictures. */
static void whole_where_that_needs_less(void **state) {
    (void)state;
    rig_pictures two = {0}, whole = {0};
    ballast_generate_options o = rig_request(&two, SIDE);
    char text[256], prompt[1400] = "";
    for (int i = 0; i < 150; i++) {
        snprintf(prompt + strlen(prompt), sizeof prompt - strlen(prompt), "red fox ");
    }
    o.prompt = prompt;
    o.batch = 3;
    o.cfg = 4;
    json_t *report = rig_generate(&studio, &o);
    phases_of(text, sizeof text, report, 0, "prologue");
    assert_string_equal(text, "prologue;");
    json_decref(report);
    rig_size least = rig_bytes(rig_planned(&studio, &o, "min_budget_bytes"));
    o.payload = &whole;
    o.budget = least.text;
    report = rig_generate(&studio, &o);
    phases_of(text, sizeof text, report, 0, "prologue");
    assert_string_equal(text, "");
    json_decref(report);
    rig_same(&whole, &two, "the whole");
    rig_size below = rig_bytes(strtoull(least.text, NULL, 10) - 1);
    o.budget = below.text;
    ballast_error err = {0};
    assert_int_equal(ballast_generate(NULL, studio.model, &o, &err), BALLAST_E_BUDGET);
    assert_non_null(strstr(err.message, least.text));
    rig_release(&two);
    rig_release(&whole);
}

/* What is measured of a graph is known by its shape's text: each field of the key changes it. */
static void keys_have_texts_of_their_own(void **state) {
    (void)state;
    char texts[16][64];
    const bl_shape_key plain = {.batch = 2, .height = 8, .width = 8, .tokens = 77};
    bl_shape_key keys[] = {plain, plain, plain, plain, plain, plain, plain, plain, plain, plain, plain};
    const size_t count = sizeof keys / sizeof *keys;
    keys[1].batch = 4;
    keys[2].height = 16;
    keys[3].width = 16;
    keys[4].tokens = 154;
    keys[5].clip_skip = 2;
    keys[6].own_context = true;
    keys[7].own_lengths = true;
    keys[8].late_crop = true;
    keys[9].form = BL_UNET_PROLOGUE;
    keys[10].form = BL_UNET_STEP;
    for (size_t i = 0; i < count; i++) {
        bl_shape_text(texts[i], sizeof texts[i], keys[i]);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(texts[i], texts[k]);
        }
    }
}

static int open_studio(void **state) {
    (void)state;
    rig_open_small(&studio);
    return 0;
}

static int close_studio(void **state) {
    (void)state;
    rig_close(&studio);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_texts_of_their_own),
        cmocka_unit_test(where_prologues_stand),
        cmocka_unit_test(whole_where_that_needs_less),
    };
    return cmocka_run_group_tests(tests, open_studio, close_studio);
}
