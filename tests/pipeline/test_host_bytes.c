/* What a request takes of the process's memory is known before it runs: never less than what it takes, and
 * not much more. */
#include "pipeline/rig.h"

#include "pipeline/host_bytes.h"
#include "support/failing.h"

typedef struct measured {
    uint64_t before, peak;
    bool began;
} measured;

/* From the first phase on: what was there before is there whatever is planned. */
static int begin(void *payload, const ballast_progress *p) {
    measured *m = payload;
    (void)p;
    if (!m->began) {
        m->began = true;
        m->before = bl_test_taken();
    }
    return 0;
}

static int write_picture(void *payload, const ballast_image *image) {
    ballast_error err = {0};
    uint8_t *png = NULL;
    size_t bytes = 0;
    (void)payload;
    ballast_png_options o;
    ballast_png_options_init(&o, sizeof o);
    o.rgb = image->rgb;
    o.width = image->width;
    o.height = image->height;
    o.parameters = image->parameters;
    assert_int_equal(ballast_image_encode_png(&png, &bytes, &o, &err), 0);
    ballast_bytes_free(&png);
    return 0;
}

/* By the request's own figures, of a model whose prompt's vectors are `width` wide. */
static uint64_t planned(const ballast_generate_options *o, int width) {
    bl_architecture arch = {.family = &bl_sd1, .prediction = BL_PREDICT_EPSILON};
    int chunks[] = {1, 1}, rows = o->cfg == 1 ? 1 : 2;
    bl_condition c = {.rows = rows,
                      .texts = {.count = rows},
                      .chunks = chunks,
                      .tokens = BL_CHUNK_TOKENS,
                      .context_dim = width};
    bl_request r;
    bl_error err = {0};
    if (bl_request_check(&r, o, &arch, 512, &err)) {
        fail_msg("%s", err.message);
    }
    uint64_t bytes = bl_host_bytes(&r, &c, &arch, o->tiled_decode && strcmp(o->tiled_decode, "off") != 0);
    bl_request_clear(&r);
    return bytes;
}

static void check(rig_studio *s, ballast_generate_options *o, const char *what) {
    measured m = {0};
    o->progress = begin;
    o->image = write_picture;
    o->payload = &m;
    rig_make(s, o); /* graphs are prepared, and stay */
    m = (measured){0};
    rig_make(s, o);
    m.peak = bl_test_most_taken();
    uint64_t took = m.peak - m.before, plan = planned(o, 64);
    print_message("%s: %.2f MB taken, %.2f MB planned\n", what, (double)took / 1e6, (double)plan / 1e6);
    assert_true(m.began);
    assert_true(took <= plan + 300000); /* the plan itself, the ledger and the report are not the request's */
    assert_true(plan <= 2 * took + 300000);
}

/* Of FLUX.1's request of so many steps, for each of which the prologue reads a time, a guidance and the
 * text's vector. */
static uint64_t planned_flux1(int steps) {
    enum { TOKENS = 512 };
    const bl_architecture arch = {
        .family = &bl_flux1_dev, .flux1 = {.head_dim = 128}, .flow = {.kind = BL_SHIFT_FIXED, .shift = 1}};
    int chunks[] = {1};
    bl_condition c = {.rows = 1,
                      .texts = {.count = 1},
                      .chunks = chunks,
                      .tokens = TOKENS,
                      .context_dim = 64,
                      .pooled_dim = 768};
    ballast_generate_options o = rig_request(NULL, 64);
    bl_request r;
    bl_error err = {0};
    o.steps = steps;
    if (bl_request_check(&r, &o, &arch, 1024, &err)) {
        fail_msg("%s", err.message);
    }
    const uint64_t bytes = bl_host_bytes(&r, &c, &arch, false);
    bl_request_clear(&r);
    return bytes;
}

static void what_all_steps_are_told_counts(void **state) {
    (void)state;
    assert_int_equal(planned_flux1(1000) - planned_flux1(8), (1000 - 8) * (768 + 2) * sizeof(float));
}

static void what_is_taken_was_planned(void **state) {
    (void)state;
    char checkpoint[BL_TEST_PATH];
    rig_studio s = {0};
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    rig_open(&s, checkpoint, "f32", "");

    ballast_generate_options o = rig_request(NULL, 192);
    o.steps = 1;
    check(&s, &o, "one picture");
    o.batch = 3;
    o.cfg = 7;
    o.sampler = "DPM++ SDE";
    check(&s, &o, "a batch on a Brownian path");

    uint8_t *rgb = calloc(900 * 700, 3);
    assert_non_null(rgb);
    o = rig_request(NULL, 128);
    o.init_rgb = rgb;
    o.init_width = 900;
    o.init_height = 700;
    check(&s, &o, "from a picture");
    free(rgb);

    o = rig_request(NULL, 64);
    rig_add_hires(&o);
    o.hires_scale = 2;
    o.hires_steps = o.steps = o.count = 1;
    o.batch = 2;
    check(&s, &o, "hires through pictures");
    o.hires_upscaler = "Latent";
    o.tiled_decode = "on";
    check(&s, &o, "hires through latents, decoded in tiles");
    rig_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken_was_planned),
        cmocka_unit_test(what_all_steps_are_told_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
