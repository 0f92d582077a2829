/* Lists of flow-matching models against diffusers' (floats there: 1e-6). */
#include "sample/flow.h"
#include "sample/schedule.h"

#include "support/goldens.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOLERANCE 1e-6
#define MOST_STEPS 200

static void check_list(const char *name, const json_t *gold, int steps, double shift) {
    double sigmas[MOST_STEPS + 1];
    assert_true(steps >= 1 && steps <= MOST_STEPS);
    bl_flow_sigmas(sigmas, steps, shift, 0);
    assert_int_equal(json_array_size(gold), steps + 1);
    for (int i = 0; i <= steps; i++) {
        const double g = json_number_value(json_array_get(gold, (size_t)i));
        if (!(fabs(sigmas[i] - g) < TOLERANCE)) {
            fail_msg("%s: sigma %d is %.9g, not %.9g", name, i, sigmas[i], g);
        }
    }
}

static void zimage_shifts_by_three(void **state) {
    (void)state;
    json_t *root = bl_test_json("zimage/golden/schedule.json"), *list;
    const char *steps;
    assert_true(json_object_size(root) > 4);
    json_object_foreach(root, steps, list) {
        check_list(steps, json_object_get(list, "sigmas"), atoi(steps), 3);
    }
    json_decref(root);
}

/* diffusers' scheduler where its pipeline gives no list: down to the least level of 1000, which is shifted
 * twice where the shift is a fixed one. */
static void sd3_goes_down_to_the_least_level(void **state) {
    static const double five[] =
        {1, 0.9003590941429138, 0.7511211037635803, 0.5029850602149963, 0.008928571827709675, 0},
                        three[] = {1, 0.6229292154312134, 0.0016476524760946631, 0};
    double sigmas[6];
    (void)state;
    bl_flow_sigmas(sigmas, 5, 3, bl_flow_sigma(0.001, 3));
    for (int i = 0; i < 6; i++) {
        assert_true(fabs(sigmas[i] - five[i]) < TOLERANCE);
    }
    bl_flow_sigmas(sigmas, 3, exp(0.5), 0.001);
    for (int i = 0; i < 4; i++) {
        assert_true(fabs(sigmas[i] - three[i]) < TOLERANCE);
    }
    bl_flow_sigmas(sigmas, 1, 3, 0.003);
    assert_true(sigmas[0] == 1 && sigmas[1] == 0);
}

static void flux2_shifts_by_tokens_and_steps(void **state) {
    (void)state;
    json_t *root = bl_test_json("flux2/schedule.json"), *entry;
    const char *name;
    int lists = 0;
    json_object_foreach(root, name, entry) { /* "TOKENS.STEPS" */
        const int tokens = atoi(name), steps = atoi(strchr(name, '.') + 1);
        const double shift = bl_flow_shift_of(tokens, steps);
        assert_true(fabs(log(shift) - json_number_value(json_object_get(entry, "mu"))) < 1e-9);
        if (json_object_get(entry, "sigmas")) {
            check_list(name, json_object_get(entry, "sigmas"), steps, shift);
            lists++;
        }
    }
    assert_true(lists > 10);
    json_decref(root);
}

static bl_schedule *schedule_of(bl_compat compat, bl_schedule_start start, int steps, double strength) {
    bl_schedule *s;
    bl_error err;
    bl_schedule_options o = {.compat = compat,
                             .sampler = BL_SAMPLER_EULER,
                             .steps = steps,
                             .start = start,
                             .strength = strength,
                             .flow_shift = 3};
    if (bl_schedule_new(&s, &o, &err)) {
        fail_msg("%s", err.message);
    }
    return s;
}

/* What a picture becomes that the walk starts from, and where that is. */
static void a_start_picture_is_mixed_with_noise(void **state) {
    (void)state;
    bl_golden g;
    bl_golden_open(&g, "zimage/golden/pipeline.safetensors");
    float *x0 = bl_golden_f32(&g, "img2img.latents0"), *noise = bl_golden_f32(&g, "img2img.noise"),
          *strength = bl_golden_f32(&g, "img2img.strength"), *sigmas = bl_golden_f32(&g, "img2img.sigmas");
    const int64_t n = (int64_t)(bl_golden_tensor(&g, "img2img.noise")->bytes / sizeof(float)),
                  steps = (int64_t)(bl_golden_tensor(&g, "img2img.sigmas")->bytes / sizeof(float)) - 1;
    bl_schedule *s = schedule_of(BL_COMPAT_DIFFUSERS, BL_FROM_IMAGE, (int)steps, *strength);
    for (int i = 0; i <= s->steps; i++) {
        assert_true(fabs(s->sigmas[i] - sigmas[steps - s->steps + i]) < TOLERANCE);
        assert_true(i == s->steps || s->timesteps[i] == 1000 * s->sigmas[i]);
    }
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = x0[i] * (float)s->image_scale + noise[i] * (float)s->noise_scale;
    }
    bl_golden_check(&g, "img2img.noised", x, n, BL_F32);
    bl_schedule_free(&s);
    free(x);
    free(x0);
    free(noise);
    free(strength);
    free(sigmas);
    bl_golden_close(&g);
}

static void strength_leaves_steps_as_each_program_counts(void **state) {
    (void)state;
    static const struct {
        bl_compat compat;
        bl_schedule_start start;
        int steps;
        double strength;
        int left;
    } cases[] = {
        {BL_COMPAT_A1111, BL_FROM_IMAGE, 8, 0.5, 5},     {BL_COMPAT_A1111, BL_FROM_IMAGE, 8, 1, 8},
        {BL_COMPAT_COMFYUI, BL_FROM_IMAGE, 8, 0.5, 8},   {BL_COMPAT_DIFFUSERS, BL_FROM_IMAGE, 9, 0.5, 5},
        {BL_COMPAT_DIFFUSERS, BL_FROM_IMAGE, 8, 0.5, 4}, {BL_COMPAT_A1111, BL_FROM_SECOND_PASS, 8, 0.5, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_schedule *s = schedule_of(cases[i].compat, cases[i].start, cases[i].steps, cases[i].strength);
        if (s->steps != cases[i].left) {
            fail_msg("case %zu: %d steps, not %d", i, s->steps, cases[i].left);
        }
        assert_true(s->sigmas[s->steps] == 0 && s->targets[s->steps - 1] == 0);
        assert_true(s->noise_scale == s->sigmas[0] && s->image_scale == 1 - s->sigmas[0]);
        bl_schedule_free(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zimage_shifts_by_three),
        cmocka_unit_test(a_start_picture_is_mixed_with_noise),
        cmocka_unit_test(strength_leaves_steps_as_each_program_counts),
        cmocka_unit_test(sd3_goes_down_to_the_least_level),
        cmocka_unit_test(flux2_shifts_by_tokens_and_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
