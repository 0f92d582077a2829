/* What the compatibility mode decides, written out from the programs' rules: starts, strength, ends. */
#include "sample/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bl_schedule *make(bl_schedule_options o) {
    bl_schedule *s = NULL;
    bl_error err;
    if (bl_schedule_new(&s, &o, &err)) {
        fail_msg("%s", err.message);
    }
    return s;
}

static void close_to(double mine, double should) {
    if (!(fabs(mine - should) <= 1e-12 * fabs(should))) {
        fail_msg("%.15g, should be %.15g", mine, should);
    }
}

static bl_schedule_options options(bl_compat compat, bl_sampler_id sampler, bl_schedule_id schedule,
                                   int steps) {
    return (bl_schedule_options){.compat = compat, .sampler = sampler, .schedule = schedule, .steps = steps};
}

static void starts(void **state) {
    (void)state;
    bl_schedule *a = make(options(BL_COMPAT_A1111, BL_SAMPLER_EULER, BL_SCHEDULE_KARRAS, 20));
    close_to(a->noise_scale, a->sigmas[0]);
    bl_schedule *c = make(options(BL_COMPAT_COMFYUI, BL_SAMPLER_EULER, BL_SCHEDULE_KARRAS, 20));
    close_to(c->noise_scale, sqrt(c->sigmas[0] * c->sigmas[0] + 1));
    bl_schedule *low = make(options(BL_COMPAT_COMFYUI, BL_SAMPLER_EULER, BL_SCHEDULE_DDIM_UNIFORM, 20));
    close_to(low->noise_scale, low->sigmas[0]); /* ddim_uniform begins below sigma_max */
    for (int i = 0; i < a->steps; i++) {
        close_to(a->sigmas[i], c->sigmas[i]);
        assert_true(c->timesteps[i] == rint(c->timesteps[i]) && fabs(c->timesteps[i] - a->timesteps[i]) <= 1);
    }
    assert_true(a->timesteps[3] != rint(a->timesteps[3]));
    assert_true(a->image_scale == 1 && c->image_scale == 1);
    bl_schedule_free(&a);
    bl_schedule_free(&c);
    bl_schedule_free(&low);
}

/* The steps that are left are the last of the whole walk's. */
static void check_tail(bl_schedule_options o, int whole_steps, int left) {
    bl_schedule_options w = o;
    w.start = BL_FROM_NOISE;
    w.steps = whole_steps;
    bl_schedule *part = make(o), *whole = make(w);
    assert_int_equal(part->steps, left);
    for (int i = 0; i <= left; i++) {
        close_to(part->sigmas[i], whole->sigmas[whole->steps - left + i]);
    }
    close_to(part->noise_scale, part->sigmas[0]);
    assert_true(part->image_scale == 1);
    if (o.compat == BL_COMPAT_A1111) { /* the Brownian path is that of the whole walk */
        close_to(part->brownian_high, whole->sigmas[0]);
    } else {
        close_to(part->brownian_high, part->sigmas[0]);
    }
    close_to(part->brownian_low, whole->sigmas[whole->steps - 1]);
    bl_schedule_free(&part);
    bl_schedule_free(&whole);
}

static void strengths(void **state) {
    (void)state;
    bl_schedule_options o = options(BL_COMPAT_A1111, BL_SAMPLER_DPMPP_2M_SDE, BL_SCHEDULE_KARRAS, 20);
    o.start = BL_FROM_IMAGE;
    o.strength = 0.6;
    check_tail(o, 20, 13); /* int(0.6 * 20) + 1 */
    o.strength = 1;
    check_tail(o, 20, 20); /* int(0.999 * 20) + 1 */
    o.strength = 0.01;
    check_tail(o, 20, 1);
    o.start = BL_FROM_SECOND_PASS;
    o.strength = 0.6;
    check_tail(o, 33, 20); /* int(20 / 0.6) */
    o.strength = 0.02;
    check_tail(o, 1000, 20);
    o.sampler = BL_SAMPLER_DPM2; /* leaves out the smallest sigma, not a step */
    o.strength = 0.6;
    check_tail(o, 33, 20);

    o = options(BL_COMPAT_COMFYUI, BL_SAMPLER_EULER, BL_SCHEDULE_NORMAL, 20);
    o.start = BL_FROM_IMAGE;
    o.strength = 0.6;
    check_tail(o, 33, 20);
    o.start = BL_FROM_SECOND_PASS;
    check_tail(o, 33, 20);

    o = options(BL_COMPAT_DIFFUSERS, BL_SAMPLER_HEUN, BL_SCHEDULE_TRAILING, 20);
    o.start = BL_FROM_IMAGE;
    o.strength = 0.6;
    check_tail(o, 20, 12);
    o.start = BL_FROM_SECOND_PASS;
    check_tail(o, 20, 12);
    o.strength = 1;
    check_tail(o, 20, 20);

    /* ComfyUI: from an image at full strength noise gets sqrt(1 + sigma^2) as well. */
    o = options(BL_COMPAT_COMFYUI, BL_SAMPLER_EULER, BL_SCHEDULE_NORMAL, 20);
    o.start = BL_FROM_IMAGE;
    o.strength = 1;
    bl_schedule *s = make(o);
    close_to(s->noise_scale, sqrt(s->sigmas[0] * s->sigmas[0] + 1));
    bl_schedule_free(&s);
}

/* A1111's LCM knows 50 of the 1000 levels, those of timesteps 19, 39, ... 999. */
static void lcm_levels(void **state) {
    (void)state;
    bl_schedule *two = make(options(BL_COMPAT_A1111, BL_SAMPLER_LCM, BL_SCHEDULE_AUTOMATIC, 2));
    bl_schedule *all = make(options(BL_COMPAT_A1111, BL_SAMPLER_LCM, BL_SCHEDULE_AUTOMATIC, 50));
    bl_schedule *ddim = make(options(BL_COMPAT_A1111, BL_SAMPLER_LCM, BL_SCHEDULE_DDIM_UNIFORM, 4));
    bl_schedule *whole = make(options(BL_COMPAT_COMFYUI, BL_SAMPLER_LCM, BL_SCHEDULE_AUTOMATIC, 50));
    bl_schedule *euler = make(options(BL_COMPAT_A1111, BL_SAMPLER_EULER, BL_SCHEDULE_AUTOMATIC, 1000));
    assert_true(two->timesteps[0] == 999 && two->timesteps[1] == 19);
    close_to(two->sigmas[0], euler->sigmas[0]);
    close_to(two->sigmas[1], euler->sigmas[999 - 19]);
    close_to(two->noise_scale, two->sigmas[0]);
    for (int i = 0; i < 50; i++) {
        assert_true(all->timesteps[i] == 999 - 20 * i);
        close_to(all->sigmas[i], euler->sigmas[20 * i]);
    }
    assert_int_equal(ddim->steps, 5); /* from the second level on, every twelfth */
    for (int i = 0; i < 5; i++) {
        assert_true(ddim->timesteps[i] == 999 - 240 * i);
    }
    assert_true(two->boundary_scaling && !whole->boundary_scaling && !euler->boundary_scaling);
    assert_true(whole->timesteps[1] == 979 && whole->timesteps[49] == 0);
    bl_schedule_free(&two);
    bl_schedule_free(&all);
    bl_schedule_free(&ddim);
    bl_schedule_free(&whole);
    bl_schedule_free(&euler);
}

static void refusals(void **state) {
    (void)state;
    const double strengths[] = {0, -0.5, 1.0001, (double)NAN, (double)INFINITY};
    const int steps[] = {0, -3, BL_MAX_STEPS + 1, INT32_MAX};
    bl_schedule *s = NULL;
    bl_error err;
    for (int compat = 0; compat < BL_COMPAT_COUNT; compat++) {
        bl_schedule_options o = options((bl_compat)compat, BL_SAMPLER_EULER, BL_SCHEDULE_AUTOMATIC, 20);
        o.start = BL_FROM_IMAGE;
        for (size_t i = 0; i < sizeof strengths / sizeof *strengths; i++) {
            o.strength = strengths[i];
            assert_int_equal(bl_schedule_new(&s, &o, &err), BL_E_ARGUMENT);
            assert_non_null(strstr(err.message, "strength"));
        }
        o.strength = 0.5;
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
            o.steps = steps[i];
            assert_int_equal(bl_schedule_new(&s, &o, &err), BL_E_ARGUMENT);
            assert_non_null(strstr(err.message, "steps"));
        }
    }
    bl_schedule_options o = options(BL_COMPAT_DIFFUSERS, BL_SAMPLER_EULER, BL_SCHEDULE_AUTOMATIC, 20);
    o.start = BL_FROM_IMAGE;
    o.strength = 0.04; /* int(20 * 0.04) = 0 steps */
    assert_int_equal(bl_schedule_new(&s, &o, &err), BL_E_ARGUMENT);
    o.compat = BL_COMPAT_COMFYUI;
    o.strength = 1e-300;
    assert_int_equal(bl_schedule_new(&s, &o, &err), BL_E_ARGUMENT);
    o = options(BL_COMPAT_DIFFUSERS, BL_SAMPLER_DDIM, BL_SCHEDULE_KARRAS, 20);
    assert_int_equal(bl_schedule_new(&s, &o, &err), BL_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "leading, linspace or trailing"));
    o = options(BL_COMPAT_DIFFUSERS, BL_SAMPLER_LCM, BL_SCHEDULE_AUTOMATIC, 51);
    assert_int_equal(bl_schedule_new(&s, &o, &err), BL_E_ARGUMENT);
    o = options(BL_COMPAT_DIFFUSERS, BL_SAMPLER_EULER, BL_SCHEDULE_KARRAS, 20);
    o.spacing = BL_SCHEDULE_BETA;
    assert_int_equal(bl_schedule_new(&s, &o, &err), BL_E_ARGUMENT);
    assert_null(s);
}

/* One step more is asked for and the smallest sigma left out, by those who do so. */
static void smallest_left_out(void **state) {
    (void)state;
    static const struct {
        bl_compat compat;
        bl_sampler_id sampler;
        bool left_out;
    } rules[] = {
        {BL_COMPAT_A1111, BL_SAMPLER_DPM2, true},           {BL_COMPAT_A1111, BL_SAMPLER_DPM2_A, true},
        {BL_COMPAT_A1111, BL_SAMPLER_DPMPP_3M_SDE, true},   {BL_COMPAT_A1111, BL_SAMPLER_HEUN, false},
        {BL_COMPAT_COMFYUI, BL_SAMPLER_DPM2, true},         {BL_COMPAT_COMFYUI, BL_SAMPLER_UNIPC, true},
        {BL_COMPAT_COMFYUI, BL_SAMPLER_DPMPP_3M_SDE, false}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        bl_schedule *s = make(options(rules[i].compat, rules[i].sampler, BL_SCHEDULE_KARRAS, 10));
        bl_schedule *more = make(options(rules[i].compat, BL_SAMPLER_EULER, BL_SCHEDULE_KARRAS, 11));
        assert_int_equal(s->steps, 10);
        assert_true((s->sigmas[9] > 0.03) == rules[i].left_out);
        for (int k = 0; rules[i].left_out && k < 10; k++) {
            close_to(s->sigmas[k], more->sigmas[k]);
        }
        bl_schedule_free(&s);
        bl_schedule_free(&more);
    }
}

/* A1111's DDIM with 20 steps: timesteps 951, 901, ... 51, 19 of them, the last one to timestep 1. */
static void a1111_ddim(void **state) {
    (void)state;
    bl_schedule *s = make(options(BL_COMPAT_A1111, BL_SAMPLER_DDIM, BL_SCHEDULE_AUTOMATIC, 20));
    assert_int_equal(s->steps, 19);
    for (int i = 0; i < 19; i++) {
        assert_true(s->timesteps[i] == 951 - 50 * i);
        close_to(s->sigmas[i], s->table.sigma[951 - 50 * i]);
        close_to(s->targets[i], s->table.sigma[901 - 50 * i]);
    }
    close_to(s->noise_scale, sqrt(s->sigmas[0] * s->sigmas[0] + 1));
    bl_schedule_free(&s);

    /* From an image: t_enc = 12; noised for timestep 601, walked from 551. */
    bl_schedule_options o = options(BL_COMPAT_A1111, BL_SAMPLER_DDIM, BL_SCHEDULE_AUTOMATIC, 20);
    o.start = BL_FROM_IMAGE;
    o.strength = 0.6;
    s = make(o);
    assert_int_equal(s->steps, 11);
    assert_true(s->timesteps[0] == 551 && s->timesteps[10] == 51);
    double added = s->table.sigma[601], read = s->table.sigma[551];
    close_to(s->image_scale, sqrt((read * read + 1) / (added * added + 1)));
    close_to(s->noise_scale, s->image_scale * added);
    bl_schedule_free(&s);

    s = make(options(BL_COMPAT_A1111, BL_SAMPLER_DDIM, BL_SCHEDULE_AUTOMATIC, 1));
    assert_int_equal(s->steps, 1);
    bl_schedule_free(&s);
    s = make(options(BL_COMPAT_A1111, BL_SAMPLER_DDIM, BL_SCHEDULE_KARRAS, 20)); /* by name: as any sampler */
    assert_int_equal(s->steps, 20);
    assert_true(s->targets[19] == 0);
    bl_schedule_free(&s);
}

/* UniPC: A1111 walks timesteps 999 to 0 and stops at sigma_min; ComfyUI any schedule, to sigma 0.001. */
static void unipc_ends(void **state) {
    (void)state;
    bl_schedule *s = make(options(BL_COMPAT_A1111, BL_SAMPLER_UNIPC, BL_SCHEDULE_AUTOMATIC, 20));
    assert_int_equal(s->steps, 20);
    for (int i = 0; i < 20; i++) {
        close_to(s->timesteps[i], 999 - i * 999 / 20.0);
    }
    close_to(s->targets[19], s->table.sigma[0]);
    bl_schedule_free(&s);
    s = make(options(BL_COMPAT_COMFYUI, BL_SAMPLER_UNIPC, BL_SCHEDULE_KARRAS, 20));
    assert_true(s->targets[19] == 0.001);
    bl_schedule_free(&s);
}

static int still(void *payload, const float *x, double sigma, double timestep, float *denoised,
                 bl_error *err) {
    (void)payload, (void)x, (void)sigma, (void)timestep, (void)err;
    denoised[0] = 0;
    return 0;
}

/* Where a walk ends above 0 the result is scaled for the decoder: with D = 0, x' = (s'/s) x all the way. */
static void ends_for_the_decoder(void **state) {
    (void)state;
    const bl_compat compats[] = {BL_COMPAT_A1111, BL_COMPAT_DIFFUSERS};
    for (int k = 0; k < 2; k++) {
        bl_schedule *s = make(options(compats[k], BL_SAMPLER_DDIM, BL_SCHEDULE_AUTOMATIC, 20));
        bl_sampler *sampler = NULL;
        bl_sampler_calls calls = {.denoise = still};
        float x = (float)s->sigmas[0];
        double end = s->targets[s->steps - 1];
        assert_true(end > 0.02);
        assert_int_equal(bl_sampler_new(&sampler, BL_SAMPLER_DDIM, 1, NULL), 0);
        assert_int_equal(bl_sampler_run(sampler, s, NULL, &x, &calls, NULL), 0);
        assert_true(fabs((double)x / (end / sqrt(end * end + 1)) - 1) < 1e-6);
        bl_sampler_free(&sampler);
        bl_schedule_free(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts),
        cmocka_unit_test(strengths),
        cmocka_unit_test(lcm_levels),
        cmocka_unit_test(refusals),
        cmocka_unit_test(a1111_ddim),
        cmocka_unit_test(unipc_ends),
        cmocka_unit_test(smallest_left_out),
        cmocka_unit_test(ends_for_the_decoder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
