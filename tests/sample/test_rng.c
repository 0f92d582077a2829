/* Random numbers against torch's (3e-6), Brownian paths against torchsde's, variations. */
#include "sample/brownian.h"
#include "sample/noise.h"
#include "sample/rng.h"

#include "support/goldens.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOLERANCE 3e-6

/* "torch_cpu.seed42.100", "torch_cpu.seed42.sequence2.20", "philox_f64.seed42.call1": the seed, and how many
 * draws of which sizes come before. */
static void draw(const char *name, float *out, size_t n) {
    static const size_t sequence[] = {3, 3, 20, 5};
    bl_rng rng;
    float skipped[64];
    const char *word = strstr(name, ".seed") + 5, *nth;
    bl_rng_seed(&rng, name[0] == 'p' ? BL_RNG_GPU : BL_RNG_CPU, strtoull(word, NULL, 10));
    if ((nth = strstr(name, "sequence"))) {
        for (int i = 0; i < atoi(nth + 8); i++) {
            bl_rng_normal(&rng, skipped, sequence[i]);
        }
    } else if ((nth = strstr(name, "call"))) {
        for (int i = 0; i < atoi(nth + 4); i++) {
            bl_rng_normal(&rng, skipped, 64);
        }
    }
    bl_rng_normal(&rng, out, n);
}

static void torch_numbers(void **state) {
    (void)state;
    bl_golden gold;
    bl_golden_open(&gold, "common/rng.safetensors");
    int count;
    double worst[2] = {0};
    const bl_file_tensor *all = bl_safetensors_tensors(gold.file, &count);
    for (int k = 0; k < count; k++) {
        size_t n = (size_t)(all[k].bytes / sizeof(float));
        float *g = bl_golden_f32(&gold, all[k].name), *mine = malloc(n * sizeof *mine);
        int64_t at;
        assert_non_null(mine);
        draw(all[k].name, mine, n);
        double e = bl_max_abs_error(g, mine, (int64_t)n, &at), *most = &worst[all[k].name[0] == 'p'];
        *most = fmax(*most, e);
        bl_check_close(all[k].name, g, mine, (int64_t)n, TOLERANCE);
        free(g);
        free(mine);
    }
    print_message("%d sequences: cpu within %.2g, gpu within %.2g\n", count, worst[0], worst[1]);
    assert_true(count > 80);
    bl_golden_close(&gold);
}

/* Values 0, 7 and 16 of 17 from torchsde 0.2.6's BrownianTree(t0=low, t1=high, entropy=seed), asked through
 * k-diffusion's BrownianTreeNoiseSampler. */
static const struct {
    uint64_t seed;
    bl_rng_kind kind;
    double low, high;
    struct {
        double sigma, next;
        float value[3];
    } ask[4];
} torchsde[] = {
    {42,
     BL_RNG_CPU,
     0.029167533,
     14.614642,
     {{14.614642143249512,
       10.230249404907227,
       {-1.3734506368637085f, -1.4556057453155518f, 0.40465569496154785f}},
      {1.5, 0.4000000059604645, {-0.4233660101890564f, -0.1000686064362526f, -1.3117599487304688f}},
      {0.4000000059604645,
       0.029167532920837402,
       {-0.031640589237213135f, -0.10392407327890396f, -0.4367215037345886f}},
      {14.614642143249512,
       0.029167532920837402,
       {-1.1561830043792725f, -1.4174861907958984f, -0.007883845828473568f}}}},
    {(1ull << 40) + 7,
     BL_RNG_CPU,
     0.029167533,
     4518.76,
     {{4518.759765625, 3163.132080078125, {0.2184334099292755f, -0.2105131298303604f, -0.40828582644462585f}},
      {1400.8155517578125, 1.5, {0.048967890441417694f, -0.00872136652469635f, 0.3099880516529083f}},
      {1.5, 0.4000000059604645, {0.6462090611457825f, 0.49245020747184753f, 0.27223727107048035f}},
      {3163.132080078125,
       0.4000000059604645,
       {-0.6721774339675903f, 0.7543689608573914f, 0.4255736470222473f}}}},
    {42,
     BL_RNG_GPU,
     0.029167533,
     14.614642,
     {{14.614642143249512,
       10.230249404907227,
       {-1.1940317153930664f, -2.9318606853485107f, -0.5613532662391663f}},
      {4.530539035797119, 1.5, {-0.4266321063041687f, -0.32746753096580505f, 0.5430231690406799f}},
      {0.4000000059604645,
       0.029167532920837402,
       {1.2723479270935059f, 0.3051317036151886f, -0.673913300037384f}},
      {10.230249404907227,
       0.4000000059604645,
       {-0.32142016291618347f, -0.38389700651168823f, 0.8380451798439026f}}}},
};

static void brownian_as_torchsde(void **state) {
    (void)state;
    const int places[] = {0, 7, 16};
    double worst = 0;
    for (size_t k = 0; k < sizeof torchsde / sizeof *torchsde; k++) {
        bl_brownian *b = NULL;
        assert_int_equal(bl_brownian_new(&b, torchsde[k].kind, torchsde[k].seed, 17, torchsde[k].low,
                                         torchsde[k].high, NULL),
                         0);
        for (int q = 3; q >= 0; q--) { /* in another order than torchsde was asked */
            float out[17];
            bl_brownian_noise(b, torchsde[k].ask[q].sigma, torchsde[k].ask[q].next, out);
            for (int i = 0; i < 3; i++) {
                double e = fabs((double)(out[places[i]] - torchsde[k].ask[q].value[i]));
                worst = fmax(worst, e);
                if (e > 2e-5) {
                    fail_msg("path %d, question %d: %.9g, should be %.9g", (int)k, q, (double)out[places[i]],
                             (double)torchsde[k].ask[q].value[i]);
                }
            }
        }
        bl_brownian_free(&b);
        assert_null(b);
    }
    print_message("Brownian paths within %.2g of torchsde\n", worst);
}

/* Increments of neighbouring steps add up, whatever the steps; each is standard normal and independent of the
 * next. */
static void brownian_adds_up(void **state) {
    (void)state;
    enum { N = 4096 };
    static float whole[N], part[N], sum[N], last[N];
    const double stops[] = {14.6, 9.1, 4.4, 1.3, 0.5, 0.03};
    bl_brownian *b = NULL;
    assert_int_equal(bl_brownian_new(&b, BL_RNG_CPU, 7, N, 0.03, 14.6, NULL), 0);
    double squares = 0, products = 0;
    for (int s = 0; s < 5; s++) {
        bl_brownian_noise(b, stops[s], stops[s + 1], part);
        for (int i = 0; i < N; i++) {
            sum[i] += part[i] * (float)sqrt(stops[s] - stops[s + 1]);
            squares += (double)(part[i] * part[i]);
            products += s ? (double)(part[i] * last[i]) : 0;
            last[i] = part[i];
        }
    }
    bl_brownian_noise(b, 14.6, 0.03, whole);
    for (int i = 0; i < N; i++) {
        whole[i] *= (float)sqrt(14.6 - 0.03);
    }
    bl_check_close("sum of increments", whole, sum, N, 1e-5);
    assert_true(fabs(squares / (5 * N) - 1) < 0.05); /* 5 standard deviations of it */
    assert_true(fabs(products / (4 * N)) < 0.04);
    bl_brownian_noise(b, 0.03, 0.03, part);
    assert_true(part[0] == 0 && part[N - 1] == 0);
    bl_brownian_noise(b, 20, 15, part); /* above all: held to the ends, where nothing lies between */
    assert_true(part[0] == 0 && part[N - 1] == 0);
    bl_brownian_free(&b);
    assert_int_equal(bl_brownian_new(&b, BL_RNG_CPU, 7, N, 2, 1, NULL), BL_E_INTERNAL);
    assert_int_equal(bl_brownian_new(&b, BL_RNG_CPU, 7, N, 1, (double)NAN, NULL), BL_E_INTERNAL);
    assert_int_equal(bl_brownian_new(&b, BL_RNG_CPU, 7, SIZE_MAX / 2, 1, 2, NULL), BL_E_MEMORY);
    assert_int_equal(bl_brownian_new(&b, BL_RNG_CPU, 7, N, 1, 1, NULL), 0); /* one step draws nothing */
    bl_brownian_free(&b);
}

enum { C = 4, H = 6, W = 5, ALL = C * H * W };

static void start_of(bl_noise_options o, float *out) {
    bl_noise *noise = NULL;
    bl_error err;
    o.channels = C;
    o.height = H;
    o.width = W;
    if (bl_noise_new(&noise, &o, &err) || bl_noise_start(noise, out, &err)) {
        fail_msg("%s", err.message);
    }
    bl_noise_free(&noise);
    assert_null(noise);
}

static void variations(void **state) {
    (void)state;
    float a[ALL], b[ALL], mixed[ALL], expected[ALL];
    start_of((bl_noise_options){.seed = 42}, a);
    start_of((bl_noise_options){.seed = 43}, b);
    start_of((bl_noise_options){.seed = 42, .variation_seed = 43, .variation_strength = 1}, mixed);
    bl_check_close("strength 1 is the variation seed", b, mixed, ALL, 1e-6);
    start_of((bl_noise_options){.seed = 42, .variation_seed = 43, .variation_strength = 1e-9}, mixed);
    bl_check_close("strength near 0 is the seed", a, mixed, ALL, 1e-6);
    start_of((bl_noise_options){.seed = 42, .variation_seed = 43, .variation_strength = 0.3}, mixed);
    for (int c = 0; c < C; c++) {
        for (int x = 0; x < W; x++) { /* columns along the height turn in their own plane */
            double aa = 0, ab = 0, bb = 0;
            for (int y = 0; y < H; y++) {
                double p = (double)a[(c * H + y) * W + x], q = (double)b[(c * H + y) * W + x];
                aa += p * p, ab += p * q, bb += q * q;
            }
            double omega = acos(ab / sqrt(aa * bb));
            for (int y = 0; y < H; y++) {
                int i = (c * H + y) * W + x;
                expected[i] =
                    (float)((sin(0.7 * omega) * (double)a[i] + sin(0.3 * omega) * (double)b[i]) / sin(omega));
            }
        }
    }
    bl_check_close("slerp", expected, mixed, ALL, 1e-6);
    /* Parallel: the straight line, which A1111 runs from the other end. */
    bl_slerp(mixed, a, a, 0.3, C, H, W);
    bl_check_close("slerp of equals", a, mixed, ALL, 1e-6);
    for (int i = 0; i < ALL; i++) {
        expected[i] = 2 * a[i];
    }
    bl_slerp(mixed, a, expected, 0.25, C, H, W);
    for (int i = 0; i < ALL; i++) {
        expected[i] = 1.75f * a[i];
    }
    bl_check_close("slerp of parallels", expected, mixed, ALL, 1e-5);
    memset(expected, 0, sizeof expected);
    bl_slerp(mixed, a, expected, 0.25, C, H, W); /* no direction at all */
    assert_true(isfinite(mixed[0]));
}

/* Between the steps A1111 and diffusers go on in the sequence, ComfyUI begins one of its own. */
static void between_steps(void **state) {
    (void)state;
    for (int compat = 0; compat < BL_COMPAT_COUNT; compat++) {
        for (int kind = 0; kind < 2; kind++) {
            bl_noise_options o = {.compat = (bl_compat)compat,
                                  .rng = (bl_rng_kind)kind,
                                  .seed = 9,
                                  .channels = C,
                                  .height = H,
                                  .width = W,
                                  .use = BL_NOISE_SUCCESSIVE};
            float start[ALL], first[ALL], second[ALL], expected[ALL];
            bl_noise *noise = NULL;
            bl_rng rng;
            assert_int_equal(bl_noise_new(&noise, &o, NULL), 0);
            assert_int_equal(bl_noise_start(noise, start, NULL), 0);
            bl_noise_step(noise, 5, 4, first);
            bl_noise_step(noise, 4, 3, second);
            bl_noise_free(&noise);
            bool own = compat == BL_COMPAT_COMFYUI;
            bl_rng_seed(&rng, o.rng, own && kind == BL_RNG_CPU ? 10 : 9);
            if (!own) {
                bl_rng_normal(&rng, expected, ALL);
                assert_memory_equal(expected, start, sizeof start);
            }
            bl_rng_normal(&rng, expected, ALL);
            assert_memory_equal(expected, first, sizeof first);
            bl_rng_normal(&rng, expected, ALL);
            assert_memory_equal(expected, second, sizeof second);
        }
    }
    bl_noise_options o = {.seed = 9,
                          .channels = C,
                          .height = H,
                          .width = W,
                          .use = BL_NOISE_BROWNIAN,
                          .brownian_low = 0.03,
                          .brownian_high = 14.6};
    float a[ALL], b[ALL];
    bl_noise *noise = NULL;
    bl_brownian *path = NULL;
    assert_int_equal(bl_noise_new(&noise, &o, NULL), 0);
    assert_int_equal(bl_brownian_new(&path, BL_RNG_CPU, 9, ALL, 0.03, 14.6, NULL), 0);
    bl_noise_step(noise, 5, 4, a);
    bl_brownian_noise(path, 5, 4, b);
    assert_memory_equal(a, b, sizeof a);
    bl_noise_free(&noise);
    bl_brownian_free(&path);
}

/* A1111's eta noise seed delta: the start's noise is the seed's, what comes between the steps that of
 * another. */
static void a_seed_of_its_own_between_steps(void **state) {
    (void)state;
    bl_noise_options o = {
        .seed = UINT64_MAX - 1, .seed_delta = 31337, .channels = C, .height = H, .width = W};
    float start[ALL], step[ALL], expected[ALL];
    bl_noise *noise = NULL;
    assert_int_equal(bl_noise_new(&noise, &o, NULL), 0);
    assert_int_equal(bl_noise_start(noise, start, NULL), 0);
    bl_noise_step(noise, 5, 4, step);
    bl_noise_free(&noise);
    start_of((bl_noise_options){.seed = UINT64_MAX - 1}, expected);
    assert_memory_equal(expected, start, sizeof start);
    start_of((bl_noise_options){.seed = 31335}, expected); /* seeds go round */
    assert_memory_equal(expected, step, sizeof step);
}

static void refusals(void **state) {
    (void)state;
    const bl_noise_options bad[] = {
        {.channels = C, .height = H, .width = W, .variation_strength = 1.1},
        {.channels = C, .height = H, .width = W, .variation_strength = (double)NAN},
        {.channels = 0, .height = H, .width = W},
        {.channels = C, .height = -1, .width = W},
        {.channels = INT32_MAX, .height = INT32_MAX, .width = INT32_MAX},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bl_noise *noise = NULL;
        bl_error err;
        assert_int_equal(bl_noise_new(&noise, &bad[i], &err), BL_E_ARGUMENT);
        assert_null(noise);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torch_numbers),    cmocka_unit_test(brownian_as_torchsde),
        cmocka_unit_test(brownian_adds_up), cmocka_unit_test(variations),
        cmocka_unit_test(between_steps),    cmocka_unit_test(a_seed_of_its_own_between_steps),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
