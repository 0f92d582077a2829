/* What users type, before any device is asked: sizes of memory, sizes of pictures, names, ranges. */
#include "pipeline/placement.h"
#include "pipeline/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define MEMORY 32000000000ull

static void test_sizes_of_memory(void **state) {
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"6G", 6000000000ull},    {"6.5GB", 6500000000ull}, {"800M", 800000000ull},
                {"512MiB", 536870912ull}, {"80%", 25600000000ull},  {"1e0", 0},
                {"1024", 1024},           {"0.5g", 500000000ull},   {"2KiB", 2048},
                {"100%", MEMORY}};
    static const char *const bad[] = {
        "", "G", "-1G", "6 G", "6X", "nan", "inf", "101%", "6.5.1G", "1e30", "99999999999999999999T"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t bytes = 1;
        bl_error err = {0};
        int result = bl_size_parse(&bytes, good[i].text, MEMORY, "budget", &err);
        if (good[i].bytes) {
            assert_int_equal(result, 0);
            assert_true(bytes == good[i].bytes);
        } else {
            assert_int_equal(result, BL_E_ARGUMENT); /* exponents are not read */
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t bytes = 77;
        bl_error err = {0};
        assert_int_equal(bl_size_parse(&bytes, bad[i], MEMORY, "budget", &err), BL_E_ARGUMENT);
        assert_true(bytes == 77);
        assert_non_null(strstr(err.message, "budget"));
    }
}

static void test_placement(void **state) {
    ballast_generate_options o;
    bl_placement p;
    bl_error err = {0};
    bl_device_caps caps = {
        .name = "card", .memory_bytes = MEMORY, .host_bytes = 2 * MEMORY, .host_store = true};
    (void)state;
    ballast_generate_options_init(&o, sizeof o);
    assert_int_equal(bl_placement_parse(&p, &o, &caps, &err), 0);
    assert_int_equal(p.offload.mode, BL_OFFLOAD_AUTO);
    assert_true(p.budget_bytes == 0 && p.offload.fit_check);
    o.offload = "balanced";
    o.budget = "50%";
    o.reserve = "1G";
    o.low = 0.2;
    o.high = 0.6;
    assert_int_equal(bl_placement_parse(&p, &o, &caps, &err), 0);
    assert_int_equal(p.offload.mode, BL_OFFLOAD_BALANCED);
    assert_true(p.budget_bytes == 15000000000ull);
    o.high = 0.1; /* below low */
    assert_int_equal(bl_placement_parse(&p, &o, &caps, &err), BL_E_ARGUMENT);
    o.high = -1;
    o.reserve = "16G";
    assert_int_equal(bl_placement_parse(&p, &o, &caps, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "reserve"));
    o.budget = NULL; /* of what is free, which only the device knows */
    o.high = -1;
    assert_int_equal(bl_placement_parse(&p, &o, &caps, &err), 0);
    assert_true(p.budget_bytes == 0 && p.reserve_bytes == 16000000000ull);
    o.host_budget = "25%";
    assert_int_equal(bl_placement_parse(&p, &o, &caps, &err), 0);
    assert_true(p.store_bytes == caps.host_bytes / 4);
    o.host_budget = "some";
    assert_int_equal(bl_placement_parse(&p, &o, &caps, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "host-budget"));
    o.host_budget = "16G";
    caps.host_store = false;
    assert_int_equal(bl_placement_parse(&p, &o, &caps, &err), BL_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "host-budget: on this device (card)"));
    o.host_budget = NULL;
    o.low = __builtin_nan("");
    assert_int_equal(bl_placement_parse(&p, &o, &caps, &err), BL_E_ARGUMENT);
    o.low = -1;
    o.reserve = NULL;
    o.offload = "lowvram";
    assert_int_equal(bl_placement_parse(&p, &o, &caps, &err), BL_E_NOT_FOUND);
    assert_non_null(strstr(err.message, "sequential"));
}

/* Checks one request; on success releases it. */
static int check(const ballast_generate_options *o, bl_error *err) {
    bl_architecture arch = {.family = &bl_sd1, .text[0].layers = 12};
    bl_request r;
    int result = bl_request_check(&r, o, &arch, 512, err);
    if (!result) {
        bl_request_clear(&r);
    }
    return result;
}

static void expect(const ballast_generate_options *o, int code, const char *part) {
    bl_error err = {0};
    assert_int_equal(check(o, &err), code);
    if (!strstr(err.message, part)) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, part);
    }
}

/* What is left open is filled before a request is looked at. */
static ballast_generate_options usual(void) {
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    o.steps = 20;
    o.cfg = 7;
    return o;
}

static void test_refusals(void **state) {
    ballast_generate_options good, o;
    bl_error err = {0};
    (void)state;
    good = usual();
    o = good;
    expect(&o, BL_E_ARGUMENT, "prompt");
    good.prompt = "a fox";
    assert_int_equal(check(&good, &err), 0);
    o = good, o.width = 100;
    expect(&o, BL_E_ARGUMENT, "96");
    o = good, o.height = -8;
    expect(&o, BL_E_ARGUMENT, "height");
    o = good, o.width = 1 << 20;
    expect(&o, BL_E_ARGUMENT, "65535");
    o = good, o.steps = 0;
    expect(&o, BL_E_ARGUMENT, "steps");
    o = good, o.sampler = "Eular";
    expect(&o, BL_E_NOT_FOUND, "DPM++ 2M");
    o = good, o.schedule = "carras";
    expect(&o, BL_E_NOT_FOUND, "karras");
    o = good, o.compat = "webui";
    expect(&o, BL_E_NOT_FOUND, "comfyui");
    o = good, o.rng = "dice";
    expect(&o, BL_E_NOT_FOUND, "gpu");
    o = good, o.cfg = __builtin_nan("");
    expect(&o, BL_E_ARGUMENT, "cfg");
    o = good, o.batch = 65;
    expect(&o, BL_E_ARGUMENT, "batch");
    o = good, o.hires_scale = 0.5;
    expect(&o, BL_E_ARGUMENT, "hires");
    o = good, o.hires_scale = __builtin_nan("");
    expect(&o, BL_E_ARGUMENT, "hires");
    o = good, o.width = 65528, o.hires_scale = 1.5;
    expect(&o, BL_E_ARGUMENT, "hires: ");
    o = good, o.height = 65528, o.hires_scale = 8;
    expect(&o, BL_E_ARGUMENT, "hires: ");
    o = good, o.hires_scale = 2, o.hires_upscaler = "ESRGAN";
    expect(&o, BL_E_NOT_FOUND, "Lanczos");
    o = good, o.hires_scale = 2, o.hires_strength = 0;
    expect(&o, BL_E_ARGUMENT, "strength");
    o = good, o.clip_skip = 13;
    expect(&o, BL_E_ARGUMENT, "clip-skip: 13 is not between 0 and 12");
    o = good, o.clip_skip = -1;
    expect(&o, BL_E_ARGUMENT, "clip-skip");
    o = good, o.clip_skip = 12;
    assert_int_equal(check(&o, &err), 0);
    float latents[4] = {0};
    o = good, o.latents = latents, o.latents_batch = 1, o.latents_height = 1, o.latents_width = 1;
    expect(&o, BL_E_ARGUMENT, "[1, 4, 64, 64]");
    o.width = o.height = 8;
    assert_int_equal(check(&o, &err), 0);
    latents[3] = __builtin_inff();
    expect(&o, BL_E_ARGUMENT, "latents: NaN or infinity");
}

/* What is wrong is refused also where nothing would use it. */
static void test_unused_values(void **state) {
    ballast_generate_options good, o;
    bl_error err = {0};
    (void)state;
    good = usual();
    good.prompt = "a fox";
    o = good, o.hires_upscaler = "Lancos";
    expect(&o, BL_E_NOT_FOUND, "Lanczos");
    o = good, o.hires_strength = 1.5;
    expect(&o, BL_E_ARGUMENT, "hires-strength");
    o = good, o.hires_steps = -3;
    expect(&o, BL_E_ARGUMENT, "hires-steps");
    o = good, o.strength = __builtin_nan("");
    expect(&o, BL_E_ARGUMENT, "strength");
    o = good, o.eta = 7; /* DPM++ 2M takes none */
    expect(&o, BL_E_ARGUMENT, "eta");
    o = good, o.never = "unet, sdxl,clip"; /* of offload "balanced" alone */
    expect(&o, BL_E_NOT_FOUND, "never: no module \"clip\"");
    o = good, o.always = "sdxl";
    expect(&o, BL_E_NOT_FOUND, "always: no module \"sdxl\"");
    o = good, o.never = "unet vae_decoder";
    expect(&o, BL_E_NOT_FOUND, "unet vae_decoder");
    o = good, o.never = " text_encoder ,sd2,, unet", o.always = "";
    assert_int_equal(check(&o, &err), 0);
    o = good, o.strength = 0, o.hires_strength = 0; /* what a form sends for "not used" */
    assert_int_equal(check(&o, &err), 0);
}

/* All 64 bits; behind the last one comes 0 again. */
static void test_large_seeds(void **state) {
    ballast_generate_options o;
    bl_error err = {0};
    (void)state;
    o = usual();
    o.prompt = "a fox";
    o.batch = o.count = 3;
    for (int i = 0; i < 3; i++) {
        o.seed = o.variation_seed = i ? UINT64_MAX - (uint64_t)i : (uint64_t)INT64_MAX + 1;
        o.variation_strength = 0.5 * i;
        assert_int_equal(check(&o, &err), 0);
    }
}

static void test_what_becomes_of_a_request(void **state) {
    ballast_generate_options o;
    bl_architecture arch = {.family = &bl_sd1};
    bl_request r;
    bl_error err = {0};
    (void)state;
    o = usual();
    o.prompt = "a fox";
    o.steps = 10;
    o.sampler = "heun"; /* two evaluations a step, one at the last */
    o.hires_scale = 1.5;
    o.hires_upscaler = "latent-nearest-exact";
    o.width = 504;
    o.cfg = 1;
    o.batch = 2;
    o.count = 3;
    assert_int_equal(bl_request_check(&r, &o, &arch, 512, &err), 0);
    assert_int_equal(r.width, 504);
    assert_int_equal(r.height, 512);
    assert_int_equal(r.hires_width, 752); /* 756 down to a multiple of 8 */
    assert_int_equal(r.hires_height, 768);
    assert_int_equal(r.images, 6);
    assert_true(r.upscaler->latent);
    assert_string_equal(r.upscaler->name, "Latent (nearest-exact)");
    assert_int_equal(bl_request_evaluations(&r, false), 19);
    assert_int_equal(r.second->steps, 10);
    bl_request_clear(&r);
    for (int i = 0; bl_upscaler_name(i); i++) { /* each is found by the name it shows */
        o.hires_upscaler = bl_upscaler_name(i);
        assert_int_equal(bl_request_check(&r, &o, &arch, 512, &err), 0);
        assert_string_equal(r.upscaler->name, bl_upscaler_name(i));
        bl_request_clear(&r);
    }
}

/* A configuration may draw a line that gives some sizes no shift: those are refused, not walked as another
 * kind of model. */
static void test_shifts_of_flow_models(void **state) {
    static const struct {
        bl_flow_rule rule;
        int side, code;
    } cases[] = {
        {{.shift = 3}, 512, 0},
        {{.shift = 1e-12}, 512, BL_E_UNSUPPORTED},
        {{.shift = 1e300}, 512, BL_E_UNSUPPORTED},
        {{BL_SHIFT_BY_SIZE, 0, 0.5, 1.15, 256, 4096, false, false}, 16, 0},
        {{BL_SHIFT_BY_SIZE, 0, 0.5, 20, 256, 4096, true, false}, 1024, 0},
        {{BL_SHIFT_BY_SIZE, 0, 0.5, 20, 256, 4096, true, false}, 16, BL_E_UNSUPPORTED},
        {{BL_SHIFT_BY_SIZE, 0, 0.5, 1e5, 256, 4096, false, false}, 1024, BL_E_UNSUPPORTED},
        {{BL_SHIFT_BY_SIZE, 0, 0.5, 1e5, 256, 4096, false, false}, 16, BL_E_UNSUPPORTED},
        {{BL_SHIFT_BY_SIZE, 0, 1e308, 1e-308, 1, 2, true, false}, 1024, BL_E_UNSUPPORTED},
    };
    (void)state;
    ballast_generate_options o = usual();
    o.prompt = "a fox";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_architecture arch = {.family = &bl_z_image, .prediction = BL_PREDICT_FLOW, .flow = cases[i].rule};
        bl_request r;
        bl_error err = {0};
        o.width = o.height = cases[i].side;
        int result = bl_request_check(&r, &o, &arch, 1024, &err);
        if (result != cases[i].code || (result && !strstr(err.message, "scheduler_config.json"))) {
            fail_msg("case %zu: %d %s", i, result, err.message);
        }
        if (!result) {
            assert_true(r.base->flow && r.base->sigmas[1] < r.base->sigmas[0]);
            bl_request_clear(&r);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_of_memory),
        cmocka_unit_test(test_placement),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_unused_values),
        cmocka_unit_test(test_large_seeds),
        cmocka_unit_test(test_what_becomes_of_a_request),
        cmocka_unit_test(test_shifts_of_flow_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
