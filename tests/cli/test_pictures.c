/* Pictures from the command line, from the checkpoints of tests/data in both layouts: against diffusers, the
 * same twice, one by one and in batches, from pictures, in two passes, and what the PNG says about them. */
#include "pictures.h"

#include "support/slow.h"

#include <sys/stat.h>
#include <unistd.h>

/* At most this share of the bytes is off, by 1. */
static void expect_near(const char *path, const char *wanted_path, double share) {
    bl_picture mine, wanted;
    read_png(&mine, path);
    read_png(&wanted, wanted_path);
    assert_int_equal(mine.width, wanted.width);
    assert_int_equal(mine.height, wanted.height);
    int64_t bytes = mine.width * mine.height * 3, off = 0;
    for (int64_t i = 0; i < bytes; i++) {
        int apart = abs(mine.rgb[i] - wanted.rgb[i]);
        if (apart > 1) {
            fail_msg("%s: byte %lld is %d instead of %d as in %s", path, (long long)i, mine.rgb[i],
                     wanted.rgb[i], wanted_path);
        }
        off += apart;
    }
    if ((double)off > share * (double)bytes) {
        fail_msg("%s: %lld of %lld bytes are not as in %s", path, (long long)off, (long long)bytes,
                 wanted_path);
    }
    bl_picture_clear(&mine);
    bl_picture_clear(&wanted);
}

/* diffusers' own picture, in F32. */
static void golden_picture(const char *family, bl_synth_layout layout) {
    char path[BL_TEST_PATH], noise[BL_TEST_PATH + 32], golden[BL_TEST_PATH], name[128];
    outcome o = {0};
    bl_synth_checkpoint(path, family, layout);
    snprintf(name, sizeof name, "%s/golden/pipeline/txt2img.safetensors", family);
    bl_test_data(noise, name);
    strcat(noise, ":euler_128.noise");
    BALLAST(&o, "generate", "-m", path, "-p", PROMPT, "-n", NEGATIVE, "-W", "128", "-H", "128", "-s", "8",
            "--sampler", "Euler", "--schedule", "leading", "--compat", "diffusers", "--dtype", "f32",
            "--latents", noise, "-o", "golden.png", "--overwrite");
    expect_success(&o);
    assert_string_equal(o.out, "golden.png\n");
    snprintf(name, sizeof name, "%s/golden/pipeline/euler_128.png", family);
    bl_test_data(golden, name);
    expect_near("golden.png", golden, bl_golden_share_off(family, "euler_128", NULL));
    rig_free(&o);
}

static void test_goldens(void **state) {
    static const char *const families[] = {"sd15", "sd21v", "sdxl"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        golden_picture(families[i], BL_SYNTH_SINGLE);
        golden_picture(families[i], BL_SYNTH_FOLDER);
    }
    unlink("golden.png");
}

static void test_same_seed(void **state) {
    outcome o = {0};
    (void)state;
    SMALL(&o, "-S", "5", "-o", "a.png", "-q");
    expect_success(&o);
    assert_string_equal(o.out, "");
    assert_string_equal(o.err, "");
    SMALL(&o, "-S", "5", "-o", "b.png");
    expect_same_file("a.png", "b.png");
    SMALL(&o, "-S", "6", "-o", "b.png", "--overwrite");
    expect_success(&o);
    bl_picture a, b;
    read_png(&a, "a.png");
    read_png(&b, "b.png");
    assert_memory_not_equal(a.rgb, b.rgb, (size_t)(a.width * a.height * 3));
    bl_picture_clear(&a);
    bl_picture_clear(&b);
    rig_free(&o);
}

/* "-" is standard output: the picture and nothing else, whatever else is printed. */
static void test_to_stdout(void **state) {
    outcome o = {0};
    (void)state;
    SMALL(&o, "-S", "5", "-o", "kept.png");
    rig_run(&o, (const char *const[]){"sh", "-c",
                                      "exec \"$0\" generate -m \"$1\" -p \"$2\" -n \"$3\" -W 64 -H 72 -s 3 "
                                      "-S 5 -v --show -o - >printed.png",
                                      rig_program(), model, PROMPT, NEGATIVE, NULL});
    assert_int_equal(o.code, 0);
    expect_contains(o.err, "Time: ");
    expect_contains(o.err, "--show: this is no terminal");
    expect_same_file("kept.png", "printed.png");
    SMALL(&o, "-S", "5", "-o", "./-"); /* a file of that name */
    assert_string_equal(o.out, "./-\n");
    expect_same_file("kept.png", "./-");
    unlink("./-");
    rig_free(&o);
}

/* Pixels of two files are the same; their parameters may differ. */
static void expect_same_pixels(const char *one, const char *other) {
    bl_picture a, b;
    read_png(&a, one);
    read_png(&b, other);
    assert_int_equal(a.width, b.width);
    assert_int_equal(a.height, b.height);
    if (memcmp(a.rgb, b.rgb, (size_t)(a.width * a.height * 3)) != 0) {
        fail_msg("%s and %s are different pictures", one, other);
    }
    bl_picture_clear(&a);
    bl_picture_clear(&b);
}

/* torch's generator of the CPU takes a seed's low 32 bits, its card's all 64. */
static void test_large_seed(void **state) {
    static const char *const rngs[] = {"cpu", "gpu"};
    outcome o = {0};
    (void)state;
    for (int i = 0; i < 2; i++) {
        BALLAST(&o, "generate", "-m", model, "-p", "a cat", "-W", "64", "-H", "64", "-s", "1", "-S",
                "9223372036854775808", "--rng", rngs[i], "--json", "--overwrite", "-o", "seed-a.png");
        assert_int_equal(o.code, 0);
        expect_contains(o.out, "\"seed\": \"9223372036854775808\"");
        BALLAST(&o, "generate", "-m", model, "-p", "a cat", "-W", "64", "-H", "64", "-s", "1", "-S", "0",
                "--rng", rngs[i], "--json", "--overwrite", "-o", "seed-b.png");
        assert_int_equal(o.code, 0);
        expect_contains(o.out, "\"seed\": 0");
        bl_picture large, small;
        ballast_error err;
        assert_int_equal(bl_png_read(&large, "seed-a.png", &err), 0);
        assert_int_equal(bl_png_read(&small, "seed-b.png", &err), 0);
        size_t bytes = (size_t)(large.width * large.height * 3);
        assert_int_equal(memcmp(large.rgb, small.rgb, bytes) != 0, i);
        bl_picture_clear(&large);
        bl_picture_clear(&small);
    }
    rig_free(&o);
}

/* Seeds go up by one a picture; a picture of a batch is the one its seed gives alone. */
static void test_several(void **state) {
    outcome o = {0};
    (void)state;
    SMALL(&o, "-S", "10", "--batch", "3", "-o", "batch-%s.png");
    expect_success(&o);
    assert_string_equal(o.out, "batch-10.png\nbatch-11.png\nbatch-12.png\n");
    SMALL(&o, "-S", "10", "--count", "3", "-o", "count.png");
    expect_success(&o);
    assert_string_equal(o.out, "count-1.png\ncount-2.png\ncount-3.png\n");
    SMALL(&o, "-S", "12", "-o", "alone-100%%.png");
    expect_success(&o);
    assert_string_equal(o.out, "alone-100%.png\n");
    expect_same_pixels("batch-10.png", "count-1.png");
    expect_same_pixels("batch-11.png", "count-2.png");
    expect_same_file("batch-12.png", "count-3.png");
    expect_same_file("count-3.png", "alone-100%.png");
    SMALL(&o, "--count", "2", "--batch", "2", "-o", "random-%i-%s.png");
    expect_success(&o);
    assert_int_equal(rig_files("random-"), 4);
    /* a variation has one seed for all, which tells them apart no more */
    SMALL(&o, "-S", "5", "-c", "2", "--variation-strength", "0.5", "-o", "vary-%s.png", "--save-latents",
          "vary-%s.safetensors");
    expect_success(&o);
    assert_string_equal(o.out, "vary-5-1.png\nvary-5-2.png\n");
    assert_int_equal(rig_files("vary-5-1.safetensors"), 1);
    rig_free(&o);
}

static void test_parameters(void **state) {
    outcome o = {0};
    bl_picture picture;
    bl_parameters p = {0};
    bl_error err;
    (void)state;
    SMALL(&o, "-S", "77", "--cfg", "5.5", "--sampler", "DPM++ 2M Karras", "--hires", "1.5", "--hires-steps",
          "2", "--hires-strength", "0.6", "--hires-upscaler", "latent-bicubic", "-o", "p.png");
    expect_success(&o);
    read_png(&picture, "p.png");
    assert_int_equal(picture.width, 96);
    assert_int_equal(picture.height, 104); /* 108, down to a multiple of 8 */
    assert_non_null(picture.parameters);
    assert_int_equal(bl_parameters_parse(&p, picture.parameters, &err), 0);
    assert_string_equal(p.prompt, PROMPT);
    assert_string_equal(p.negative, NEGATIVE);
    assert_string_equal(p.sampler, "DPM++ 2M");
    assert_string_equal(p.schedule, "Karras");
    assert_non_null(p.model_hash);
    assert_int_equal(strlen(p.model_hash), 10);
    assert_int_equal(p.steps, 3);
    assert_int_equal(p.seed, 77);
    assert_int_equal(p.width, 64);
    assert_int_equal(p.height, 72);
    assert_int_equal(p.hires_steps, 2);
    assert_string_equal(p.hires_upscaler, "Latent (bicubic)");
    assert_true(p.cfg == 5.5 && p.hires_upscale == 1.5 && p.denoising_strength == 0.6);
    expect_contains(model, p.model);
    bl_parameters_clear(&p);
    bl_picture_clear(&picture);
    rig_free(&o);
}

/* --verbose shows what a prompt became. */
static void test_verbose(void **state) {
    outcome o = {0};
    char adapters[BL_TEST_PATH], embeddings[BL_TEST_PATH];
    (void)state;
    bl_test_data(adapters, "sd15/adapters/lora");
    bl_test_data(embeddings, "sd15/adapters/embedding");
    BALLAST(&o, "generate", "-m", model, "-p",
            "a (red:1.5) [cat:dog:1] AND [fox] :0.5 AND Quandar BREAK a fox <lora:te_only:0.5>", "-n", "bad",
            "-W", "64", "-H", "64", "-s", "2", "-S", "1", "-v", "-o", "verbose.png", "--lora-dir", adapters,
            "--embedding-dir", embeddings);
    expect_success(&o);
    expect_contains(o.err, "text 1: 1 chunk, 1 token: \"bad\"\n");
    expect_contains(o.err, "text 2: 1 chunk, 3 tokens: \"a (red:1.5) cat\"; \"red\" weighs 1.5\n");
    expect_contains(o.err, "text 4: 1 chunk, 1 token: \" [fox]\"; \"fox\" weighs 0.9091\n");
    expect_contains(o.err, "negative 1, weight 1: text 1\n");
    expect_contains(o.err, "prompt 1, weight 1: text 2 to call 2, text 3\n");
    expect_contains(o.err, "prompt 2, weight 0.5: text 4\n");
    expect_contains(o.err, "adapter te_only: 12 layers; text 0.5, denoiser 0.5\n");
    expect_contains(o.err, "text 5: 2 chunks (4 + 2), 6 tokens: \" Quandar BREAK a fox\"; \"quandar\" is an "
                           "embedding of 4 vectors\n");
    rig_free(&o);
}

/* The newest preview is in its file once the picture is made; one that cannot be written ends it, in one
 * line.
 */
static void test_preview_file(void **state) {
    outcome o = {0};
    bl_picture preview;
    (void)state;
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "-W", "64", "-H", "72", "-s", "3", "-S", "1", "-q",
            "-o", "seen.png", "--preview-file", "seen/now.png");
    expect_success(&o);
    read_png(&preview, "seen/now.png");
    assert_int_equal(preview.width, 8);
    assert_int_equal(preview.height, 9);
    bl_picture_clear(&preview);
    assert_int_equal(mkdir("taken.png", 0700), 0);
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "-W", "64", "-H", "64", "-s", "3", "-S", "1", "-q",
            "-o", "unseen.png", "--preview-file", "taken.png");
    EXPECT_FAILURE(&o, 2, "taken.png");
    assert_int_not_equal(access("unseen.png", F_OK), 0);
    rig_free(&o);
}

/* Latents saved are those of the picture: unit noise in, final latents out, for each of a batch. */
static void test_latents(void **state) {
    char noise[BL_TEST_PATH + 32];
    outcome o = {0};
    bl_golden golden;
    bl_safetensors *f;
    bl_error err;
    (void)state;
    bl_test_data(noise, "sd15/golden/pipeline/txt2img.safetensors");
    strcat(noise, ":k_euler_normal_128.noise");
    BALLAST(&o, "generate", "-m", model, "-p", PROMPT, "-n", NEGATIVE, "-W", "128", "-H", "128", "-s", "8",
            "--sampler", "Euler", "--schedule", "normal", "--dtype", "f32", "--latents", noise, "-o", "l.png",
            "--save-latents", "final.safetensors");
    expect_success(&o);
    bl_golden_open(&golden, "sd15/golden/pipeline/txt2img.safetensors");
    assert_int_equal(bl_safetensors_open(&f, "final.safetensors", &err), 0);
    const bl_file_tensor *t = bl_safetensors_find(f, "latents");
    assert_non_null(t);
    float *mine = malloc(t->bytes);
    assert_non_null(mine);
    assert_int_equal(bl_safetensors_read(f, t->offset, t->bytes, mine, &err), 0);
    bl_golden_check(&golden, "k_euler_normal_128.final", mine, (int64_t)(t->bytes / sizeof *mine), BL_F32);
    free(mine);
    bl_safetensors_close(&f);
    bl_golden_close(&golden);
    SMALL(&o, "--batch", "2", "-S", "1", "-o", "two-%s.png", "--save-latents", "two-%s.safetensors");
    expect_success(&o);
    assert_int_equal(rig_files("two-"), 4);
    rig_free(&o);
}

/* With --json, stdout is one JSON value; the picture is the same as without. */
static void test_json(void **state) {
    outcome o = {0};
    (void)state;
    SMALL(&o, "-S", "5", "--batch", "2", "-o", "j-%s.png", "--json");
    expect_success(&o);
    json_t *report = json_loads(o.out, 0, NULL);
    assert_non_null(report);
    const json_t *files = json_object_get(report, "files"), *second = json_array_get(files, 1);
    assert_int_equal(json_array_size(files), 2);
    assert_string_equal(json_string_value(json_object_get(second, "path")), "j-6.png");
    assert_int_equal(json_integer_value(json_object_get(second, "seed")), 6);
    assert_int_equal(json_integer_value(json_object_get(report, "steps")), 3);
    assert_non_null(json_object_get(report, "batches"));
    json_decref(report);
    SMALL(&o, "-S", "5", "-o", "j\xff.png", "--json"); /* a name that JSON cannot hold */
    expect_success(&o);
    report = json_loads(o.out, 0, NULL);
    const json_t *named = json_array_get(json_object_get(report, "files"), 0);
    assert_string_equal(json_string_value(json_object_get(named, "path")), "j?.png");
    assert_int_equal(rig_files("j\xff.png"), 1);
    json_decref(report);
    BALLAST(&o, "inspect", model, "--json", "--arena", "128x64");
    expect_success(&o);
    report = json_loads(o.out, 0, NULL);
    const json_t *unet = json_object_get(json_object_get(report, "modules"), "unet");
    assert_true(json_integer_value(json_object_get(unet, "arena_bytes")) > 0);
    assert_string_equal(json_string_value(json_object_get(report, "architecture")), "SD 1.x");
    json_decref(report);
    BALLAST(&o, "plan", "-m", model, "--json", "-W", "128", "-H", "128", "-i", "j-5.png");
    expect_success(&o);
    report = json_loads(o.out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(report, "phases")), 5); /* a prologue among them */
    assert_true(json_integer_value(json_object_get(report, "min_budget_bytes")) > 0);
    json_decref(report);
    rig_free(&o);
}

/* Every sampler runs from its name, and from its name with a schedule behind it. */
static void test_samplers(void **state) {
    outcome o = {0};
    outcome names = {0};
    int count = 0;
    (void)state;
    BALLAST(&names, "help", "samplers");
    for (char *name = names.out, *end; (end = strchr(name, '\n')); name = end + 1) {
        char both[80];
        if (bl_test_slow() && count++ % 5) {
            continue;
        }
        snprintf(both, sizeof both, "%.*s", (int)(end - name), name);
        BALLAST(&o, "generate", "-m", model, "-p", "fox", "-W", "64", "-H", "64", "-s", "3", "--sampler",
                both, "-S", "1", "-o", "sampler.png", "--overwrite");
        expect_success(&o);
    }
    rig_free(&names);
    rig_free(&o);
}

/* Every upscaler stands between the passes by the name that the help prints. */
static void test_upscalers(void **state) {
    outcome o = {0}, names = {0};
    int count = 0;
    (void)state;
    BALLAST(&names, "help", "upscalers");
    for (char *name = names.out, *end; (end = strchr(name, '\n')); name = end + 1, count++) {
        char upscaler[80];
        bl_picture large;
        if (bl_test_slow() && count % 4) {
            continue;
        }
        snprintf(upscaler, sizeof upscaler, "%.*s", (int)(end - name), name);
        BALLAST(&o, "generate", "-m", model, "-p", "fox", "-W", "64", "-H", "72", "-s", "1", "--hires",
                "1.25", "--hires-strength", "1", "--hires-upscaler", upscaler, "-o", "upscaled.png",
                "--overwrite");
        expect_success(&o);
        read_png(&large, "upscaled.png");
        assert_int_equal(large.width, 80);
        assert_int_equal(large.height, 88); /* 90, down to a multiple of 8 */
        expect_contains(large.parameters, upscaler);
        bl_picture_clear(&large);
    }
    assert_int_equal(count, 11);
    rig_free(&names);
    rig_free(&o);
}

/* Settings reach the picture by flag, environment and file alike. */
static void test_settings(void **state) {
    outcome o = {0};
    (void)state;
    SMALL(&o, "-S", "9", "--cfg", "3", "--sampler", "Heun", "-o", "flags.png");
    expect_success(&o);
    static const char config[] = "sampler = Heun\ncfg = 3\nseed = 1\n";
    bl_test_write("config", config, sizeof config - 1);
    setenv("BALLAST_SEED", "9", 1);
    SMALL(&o, "--config", "config", "-o", "settings.png");
    unsetenv("BALLAST_SEED");
    expect_success(&o);
    expect_same_file("flags.png", "settings.png");
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),      cmocka_unit_test(test_same_seed),
        cmocka_unit_test(test_large_seed),   cmocka_unit_test(test_to_stdout),
        cmocka_unit_test(test_several),      cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_latents),      cmocka_unit_test(test_json),
        cmocka_unit_test(test_samplers),     cmocka_unit_test(test_settings),
        cmocka_unit_test(test_upscalers),    cmocka_unit_test(test_verbose),
        cmocka_unit_test(test_preview_file),
    };
    return cmocka_run_group_tests_name("cli.pictures", tests, setup, rig_close);
}
