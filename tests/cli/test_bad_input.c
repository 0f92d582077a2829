/* What bad input gets: one clear line, the right exit code, and nothing half-written. */
#include "rig.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WRITE(path, literal) bl_test_write(path, literal, sizeof literal - 1)

static char model[BL_TEST_PATH];

static int setup(void **state) {
    int result = rig_open(state);
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    return result;
}

static void nothing_written(void) {
    assert_int_equal(rig_files(".png"), 0);
    assert_int_equal(rig_files("tmp"), 0);
}

/* `ballast inspect` and `ballast generate` say the same of a file that is no checkpoint. */
#define EXPECT_REFUSED(path, ...) expect_refused(path, (const char *const[]){__VA_ARGS__, NULL})
static void expect_refused(const char *path, const char *const *pieces) {
    outcome o = {0};
    BALLAST(&o, "inspect", path);
    expect_failure(&o, 2, pieces);
    BALLAST(&o, "generate", "-m", path, "-p", "fox", "-o", "out.png");
    expect_failure(&o, 2, pieces);
    nothing_written();
    rig_free(&o);
}

/* What is no model and yet is known: an embedding. */
static void test_words(void **state) {
    outcome o = {0};
    (void)state;
    bl_test_write_header("words.safetensors",
                         "{\"emb_params\":{\"dtype\":\"F16\",\"shape\":[4,768],\"data_offsets\":[0,6144]}}",
                         6144);
    BALLAST(&o, "inspect", "words.safetensors");
    expect_success(&o);
    expect_contains(o.out, "family           SD 1.x\nvectors          4, of 768 numbers\n");
    bl_test_write_header("rows.safetensors",
                         "{\"emb_params\":{\"dtype\":\"F16\",\"shape\":[4,24],\"data_offsets\":[0,192]}}",
                         192);
    EXPECT_REFUSED("rows.safetensors", "rows.safetensors");
    rig_free(&o);
}

static void test_no_checkpoint(void **state) {
    static const char zip[] =
        "PK\003\004\024\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\020\0\0\0archive/data.pkl";
    (void)state;
    EXPECT_REFUSED("absent.safetensors", "absent.safetensors", "No such file");
    WRITE("text.safetensors", "not what it says it is, but words");
    EXPECT_REFUSED("text.safetensors", "text.safetensors", "not a safetensors file");
    WRITE("empty.safetensors", "");
    EXPECT_REFUSED("empty.safetensors", "empty.safetensors", "0 bytes");
    WRITE("old.ckpt", "\200\002}q\001(X\001\0\0\0aq\002K\001u.");
    EXPECT_REFUSED("old.ckpt", "old.ckpt", "pickle", "convert it", "safetensors");
    bl_test_write("new.ckpt", zip, sizeof zip - 1);
    EXPECT_REFUSED("new.ckpt", "new.ckpt", "pickle", "convert it", "safetensors");
    assert_int_equal(mkdir("folder", 0700), 0);
    EXPECT_REFUSED("folder", "folder", "model_index.json");
    EXPECT_REFUSED("/dev/zero", "/dev/zero", "not a file");
    assert_int_equal(mkfifo("pipe.safetensors", 0600), 0);
    EXPECT_REFUSED("pipe.safetensors", "pipe.safetensors", "not a file");
    assert_int_equal(symlink("circle.safetensors", "circle.safetensors"), 0);
    EXPECT_REFUSED("circle.safetensors", "circle.safetensors", "symbolic links");
    EXPECT_REFUSED("text.safetensors/x", "text.safetensors/x", "Not a directory");
}

/* Of adapters and embeddings: what is in a folder that is not there would be missed in silence. */
static void test_no_adapters(void **state) {
    outcome o = {0};
    (void)state;
    WRITE("words", "words");
    static const char *const given[][3] = {
        {"--lora", "kohya", "there is no file kohya; write FILE, FILE:0.8 or FILE:TE:UNET."},
        {"--lora", "words:nan", "there is no file words:nan; "},
        {"--lora", "words:1:1:1", "there is no file words:1; "},
        {"--lora-dir", "nowhere", "nowhere: No such file"},
        {"--lora-dir", ".:nowhere", "nowhere: No such file"},
        {"--embedding-dir", "words", "words: it is not a folder"}};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        BALLAST(&o, "generate", "-m", model, "-p", "fox", "-o", "out.png", given[i][0], given[i][1]);
        EXPECT_FAILURE(&o, 2, given[i][0], given[i][2]);
    }
    BALLAST(&o, "generate", "-m", model, "-p", "a <lora:x:much>", "-o", "out.png");
    EXPECT_FAILURE(&o, 2, "\"much\" is no strength");
    BALLAST(&o, "serve", "--lora-dir", "nowhere");
    EXPECT_FAILURE(&o, 2, "--lora-dir: nowhere: No such file");
    nothing_written();
    rig_free(&o);
}

/* Nobody may read a file of ours with no bits set; root may, so that a test run by root becomes another. */
static void test_no_permission(void **state) {
    bl_error err = {0};
    bl_safetensors *f = NULL;
    int status;
    (void)state;
    WRITE("locked.safetensors", "whatever");
    assert_int_equal(chmod("locked.safetensors", 0), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        _exit(geteuid() == 0 && setuid(65534) ? 99 : -bl_safetensors_open(&f, "locked.safetensors", &err));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), -BL_E_ARGUMENT);
}

static void test_other_architectures(void **state) {
    (void)state;
    bl_test_write_header("other.safetensors",
                         "{\"tower.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}",
                         16);
    EXPECT_REFUSED("other.safetensors", "unknown architecture", "tower");
}

static void test_cut_short(void **state) {
    char command[2 * BL_TEST_PATH];
    outcome o = {0};
    (void)state;
    snprintf(command, sizeof command, "head -c 9000000 '%s' >short.safetensors", model);
    rig_run(&o, (const char *const[]){"sh", "-c", command, NULL});
    assert_int_equal(o.code, 0);
    EXPECT_REFUSED("short.safetensors", "short.safetensors", "cut short");
    rig_free(&o);
}

/* Names and sizes that only a model or the library can judge. */
static void test_bad_request(void **state) {
    static const struct {
        const char *flags[6];
        const char *says[3];
    } bad[] = {
        {{"--width", "100"}, {"width", "100", "96"}},
        {{"--width", "65528", "--height", "65528"}, {" GB", "this machine has"}},
        {{"--sampler", "Eular"}, {"Eular", "DPM++ 2M SDE", "UniPC"}},
        {{"--schedule", "karas"}, {"karas", "karras", "sgm_uniform"}},
        {{"--compat", "fooocus"}, {"fooocus", "a1111", "diffusers"}},
        {{"--rng", "tpu"}, {"tpu", "cpu", "gpu"}},
        {{"--hires", "1.5", "--hires-upscaler", "Lancos"}, {"Lancos", "Lanczos", "Latent"}},
        {{"--hires-upscaler", "Lancos"}, {"hires-upscaler", "Lancos", "Lanczos"}}, /* though it is not used */
        {{"--clip-skip", "13"}, {"clip-skip", "13", "12"}},
        {{"--hires", "0.5"}, {"hires", "0.5"}},
        {{"--offload", "some"}, {"some", "balanced", "auto"}},
        {{"--budget", "lots"}, {"budget", "lots", "6G"}},
        {{"--budget", "1K"}, {"budget", "1000 bytes", "smallest"}},
        {{"--budget", "1G", "--reserve", "2G"}, {"budget", "reserve"}},
        {{"--low", "0.9", "--high", "0.1"}, {"low", "high"}},
        {{"--dtype", "f8"}, {"dtype", "f8", "bf16"}},
        {{"--vae-dtype", "f8"}, {"vae-dtype", "f8"}},
        {{"--isa", "sse9"}, {"isa", "sse9", "avx2"}},
        {{"--prediction", "x"}, {"prediction", "epsilon"}},
        {{"--vae", "absent.vae.safetensors"}, {"absent.vae", "No such file"}},
        {{"--init-image", "absent.png"}, {"absent.png", "No such file"}},
        {{"--init-image", "broken.png"}, {"broken.png", "PNG"}},
    };
    outcome o = {0};
    (void)state;
    WRITE("broken.png", "\x89PNG\r\n\x1a\n and no more");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *argv[RIG_ARGUMENTS] = {"generate", "-m", model, "-p", "fox", "-o", "out/x.png",
                                           "-W",       "64", "-H",  "64", "-s",  "2"};
        memcpy(argv + 13, bad[i].flags, sizeof bad[i].flags);
        mkdir("out", 0700);
        rig_ballast(&o, argv);
        EXPECT_FAILURE(&o, 2, bad[i].says[0], bad[i].says[1] ? bad[i].says[1] : "",
                       bad[i].says[2] ? bad[i].says[2] : "");
        assert_int_equal(rmdir("out"), 0); /* fails unless it is empty */
    }
    unlink("broken.png");
    rig_free(&o);
}

/* What would be done is not said of what is refused. */
static void test_refused_tiles(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "plan", "-m", model, "-W", "1024", "-H", "1024", "--tiled-decode", "auto", "--budget", "6M");
    EXPECT_FAILURE(&o, 2, "budget: 6000000 bytes", "the smallest that works");
    assert_null(strstr(o.err, "tiles"));
    rig_free(&o);
}

static void test_bad_latents(void **state) {
    char file[BL_TEST_PATH], given[BL_TEST_PATH + 64];
    outcome o = {0};
    (void)state;
    bl_test_data(file, "sd15/golden/pipeline/txt2img.safetensors");
    snprintf(given, sizeof given, "%s:euler_192x128.noise", file);
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "-W", "128", "-H", "128", "--latents", given);
    EXPECT_FAILURE(&o, 2, "[1, 4, 24, 16]", "[1, 4, 16, 16]");
    snprintf(given, sizeof given, "%s:nothing", file);
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "--latents", given);
    EXPECT_FAILURE(&o, 2, "nothing", "txt2img.safetensors");
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "--latents", file);
    EXPECT_FAILURE(&o, 2, "FILE:TENSOR");
    snprintf(given, sizeof given, "%s:euler_128.latents", file);
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "-W", "128", "-H", "128", "--latents", given);
    EXPECT_FAILURE(&o, 2, "[9, 4, 16, 16]");
    nothing_written();
    rig_free(&o);
}

/* Trouble with the output is found before the work starts: before the checkpoint is even looked for. */
static void test_bad_output(void **state) {
    outcome o = {0};
    char long_name[301] = {0};
    (void)state;
#define TRY(...) BALLAST(&o, "generate", "-m", "absent", "-p", "fox", __VA_ARGS__)
    WRITE("there.png", "mine");
    TRY("-o", "there.png/deep/x.png");
    EXPECT_FAILURE(&o, 2, "--output", "\"there.png/deep\"", "Not a directory");
    TRY("-o", "there.png/x.png");
    EXPECT_FAILURE(&o, 2, "--output", "\"there.png\"", "Not a directory");
    TRY("-o", ".");
    EXPECT_FAILURE(&o, 2, "--output", "is a folder");
    TRY("-o", "");
    EXPECT_FAILURE(&o, 2, "--output", "empty");
    TRY("-o", "there.png");
    EXPECT_FAILURE(&o, 2, "--output", "there.png", "exists", "--overwrite");
    TRY("-o", "x.gif");
    EXPECT_FAILURE(&o, 2, "--output", "PNG, JPEG or WebP", ".gif");
    TRY("-o", "x-%d.png");
    EXPECT_FAILURE(&o, 2, "--output", "%d means nothing", "%s (seed)");
    TRY("-o", "x.png", "--save-latents", "there.png/x.safetensors");
    EXPECT_FAILURE(&o, 2, "--save-latents", "\"there.png\"");
    TRY("-o", "x.png", "--save-latents", "x.png");
    EXPECT_FAILURE(&o, 2, "--save-latents", "also the picture's name");
    TRY("-o", "x.png", "--trace", "x.png");
    EXPECT_FAILURE(&o, 2, "--trace", "also the name");
    TRY("-o", "x.png", "-c", "3", "--save-latents", "x-%i.st", "--trace", "x-2.st");
    EXPECT_FAILURE(&o, 2, "--trace", "also the name");
    TRY("-o", "/dev/null", "--overwrite"); /* which root could replace */
    EXPECT_FAILURE(&o, 2, "--output", "/dev/null", "no regular file");
    TRY("-o", "-", "-c", "2");
    EXPECT_FAILURE(&o, 2, "--output", "\"-\"", "one picture", "%i");
    TRY("-o", "-", "--batch", "2");
    EXPECT_FAILURE(&o, 2, "--output", "\"-\"", "one picture");
    TRY("-o", "-", "--json");
    EXPECT_FAILURE(&o, 2, "--output", "\"-\"", "--json");
    TRY("-o", "x.png", "-c", "2", "--save-latents", "-");
    EXPECT_FAILURE(&o, 2, "--save-latents", "\"-\"", "\"./-\"");
    TRY("-o", "x.png", "--trace", "-");
    EXPECT_FAILURE(&o, 2, "--trace", "\"-\"");
    memset(long_name, 'x', 300);
    TRY("-o", long_name);
    EXPECT_FAILURE(&o, 2, "--output", "too long");
    WRITE("x-2.png", "mine");
    TRY("-o", "x.png", "--count", "3");
    EXPECT_FAILURE(&o, 2, "x-2.png", "exists");
    if (geteuid() != 0) { /* root may write anywhere */
        assert_int_equal(mkdir("locked", 0500), 0);
        TRY("-o", "locked/x.png");
        EXPECT_FAILURE(&o, 2, "--output", "\"locked\"", "Permission denied");
    }
#undef TRY
    char *kept = rig_read("there.png", NULL);
    assert_string_equal(kept, "mine");
    free(kept);
    unlink("there.png");
    unlink("x-2.png");
    nothing_written();
    rig_free(&o);
}

/* A copy of the checkpoint with NaN as the first element of one tensor. */
static void poison(const char *to, const char *tensor) {
    char command[2 * BL_TEST_PATH + 16];
    outcome o = {0};
    bl_safetensors *f;
    bl_error err;
    const float bad = NAN;
    snprintf(command, sizeof command, "cp '%s' %s", model, to);
    rig_run(&o, (const char *const[]){"sh", "-c", command, NULL});
    assert_int_equal(o.code, 0);
    assert_int_equal(bl_safetensors_open(&f, to, &err), 0);
    const bl_file_tensor *t = bl_safetensors_find(f, tensor);
    assert_non_null(t);
    int fd = open(to, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, &bad, sizeof bad, (off_t)t->offset), sizeof bad);
    close(fd);
    bl_safetensors_close(&f);
    rig_free(&o);
}

/* Does a module of this checkpoint run in bf16 if nobody says otherwise? */
static bool runs_in_bf16(void) {
    outcome o = {0};
    BALLAST(&o, "inspect", model);
    bool bf16 = strstr(o.out, "runs in BF16") != NULL;
    rig_free(&o);
    return bf16;
}

static void test_nan(void **state) {
    static const struct {
        const char *tensor, *module, *flag;
    } poisoned[] = {
        {"cond_stage_model.transformer.text_model.final_layer_norm.weight", "text_encoder: NaN", "--dtype"},
        {"model.diffusion_model.out.2.bias", "unet: NaN", "--dtype"},
        {"first_stage_model.decoder.conv_out.bias", "vae_decoder: NaN", "--vae-dtype"},
    };
    outcome o = {0};
    bool bf16 = runs_in_bf16();
    (void)state;
    for (size_t i = 0; i < sizeof poisoned / sizeof *poisoned; i++) {
        char advice[64];
        poison("nan.safetensors", poisoned[i].tensor);
#define TRY(...)                                                                                           \
    BALLAST(&o, "generate", "-m", "nan.safetensors", "-p", "fox", "-W", "64", "-H", "64", "-s", "1", "-o", \
            "out.png", __VA_ARGS__)
        TRY("--dtype", "auto");
        snprintf(advice, sizeof advice, bf16 ? "try %s f32" : "runs in f32 already", poisoned[i].flag);
        EXPECT_FAILURE(&o, 1, poisoned[i].module, advice);
        TRY("--dtype", "f32"); /* no use in advising what is already so */
        EXPECT_FAILURE(&o, 1, poisoned[i].module, "runs in f32 already");
        assert_null(strstr(o.err, "dtype"));
#undef TRY
        nothing_written();
    }
    unlink("nan.safetensors");
    rig_free(&o);
}

static void test_bad_eval(void **state) {
    char inputs[BL_TEST_PATH];
    outcome o = {0};
    (void)state;
    bl_test_data(inputs, "sd15/golden/unet.safetensors");
    WRITE("wall", "no folder");
    BALLAST(&o, "eval", "vae", "-m", model, "--inputs", inputs, "-o", "out.safetensors");
    EXPECT_FAILURE(&o, 2, "vae", "vae_decoder");
    BALLAST(&o, "eval", "text_encoder_2", "-m", model, "--inputs", inputs, "-o", "out.safetensors");
    EXPECT_FAILURE(&o, 2, "text_encoder_2", "no");
    BALLAST(&o, "eval", "unet", "-m", model, "--inputs", "absent", "-o", "out.safetensors");
    EXPECT_FAILURE(&o, 2, "absent", "No such file");
    BALLAST(&o, "eval", "unet", "-m", model, "--inputs", inputs, "-o", "-");
    EXPECT_FAILURE(&o, 2, "--output", "\"-\"");
    BALLAST(&o, "eval", "unet", "-m", model, "--inputs", inputs, "-o", "wall/out.safetensors");
    EXPECT_FAILURE(&o, 2, "--output", "\"wall\"", "Not a directory");
    bl_test_data(inputs, "sd15/golden/vae.safetensors");
    BALLAST(&o, "eval", "unet", "-m", model, "--inputs", inputs, "-o", "out.safetensors");
    EXPECT_FAILURE(&o, 2, "sample");
    bl_test_write_header(
        "in.safetensors",
        "{\"a.z\":{\"dtype\":\"F32\",\"shape\":[1,4,8,8],\"data_offsets\":[0,1024]},"
        "\"a.at.decoder.attic\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[1024,1028]}}",
        1028);
    BALLAST(&o, "eval", "vae_decoder", "-m", model, "--inputs", "in.safetensors", "-o", "out.safetensors");
    EXPECT_FAILURE(&o, 2, "in.safetensors", "a.at.decoder.attic", "no inner module");
    WRITE("out.safetensors", "mine");
    BALLAST(&o, "eval", "unet", "-m", model, "--inputs", inputs, "-o", "out.safetensors");
    EXPECT_FAILURE(&o, 2, "out.safetensors", "exists");
    unlink("out.safetensors");
    assert_int_equal(rig_files("out."), 0);
    rig_free(&o);
}

/* Room for the picture's first bytes, and none for what is remembered in the cache. */
static void test_full_disk(void **state) {
    outcome o = {0};
    (void)state;
    rig_run(&o, (const char *const[]){"sh", "-c",
                                      "ulimit -f 4; exec \"$0\" generate -m \"$1\" -p fox -W 64 -H 64 "
                                      "-s 1 -q -o out.png --trace t.json --save-latents l.safetensors",
                                      rig_program(), model, NULL});
    EXPECT_FAILURE(&o, 1, "cannot write", "too large");
    nothing_written();
    assert_int_equal(rig_files("t.json"), 0);
    assert_int_equal(mkdir("mine", 0700), 0);
    rig_run(&o, (const char *const[]){"sh", "-c",
                                      "ulimit -f 4; exec \"$0\" generate -m \"$1\" -p fox -W 64 -H 64 "
                                      "-s 1 -q -o mine/fresh/deep/out.png --trace fresh/t/t.json",
                                      rig_program(), model, NULL});
    EXPECT_FAILURE(&o, 1, "cannot write", "too large");
    assert_int_equal(rig_files("fresh"), 0);
    assert_int_equal(rmdir("mine"), 0); /* is still there, and empty */
    rig_run(&o,
            (const char *const[]){"sh", "-c",
                                  "ulimit -f 4; exec \"$0\" plan -m \"$1\" -W 64 -H 64 -q --sweep 10M:90M:99 "
                                  "--svg fresh/p.svg",
                                  rig_program(), model, NULL});
    EXPECT_FAILURE(&o, 1, "cannot write", "too large");
    assert_int_equal(rig_files("fresh"), 0);
    rig_run(&o, (const char *const[]){"sh", "-c",
                                      "exec \"$0\" generate -m \"$1\" -p fox -W 64 -H 64 -s 1 -q -o - "
                                      ">/dev/full",
                                      rig_program(), model, NULL});
    EXPECT_FAILURE(&o, 1, "standard output", "No space left");
    rig_run(&o, (const char *const[]){"sh", "-c",
                                      "exec \"$0\" generate -m \"$1\" -p fox -W 64 -H 64 -s 1 -q -o - >&-",
                                      rig_program(), model, NULL});
    EXPECT_FAILURE(&o, 1, "standard output: it is closed");
    rig_run(&o, (const char *const[]){"sh", "-c",
                                      "exec \"$0\" generate -m \"$1\" -p fox -W 64 -H 64 -s 1 -o a.png >&-",
                                      rig_program(), model, NULL});
    EXPECT_FAILURE(&o, 1, "standard output: it is closed");
    unlink("a.png");
    rig_run(&o,
            (const char *const[]){"sh", "-c", "exec \"$0\" help samplers >/dev/full", rig_program(), NULL});
    EXPECT_FAILURE(&o, 1, "standard output: No space left");
    rig_free(&o);
}

/* Nothing that is printed ends up in a file that got the number of a closed stream. */
static void test_closed_streams(void **state) {
    static const char command[] =
        "exec \"$0\" generate -m \"$1\" -p fox -W 64 -H 64 -s 2 -S 1 -o closed.png --trace t.json ";
    char closed[sizeof command + 16];
    outcome o = {0};
    (void)state;
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "-W", "64", "-H", "64", "-s", "2", "-S", "1", "-o",
            "open.png");
    expect_success(&o);
    snprintf(closed, sizeof closed, "%s <&- >&- 2>&-", command);
    rig_run(&o, (const char *const[]){"sh", "-c", closed, rig_program(), model, NULL});
    assert_int_equal(o.code, 1);
    expect_same_file("open.png", "closed.png");
    unlink("open.png");
    unlink("closed.png");
    json_t *trace = json_load_file("t.json", 0, NULL);
    assert_non_null(trace);
    json_decref(trace);
    unlink("t.json");
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_no_checkpoint),
        cmocka_unit_test(test_no_permission),
        cmocka_unit_test(test_no_adapters),
        cmocka_unit_test(test_other_architectures),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_bad_request),
        cmocka_unit_test(test_refused_tiles),
        cmocka_unit_test(test_bad_latents),
        cmocka_unit_test(test_bad_output),
        cmocka_unit_test(test_nan),
        cmocka_unit_test(test_bad_eval),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_closed_streams),
    };
    return cmocka_run_group_tests_name("cli.bad_input", tests, setup, rig_close);
}
