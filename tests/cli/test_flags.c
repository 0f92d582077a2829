/* Every other flag does something: those of placement never change the picture, those of sampling do. */
#include "rig.h"

#include "image/png.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char model[BL_TEST_PATH];

static void picture(const char *name, const char *const *flags) {
    const char *argv[RIG_ARGUMENTS] = {
        "generate", "-m", model, "-p", "a red (fox:1.2)", "-n", "blurry", "-W", "64", "-H", "64", "-s", "3",
        "-S",       "8",  "-o",  name, "--overwrite"};
    outcome o = {0};
    for (int i = 0; flags && flags[i]; i++) {
        argv[18 + i] = flags[i];
    }
    rig_ballast(&o, argv);
    expect_success(&o);
    rig_free(&o);
}

static int setup(void **state) {
    int result = rig_open(state);
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    picture("plain.png", NULL);
    return result;
}

static bool same_pixels(const char *one, const char *other) {
    bl_picture a, b;
    bl_error err;
    assert_int_equal(bl_png_read(&a, one, &err), 0);
    assert_int_equal(bl_png_read(&b, other, &err), 0);
    bool same =
        a.width == b.width && a.height == b.height && !memcmp(a.rgb, b.rgb, (size_t)(a.width * a.height * 3));
    bl_picture_clear(&a);
    bl_picture_clear(&b);
    return same;
}

static void test_placement(void **state) {
    static const char *const flags[][8] = {
        {"--offload", "none"},
        {"--offload", "model"},
        {"--offload", "sequential"},
        {"--offload", "balanced", "--low", "0"},
        {"--offload", "balanced", "--high", "0.5", "--never", "unet"},
        {"--offload", "balanced", "--always", "vae_decoder", "--no-fit-check"},
        {"--budget", "1G", "--reserve", "200M"},
        {"--budget", "50%"},
        {"--budget", "40M"},
        {"--tiled-decode", "auto"},
        {"--tiled-decode", "on"}, /* one tile */
    };
    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        picture("placed.png", flags[i]);
        if (!same_pixels("plain.png", "placed.png")) {
            fail_msg("%s %s changes the picture", flags[i][0], flags[i][1]);
        }
    }
}

/* A described machine with a host: its memory is a budget of its own, and what is loaded is told. */
static void test_host_budget(void **state) {
    (void)state;
    outcome o = {0};
    FILE *f = fopen("machine.json", "w");
    assert_non_null(f);
    fputs("{\"name\": \"machine\", \"memory_bytes\": 2000000000, \"copy_rate\": 1e10, \"copy_latency\": 1e-5,"
          " \"memory_rate\": 1e11, \"flops\": {\"f32\": 1e12, \"bf16\": 1e12}, \"host_bytes\": 1000000000,"
          " \"file_rate\": 1e9, \"file_latency\": 1e-4}",
          f);
    fclose(f);
    BALLAST(&o, "plan", "-m", model, "-p", "x", "-W", "64", "-H", "64", "--device", "sim:machine.json");
    expect_success(&o);
    assert_non_null(strstr(o.out, "host budget 1.00 GB: at most "));
    assert_non_null(strstr(o.out, " of reading"));
    BALLAST(&o, "plan", "-m", model, "-p", "x", "-W", "64", "-H", "64", "--device", "sim:machine.json",
            "--host-budget", "50%", "--json");
    expect_success(&o);
    assert_non_null(strstr(o.out, "\"host_bytes\": 500000000"));
    BALLAST(&o, "plan", "-m", model, "-p", "x", "-W", "64", "-H", "64", "--device", "sim:machine.json",
            "--host-budget", "1K");
    EXPECT_FAILURE(&o, 2, "host budget: too small", "the smallest that works is");
    BALLAST(&o, "plan", "-m", model, "-p", "x", "-W", "64", "-H", "64", "--host-budget", "1G");
    EXPECT_FAILURE(&o, 2, "host-budget", "no weights wait in host memory");
    rig_free(&o);
}

/* What was kept of a card: plans are made from it, and nothing else. */
static void test_card_files(void **state) {
    (void)state;
    outcome o = {0};
    static const char card[] =
        "{\"name\": \"A card\", \"sm\": 90, \"processors\": 100, \"clock\": 1e9, \"memory_bytes\": "
        "8000000000, "
        "\"own_bytes\": 300000000, \"host_bytes\": 1000000000, \"copy_rate\": 2e10, \"file_rate\": 1e9, "
        "\"copy_slowdown\": 0.25}";
    bl_test_write("card.json", card, strlen(card));
    BALLAST(&o, "plan", "-m", model, "-p", "x", "-W", "64", "-H", "64", "--device", "cuda:card.json");
    expect_success(&o);
    assert_non_null(strstr(o.err, "A card is planned for from its file"));
    assert_non_null(strstr(o.out, "budget 7.45 GB")); /* less its own, and head room */
    assert_non_null(strstr(o.out, "300 MB that the device's driver and libraries hold"));
    assert_non_null(strstr(o.out, "estimated from the description of A card, SM 9.0"));
    BALLAST(&o, "plan", "-m", model, "-p", "x", "-W", "64", "-H", "64", "--device", "cuda:./card.json",
            "--json");
    expect_success(&o);
    assert_non_null(strstr(o.out, "\"own_bytes\": 300000000"));
    assert_non_null(strstr(o.out, "\"copy_slowdown\": 0.25"));
    BALLAST(&o, "generate", "-m", model, "-p", "x", "-W", "64", "-H", "64", "--device", "cuda:card.json");
    EXPECT_FAILURE(&o, 2, "makes no pictures");
    BALLAST(&o, "plan", "-m", model, "-p", "x", "--device", "cuda:absent.json");
    EXPECT_FAILURE(&o, 2, "absent.json");
    bl_test_write("card.json", "{}", 2);
    BALLAST(&o, "plan", "-m", model, "-p", "x", "--device", "cuda:card.json");
    EXPECT_FAILURE(&o, 2, "card.json: \"name\" must be the card's name");
    unlink("card.json");
    rig_free(&o);
}

static void test_sampling(void **state) {
    static const char *const flags[][8] = {
        {"--cfg", "1", "-q"}, /* quiet: the negative prompt has no effect, and it says so */
        {"--cfg-rescale", "0.7"},  {"--clip-skip", "2"},
        {"--rng", "gpu"},          {"--schedule", "exponential"},
        {"--sampler", "Euler a"},  {"--variation-seed", "3", "--variation-strength", "0.3"},
        {"--prediction", "v"},     {"--zsnr"},
        {"--compat", "diffusers"}, {"--negative", "sharp", "-q"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        picture("other.png", flags[i]);
        if (same_pixels("plain.png", "other.png")) {
            fail_msg("%s %s changes nothing", flags[i][0], flags[i][1]);
        }
    }
    picture("fresh.png", (const char *const[]){"--sampler", "Euler a", NULL});
    picture("other.png", (const char *const[]){"--sampler", "Euler a", "--eta", "0", NULL});
    assert_false(same_pixels("fresh.png", "other.png"));
}

/* The largest difference of two pictures' bytes. */
static int largest_difference(const char *one, const char *other) {
    bl_picture a, b;
    bl_error err;
    int most = 0;
    assert_int_equal(bl_png_read(&a, one, &err), 0);
    assert_int_equal(bl_png_read(&b, other, &err), 0);
    assert_int_equal(a.width * a.height, b.width * b.height);
    for (int64_t i = 0; i < a.width * a.height * 3; i++) {
        int apart = abs(a.rgb[i] - b.rgb[i]);
        most = apart > most ? apart : most;
    }
    bl_picture_clear(&a);
    bl_picture_clear(&b);
    return most;
}

/* In F32 the instruction set and the number of threads change roundings alone. */
static void test_computing(void **state) {
    static const char *const flags[][2] = {
        {"--isa", "plain"}, {"--isa", "avx2"}, {"--isa", "avx512"}, {"--threads", "2"}};
    (void)state;
    picture("f32.png", (const char *const[]){"--dtype", "f32", NULL});
    picture("vae.png", (const char *const[]){"--vae-dtype", "f32", NULL});
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        picture("other.png", (const char *const[]){"--dtype", "f32", flags[i][0], flags[i][1], NULL});
        assert_in_range(largest_difference("f32.png", "other.png"), 0, 1);
    }
}

static bool keep_vae(void *context, char *name, bl_tensor_data *t) {
    (void)context;
    (void)t;
    return !strncmp(name, "first_stage_model.", 18);
}

/* --vae takes the VAE of another file, and the PNG says so. */
static void test_vae(void **state) {
    bl_picture p;
    bl_error err;
    char other[BL_TEST_PATH];
    (void)state;
    bl_test_rewrite("own.safetensors", model, keep_vae, NULL, NULL, 0);
    picture("vae.png", (const char *const[]){"--vae", "own.safetensors", NULL});
    assert_true(same_pixels("plain.png", "vae.png"));
    bl_synth_checkpoint(other, "sd21v", BL_SYNTH_SINGLE);
    bl_test_rewrite("other.vae.safetensors", other, keep_vae, NULL, NULL, 0);
    picture("vae.png", (const char *const[]){"--vae", "other.vae.safetensors", NULL});
    assert_false(same_pixels("plain.png", "vae.png"));
    assert_int_equal(bl_png_read(&p, "vae.png", &err), 0);
    expect_contains(p.parameters, "VAE: other.vae");
    bl_picture_clear(&p);
}

static bool keep_unet(void *context, char *name, bl_tensor_data *t) {
    (void)context;
    (void)t;
    return !strncmp(name, "model.diffusion_model.", 22);
}

static bool keep_encoder(void *context, char *name, bl_tensor_data *t) {
    const char *prefix = context;
    (void)t;
    return !strncmp(name, prefix, strlen(prefix));
}

/* A model in pieces is the model: its unet, its VAE, and each of its text encoders. */
static void test_text_encoder(void **state) {
    char whole[BL_TEST_PATH];
    outcome o = {0};
    char first[] = "conditioner.embedders.0.", second[] = "conditioner.embedders.1.";
    (void)state;
    bl_synth_checkpoint(whole, "sdxl", BL_SYNTH_SINGLE);
    bl_test_rewrite("xl_unet.safetensors", whole, keep_unet, NULL, NULL, 0);
    bl_test_rewrite("xl_vae.safetensors", whole, keep_vae, NULL, NULL, 0);
    bl_test_rewrite("xl_1.safetensors", whole, keep_encoder, first, NULL, 0);
    bl_test_rewrite("xl_2.safetensors", whole, keep_encoder, second, NULL, 0);
#define TINY "-p", "fox", "-W", "64", "-H", "64", "-s", "2", "-S", "8"
    BALLAST(&o, "generate", "-m", whole, TINY, "-o", "xl_whole.png");
    expect_success(&o);
    BALLAST(&o, "generate", "-m", "xl_unet.safetensors", "--vae", "xl_vae.safetensors", "--text-encoder",
            "xl_2.safetensors", "--text-encoder", "xl_1.safetensors", TINY, "-o", "xl_pieces.png");
    expect_success(&o);
    assert_true(same_pixels("xl_whole.png", "xl_pieces.png"));
    BALLAST(&o, "generate", "-m", "xl_unet.safetensors", "--text-encoder", "xl_1.safetensors", TINY, "-o",
            "x.png");
    EXPECT_FAILURE(&o, 2, "second text encoder", "--text-encoder FILE");
    BALLAST(&o, "inspect", "--text-encoder", "absent", model);
    EXPECT_FAILURE(&o, 2, "absent", "No such file");
    rig_free(&o);
}

/* Words of a folder's tokenizer. This one has a number of the vocabulary, that of "a", which counts for
 * diffusers alone. */
static void test_added_token(void **state) {
    static const char *const parts[] = {"unet", "vae", "text_encoder", "scheduler"};
    static const char words[] = "{\"<toy>\": 320}";
    char source[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    outcome o = {0};
    (void)state;
    bl_synth_checkpoint(source, "sd15", BL_SYNTH_FOLDER);
    assert_int_equal(mkdir("own_words", 0700), 0);
    bl_test_join(to, "own_words", "tokenizer/added_tokens.json");
    bl_test_write(to, words, sizeof words - 1);
    for (int i = 0; i < 4; i++) {
        bl_test_join(from, source, parts[i]);
        bl_test_join(to, "own_words", parts[i]);
        char *real = realpath(from, NULL);
        assert_true(real && symlink(real, to) == 0);
        free(real);
    }
#define WORDS "generate", "-m", "own_words", "-W", "64", "-H", "64", "-s", "2", "-S", "8", "--compat"
    BALLAST(&o, WORDS, "diffusers", "-p", "<toy> fox", "-o", "word.png");
    expect_success(&o);
    BALLAST(&o, WORDS, "diffusers", "-p", "a fox", "-o", "letter.png");
    expect_success(&o);
    assert_true(same_pixels("word.png", "letter.png"));
    BALLAST(&o, WORDS, "a1111", "-p", "<toy> fox", "-o", "word.png", "--overwrite");
    expect_success(&o);
    BALLAST(&o, WORDS, "a1111", "-p", "a fox", "-o", "letter.png", "--overwrite");
    expect_success(&o);
    assert_false(same_pixels("word.png", "letter.png"));
    rig_free(&o);
}

static void test_telling(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "-W", "64", "-H", "64", "-s", "1", "-o", "v.png", "-v",
            "--show");
    assert_int_equal(o.code, 0);
    assert_string_equal(o.out, "v.png\n");
    expect_contains(o.err, "--show: this is no terminal");
    BALLAST(&o, "inspect", model);
    expect_success(&o);
    expect_contains(o.out, "SD 1.x");
    expect_contains(o.out, "vae_decoder");
    assert_null(strstr(o.out, "down_blocks"));
    BALLAST(&o, "inspect", model, "--verbose");
    expect_contains(o.out, "down_blocks");
    setenv("BALLAST_MOVE_DEBUG", "1", 1);
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "-W", "64", "-H", "64", "-s", "1", "-o", "d.png", "-q",
            "--dtype", "f32");
    unsetenv("BALLAST_MOVE_DEBUG");
    expect_success(&o);
    expect_contains(o.err, "offload mode=auto op=onload why=needed gpu=");
    expect_contains(o.err, " module=unet block=");
    expect_contains(o.err, " dtype=f32 size=");
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_placement),    cmocka_unit_test(test_host_budget),
        cmocka_unit_test(test_card_files),   cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_computing),    cmocka_unit_test(test_vae),
        cmocka_unit_test(test_text_encoder), cmocka_unit_test(test_added_token),
        cmocka_unit_test(test_telling),
    };
    return cmocka_run_group_tests_name("cli.flags", tests, setup, rig_close);
}
