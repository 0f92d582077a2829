/* Whole pictures through the public functions, against diffusers and A1111: final latents at their
 * tolerances, bytes of the picture with at most 0.5% off by one, or few for how exact the golden itself is.
 * Three families, both layouts, text to image, image to image and hires. */
#include "pipeline/rig.h"

#include "image/png.h"
#include "support/goldens.h"
#include "support/slow.h"

/* What a generation gave. */
typedef struct taken {
    float *latents; /* [4, height, width] */
    int height, width;
    uint8_t *rgb; /* [8 height, 8 width, 3] */
    char *parameters;
} taken;

static int take_latents(void *payload, const ballast_latents *latents) {
    taken *t = payload;
    size_t bytes = (size_t)(latents->channels * latents->height * latents->width) * sizeof *latents->data;
    assert_int_equal(latents->index, 0);
    assert_int_equal(latents->channels, 4);
    t->height = latents->height;
    t->width = latents->width;
    t->latents = malloc(bytes);
    assert_non_null(t->latents);
    memcpy(t->latents, latents->data, bytes);
    return 0;
}

static int take_image(void *payload, const ballast_image *image) {
    taken *t = payload;
    size_t bytes = (size_t)image->width * (size_t)image->height * 3;
    t->rgb = malloc(bytes);
    t->parameters = strdup(image->parameters);
    assert_non_null(t->rgb);
    memcpy(t->rgb, image->rgb, bytes);
    return 0;
}

static void release(taken *t) {
    free(t->latents);
    free(t->rgb);
    free(t->parameters);
}

/* What all goldens' pictures share. */
static ballast_generate_options common_options(taken *t, const char *sampler, const char *schedule,
                                               const char *compat, int height, int width) {
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    *t = (taken){0};
    o.prompt = "a photo of a red fox in the snow, highly detailed";
    o.negative_prompt = "blurry, low quality";
    o.cfg = 7;
    o.steps = 8;
    o.sampler = sampler;
    o.schedule = schedule;
    o.compat = compat;
    o.height = height;
    o.width = width;
    o.save_latents = take_latents;
    o.image = take_image;
    o.payload = t;
    return o;
}

static void start_from(ballast_generate_options *o, const float *noise) {
    o->latents = noise;
    o->latents_batch = 1;
    o->latents_height = o->height / 8;
    o->latents_width = o->width / 8;
}

/* A model that several pictures are made with. */
typedef struct studio {
    const char *family;
    rig_studio rig;
} studio;

static void open_studio(studio *s, const char *family, bl_synth_layout layout) {
    char checkpoint[BL_TEST_PATH];
    s->family = family;
    bl_synth_checkpoint(checkpoint, family, layout);
    rig_open(&s->rig, checkpoint, "f32", "");
}

static void close_studio(studio *s) {
    rig_close(&s->rig);
}

static void generate(studio *s, const ballast_generate_options *o) {
    rig_make(&s->rig, o);
    const taken *t = o->payload;
    assert_non_null(t->latents);
    assert_non_null(t->rgb);
}

/* `before` as in bl_golden_share_off. `truncated`: the golden picture is rounded and ours is cut, as A1111
 * does: then ours is the golden byte or the one below. */
static void check_picture(const taken *t, const char *family, const char *picture, const char *before,
                          bool truncated) {
    char path[BL_TEST_PATH], name[256];
    bl_picture gold;
    bl_error err = {0};
    snprintf(name, sizeof name, "%s/golden/pipeline/%s.png", family, picture);
    bl_test_data(path, name);
    if (bl_png_read(&gold, path, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(gold.width, t->width * 8);
    assert_int_equal(gold.height, t->height * 8);
    int64_t bytes = gold.width * gold.height * 3, off = 0;
    for (int64_t i = 0; i < bytes; i++) {
        int d = (int)gold.rgb[i] - (int)t->rgb[i];
        if (d < -1 || d > 1) {
            fail_msg("%s: byte %lld is %d, not %d", name, (long long)i, t->rgb[i], gold.rgb[i]);
        }
        off += truncated ? d < 0 : d != 0;
    }
    if ((double)off > bl_golden_share_off(family, picture, before) * (double)bytes) {
        fail_msg("%s: %lld of %lld bytes differ", name, (long long)off, (long long)bytes);
    }
    bl_picture_clear(&gold);
}

typedef struct text_case {
    const char *name, *sampler, *schedule, *compat;
    int height, width;
    bool no_negative;
} text_case;

static const text_case text_cases[] = {
    {"euler_128", "Euler", NULL, "diffusers", 128, 128, false},
    {"dpmpp2mk_128", "DPM++ 2M", "karras", "diffusers", 128, 128, false},
    {"euler_192x128", "Euler", NULL, "diffusers", 192, 128, false},
    {"dpmpp2mk_192x128", "DPM++ 2M", "karras", "diffusers", 192, 128, false},
    {"euler_no_negative_128", "Euler", NULL, "diffusers", 128, 128, true},
    {"k_euler_normal_128", "Euler", "normal", "a1111", 128, 128, false},
    {"k_dpmpp2mk_128", "DPM++ 2M", "karras", "a1111", 128, 128, false},
};

static void check_text_case(studio *s, const text_case *c) {
    char name[256];
    bl_golden golden;
    taken t;
    snprintf(name, sizeof name, "%s/golden/pipeline/txt2img.safetensors", s->family);
    bl_golden_open(&golden, name);
    snprintf(name, sizeof name, "%s.noise", c->name);
    float *noise = bl_golden_f32(&golden, name);
    ballast_generate_options o = common_options(&t, c->sampler, c->schedule, c->compat, c->height, c->width);
    if (c->no_negative) {
        o.negative_prompt = NULL;
    }
    start_from(&o, noise);
    generate(s, &o);
    snprintf(name, sizeof name, "%s.final", c->name);
    bl_golden_check(&golden, name, t.latents, (int64_t)4 * t.height * t.width, BL_F32);
    check_picture(&t, s->family, c->name, NULL, !strcmp(c->compat, "a1111"));
    assert_non_null(strstr(t.parameters, "Steps: 8, Sampler: "));
    release(&t);
    free(noise);
    bl_golden_close(&golden);
}

/* Second pass over interpolated latents of the first. */
static void check_latent_hires(studio *s, const char *upscaler) {
    char name[256];
    bl_golden base, golden;
    taken t;
    snprintf(name, sizeof name, "%s/golden/pipeline/txt2img.safetensors", s->family);
    bl_golden_open(&base, name);
    snprintf(name, sizeof name, "%s/golden/pipeline/hires.safetensors", s->family);
    bl_golden_open(&golden, name);
    float *noise = bl_golden_f32(&base, "dpmpp2mk_128.noise");
    ballast_generate_options o = common_options(&t, "DPM++ 2M", "karras", "diffusers", 128, 128);
    start_from(&o, noise);
    o.seed = 1234; /* of the second pass's noise */
    o.hires_scale = 1.5;
    o.hires_strength = 0.6;
    snprintf(name, sizeof name, "latent %s", upscaler);
    o.hires_upscaler = name;
    generate(s, &o);
    char wanted[256];
    snprintf(wanted, sizeof wanted, "latent_%s.final", upscaler);
    /* The tolerance is of the second pass alone, from the golden's own latents. Ours begins with those of the
     * first pass, which have theirs. */
    float *gold = bl_golden_f32(&golden, wanted);
    bl_check_close(wanted, gold, t.latents, (int64_t)4 * 24 * 24,
                   bl_golden_tolerance(&golden, wanted, BL_F32) +
                       bl_golden_tolerance(&base, "dpmpp2mk_128.final", BL_F32));
    free(gold);
    snprintf(wanted, sizeof wanted, "hires_latent_%s", upscaler);
    check_picture(&t, s->family, wanted, "dpmpp2mk_128", false);
    assert_non_null(strstr(t.parameters, "Hires upscale: 1.5"));
    release(&t);
    free(noise);
    bl_golden_close(&base);
    bl_golden_close(&golden);
}

/* Image to image from the enlarged first picture, which is what hires through pictures is. */
static void check_image_to_image(studio *s) {
    char path[BL_TEST_PATH], name[256];
    bl_golden golden;
    bl_picture init;
    bl_error err = {0};
    taken t;
    snprintf(name, sizeof name, "%s/golden/pipeline/hires.safetensors", s->family);
    bl_golden_open(&golden, name);
    snprintf(name, sizeof name, "%s/golden/pipeline/hires_upscaled.png", s->family);
    bl_test_data(path, name);
    if (bl_png_read(&init, path, &err)) {
        fail_msg("%s", err.message);
    }
    ballast_generate_options o = common_options(&t, "DPM++ 2M", "karras", "diffusers", 192, 192);
    o.seed = 1234;
    o.init_rgb = init.rgb;
    o.init_width = o.init_height = 192;
    o.strength = 0.6;
    generate(s, &o);
    bl_golden_check(&golden, "image.final", t.latents, (int64_t)4 * 24 * 24, BL_F32);
    check_picture(&t, s->family, "hires_image", NULL, false);
    release(&t);
    bl_picture_clear(&init);
    bl_golden_close(&golden);
}

static void check_family(const char *family) {
    studio s;
    open_studio(&s, family, BL_SYNTH_SINGLE);
    for (size_t i = 0; i < sizeof text_cases / sizeof *text_cases; i += bl_test_slow() ? 6 : 1) {
        check_text_case(&s, &text_cases[i]);
    }
    check_latent_hires(&s, "bilinear");
    check_latent_hires(&s, "nearest-exact");
    check_image_to_image(&s);
    close_studio(&s);
    open_studio(&s, family, BL_SYNTH_FOLDER);
    check_text_case(&s, &text_cases[1]);
    close_studio(&s);
}

static void test_sd15(void **state) {
    studio s;
    (void)state;
    check_family("sd15");
    open_studio(&s, "sd15", BL_SYNTH_SINGLE_F16);
    check_text_case(&s, &text_cases[0]);
    close_studio(&s);
}

static void test_sd21v(void **state) {
    (void)state;
    if (bl_test_slow()) {
        skip();
    }
    check_family("sd21v");
}

static void test_sdxl(void **state) {
    (void)state;
    check_family("sdxl");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sd15),
        cmocka_unit_test(test_sd21v),
        cmocka_unit_test(test_sdxl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
