/* Trajectories against k-diffusion's formulas in double (1e-6 of the peak on the way, 1e-5 at the end) and
 * against diffusers' schedulers, on denoisers in closed form. */
#include "sample/sampler.h"

#include "cases.h"
#include "support/goldens.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N 64 /* values of the goldens' latents, [1, 4, 4, 4] */
#define NOISES 128
#define ROOM 96 /* calls of the longest golden */

typedef struct toy {
    bool mix;
    const float *noise; /* [NOISES, N] */
    int noises, calls, steps;
    bool parts;  /* adapts: steps are parts of the way */
    bool inputs; /* keep x at every call of the denoiser, not after every step */
    float x[ROOM][N];
    double sigma[ROOM], timestep[ROOM];
    int last;       /* number of the last step */
    int stop_after; /* cancels after this step; -1: never */
} toy;

static int toy_denoise(void *payload, const float *x, double sigma, double timestep, float *denoised,
                       bl_error *err) {
    toy *t = payload;
    double s2 = sigma * sigma, v = s2 + 0.25;
    (void)err;
    assert_true(t->calls < ROOM);
    if (t->inputs) {
        memcpy(t->x[t->calls], x, sizeof t->x[0]);
    }
    t->sigma[t->calls] = sigma;
    t->timestep[t->calls++] = timestep;
    for (int i = 0; i < N; i++) {
        double xi = (double)x[i];
        denoised[i] = (float)(t->mix ? (0.25 * xi + s2 * tanh(xi / v)) / v : xi / (s2 + 1));
    }
    return 0;
}

static int toy_noise(void *payload, double sigma, double next, float *noise, bl_error *err) {
    toy *t = payload;
    (void)err;
    assert_true(sigma > next && t->noises < NOISES);
    memcpy(noise, t->noise + (size_t)t->noises++ * N, N * sizeof *noise);
    return 0;
}

static int toy_step(void *payload, int step, int steps, const float *x, const float *denoised,
                    bl_error *err) {
    toy *t = payload;
    assert_true((t->parts ? step >= t->last : step == t->steps) && step < steps && denoised);
    t->last = step;
    t->steps++;
    if (!t->inputs) {
        memcpy(t->x[t->steps], x, sizeof t->x[0]);
    }
    return t->steps - 1 == t->stop_after ? bl_fail(err, BL_E_CANCELLED, "cancelled") : 0;
}

/* Runs from `unit` noise; x[0] is the start, x[i] what follows step i. Returns what the run returned. */
static int run(toy *t, bl_sampler_id id, const bl_schedule *s, const bl_sampler_options *options,
               const float *unit, float *x, bl_error *err) {
    bl_sampler_calls calls = {.payload = t, .denoise = toy_denoise, .noise = toy_noise, .step = toy_step};
    bl_sampler *sampler = NULL;
    t->parts = bl_sampler_adapts(id);
    assert_int_equal(bl_sampler_new(&sampler, id, N, err), 0);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(s->noise_scale * (double)unit[i]);
    }
    memcpy(t->x[0], x, sizeof t->x[0]);
    int rc = bl_sampler_run(sampler, s, options, x, &calls, err);
    bl_sampler_free(&sampler);
    assert_null(sampler);
    return rc;
}

static bl_schedule *make(const bl_schedule_options *o, const char *name) {
    bl_schedule *s = NULL;
    bl_error err;
    if (bl_schedule_new(&s, o, &err)) {
        fail_msg("%s: %s", name, err.message);
    }
    return s;
}

/* "mix.dpmpp_2m.zsnr_comfy.karras.n8": toy, sampler, schedule. */
static void read_k(const char *name, toy *t, bl_sampler_id *id, bl_schedule_options *o) {
    char copy[128], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", name);
    t->mix = strcmp(strtok_r(copy, ".", &rest), "mix") == 0;
    if (bl_sampler_find(id, NULL, strtok_r(NULL, ".", &rest), NULL)) {
        fail_msg("cannot read %s", name);
    }
    /* The lists themselves, which Euler has; DPM2's and DDIM's own changes to them are not in these goldens.
     * A1111's start is noise * sigma. */
    *o = (bl_schedule_options){.compat = BL_COMPAT_A1111, .sampler = BL_SAMPLER_EULER};
    char *word = strtok_r(NULL, ".", &rest);
    if (strcmp(word, "zsnr_comfy") == 0) {
        o->zero_snr = true;
        word = strtok_r(NULL, ".", &rest);
    }
    if (strcmp(word, "beta_a1111") == 0) {
        o->schedule = BL_SCHEDULE_BETA;
    } else {
        assert_int_equal(bl_schedule_find(&o->schedule, NULL, word, NULL), 0);
        o->compat = o->schedule == BL_SCHEDULE_BETA ? BL_COMPAT_COMFYUI : BL_COMPAT_A1111;
    }
    o->steps = atoi(strtok_r(NULL, ".", &rest) + 1);
}

typedef struct worst {
    double way, end; /* relative to the peak; absolute */
    double zero_snr_end;
    char way_name[64], end_name[64];
} worst;

static void note(double e, double *most, char *most_name, const char *name) {
    if (e > *most) {
        *most = e;
        snprintf(most_name, 64, "%.63s", name);
    }
}

static void k_trajectories(void **state) {
    (void)state;
    bl_golden gold;
    bl_golden_open(&gold, "common/samplers.safetensors");
    float *unit = bl_golden_f32(&gold, "unit_noise"), *noise = bl_golden_f32(&gold, "noise");
    worst w = {0};
    int count, compared = 0;
    const bl_file_tensor *all = bl_safetensors_tensors(gold.file, &count);
    for (int k = 0; k < count; k++) {
        const char *name = all[k].name;
        if (strstr(name, "noise")) {
            continue;
        }
        toy t = {.noise = noise, .stop_after = -1};
        bl_sampler_id id;
        bl_schedule_options o;
        bl_error err = {0};
        float x[N], *g = bl_golden_f32(&gold, name);
        read_k(name, &t, &id, &o);
        bl_schedule *s = make(&o, name);
        s->noise_scale = s->sigmas[0]; /* also where ComfyUI's beta is meant */
        if (run(&t, id, s, NULL, unit, x, &err)) {
            fail_msg("%s: %s", name, err.message);
        }
        assert_int_equal(t.calls, bl_sampler_evaluations(id, s->steps));
        assert_int_equal(t.steps, s->steps);
        assert_int_equal((int)(all[k].bytes / sizeof(float)), (s->steps + 1) * N);
        int64_t at;
        double way =
            bl_max_abs_error(g, &t.x[0][0], (s->steps + 1) * N, &at) / bl_peak(g, (s->steps + 1) * N);
        double end = bl_max_abs_error(g + s->steps * N, x, N, &at);
        note(way, &w.way, w.way_name, name);
        if (o.zero_snr) {
            w.zero_snr_end = fmax(w.zero_snr_end, end);
        } else {
            note(end, &w.end, w.end_name, name);
        }
        if (way > 1e-6 || end > 1e-5) {
            fail_msg("%s: error %.3g of the peak on the way, %.3g at the end", name, way, end);
        }
        compared++;
        bl_schedule_free(&s);
        free(g);
    }
    print_message("k: %d trajectories, worst %.2g of the peak (%s); at the end %.2g (%s), at zero SNR %.2g\n",
                  compared, w.way, w.way_name, w.end, w.end_name, w.zero_snr_end);
    assert_int_equal(compared, 390);
    free(unit);
    free(noise);
    bl_golden_close(&gold);
}

/* As many evaluations as were announced; an adaptive sampler makes fewer, in threes, and comes to its end. */
static void check_calls(const toy *t, bl_sampler_id id, int steps) {
    if (bl_sampler_adapts(id)) {
        assert_true(t->calls > 0 && t->calls % 3 == 0 && t->calls < bl_sampler_evaluations(id, steps));
        assert_int_equal(t->last, BL_ADAPTIVE_PARTS - 1);
    } else {
        assert_int_equal(t->calls, bl_sampler_evaluations(id, steps));
    }
}

/* "mix.lms.karras.n10": end of the walk, by tools/sampler_goldens.py. */
static void more_samplers(void **state) {
    bl_golden gold;
    int count, compared = 0;
    double most[BL_SAMPLER_COUNT] = {0}; /* of the peak */
    (void)state;
    bl_golden_open(&gold, "common/more_samplers.safetensors");
    float *unit = bl_golden_f32(&gold, "unit_noise"), *noise = bl_golden_f32(&gold, "noise");
    const bl_file_tensor *all = bl_safetensors_tensors(gold.file, &count);
    for (int k = 0; k < count; k++) {
        char copy[128], *rest = NULL;
        snprintf(copy, sizeof copy, "%s", all[k].name);
        toy t = {.mix = copy[0] == 'm', .noise = noise, .stop_after = -1};
        strtok_r(copy, ".", &rest);
        bl_schedule_options o = {.compat = BL_COMPAT_A1111};
        bl_error err = {0};
        float x[N];
        if (!strcmp(all[k].name, "noise") || !strcmp(all[k].name, "unit_noise")) {
            continue;
        }
        assert_int_equal(bl_sampler_find(&o.sampler, NULL, strtok_r(NULL, ".", &rest), &err), 0);
        const char *schedule = strtok_r(NULL, ".", &rest);
        assert_int_equal(bl_schedule_find(&o.schedule, NULL, schedule, &err), 0);
        o.steps = atoi(strtok_r(NULL, ".", &rest) + 1);
        bl_schedule *s = make(&o, all[k].name);
        s->noise_scale = s->sigmas[0];
        assert_int_equal(run(&t, o.sampler, s, NULL, unit, x, &err), 0);
        check_calls(&t, o.sampler, s->steps);
        float *g = bl_golden_f32(&gold, all[k].name);
        /* the lengths of adaptive steps hang on small differences of large latents */
        double bar = bl_sampler_adapts(o.sampler) ? 5e-5 : 1e-5;
        int64_t at;
        most[o.sampler] = fmax(most[o.sampler], bl_max_abs_error(g, x, N, &at) / bl_peak(g, N));
        bl_check_close(all[k].name, g, x, N, bar * bl_peak(g, N));
        free(g);
        bl_schedule_free(&s);
        compared++;
    }
    print_message("%d ends\n", compared);
    for (int id = 0; id < BL_SAMPLER_COUNT; id++) {
        if (most[id] > 0) {
            print_message("%s: %.2g of the peak\n", bl_sampler_name((bl_sampler_id)id), most[id]);
        }
    }
    assert_true(compared > 40);
    free(unit);
    free(noise);
    bl_golden_close(&gold);
}

/* diffusers keeps what a call starts from in its own space: x, or x / sqrt(sigma^2 + 1). */
static double in_its_space(bool vp, double x, double sigma) {
    return vp ? x / sqrt(sigma * sigma + 1) : x;
}

static void check_diffusers(const bl_golden *gold, const char *name, const float *unit, const float *noise,
                            worst *w) {
    diffusers_case c;
    const char *dot = strchr(name, '.');
    char used_name[128];
    if (read_case(&c, dot + 1)) {
        fail_msg("cannot read %s", name);
    }
    toy t = {.mix = name[0] == 'm', .noise = noise, .inputs = true, .stop_after = -1};
    bl_schedule *s = make(&c.schedule, name);
    bl_error err = {0};
    float x[N], *g = bl_golden_f32(gold, name);
    if (run(&t, c.schedule.sampler, s, &c.sampler, unit, x, &err)) {
        fail_msg("%s: %s", name, err.message);
    }
    snprintf(used_name, sizeof used_name, "%s.sigma_used", name);
    float *used = bl_golden_f32(gold, used_name);
    bl_sampler_id id = c.schedule.sampler;
    bool vp = id == BL_SAMPLER_DPMPP_2M || id == BL_SAMPLER_DPMPP_2M_SDE || id == BL_SAMPLER_UNIPC ||
              id == BL_SAMPLER_DDIM || id == BL_SAMPLER_LCM;
    int calls = (int)(bl_golden_tensor(gold, used_name)->bytes / sizeof(float));
    assert_int_equal(t.calls, calls);
    /* KDPM2 ancestral finds its middle by subtracting squares in float. */
    double sigma_tolerance = id == BL_SAMPLER_DPM2_A ? 5e-5 : 2e-5;
    float mine[ROOM][N];
    for (int call = 0; call <= calls; call++) {
        double sigma = call < calls ? t.sigma[call] : 0;
        /* UniPC corrects x before it goes on, so what a call is given is not yet what diffusers shows there.
         */
        const float *from = call == calls ? x : t.x[call];
        if (call < calls && used[call] < 3e38f && fabs(sigma / (double)used[call] - 1) > sigma_tolerance) {
            fail_msg("%s: call %d at sigma %.9g, should be %.9g", name, call, sigma, (double)used[call]);
        }
        for (int i = 0; i < N; i++) {
            mine[call][i] = (float)in_its_space(vp, (double)from[i], sigma);
        }
    }
    int64_t at;
    double way = bl_max_abs_error(g, &mine[0][0], (calls + 1) * N, &at) / bl_peak(g, (calls + 1) * N);
    double end = bl_max_abs_error(g + calls * N, mine[calls], N, &at);
    note(way, &w->way, w->way_name, name);
    if (c.schedule.zero_snr) {
        w->zero_snr_end = fmax(w->zero_snr_end, end);
    } else {
        note(end, &w->end, w->end_name, name);
    }
    /* At zero terminal SNR diffusers' Euler goes through (x - D) / sigma in float, which costs it that much:
     * x begins at sigma 4096, where half a unit of the last place is 2.4e-4. */
    if (way > 5e-6 || end > (c.schedule.zero_snr ? 2.5e-4 : 1e-5)) {
        fail_msg("%s: error %.3g of the peak on the way (call %d), %.3g at the end", name, way, (int)(at / N),
                 end);
    }
    bl_schedule_free(&s);
    free(g);
    free(used);
}

static void diffusers_trajectories(void **state) {
    (void)state;
    bl_golden gold;
    bl_golden_open(&gold, "common/diffusers_samplers.safetensors");
    float *unit = bl_golden_f32(&gold, "unit_noise"), *noise = bl_golden_f32(&gold, "noise");
    worst w = {0};
    int count, compared = 0, skipped = 0;
    const bl_file_tensor *all = bl_safetensors_tensors(gold.file, &count);
    for (int k = 0; k < count; k++) {
        const char *name = all[k].name;
        if (strstr(name, "noise") || strstr(name, "sigma_used")) {
            continue;
        }
        if (not_ours(strchr(name, '.') + 1)) {
            skipped++;
            continue;
        }
        check_diffusers(&gold, name, unit, noise, &w);
        compared++;
    }
    print_message("diffusers: %d trajectories, worst %.2g of the peak (%s); at the end %.2g (%s); %d of "
                  "schedulers that "
                  "we do not have\n",
                  compared, w.way, w.way_name, w.end, w.end_name, skipped);
    assert_int_equal(compared + skipped, 188);
    assert_int_equal(skipped, 16);
    free(unit);
    free(noise);
    bl_golden_close(&gold);
}

static const float *flat_noise(void) {
    static float noise[NOISES][N];
    for (int k = 0; k < NOISES; k++) {
        for (int i = 0; i < N; i++) {
            noise[k][i] = (float)sin(1.7 * k + 2.3 * i);
        }
    }
    return &noise[0][0];
}

/* Every sampler in every mode, with one step and with several: ends at finite latents after the announced
 * number of evaluations, and one step is the prediction itself (scaled where the walk ends above 0). */
static void every_mode(void **state) {
    (void)state;
    const float *noise = flat_noise();
    for (int compat = 0; compat < BL_COMPAT_COUNT; compat++) {
        for (int id = 0; id < BL_SAMPLER_COUNT; id++) {
            for (int k = 0; k < 4; k++) {
                bl_schedule_options o = {.compat = (bl_compat)compat,
                                         .sampler = (bl_sampler_id)id,
                                         .steps = k % 2 ? 6 : 1,
                                         .zero_snr = k > 1};
                toy t = {.mix = true, .noise = noise, .stop_after = -1};
                bl_schedule *s = NULL;
                bl_error err = {0};
                float x[N];
                bool none = compat == BL_COMPAT_DIFFUSERS &&
                            (id == BL_SAMPLER_PLMS || id == BL_SAMPLER_DPM_FAST ||
                             id == BL_SAMPLER_DPM_ADAPTIVE || id == BL_SAMPLER_RESTART);
                assert_int_equal(bl_schedule_new(&s, &o, &err), none ? BL_E_UNSUPPORTED : 0);
                if (none) {
                    continue;
                }
                assert_int_equal(run(&t, o.sampler, s, NULL, noise, x, &err), 0);
                check_calls(&t, o.sampler, s->steps);
                for (int i = 0; i < N; i++) {
                    if (!(fabs((double)x[i]) < (k > 1 ? 100 : 10))) {
                        fail_msg("%s %s, %d steps%s: %g", bl_compat_name(o.compat),
                                 bl_sampler_name(o.sampler), o.steps, k > 1 ? ", zero SNR" : "",
                                 (double)x[i]);
                    }
                }
                bool draws = bl_sampler_noise(o.sampler, o.compat) != BL_NOISE_NONE &&
                             (s->steps > 1 || bl_sampler_adapts(o.sampler));
                assert_true((draws && id != BL_SAMPLER_RESTART) ==
                            (t.noises > 0)); /* that from 20 steps on */
                bl_schedule_free(&s);
            }
        }
    }
}

/* The error of a second-order solver falls at least threefold when the steps double; UniPC's with both B(h).
 */
static void converges(void **state) {
    (void)state;
    const bl_sampler_id ids[] = {BL_SAMPLER_HEUN, BL_SAMPLER_DPMPP_2M, BL_SAMPLER_UNIPC,
                                 BL_SAMPLER_UNIPC_BH2};
    const float *noise = flat_noise();
    for (size_t k = 0; k < sizeof ids / sizeof *ids; k++) {
        double error[2] = {0};
        for (int fine = 0; fine < 2; fine++) {
            bl_schedule_options o = {.compat = BL_COMPAT_A1111,
                                     .sampler = BL_SAMPLER_EULER,
                                     .schedule = BL_SCHEDULE_EXPONENTIAL,
                                     .steps = fine ? 31 : 16};
            bl_schedule *s = make(&o, "converges");
            toy t = {.noise = noise, .stop_after = -1};
            bl_error err;
            float x[N];
            assert_int_equal(run(&t, ids[k], s, NULL, noise, x, &err), 0);
            /* data of variance 1: x follows the path x / sqrt(sigma^2 + 1) = const down to the last sigma
             * above 0 */
            double from = s->sigmas[0], to = s->sigmas[s->steps - 1];
            for (int i = 0; i < N; i++) {
                double exact = from * (double)noise[i] / sqrt((from * from + 1) * (to * to + 1));
                error[fine] = fmax(error[fine], fabs((double)x[i] - exact));
            }
            bl_schedule_free(&s);
        }
        print_message("%s: error %.2g in 16 steps, %.2g in 31\n", bl_sampler_name(ids[k]), error[0],
                      error[1]);
        assert_true(error[1] < error[0] / 3);
    }
}

static int broken_denoise(void *payload, const float *x, double sigma, double timestep, float *denoised,
                          bl_error *err) {
    (void)payload, (void)x, (void)sigma, (void)timestep, (void)denoised;
    return bl_fail(err, BL_E_DEVICE, "the device is gone");
}

static void ends_early(void **state) {
    (void)state;
    for (int id = 0; id < BL_SAMPLER_COUNT; id++) {
        bl_schedule_options o = {.sampler = (bl_sampler_id)id, .steps = id == BL_SAMPLER_RESTART ? 20 : 6};
        bl_schedule *s = make(&o, "ends_early");
        toy t = {.noise = flat_noise(), .stop_after = 2};
        bl_error err = {0};
        float x[N] = {0};
        assert_int_equal(run(&t, o.sampler, s, NULL, flat_noise(), x, &err), BL_E_CANCELLED);
        assert_string_equal(err.message, "cancelled");
        assert_int_equal(t.steps, 3);

        bl_sampler *sampler = NULL;
        bl_sampler_calls broken = {.denoise = broken_denoise},
                         silent = {.payload = &t, .denoise = toy_denoise};
        assert_int_equal(bl_sampler_new(&sampler, o.sampler, N, &err), 0);
        assert_int_equal(bl_sampler_run(sampler, s, NULL, x, &broken, &err), BL_E_DEVICE);
        t.calls = 0;
        int rc = bl_sampler_run(sampler, s, NULL, x, &silent, &err);
        assert_int_equal(rc, bl_sampler_noise(o.sampler, o.compat) == BL_NOISE_NONE ? 0 : BL_E_INTERNAL);
        bl_sampler_options bad[] = {
            {.eta = 1.5}, {.eta = NAN}, {.eta = -1, .order = 4}, {.eta = -1, .order = -1}};
        for (int k = 0; k < 4; k++) {
            rc = bl_sampler_run(sampler, s, &bad[k], x, &silent, &err);
            assert_true(k == 1 || rc == BL_E_ARGUMENT); /* NaN is no eta: the sampler's own */
            t.calls = 0;
        }
        bl_sampler_free(&sampler);
        bl_schedule_free(&s);
    }
    bl_sampler *sampler = NULL;
    bl_error err;
    assert_int_equal(bl_sampler_new(&sampler, BL_SAMPLER_UNIPC, SIZE_MAX / 8, &err), BL_E_MEMORY);
    assert_null(sampler);
}

/* With eta 0 the ancestral and SDE samplers are their deterministic relatives, and draw nothing. */
static void eta_zero(void **state) {
    (void)state;
    const bl_sampler_id pairs[][2] = {{BL_SAMPLER_EULER_A, BL_SAMPLER_EULER},
                                      {BL_SAMPLER_DPM2_A, BL_SAMPLER_DPM2},
                                      {BL_SAMPLER_DPMPP_2M_SDE, BL_SAMPLER_DPMPP_2M},
                                      {BL_SAMPLER_DDIM, BL_SAMPLER_EULER}};
    bl_schedule_options o = {.sampler = BL_SAMPLER_EULER, .steps = 8, .schedule = BL_SCHEDULE_KARRAS};
    bl_schedule *s = make(&o, "eta_zero");
    bl_sampler_options none = {.eta = 0};
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
        float x[2][N];
        for (int side = 0; side < 2; side++) {
            toy t = {.mix = true, .noise = flat_noise(), .stop_after = -1};
            bl_error err;
            assert_int_equal(run(&t, pairs[k][side], s, &none, flat_noise(), x[side], &err), 0);
            assert_int_equal(t.noises, 0);
        }
        bl_check_close(bl_sampler_name(pairs[k][0]), x[1], x[0], N, 1e-6);
    }
    bl_schedule_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(k_trajectories),
        cmocka_unit_test(more_samplers),
        cmocka_unit_test(diffusers_trajectories),
        cmocka_unit_test(every_mode),
        cmocka_unit_test(converges),
        cmocka_unit_test(ends_early),
        cmocka_unit_test(eta_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
