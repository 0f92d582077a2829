/* The VAE in tiles: tiles together weigh 1 everywhere, of pictures and of latents; one tile is the whole;
 * pictures come out nearly as whole ones do, decoded and encoded, under a budget that whole ones are refused
 * with, in the largest tiles that fit, and only when that was asked for. */
#include "pipeline/rig.h"

#include "pipeline/tiles.h"
#include "support/slow.h"

#include <math.h>

#define WHOLE 512 /* a width that one tile covers */
#define LARGE 640 /* and one that takes two */
#define HIGH 128

static float value_at(int c, int y, int x) {
    return (float)(c * 31 + y * 7 % 13 - x * 5 % 17) / 16;
}

/* Cuts a plane of made-up latents, or of their pixels, into tiles and puts those together again. */
static void check_plane(int height, int width, int side, bl_tiles_plane plane) {
    bl_tiles t = bl_tiles_of(height, width, side);
    int h = plane.scale * height, w = plane.scale * width;
    size_t n = (size_t)plane.channels * (size_t)h * (size_t)w;
    size_t part = (size_t)(plane.channels * plane.scale * plane.scale) * (size_t)t.rows * (size_t)t.columns;
    float *whole = test_malloc(n * sizeof *whole), *again = test_calloc(n, sizeof *again);
    float *tile = test_malloc(part * sizeof *tile);
    assert_true(t.rows <= side && t.columns <= side);
    for (size_t i = 0; i < n; i++) {
        size_t row = i / (size_t)w;
        whole[i] = value_at((int)(row / (size_t)h), (int)(row % (size_t)h), (int)(i % (size_t)w));
    }
    for (int i = 0; i < bl_tiles_count(&t); i++) {
        bl_tiles_take(tile, &t, i, whole, plane);
        bl_tiles_add(again, &t, i, tile, plane);
    }
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(again[i] - whole[i]) < 2e-5f)) {
            fail_msg("%d x %d in %d x %d tiles, %d for a latent: number %zu is %g, not %g", height, width,
                     t.down, t.across, plane.scale, i, (double)again[i], (double)whole[i]);
        }
    }
    test_free(whole);
    test_free(again);
    test_free(tile);
}

static void check_size(int height, int width, int side) {
    check_plane(height, width, side, (bl_tiles_plane){.channels = 3, .scale = 8});
    check_plane(height, width, side, (bl_tiles_plane){.channels = 8, .scale = 1});
}

static void test_weights(void **state) {
    static const int sides[] = {64, 96, 128}, parts[] = {2, 16, 126, 128, 130, 160, 222, 224, 226, 320, 384};
    (void)state;
    for (int i = 0; i < 3; i++) {
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) { /* of a side, in 128ths */
            check_size(parts[k] * sides[i] / 128, 5, sides[i]);
            check_size(9, parts[k] * sides[i] / 128 + 1, sides[i]);
        }
    }
    check_size(80, 113, 64);
    bl_tiles one = bl_tiles_of(300, 200, 0);
    assert_true(bl_tiles_count(&one) == 1 && one.rows == 300 && one.columns == 200);
}

/* As large as what the model was trained on, as diffusers takes them, within what there is. */
static void test_sides(void **state) {
    static const struct {
        int native, side;
    } sides[] = {{128, 64}, {512, 64}, {760, 64}, {768, 96}, {1024, 128}, {2048, 128}};
    (void)state;
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        assert_int_equal(bl_tiles_side(sides[i].native / 8), sides[i].side);
    }
    assert_int_equal(bl_tiles_smaller(128), 96);
    assert_int_equal(bl_tiles_smaller(96), BL_TILES_SMALLEST);
    assert_int_equal(bl_tiles_smaller(BL_TILES_SMALLEST), 0);
}

static rig_pictures decoded(rig_studio *s, int width, int height, const char *tiled, const char *budget) {
    rig_pictures p = {0};
    ballast_generate_options o = rig_request(&p, width);
    o.height = height;
    o.steps = 1;
    o.tiled_decode = tiled;
    o.budget = budget;
    rig_make(s, &o);
    assert_int_equal(p.count, 1);
    return p;
}

/* Of the largest possible signal to what differs, in decibels. */
static double psnr(const rig_pictures *a, const rig_pictures *b) {
    double sum = 0;
    assert_int_equal(a->bytes, b->bytes);
    for (size_t i = 0; i < a->bytes; i++) {
        double d = (double)a->rgb[i] - (double)b->rgb[i];
        sum += d * d;
    }
    return 10 * log10(255.0 * 255.0 / (sum / (double)a->bytes + 1e-9));
}

/* Tiles against the whole. */
static void check_near(const rig_pictures *tiles, const rig_pictures *whole) {
    double near = psnr(tiles, whole);
    if (!(near > 25 && near < 90)) {
        fail_msg("tiles against the whole: %.1f dB", near);
    }
}

static void test_pictures(void **state) {
    rig_studio s;
    char checkpoint[BL_TEST_PATH];
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    rig_open(&s, checkpoint, "f32", "");
    rig_pictures off = decoded(&s, WHOLE, HIGH, "off", NULL), on = decoded(&s, WHOLE, HIGH, "on", NULL);
    rig_same(&on, &off, "one tile");
    rig_release(&off);
    rig_release(&on);

    off = decoded(&s, LARGE, HIGH, "off", NULL);
    on = decoded(&s, LARGE, HIGH, "on", NULL);
    rig_pictures ample = decoded(&s, LARGE, HIGH, "auto", NULL);
    rig_same(&ample, &off, "auto, with room");
    check_near(&on, &off);
    if (!bl_test_slow()) {
        rig_pictures upright = decoded(&s, HIGH, LARGE, "off", NULL);
        rig_pictures cut = decoded(&s, HIGH, LARGE, "on", NULL);
        check_near(&cut, &upright);
        rig_release(&upright);
        rig_release(&cut);
    }

    rig_pictures p = {0};
    ballast_error err = {0};
    ballast_generate_options o = rig_request(&p, LARGE);
    o.height = HIGH;
    o.steps = 1;
    uint64_t whole = rig_planned(&s, &o, "min_budget_bytes");
    o.tiled_decode = "on";
    uint64_t tiled = rig_planned(&s, &o, "min_budget_bytes");
    assert_true(tiled < whole);
    rig_size little = rig_bytes(tiled), below = rig_bytes(tiled - 1), least = rig_bytes(whole);
    o.tiled_decode = "off";
    o.budget = little.text;
    assert_int_equal(ballast_generate(NULL, s.model, &o, &err), BALLAST_E_BUDGET);
    assert_non_null(strstr(err.message, least.text));
    assert_non_null(strstr(err.message, "--tiled-decode auto"));
    assert_non_null(strstr(err.message, little.text));
    assert_int_equal(ballast_plan(NULL, NULL, s.model, &o, NULL, &err), BALLAST_E_BUDGET);
    assert_non_null(strstr(err.message, "--tiled-decode auto"));
    o.tiled_decode = "auto";
    o.budget = below.text;
    assert_int_equal(ballast_generate(NULL, s.model, &o, &err), BALLAST_E_BUDGET);
    assert_int_equal(p.count, 0);
    rig_pictures small = decoded(&s, LARGE, HIGH, "auto", little.text);
    rig_same(&small, &on, "auto, without room");
    rig_release(&small);
    small = decoded(&s, LARGE, HIGH, "auto", least.text);
    rig_same(&small, &off, "auto, with just enough room");
    rig_release(&small);
    o.tiled_decode = "sometimes";
    assert_int_equal(ballast_generate(NULL, s.model, &o, &err), BALLAST_E_NOT_FOUND);
    assert_non_null(strstr(err.message, "tiled-decode"));
    rig_release(&ample);
    rig_release(&off);
    rig_release(&on);
    rig_close(&s);
}

/* Passes of a phase as planned, or 0. */
static int phase_passes(rig_studio *s, const ballast_generate_options *o, const char *name) {
    json_t *plan = rig_plan(s, o), *phase;
    size_t i;
    json_int_t passes = 0;
    json_array_foreach(json_object_get(plan, "phases"), i, phase) {
        if (!strcmp(json_string_value(json_object_get(phase, "name")), name)) {
            passes = json_integer_value(json_object_get(phase, "passes"));
        }
    }
    json_decref(plan);
    return (int)passes;
}

/* A picture goes in through tiles, too. */
static void test_encoding(void **state) {
    rig_studio s;
    char checkpoint[BL_TEST_PATH];
    const int height = 64;
    uint8_t *photo = test_malloc((size_t)(LARGE * height * 3));
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    rig_open(&s, checkpoint, "f32", "");
    for (int i = 0; i < LARGE * height * 3; i++) {
        photo[i] = (uint8_t)(128 + 100 * sin(i / 3 % LARGE * 0.031) * cos(i / 3 / LARGE * 0.017 + i % 3));
    }
    rig_pictures made[2] = {{0}};
    for (int tiled = 0; tiled < 2; tiled++) {
        ballast_generate_options o = rig_request(&made[tiled], LARGE);
        o.init_rgb = photo;
        o.init_width = LARGE;
        o.init_height = o.height = height;
        o.steps = 20;
        o.strength = 0.05; /* one step: hardly more than encoded and decoded */
        o.tiled_decode = tiled ? "on" : "off";
        assert_int_equal(phase_passes(&s, &o, "encode image"), tiled ? 2 : 1);
        assert_int_equal(phase_passes(&s, &o, "decode"), tiled ? 2 : 1);
        rig_make(&s, &o);
    }
    double near = psnr(&made[1], &made[0]);
    if (!(near > 20 && near < 90)) {
        fail_msg("tiles against the whole: %.1f dB", near);
    }
    rig_release(&made[0]);
    rig_release(&made[1]);
    rig_close(&s);
    test_free(photo);
}

/* SDXL, 1536 x 1536: whole, in tiles of its own size, or in smaller ones. */
static void test_largest_that_fits(void **state) {
    rig_studio s;
    char checkpoint[BL_TEST_PATH];
    rig_pictures p = {0};
    (void)state;
    bl_synth_checkpoint(checkpoint, "sdxl", BL_SYNTH_SINGLE);
    rig_open(&s, checkpoint, "f32", "");
    ballast_generate_options o = rig_request(&p, 1536);
    rig_size whole = rig_bytes(rig_planned(&s, &o, "min_budget_bytes"));
    o.tiled_decode = "on";
    assert_int_equal(phase_passes(&s, &o, "decode"), 4);
    uint64_t own = rig_planned(&s, &o, "min_budget_bytes");
    rig_size enough = rig_bytes(own), little = rig_bytes(own - 1);
    o.tiled_decode = "auto";
    o.budget = whole.text;
    assert_int_equal(phase_passes(&s, &o, "decode"), 1);
    o.budget = enough.text;
    assert_int_equal(phase_passes(&s, &o, "decode"), 4);
    o.budget = little.text;
    assert_int_equal(phase_passes(&s, &o, "decode"), 9);
    rig_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),           cmocka_unit_test(test_sides),
        cmocka_unit_test(test_pictures),          cmocka_unit_test(test_encoding),
        cmocka_unit_test(test_largest_that_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
