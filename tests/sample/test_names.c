/* Names: every spelling that people bring from A1111 and ComfyUI, and what unknown ones get. */
#include "sample/names.h"
#include "sample/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void samplers(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bl_sampler_id id;
        bl_schedule_id schedule;
    } known[] = {
        {"Euler", BL_SAMPLER_EULER, BL_SCHEDULE_AUTOMATIC},
        {"euler a", BL_SAMPLER_EULER_A, BL_SCHEDULE_AUTOMATIC},
        {"euler_ancestral", BL_SAMPLER_EULER_A, BL_SCHEDULE_AUTOMATIC},
        {"k_euler_a", BL_SAMPLER_EULER_A, BL_SCHEDULE_AUTOMATIC},
        {"HEUN", BL_SAMPLER_HEUN, BL_SCHEDULE_AUTOMATIC},
        {"dpm_2", BL_SAMPLER_DPM2, BL_SCHEDULE_AUTOMATIC},
        {"DPM2 Karras", BL_SAMPLER_DPM2, BL_SCHEDULE_KARRAS},
        {"dpm_2_ancestral", BL_SAMPLER_DPM2_A, BL_SCHEDULE_AUTOMATIC},
        {"DPM2 a Karras", BL_SAMPLER_DPM2_A, BL_SCHEDULE_KARRAS},
        {"dpmpp_2s_ancestral", BL_SAMPLER_DPMPP_2S_A, BL_SCHEDULE_AUTOMATIC},
        {"DPM++ 2S a Karras", BL_SAMPLER_DPMPP_2S_A, BL_SCHEDULE_KARRAS},
        {"DPM++ 2M", BL_SAMPLER_DPMPP_2M, BL_SCHEDULE_AUTOMATIC},
        {"dpm++ 2m karras", BL_SAMPLER_DPMPP_2M, BL_SCHEDULE_KARRAS},
        {"dpmpp_2m sgm_uniform", BL_SAMPLER_DPMPP_2M, BL_SCHEDULE_SGM_UNIFORM},
        {"DPM++ SDE", BL_SAMPLER_DPMPP_SDE, BL_SCHEDULE_AUTOMATIC},
        {"dpmpp_sde_gpu", BL_SAMPLER_DPMPP_SDE, BL_SCHEDULE_AUTOMATIC},
        {"DPM++ 2M SDE Exponential", BL_SAMPLER_DPMPP_2M_SDE, BL_SCHEDULE_EXPONENTIAL},
        {"DPM++ 2M SDE Heun Karras", BL_SAMPLER_DPMPP_2M_SDE_HEUN, BL_SCHEDULE_KARRAS},
        {"dpmpp_3m_sde", BL_SAMPLER_DPMPP_3M_SDE, BL_SCHEDULE_AUTOMATIC},
        {"DDIM", BL_SAMPLER_DDIM, BL_SCHEDULE_AUTOMATIC},
        {"uni_pc", BL_SAMPLER_UNIPC, BL_SCHEDULE_AUTOMATIC},
        {"uni_pc_bh2", BL_SAMPLER_UNIPC_BH2, BL_SCHEDULE_AUTOMATIC},
        {"lcm", BL_SAMPLER_LCM, BL_SCHEDULE_AUTOMATIC},
        {"LMS Karras", BL_SAMPLER_LMS, BL_SCHEDULE_KARRAS},
        {"k_lms", BL_SAMPLER_LMS, BL_SCHEDULE_AUTOMATIC},
        {"plms", BL_SAMPLER_PLMS, BL_SCHEDULE_AUTOMATIC},
        {"DPM fast", BL_SAMPLER_DPM_FAST, BL_SCHEDULE_AUTOMATIC},
        {"dpm_fast", BL_SAMPLER_DPM_FAST, BL_SCHEDULE_AUTOMATIC},
        {"DPM adaptive", BL_SAMPLER_DPM_ADAPTIVE, BL_SCHEDULE_AUTOMATIC},
        {"k_dpm_ad", BL_SAMPLER_DPM_ADAPTIVE, BL_SCHEDULE_AUTOMATIC},
        {"Restart", BL_SAMPLER_RESTART, BL_SCHEDULE_AUTOMATIC},
        {"tcd", BL_SAMPLER_TCD, BL_SCHEDULE_AUTOMATIC},
        {"DPM++ 2M Align Your Steps", BL_SAMPLER_DPMPP_2M, BL_SCHEDULE_ALIGN_YOUR_STEPS},
        {"euler ays", BL_SAMPLER_EULER, BL_SCHEDULE_ALIGN_YOUR_STEPS},
        {"Euler KL Optimal", BL_SAMPLER_EULER, BL_SCHEDULE_KL_OPTIMAL},
        {"Euler a Turbo", BL_SAMPLER_EULER_A, BL_SCHEDULE_TURBO},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        bl_sampler_id id = BL_SAMPLER_COUNT;
        bl_schedule_id schedule = BL_SCHEDULE_AUTOMATIC;
        assert_int_equal(bl_sampler_find(&id, &schedule, known[i].name, NULL), 0);
        assert_int_equal(id, known[i].id);
        assert_int_equal(schedule, known[i].schedule);
    }
    for (int i = 0; i < BL_SAMPLER_COUNT; i++) { /* each answers to its own name, with every schedule's too */
        for (int k = 0; k < BL_SCHEDULE_COUNT; k++) {
            bl_sampler_id id = BL_SAMPLER_COUNT;
            bl_schedule_id schedule = BL_SCHEDULE_COUNT;
            char name[64] = "";
            strcat(strcat(strcat(name, bl_sampler_name((bl_sampler_id)i)), " "),
                   bl_schedule_name((bl_schedule_id)k));
            assert_int_equal(bl_sampler_find(&id, &schedule, name, NULL), 0);
            assert_int_equal(id, i);
            assert_int_equal(schedule, k);
            *strrchr(name, ' ') = 0;
            assert_int_equal(bl_sampler_find(&id, NULL, name, NULL), 0);
            assert_int_equal(id, i);
        }
    }
}

static void unknown(void **state) {
    (void)state;
    static const char *const names[] = {
        "",
        "eule",
        "Euler b",
        "karras",
        "DPM++ 2M Karros",
        "DPM++ 2M \xff",
        "  _ - ",
        "a name that is longer than any key which our samplers have or will ever have"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bl_sampler_id id = BL_SAMPLER_LCM;
        bl_schedule_id schedule = BL_SCHEDULE_BETA;
        bl_error err;
        assert_int_equal(bl_sampler_find(&id, &schedule, names[i], &err), BL_E_NOT_FOUND);
        assert_int_equal(id, BL_SAMPLER_LCM); /* nothing is written on failure */
        assert_int_equal(schedule, BL_SCHEDULE_BETA);
        for (int k = 0; k < BL_SAMPLER_COUNT; k++) {
            assert_non_null(strstr(err.message, bl_sampler_name((bl_sampler_id)k)));
        }
    }
    bl_sampler_id id;
    bl_error err;
    assert_int_equal(bl_sampler_find(&id, NULL, "DPM++ 2M Karras", &err), BL_E_NOT_FOUND);
    bl_schedule_id schedule;
    assert_int_equal(bl_schedule_find(&schedule, NULL, "carras", &err), BL_E_NOT_FOUND);
    for (int k = 0; k < BL_SCHEDULE_COUNT; k++) {
        assert_non_null(strstr(err.message, bl_schedule_name((bl_schedule_id)k)));
    }
    bl_compat compat;
    assert_int_equal(bl_compat_find(&compat, "a1112", &err), BL_E_NOT_FOUND);
    assert_string_equal(err.message, "compat: no \"a1112\"; there are a1111, comfyui, diffusers");
    bl_rng_kind kind;
    assert_int_equal(bl_rng_find(&kind, "tpu", &err), BL_E_NOT_FOUND);
    assert_string_equal(err.message, "rng: no \"tpu\"; there are cpu, gpu");
}

static void schedules(void **state) {
    (void)state;
    bl_schedule_id id, spacing = BL_SCHEDULE_AUTOMATIC;
    assert_int_equal(bl_schedule_find(&id, &spacing, "SGM Uniform", NULL), 0);
    assert_int_equal(id, BL_SCHEDULE_SGM_UNIFORM);
    assert_int_equal(bl_schedule_find(&id, &spacing, "Uniform", NULL), 0);
    assert_int_equal(id, BL_SCHEDULE_NORMAL);
    assert_int_equal(spacing, BL_SCHEDULE_AUTOMATIC);
    assert_int_equal(bl_schedule_find(&id, &spacing, "Trailing Karras", NULL), 0);
    assert_int_equal(id, BL_SCHEDULE_KARRAS);
    assert_int_equal(spacing, BL_SCHEDULE_TRAILING);
    assert_int_equal(bl_schedule_find(&id, &spacing, "trailing simple", NULL), BL_E_NOT_FOUND);
    assert_int_equal(bl_schedule_find(&id, NULL, "trailing karras", NULL), BL_E_NOT_FOUND);
    bl_compat compat;
    assert_int_equal(bl_compat_find(&compat, "ComfyUI", NULL), 0);
    assert_int_equal(compat, BL_COMPAT_COMFYUI);
    bl_rng_kind kind;
    assert_int_equal(bl_rng_find(&kind, "NV", NULL), 0);
    assert_int_equal(kind, BL_RNG_GPU);
}

static void evaluations(void **state) {
    (void)state;
    assert_int_equal(bl_sampler_evaluations(BL_SAMPLER_EULER, 20), 20);
    assert_int_equal(bl_sampler_evaluations(BL_SAMPLER_HEUN, 20), 39);
    assert_int_equal(bl_sampler_evaluations(BL_SAMPLER_DPMPP_SDE, 1), 1);
    assert_int_equal(bl_sampler_evaluations(BL_SAMPLER_UNIPC, 0), 0);
}

static void noises(void **state) {
    (void)state;
    assert_int_equal(bl_sampler_noise(BL_SAMPLER_DPMPP_2M, BL_COMPAT_A1111), BL_NOISE_NONE);
    assert_int_equal(bl_sampler_noise(BL_SAMPLER_EULER_A, BL_COMPAT_DIFFUSERS), BL_NOISE_SUCCESSIVE);
    assert_int_equal(bl_sampler_noise(BL_SAMPLER_DPMPP_2M_SDE, BL_COMPAT_COMFYUI), BL_NOISE_BROWNIAN);
    assert_int_equal(bl_sampler_noise(BL_SAMPLER_DPMPP_2M_SDE, BL_COMPAT_DIFFUSERS), BL_NOISE_SUCCESSIVE);
    assert_int_equal(bl_sampler_noise(BL_SAMPLER_DPMPP_SDE, BL_COMPAT_DIFFUSERS), BL_NOISE_BROWNIAN);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samplers),    cmocka_unit_test(unknown), cmocka_unit_test(schedules),
        cmocka_unit_test(evaluations), cmocka_unit_test(noises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
