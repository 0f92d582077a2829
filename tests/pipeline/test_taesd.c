/* TAESD in the VAE's place: a picture of its own, the same in every mode and under every budget, and what is
 * said where it is missing or would help. */
#include "rig.h"

static const char *const modes[] = {"auto", "none", "model", "sequential", "balanced"};

static void open_with(rig_studio *s, const char *family, const char *decoder) {
    char checkpoint[BL_TEST_PATH], file[BL_TEST_PATH];
    ballast_context_options co;
    ballast_model_options mo;
    bl_synth_checkpoint(checkpoint, family, BL_SYNTH_SINGLE);
    bl_test_data(file, decoder);
    rig_options(&co, &mo, checkpoint, "f32");
    mo.taesd_path = file;
    rig_open_given(s, &co, &mo);
}

static int take_with_text(void *payload, const ballast_image *image) {
    assert_non_null(strstr(image->parameters, ", VAE Decoder: TAESD, "));
    return rig_take(payload, image);
}

static rig_pictures made(rig_studio *s, ballast_generate_options o) {
    rig_pictures p = {0};
    o.payload = &p;
    rig_make(s, &o);
    return p;
}

static void same_bits_everywhere(void **state) {
    (void)state;
    rig_studio s;
    open_with(&s, "sd15", "common/taesd/decoder.safetensors");
    ballast_generate_options o = rig_request(NULL, 64);
    rig_add_hires(&o);
    o.count = 1;
    rig_pictures by_vae = made(&s, o);
    o.decode = "taesd";
    o.image = take_with_text;
    rig_pictures wanted = made(&s, o);
    assert_int_equal(wanted.bytes, by_vae.bytes);
    assert_memory_not_equal(wanted.rgb, by_vae.rgb, wanted.bytes);
    uint64_t least = rig_planned(&s, &o, "min_budget_bytes"),
             whole = rig_planned(&s, &o, "working_set_bytes");
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        for (int b = 0; b < 2; b++) {
            rig_size budget = rig_bytes(least + (whole - least) * (uint64_t)b / 2);
            ballast_error err = {0};
            o.offload = modes[m];
            o.budget = budget.text;
            if (ballast_plan(NULL, NULL, s.model, &o, NULL, &err) == BALLAST_E_BUDGET) {
                continue; /* modes that want more than the least */
            }
            rig_pictures p = made(&s, o);
            rig_same(&p, &wanted, modes[m]);
            rig_release(&p);
        }
    }
    rig_release(&wanted);
    rig_release(&by_vae);
    rig_close(&s);
}

/* Pictures with the previews that came on the way. */
typedef struct watched {
    rig_pictures p; /* first: rig_take gets it */
    int previews, width, last_step;
    int enough_at; /* step from which on it is enough; 0: never */
} watched;

static int watch(void *payload, const ballast_image *image) {
    watched *w = payload;
    w->previews++;
    w->width = image->width;
    w->last_step = image->step;
    assert_string_equal(image->parameters, "");
    return 0;
}

static int is_enough(void *payload, int index) {
    const watched *w = payload;
    (void)index;
    return w->enough_at && w->last_step >= w->enough_at;
}

static watched watched_with(rig_studio *s, ballast_generate_options o, const char *previews, int every) {
    watched w = {.previews = 0};
    o.payload = &w;
    o.preview = watch;
    o.previews = previews;
    o.preview_every = (size_t)every;
    rig_make(s, &o);
    return w;
}

/* Whatever is shown, and where, the picture is the same. */
static void previews_change_nothing(void **state) {
    (void)state;
    rig_studio s;
    open_with(&s, "sd15", "common/taesd/decoder.safetensors");
    ballast_generate_options o = rig_request(NULL, 64);
    o.steps = 3;
    o.hires_scale = 1.5;
    rig_pictures wanted = made(&s, o);
    watched none = watched_with(&s, o, "none", 1), linear = watched_with(&s, o, NULL, 1);
    rig_same(&none.p, &wanted, "none");
    rig_same(&linear.p, &wanted, "linear");
    assert_int_equal(none.previews, 0);
    assert_int_equal(linear.previews, 6);
    assert_int_equal(linear.width, 12);
    ballast_generate_options planned = o;
    planned.preview = watch;
    planned.previews = "taesd";
    uint64_t least = rig_planned(&s, &planned, "min_budget_bytes");
    uint64_t whole = rig_planned(&s, &planned, "working_set_bytes");
    int ran = 0;
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        for (int b = 0; b < 2; b++) {
            rig_size budget = rig_bytes(least + (whole - least) * (uint64_t)b / 2);
            ballast_error err = {0};
            planned.offload = o.offload = modes[m];
            planned.budget = o.budget = budget.text;
            if (ballast_plan(NULL, NULL, s.model, &planned, NULL, &err) == BALLAST_E_BUDGET) {
                continue;
            }
            watched w = watched_with(&s, o, "taesd", 1);
            rig_same(&w.p, &wanted, modes[m]);
            assert_int_equal(w.previews, 4); /* none after the last step of a pass */
            assert_int_equal(w.width, 96);
            rig_release(&w.p);
            ran++;
        }
    }
    assert_true(ran >= 5);
    rig_release(&none.p);
    rig_release(&linear.p);
    rig_release(&wanted);
    rig_close(&s);
}

/* Samplers differ in how often they ask the denoiser in a step; one does not know beforehand. */
static const char *const samplers[] = {"Euler a", "Heun",     "DPM++ SDE", "UniPC",       "LCM",
                                       "PLMS",    "DPM fast", "Restart",   "DPM adaptive"};

static void every_kind_of_sampler(void **state) {
    (void)state;
    rig_studio s;
    open_with(&s, "sd15", "common/taesd/decoder.safetensors");
    for (size_t i = 0; i < sizeof samplers / sizeof *samplers; i++) {
        const char *name = samplers[i];
        ballast_generate_options o = rig_request(NULL, 64);
        o.sampler = name;
        o.steps = 6;
        o.batch = i ? 1 : 2;
        rig_pictures wanted = made(&s, o);
        watched w = watched_with(&s, o, "taesd", 2);
        rig_same(&w.p, &wanted, name);
        if (strcmp(name, "DPM adaptive") != 0) {
            assert_int_equal(w.width, 64);
            assert_true(w.previews >= (strcmp(name, "DPM fast") != 0 ? 2 : 1) * o.batch);
        } else {
            assert_int_equal(w.width, 8);
        }
        rig_release(&w.p);
        rig_release(&wanted);
    }
    rig_close(&s);
}

/* What is enough ends the walk amid its parts, with more to come behind it. */
static void parts_are_left_out(void **state) {
    (void)state;
    rig_studio s;
    open_with(&s, "sd15", "common/taesd/decoder.safetensors");
    for (int hires = 0; hires < 2; hires++) {
        ballast_generate_options o = rig_request(NULL, 64);
        watched by[2] = {{.enough_at = 2}, {.enough_at = 2}};
        o.steps = 6;
        o.hires_scale = hires ? 1.25 : 0;
        o.hires_upscaler = "Lanczos";
        o.enough = is_enough;
        o.preview = watch;
        for (int k = 0; k < 2; k++) {
            o.payload = &by[k];
            o.previews = k ? "taesd" : "linear";
            rig_make(&s, &o);
        }
        rig_same(&by[1].p, &by[0].p, "enough after two steps");
        assert_int_equal(by[1].previews, 2);
        rig_release(&by[0].p);
        rig_release(&by[1].p);
    }
    rig_close(&s);
}

/* Many steps have no more previews than a plan has room for. */
static void no_more_than_a_plan_takes(void **state) {
    (void)state;
    rig_studio s;
    open_with(&s, "sd15", "common/taesd/decoder.safetensors");
    ballast_generate_options o = rig_request(NULL, 64);
    o.steps = 22;
    watched w = watched_with(&s, o, "taesd", 1);
    assert_int_equal(w.previews, 10); /* each second step */
    rig_release(&w.p);
    rig_close(&s);
}

/* Both layouts give one picture; a family of the same latents takes it, too. */
static void layouts_agree(void **state) {
    (void)state;
    static const char *const files[] = {"common/taesd/decoder.safetensors",
                                        "common/taesd/diffusers.safetensors"};
    rig_pictures p[2];
    for (int i = 0; i < 2; i++) {
        rig_studio s;
        open_with(&s, "sdxl", files[i]);
        ballast_generate_options o = rig_request(NULL, 64);
        o.decode = "taesd";
        p[i] = made(&s, o);
        rig_close(&s);
    }
    rig_same(&p[0], &p[1], "diffusers' layout");
    rig_release(&p[0]);
    rig_release(&p[1]);
}

static void refusals_say_what_to_do(void **state) {
    (void)state;
    rig_studio s;
    ballast_error err = {0};
    rig_open_small(&s);
    ballast_generate_options o = rig_request(NULL, 512);
    o.decode = "taesd";
    assert_int_equal(ballast_plan(NULL, NULL, s.model, &o, NULL, &err), BALLAST_E_ARGUMENT);
    assert_non_null(strstr(err.message, "name it with --taesd FILE"));
    o.decode = "fast";
    assert_int_equal(ballast_plan(NULL, NULL, s.model, &o, NULL, &err), BALLAST_E_NOT_FOUND);
    assert_non_null(strstr(err.message, "there are vae and taesd"));
    o.decode = NULL;
    o.previews = "taesd";
    assert_int_equal(ballast_plan(NULL, NULL, s.model, &o, NULL, &err), BALLAST_E_ARGUMENT);
    assert_non_null(strstr(err.message, "preview: taesd needs its file"));
    o.previews = "fast";
    assert_int_equal(ballast_plan(NULL, NULL, s.model, &o, NULL, &err), BALLAST_E_NOT_FOUND);
    o.previews = NULL;
    o.preview_every = 0;
    assert_int_equal(ballast_plan(NULL, NULL, s.model, &o, NULL, &err), BALLAST_E_ARGUMENT);
    o.preview_every = 1;
    uint64_t least = rig_planned(&s, &o, "min_budget_bytes");
    rig_size budget = rig_bytes(least - 1);
    o.budget = budget.text;
    assert_int_equal(ballast_plan(NULL, NULL, s.model, &o, NULL, &err), BALLAST_E_BUDGET);
    assert_non_null(strstr(err.message, "--decode taesd with a --taesd FILE decodes in less"));
    rig_close(&s);

    open_with(&s, "sd15", "common/taesd/decoder.safetensors");
    assert_int_equal(ballast_plan(NULL, NULL, s.model, &o, NULL, &err), BALLAST_E_BUDGET);
    const char *way = strstr(err.message, "--decode taesd, for a draft, needs ");
    assert_non_null(way);
    rig_size with = rig_bytes(strtoull(way + strlen("--decode taesd, for a draft, needs "), NULL, 10));
    o.decode = "taesd";
    o.budget = with.text;
    if (ballast_plan(NULL, NULL, s.model, &o, NULL, &err)) {
        fail_msg("%s", err.message);
    }
    rig_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_everywhere),      cmocka_unit_test(previews_change_nothing),
        cmocka_unit_test(every_kind_of_sampler),     cmocka_unit_test(parts_are_left_out),
        cmocka_unit_test(no_more_than_a_plan_takes), cmocka_unit_test(layouts_agree),
        cmocka_unit_test(refusals_say_what_to_do)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
