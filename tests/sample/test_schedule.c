/* Sigmas and timesteps against k-diffusion's formulas (1e-9 relative) and diffusers' schedulers (2e-5
 * relative). */
#include "sample/quantile.h"
#include "sample/schedule.h"

#include "cases.h"
#include "support/goldens.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define K_TOLERANCE 1e-9
#define DIFFUSERS_TOLERANCE 2e-5

static double at(const json_t *array, int i) {
    return json_number_value(json_array_get(array, (size_t)i));
}

static bl_schedule *make(const bl_schedule_options *options, const char *name) {
    bl_schedule *s = NULL;
    bl_error err;
    if (bl_schedule_new(&s, options, &err)) {
        fail_msg("%s: %s", name, err.message);
    }
    return s;
}

static double relative(double mine, double gold) {
    return gold == 0 ? (mine == 0 ? 0 : INFINITY) : fabs(mine / gold - 1);
}

static void alphas(void **state) {
    (void)state;
    json_t *root = bl_test_json("common/schedules.json"), *gold = json_object_get(root, "alphas_cumprod");
    bl_sigmas table;
    double worst = 0;
    bl_sigmas_fill(&table, 0, false);
    assert_int_equal(json_array_size(gold), BL_TRAIN_STEPS);
    for (int t = 0; t < BL_TRAIN_STEPS; t++) {
        worst = fmax(worst, relative(table.alphas_cumprod[t], at(gold, t)));
    }
    print_message("alphas_cumprod: worst relative error %.2g\n", worst);
    assert_true(worst < 1e-13);
    json_decref(root);
}

/* "zsnr_comfy.karras.n20", "beta_a1111.n4" */
static void read_k(bl_schedule_options *o, const char *name) {
    char word[64];
    const char *dot = strrchr(name, '.'), *start = name;
    *o = (bl_schedule_options){
        .compat = BL_COMPAT_COMFYUI, .sampler = BL_SAMPLER_EULER, .steps = atoi(dot + 2)};
    if (strncmp(name, "zsnr_comfy.", 11) == 0) {
        o->zero_snr = true;
        start += 11;
    }
    snprintf(word, sizeof word, "%.*s", (int)(dot - start), start);
    if (strcmp(word, "beta_a1111") == 0) {
        o->compat = BL_COMPAT_A1111;
        o->schedule = BL_SCHEDULE_BETA;
    } else if (bl_schedule_find(&o->schedule, NULL, word, NULL)) {
        fail_msg("cannot read %s", name);
    }
}

static void k_schedules(void **state) {
    (void)state;
    json_t *root = bl_test_json("common/schedules.json"), *all = json_object_get(root, "k"), *gold;
    const char *name;
    double worst_sigma = 0, worst_time = 0;
    int count = 0, ties = 0;
    json_object_foreach(all, name, gold) {
        bl_schedule_options o;
        read_k(&o, name);
        bl_schedule *s = make(&o, name);
        const json_t *sigmas = json_object_get(gold, "sigmas"), *times = json_object_get(gold, "timesteps");
        const json_t *nearest = json_object_get(gold, "timesteps_nearest");
        if ((int)json_array_size(sigmas) != s->steps + 1) {
            fail_msg("%s: %d steps, should be %d", name, s->steps, (int)json_array_size(sigmas) - 1);
        }
        for (int i = 0; i <= s->steps; i++) {
            double e = relative(s->sigmas[i], at(sigmas, i));
            worst_sigma = fmax(worst_sigma, e);
            if (e > K_TOLERANCE) {
                fail_msg("%s: sigma %d is %.12g, should be %.12g", name, i, s->sigmas[i], at(sigmas, i));
            }
        }
        for (int i = 0; i < s->steps; i++) {
            double t = bl_timestep_fractional(&s->table, s->sigmas[i]), e = fabs(t - at(times, i));
            double whole = bl_timestep_nearest(&s->table, s->sigmas[i]);
            worst_time = fmax(worst_time, e);
            if (e > 1e-6) {
                fail_msg("%s: timestep %d is %.12g, should be %.12g", name, i, t, at(times, i));
            }
            if (whole != at(nearest, i)) { /* only a tie may fall either way */
                ties++;
                assert_true(fabs(t - floor(t) - 0.5) < 1e-9 && fabs(whole - at(nearest, i)) == 1);
            }
            assert_true(s->timesteps[i] == (o.compat == BL_COMPAT_COMFYUI ? whole : t));
            assert_true(s->targets[i] == s->sigmas[i + 1]);
        }
        bl_schedule_free(&s);
        count++;
    }
    print_message(
        "k: %d schedules, worst sigma %.2g relative, worst timestep %.2g, %d ties fell the other way\n",
        count, worst_sigma, worst_time, ties);
    assert_int_equal(count, 55);
    json_decref(root);
}

/* diffusers lists a sigma and a timestep for every call: with two calls a step, sigmas[1 ..] and timesteps[1
 * ..] come twice (KDPM2: the second timestep is that of the middle), and KDPM2's sigmas end in three zeros.
 */
static void check_diffusers(const char *name, const bl_schedule_options *o, const json_t *gold,
                            double worst[2]) {
    bl_schedule *s = make(o, name);
    const json_t *sigmas = json_object_get(gold, "sigmas"), *times = json_object_get(gold, "timesteps");
    int pair = bl_sampler_evaluations(o->sampler, 2) == 3 ? 2 : 1;
    if ((int)json_array_size(times) != bl_sampler_evaluations(o->sampler, s->steps)) {
        fail_msg("%s: %d steps for %d timesteps", name, s->steps, (int)json_array_size(times));
    }
    for (int i = 0; i < s->steps; i++) {
        double t = at(times, pair * i), e = fabs(s->timesteps[i] - t) / fmax(1, t);
        worst[1] = fmax(worst[1], e);
        if (e > 1e-6) {
            fail_msg("%s: timestep %d is %.10g, should be %.10g", name, i, s->timesteps[i], t);
        }
        if (sigmas) {
            double gold_sigma = at(sigmas, i == 0 ? 0 : pair * i - (pair - 1));
            e = relative(s->sigmas[i], gold_sigma);
            worst[0] = fmax(worst[0], e);
            if (e > DIFFUSERS_TOLERANCE) {
                fail_msg("%s: sigma %d is %.10g, should be %.10g", name, i, s->sigmas[i], gold_sigma);
            }
        }
    }
    bool vp = strcmp(json_string_value(json_object_get(gold, "space")), "vp") == 0;
    double scale = json_number_value(json_object_get(gold, "init_noise_sigma"));
    double mine = vp ? s->noise_scale / sqrt(s->sigmas[0] * s->sigmas[0] + 1) : s->noise_scale;
    assert_true(relative(mine, scale) < DIFFUSERS_TOLERANCE);
    assert_true(s->sigmas[s->steps] == 0);
    bl_schedule_free(&s);
}

static void diffusers_schedules(void **state) {
    (void)state;
    json_t *root = bl_test_json("common/schedules.json"), *all = json_object_get(root, "diffusers"), *gold;
    const char *name;
    double worst[2] = {0};
    int count = 0, skipped = 0;
    json_object_foreach(all, name, gold) {
        diffusers_case c;
        if (not_ours(name)) {
            skipped++;
            continue;
        }
        if (read_case(&c, name)) {
            fail_msg("cannot read %s", name);
        }
        check_diffusers(name, &c.schedule, gold, worst);
        count++;
    }
    print_message(
        "diffusers: %d schedules, worst sigma %.2g relative, worst timestep %.2g relative; %d of schedulers "
        "that we do not have\n",
        count, worst[0], worst[1], skipped);
    assert_int_equal(count + skipped, 235);
    assert_int_equal(skipped, 20);
    json_decref(root);
}

/* What the pipelines of the goldens ran with, in A1111's and diffusers' way, second pass included. */
static void pipelines(void **state) {
    (void)state;
    static const struct {
        const char *file, *name;
        bl_schedule_options o;
    } runs[] = {
        {"txt2img",
         "k_euler_normal_128",
         {.sampler = BL_SAMPLER_EULER, .schedule = BL_SCHEDULE_NORMAL, .steps = 8}},
        {"txt2img",
         "k_dpmpp2mk_128",
         {.sampler = BL_SAMPLER_DPMPP_2M, .schedule = BL_SCHEDULE_KARRAS, .steps = 8}},
        {"txt2img", "euler_128", {.compat = BL_COMPAT_DIFFUSERS, .sampler = BL_SAMPLER_EULER, .steps = 8}},
        {"txt2img",
         "dpmpp2mk_128",
         {.compat = BL_COMPAT_DIFFUSERS,
          .sampler = BL_SAMPLER_DPMPP_2M,
          .schedule = BL_SCHEDULE_KARRAS,
          .steps = 8}},
        {"hires",
         "image",
         {.compat = BL_COMPAT_DIFFUSERS,
          .sampler = BL_SAMPLER_DPMPP_2M,
          .schedule = BL_SCHEDULE_KARRAS,
          .steps = 8,
          .start = BL_FROM_SECOND_PASS,
          .strength = 0.6}},
    };
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
        char file[64], tensor[64];
        bl_golden gold;
        snprintf(file, sizeof file, "sd15/golden/pipeline/%s.safetensors", runs[r].file);
        bl_golden_open(&gold, file);
        bl_schedule *s = make(&runs[r].o, runs[r].name);
        float mine[64];
        snprintf(tensor, sizeof tensor, "%s.sigmas", runs[r].name);
        for (int i = 0; i <= s->steps; i++) {
            mine[i] = (float)s->sigmas[i];
        }
        bl_golden_check(&gold, tensor, mine, s->steps + 1, BL_F32);
        snprintf(tensor, sizeof tensor, "%s.timesteps", runs[r].name);
        for (int i = 0; i < s->steps; i++) {
            mine[i] = (float)s->timesteps[i];
        }
        bl_golden_check(&gold, tensor, mine, s->steps, BL_F32);
        bl_schedule_free(&s);
        bl_golden_close(&gold);
    }
}

/* I_x(a, a) by the midpoint rule in u = x^a, far from the method under test. */
static double incomplete_beta(double x, double a) {
    const int parts = 400000;
    double sum = 0, top = pow(x, a), beta = tgamma(a) * tgamma(a) / tgamma(2 * a);
    for (int i = 0; i < parts; i++) {
        sum += pow(1 - pow((i + 0.5) * top / parts, 1 / a), a - 1);
    }
    return sum * top / parts / a / beta;
}

static void beta_quantiles(void **state) {
    (void)state;
    const double q[] = {1e-9, 1e-3, 0.1, 0.3, 0.5, 0.7, 0.9};
    for (size_t i = 0; i < sizeof q / sizeof *q; i++) {
        assert_true(fabs(incomplete_beta(bl_beta_quantile(q[i], 0.6), 0.6) / q[i] - 1) < 1e-6);
        assert_true(fabs(bl_beta_quantile(q[i], 0.6) + bl_beta_quantile(1 - q[i], 0.6) - 1) < 1e-12);
        assert_true(fabs(bl_beta_quantile(q[i], 1.0) - q[i]) < 1e-14); /* the uniform distribution */
    }
    assert_true(bl_beta_quantile(0, 0.6) == 0 && bl_beta_quantile(1, 0.6) == 1);
    assert_true(bl_beta_quantile(-1, 0.6) == 0 && bl_beta_quantile(NAN, 0.6) == 0);
}

/* Every list that can be asked for falls strictly to its 0, whatever the number of steps. */
static void all_fall(void **state) {
    (void)state;
    const int steps[] = {1, 2, 3, 7, 30, 48, 333, 999, 1000};
    for (int compat = 0; compat < BL_COMPAT_COUNT; compat++) {
        for (int sampler = 0; sampler < BL_SAMPLER_COUNT; sampler++) {
            for (int id = 0; id < BL_SCHEDULE_COUNT; id++) {
                for (size_t n = 0; n < 2 * sizeof steps / sizeof *steps; n++) {
                    bl_schedule_options o = {.compat = (bl_compat)compat,
                                             .sampler = (bl_sampler_id)sampler,
                                             .schedule = (bl_schedule_id)id,
                                             .steps = steps[n / 2],
                                             .zero_snr = n % 2 == 1};
                    bl_schedule *s = NULL;
                    if (bl_schedule_new(&s, &o, NULL)) {
                        assert_null(s);
                        assert_int_equal(compat, BL_COMPAT_DIFFUSERS);
                        continue;
                    }
                    assert_in_range(s->steps, 1, 1001);
                    assert_true(s->sigmas[s->steps] == 0 && s->noise_scale > 0 && isfinite(s->noise_scale));
                    for (int i = 0; i < s->steps; i++) {
                        assert_true(s->sigmas[i] > s->sigmas[i + 1]);
                        assert_true(s->targets[i] >= 0 && s->targets[i] <= s->sigmas[i]);
                        assert_true(s->timesteps[i] >= 0 && s->timesteps[i] <= 1000);
                    }
                    assert_true(s->brownian_low > 0 && s->brownian_low <= s->brownian_high);
                    bl_schedule_free(&s);
                    assert_null(s);
                }
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alphas),    cmocka_unit_test(k_schedules),    cmocka_unit_test(diffusers_schedules),
        cmocka_unit_test(pipelines), cmocka_unit_test(beta_quantiles), cmocka_unit_test(all_fall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
