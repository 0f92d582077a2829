/* The parameters' text: as A1111 writes it, and read back as A1111 reads it. */
#include "image/parameters.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const bl_parameters full = {
    .prompt = "a lighthouse at dusk, (waves:1.2)\nsecond line",
    .negative = "blurry, low quality",
    .steps = 25,
    .sampler = "DPM++ 2M",
    .schedule = "Karras",
    .cfg = 7.5,
    .guidance = "3.5",
    .seed = 18446744073709551615u,
    .width = 1024,
    .height = 768,
    .model_hash = "31e35c80fc",
    .model = "sd_xl, base: 1.0 \"final\"",
    .vae = "vae.safetensors",
    .variation_seed = 5,
    .variation_strength = 0.1,
    .denoising_strength = 0.55,
    .clip_skip = 2,
    .pad_conds = "True",
    .ensd = 31337,
    .rng = "CPU",
    .noise_schedule = "Zero Terminal SNR",
    .hires_upscale = 1.5,
    .hires_steps = 15,
    .hires_upscaler = "Latent (nearest-exact)",
    .version = "ballast 0.1.0",
};

static const char full_text[] =
    "a lighthouse at dusk, (waves:1.2)\nsecond line\n"
    "Negative prompt: blurry, low quality\n"
    "Steps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Distilled CFG Scale: 3.5, Seed: "
    "18446744073709551615, Size: 1024x768, "
    "Model hash: 31e35c80fc, Model: \"sd_xl, base: 1.0 \\\"final\\\"\", VAE: "
    "vae.safetensors, Variation seed: 5, "
    "Variation seed strength: 0.1, Denoising strength: 0.55, Clip skip: 2, Pad conds: True, ENSD: 31337, "
    "RNG: "
    "CPU, Noise Schedule: Zero Terminal SNR, Hires upscale: 1.5, Hires steps: 15, "
    "Hires upscaler: Latent (nearest-exact), Version: ballast 0.1.0";

static void check_text(const bl_parameters *p, const char *expected) {
    char *text;
    assert_int_equal(bl_parameters_text(&text, p, NULL), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void text_is_as_a1111_writes_it(void **state) {
    (void)state;
    check_text(&full, full_text);
    check_text(&(bl_parameters){.steps = 20, .cfg = 7}, "Steps: 20, CFG scale: 7, Seed: 0");
    check_text(&(bl_parameters){.prompt = "  cat", .clip_skip = 1}, "cat\nSeed: 0");
    check_text(&(bl_parameters){.negative = "dog"}, "Negative prompt: dog\nSeed: 0");
    check_text(&(bl_parameters){.model = "a\\b,\n\x01"}, "Seed: 0, Model: \"a\\\\b,\\n\\u0001\"");
}

static void numbers_need_no_locale(void **state) {
    (void)state;
    setlocale(LC_ALL, "de_DE.UTF-8"); /* where it is installed, it has a decimal comma */
    check_text(&(bl_parameters){.cfg = 0.000001}, "CFG scale: 0.000001, Seed: 0");
    check_text(&(bl_parameters){.cfg = -3.05}, "CFG scale: -3.05, Seed: 0");
    check_text(&(bl_parameters){.cfg = 1.9999999}, "CFG scale: 2, Seed: 0");
    check_text(&(bl_parameters){.cfg = 123456.789}, "CFG scale: 123456.789, Seed: 0");
    bl_parameters p;
    assert_int_equal(bl_parameters_parse(&p, "Steps: 1, CFG scale: 6.25, Seed: 3", NULL), 0);
    assert_true(p.cfg == 6.25);
    bl_parameters_clear(&p);
    setlocale(LC_ALL, "C");
    char *text;
    bl_error err;
    assert_int_equal(bl_parameters_text(&text, &(bl_parameters){.cfg = NAN}, &err), BL_E_ARGUMENT);
    assert_int_equal(bl_parameters_text(&text, &(bl_parameters){.cfg = 1e13}, &err), BL_E_ARGUMENT);
}

static void what_was_written_reads_back(void **state) {
    (void)state;
    bl_parameters p;
    assert_int_equal(bl_parameters_parse(&p, full_text, NULL), 0);
    assert_string_equal(p.prompt, full.prompt);
    assert_string_equal(p.negative, full.negative);
    assert_string_equal(p.model, full.model);
    assert_true(p.seed == full.seed && p.cfg == full.cfg && p.denoising_strength == full.denoising_strength);
    check_text(&p, full_text);
    bl_parameters_clear(&p);
    assert_null(p.storage);
}

static void odd_texts_are_read_as_a1111_reads_them(void **state) {
    (void)state;
    bl_parameters p;
    /* No line of parameters: all of it is prompt. */
    assert_int_equal(bl_parameters_parse(&p, "just: a, prompt\nNegative prompt: x\ny\n", NULL), 0);
    assert_string_equal(p.prompt, "just: a, prompt");
    assert_string_equal(p.negative, "x\ny");
    assert_int_equal(p.steps, 0);
    bl_parameters_clear(&p);
    /* Unknown keys, quoted commas, damaged values, a repeated key. */
    assert_int_equal(
        bl_parameters_parse(&p,
                            "cat\nSteps: many, Lora hashes: \"a: 1, b: 2\", CFG scale: 1e9, Seed: -1, "
                            "Size: 5y6, Model: one, Model: \"tw\\u00f6 \\ud83d\\ude00\", VAE: \"open, "
                            "Clip skip: 99999999999999999999",
                            NULL),
        0);
    assert_string_equal(p.prompt, "cat");
    assert_string_equal(p.negative, "");
    assert_int_equal(p.steps, 0);
    assert_true(p.cfg == 0.0 && p.seed == 0);
    assert_int_equal(p.width, 0);
    assert_string_equal(p.model, "tw\xc3\xb6 \xf0\x9f\x98\x80");
    assert_string_equal(p.vae, "\"open");
    assert_int_equal(p.clip_skip, 0);
    bl_parameters_clear(&p);
    assert_int_equal(bl_parameters_parse(&p, "", NULL), 0);
    assert_string_equal(p.prompt, "");
    bl_parameters_clear(&p);
    /* Bad escapes: the value stays as it stands. */
    assert_int_equal(
        bl_parameters_parse(&p, "Steps: 1, Seed: 2, Model: \"\\u12\", VAE: \"\\ud800\", RNG: \"\\q\"", NULL),
        0);
    assert_string_equal(p.model, "\"\\u12\"");
    assert_string_equal(p.vae, "\"\\ud800\"");
    assert_string_equal(p.rng, "\"\\q\"");
    bl_parameters_clear(&p);
}

/* Random pieces of such texts; whatever is read can be written and read again. */
static void random_texts(void **state) {
    (void)state;
    static const char *const parts[] = {"Steps: ",   "20",       ", ",     "\n",         "Negative prompt:",
                                        " x",        "Model: ",  "\"",     "\\",         "\\u",
                                        "d83d",      "Seed: ",   "Size: ", "8x8",        ":",
                                        "Version: ", "\xc3\xa9", ",",      "VAE: \"a\"", "\\n"};
    uint32_t seed = 3;
    for (int i = 0; i < 20000; i++) {
        char text[512];
        size_t n = 0;
        for (int k = 0; k < 24; k++) {
            seed = seed * 1664525u + 1013904223u;
            const char *part = parts[(seed >> 16) % (sizeof parts / sizeof *parts)];
            memcpy(text + n, part, strlen(part) + 1);
            n += strlen(part);
        }
        char *copy = strdup(text); /* of the exact size */
        bl_parameters p;
        assert_int_equal(bl_parameters_parse(&p, copy, NULL), 0);
        free(copy);
        char *again;
        assert_int_equal(bl_parameters_text(&again, &p, NULL), 0);
        bl_parameters_clear(&p);
        free(again);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_as_a1111_writes_it),
        cmocka_unit_test(numbers_need_no_locale),
        cmocka_unit_test(what_was_written_reads_back),
        cmocka_unit_test(odd_texts_are_read_as_a1111_reads_them),
        cmocka_unit_test(random_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
