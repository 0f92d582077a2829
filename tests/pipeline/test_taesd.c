/* TAESD in the VAE's place: a picture of its own, the same in every mode and under every budget, and what is
 * said where it is missing or would help. */
#include "rig.h"

static const char *const modes[] = {"auto", "none", "model", "sequential", "balanced"};

static void open_with(rig_studio *s, const char *family, const char *decoder) {
    char checkpoint[BL_TEST_PATH], file[BL_TEST_PATH];
    ballast_error err = {0};
    ballast_context_options co;
    ballast_context_options_init(&co, sizeof co);
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    *s = (rig_studio){0};
    bl_synth_checkpoint(checkpoint, family, BL_SYNTH_SINGLE);
    bl_test_data(file, decoder);
    co.cache_dir = "";
    mo.path = checkpoint;
    mo.dtype = "f32";
    mo.taesd_path = file;
    if (ballast_context_open(&s->context, &co, &err) ||
        ballast_model_open(&s->model, s->context, &mo, &err)) {
        fail_msg("%s", err.message);
    }
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
        for (int b = 0; b < 3; b++) {
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits_everywhere),
                                       cmocka_unit_test(layouts_agree),
                                       cmocka_unit_test(refusals_say_what_to_do)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
