/* Decoding in tiles: tiles together weigh 1 everywhere; one tile is the whole; pictures come out nearly as
 * whole ones do, under a budget that whole ones are refused with, and only when that was asked for. */
#include "pipeline/rig.h"

#include "pipeline/tiles.h"

#include <math.h>

#define WHOLE 512 /* a side that one tile covers */
#define LARGE 640 /* and one that takes two each way */

static float value_at(int c, int y, int x) {
    return (float)(c * 31 + y * 7 % 13 - x * 5 % 17) / 16;
}

/* Cuts a picture of made-up latents, "decodes" each tile to pixels of the latents' values, and puts it
 * together. */
static void check_size(int height, int width) {
    bl_tiles t = bl_tiles_of(height, width, 1);
    size_t n = 3 * (size_t)height * (size_t)width, part = 3 * (size_t)t.rows * (size_t)t.columns;
    float *z = test_malloc(n * sizeof *z), *image = test_calloc(64 * n, sizeof *image);
    float *tile = test_malloc(part * sizeof *tile), *made = test_malloc(64 * part * sizeof *made);
    assert_true(t.rows <= 64 && t.columns <= 64);
    for (size_t i = 0; i < n; i++) {
        size_t c = i / ((size_t)height * (size_t)width), rest = i % ((size_t)height * (size_t)width);
        z[i] = value_at((int)c, (int)(rest / (size_t)width), (int)(rest % (size_t)width));
    }
    for (int i = 0; i < bl_tiles_count(&t); i++) {
        bl_tiles_take(tile, &t, i, z, 3);
        for (int k = 0; k < 3 * 8 * t.rows; k++) {
            const float *row = tile + (size_t)(k / 8) * (size_t)t.columns;
            for (int x = 0; x < 8 * t.columns; x++) {
                made[(size_t)k * 8 * (size_t)t.columns + (size_t)x] = row[x / 8];
            }
        }
        bl_tiles_add(image, &t, i, made);
    }
    for (int k = 0; k < 3 * 8 * height; k++) {
        for (int x = 0; x < 8 * width; x++) {
            float got = image[(size_t)k * 8 * (size_t)width + (size_t)x];
            float want = value_at(k / 8 / height, k / 8 % height, x / 8);
            if (!(fabsf(got - want) < 2e-5f)) {
                fail_msg("%d x %d in %d x %d tiles, row %d, column %d: %g, not %g", height, width, t.down,
                         t.across, k, x, (double)got, (double)want);
            }
        }
    }
    test_free(z);
    test_free(image);
    test_free(tile);
    test_free(made);
}

static void test_weights(void **state) {
    static const int sides[] = {1, 8, 63, 64, 65, 80, 111, 112, 113, 128, 160, 161, 192};
    (void)state;
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        check_size(sides[i], 5);
        check_size(9, sides[i]);
    }
    check_size(80, 113);
    bl_tiles one = bl_tiles_of(300, 200, 0);
    assert_true(bl_tiles_count(&one) == 1 && one.rows == 300 && one.columns == 200);
}

static rig_pictures decoded(rig_studio *s, int side, const char *tiled, const char *budget) {
    rig_pictures p = {0};
    ballast_generate_options o = rig_request(&p, side);
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

static void test_pictures(void **state) {
    rig_studio s;
    char checkpoint[BL_TEST_PATH];
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    rig_open(&s, checkpoint, "f32", "");
    rig_pictures off = decoded(&s, WHOLE, "off", NULL), on = decoded(&s, WHOLE, "on", NULL);
    rig_same(&on, &off, "one tile");
    rig_release(&off);
    rig_release(&on);

    off = decoded(&s, LARGE, "off", NULL);
    on = decoded(&s, LARGE, "on", NULL);
    rig_pictures ample = decoded(&s, LARGE, "auto", NULL);
    rig_same(&ample, &off, "auto, with room");
    double near = psnr(&on, &off);
    if (!(near > 25 && near < 90)) {
        fail_msg("tiles against the whole: %.1f dB", near);
    }

    rig_pictures p = {0};
    ballast_error err = {0};
    ballast_generate_options o = rig_request(&p, LARGE);
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
    rig_pictures small = decoded(&s, LARGE, "auto", little.text);
    rig_same(&small, &on, "auto, without room");
    rig_release(&small);
    small = decoded(&s, LARGE, "auto", least.text);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_pictures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
