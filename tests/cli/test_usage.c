/* Help, mistyped flags and commands, and where settings come from. None of this needs a checkpoint. */
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const commands[] = {"generate", "plan", "calibrate", "tune",  "serve",
                                       "inspect",  "eval", "devices",   "config"};
#define COMMANDS (sizeof commands / sizeof *commands)

static void write_text(const char *path, const char *text) {
    bl_test_write(path, text, strlen(text));
}

static void test_help(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "help");
    expect_success(&o);
    for (size_t i = 0; i < COMMANDS; i++) {
        expect_contains(o.out, commands[i]);
    }
    BALLAST(&o, "--version");
    expect_success(&o);
    expect_contains(o.out, "ballast 0.");
    for (int i = 0; i < 2; i++) {
        BALLAST(&o, i ? "-V" : "version");
        expect_success(&o);
        expect_contains(o.out, "ballast 0.");
    }
    BALLAST(&o, "help", "samplers");
    expect_success(&o);
    expect_contains(o.out, "DPM++ 2M SDE\n");
    BALLAST(&o, "help", "schedules");
    expect_contains(o.out, "karras");
    BALLAST(&o, "help", "upscalers");
    expect_contains(o.out, "Lanczos\n");
    BALLAST(&o, "generate", "--steps", "3", "--help");
    expect_success(&o);
    expect_contains(o.out, "--prompt TEXT");
    BALLAST(&o, "help", "nothing");
    EXPECT_FAILURE(&o, 2, "nothing", "samplers");
    rig_ballast(&o, (const char *const[]){NULL});
    assert_int_equal(o.code, 2);
    expect_contains(o.err, "ballast generate");
    rig_free(&o);
}

static void test_mistyped(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "generte");
    EXPECT_FAILURE(&o, 2, "generte", "did you mean generate?");
    BALLAST(&o, "frobnicate");
    EXPECT_FAILURE(&o, 2, "frobnicate", "there are generate");
    BALLAST(&o, "generate", "--wdith", "64");
    EXPECT_FAILURE(&o, 2, "--wdith", "did you mean --width?");
    BALLAST(&o, "generate", "--zzzz=3");
    EXPECT_FAILURE(&o, 2, "--zzzz=3", "ballast help generate");
    BALLAST(&o, "plan", "--device", "rtx4090");
    EXPECT_FAILURE(&o, 2, "--device", "sim:rtx4090");
    BALLAST(&o, "generate", "-z");
    EXPECT_FAILURE(&o, 2, "-z", "no such flag");
    BALLAST(&o, "inspect", "--steps", "3");
    EXPECT_FAILURE(&o, 2, "--steps", "`ballast inspect` does not take this flag");
    BALLAST(&o, "devices", "--device", "cuda");
    EXPECT_FAILURE(&o, 2, "--device", "`ballast devices` does not take this flag");
    BALLAST(&o, "generate", "a red fox");
    EXPECT_FAILURE(&o, 2, "a red fox", "is a --flag missing");
    BALLAST(&o, "generate", "--prompt");
    EXPECT_FAILURE(&o, 2, "--prompt", "wants a value");
    BALLAST(&o, "generate", "--steps", "5");
    EXPECT_FAILURE(&o, 2, "--prompt is missing");
    BALLAST(&o, "generate", "--no-prompt");
    EXPECT_FAILURE(&o, 2, "--no-prompt", "no such flag");
    BALLAST(&o, "eval");
    EXPECT_FAILURE(&o, 2, "eval wants MODULE", "unet, transformer, vae_decoder");
    rig_free(&o);
}

/* Values that are wrong in themselves are refused before any file is looked at. */
static void test_bad_values(void **state) {
    static const struct {
        const char *flag, *value, *says;
    } bad[] = {
        {"--width", "0", "from 8 to"},
        {"--width", "-8", "from 8 to"},
        {"--height", "1e6", "from 8 to"},
        {"--width", "12.5", "whole number"},
        {"--steps", "0", "from 1 to"},
        {"--steps", "many", "from 1 to"},
        {"--cfg", "x", "number"},
        {"--cfg", "nan", "number"},
        {"--seed", "-5", "whole number"},
        {"--seed", "18446744073709551616", "2^64 - 1"},
        {"--batch", "0", "from 1 to"},
        {"--count", "0", "from 1 to"},
        {"--strength", "1.5", "0 to 1"},
        {"--eta", "-2", "0 to 1"},
        {"--overwrite=maybe", NULL, "on or off"},
        {"--clip-skip", "99", "0 to 32"},
        {"--threads", "-1", "from 0 to"},
        {"--low", "2", "0 to 1"},
        {"--hires", "99", "from 0 to 8"},
        {"--variation-strength", "7", "0 to 1"},
    };
    outcome o = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        BALLAST(&o, "generate", "--model", "absent", "--prompt", "fox", bad[i].flag, bad[i].value);
        char flag[64];
        snprintf(flag, sizeof flag, "%.*s", (int)strcspn(bad[i].flag, "="), bad[i].flag);
        EXPECT_FAILURE(&o, 2, flag, bad[i].says);
    }
    BALLAST(&o, "inspect", "--arena", "64by64");
    EXPECT_FAILURE(&o, 2, "--arena", "64by64", "1024x1024");
    rig_free(&o);
}

/* The value of one setting as `ballast config --json ...` sees it, and where it came from. */
static void expect_setting(const char *const *arguments, const char *name, const char *value,
                           const char *from) {
    outcome o = {0};
    json_error_t why;
    rig_ballast(&o, arguments);
    expect_success(&o);
    json_t *root = json_loads(o.out, 0, &why);
    assert_non_null(root);
    const json_t *entry = json_object_get(json_object_get(root, "settings"), name);
    char *found = json_dumps(json_object_get(entry, "value"), JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    assert_string_equal(found, value);
    assert_string_equal(json_string_value(json_object_get(entry, "from")), from);
    free(found);
    json_decref(root);
    rig_free(&o);
}
#define EXPECT_SETTING(name, value, from, ...) \
    expect_setting((const char *const[]){"config", "--json", __VA_ARGS__, NULL}, name, value, from)

/* Nobody but the shell expands "~", and it does so on the command line alone. */
static void test_tilde(void **state) {
    char right[BL_TEST_PATH];
    (void)state;
    snprintf(right, sizeof right, "\"%s/m.safetensors\"", getenv("HOME"));
    write_text("other", "model = ~/m.safetensors\nprompt = ~/x\n");
    EXPECT_SETTING("model", right, "config file", "--config", "other");
    EXPECT_SETTING("prompt", "\"~/x\"", "config file", "--config", "other");
    setenv("BALLAST_VAE", "~/m.safetensors", 1);
    EXPECT_SETTING("vae", right, "environment", NULL);
    unsetenv("BALLAST_VAE");
    EXPECT_SETTING("model", "\"~/m\"", "command line", "--model", "~/m");
}

static void test_precedence(void **state) {
    char path[BL_TEST_PATH];
    (void)state;
    EXPECT_SETTING("steps", "null", "not set", NULL);
    EXPECT_SETTING("model", "null", "not set", NULL);
    bl_test_join(path, ".", ".config/ballast/config");
    write_text(path, "# mine\n\nsteps = 31\n  sampler =  DPM++ 2M Karras \r\nfit-check = off\ncfg=5.5");
    EXPECT_SETTING("steps", "31", "config file", NULL);
    EXPECT_SETTING("sampler", "\"DPM++ 2M Karras\"", "config file", NULL);
    EXPECT_SETTING("cfg", "5.5", "config file", NULL);
    EXPECT_SETTING("fit-check", "false", "config file", NULL);
    EXPECT_SETTING("fit-check", "true", "command line", "--fit-check");
    EXPECT_SETTING("overwrite", "false", "command line", "--overwrite", "--no-overwrite");
    setenv("BALLAST_STEPS", "42", 1);
    EXPECT_SETTING("steps", "42", "environment", NULL);
    EXPECT_SETTING("steps", "7", "command line", "-s7");
    EXPECT_SETTING("steps", "8", "command line", "--steps=3", "--steps", "8");
    setenv("BALLAST_STEPS", "", 1);
    EXPECT_SETTING("steps", "31", "config file", NULL);
    unsetenv("BALLAST_STEPS");
    write_text("other", "steps = 5\n");
    EXPECT_SETTING("steps", "5", "config file", "--config", "other");
    setenv("BALLAST_CONFIG", "other", 1);
    EXPECT_SETTING("steps", "5", "config file", NULL);
    unsetenv("BALLAST_CONFIG");
    setenv("XDG_CONFIG_HOME", "elsewhere", 1);
    EXPECT_SETTING("steps", "null", "not set", NULL);
    unsetenv("XDG_CONFIG_HOME");
    unlink(path);
}

/* What `config` prints, read back as a config file, gives the same settings. */
static void test_config_is_a_config(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "config", "--prompt", "a #1 fox = \"best\"", "--steps", "9", "--no-fit-check");
    expect_success(&o);
    expect_contains(o.out, "# from the command line");
    expect_contains(o.out, "# from the defaults");
    write_text("copy", o.out);
    EXPECT_SETTING("prompt", "\"a #1 fox = \\\"best\\\"\"", "config file", "--config", "copy");
    EXPECT_SETTING("steps", "9", "config file", "--config", "copy");
    EXPECT_SETTING("fit-check", "false", "config file", "--config", "copy");
    BALLAST(&o, "config", "--text-encoder", "a", "--text-encoder", "b c");
    write_text("copy", o.out);
    EXPECT_SETTING("text-encoder", "[\"a\", \"b c\"]", "config file", "--config", "copy");
    EXPECT_SETTING("text-encoder", "[\"d\"]", "command line", "--config", "copy", "--text-encoder", "d");
    rig_free(&o);
}

/* Names need not be UTF-8, JSON must. */
static void test_other_bytes(void **state) {
    (void)state;
    EXPECT_SETTING("output", "\"caf?.png\"", "command line", "-o", "caf\xe9.png");
    EXPECT_SETTING("output", "\"caf\xc3\xa9.png\"", "command line", "-o", "caf\xc3\xa9.png");
}

/* A variable that looks like one of ours is spoken of, but may be somebody else's; a setting that the library
 * refuses is looked for where it stands. */
static void test_elsewhere(void **state) {
    outcome o = {0};
    (void)state;
    setenv("BALLAST_BUGDET", "2G", 1);
    setenv("BALLAST_MOVE_DEBG", "1", 1);
    setenv("BALLAST_MODEL_ZOO", "x", 1);
    setenv("BALLAST_TEST_CACHE", "x", 1); /* of the tests, and nearly BALLAST_TEXT_CACHE */
    BALLAST(&o, "config");
    assert_int_equal(o.code, 0);
    expect_contains(o.err, "BALLAST_BUGDET is none of our variables");
    expect_contains(o.err, "did you mean BALLAST_BUDGET?");
    expect_contains(o.err, "did you mean BALLAST_MOVE_DEBUG?");
    assert_null(strstr(o.err, "ZOO"));
    assert_null(strstr(o.err, "TEST_CACHE"));
    BALLAST(&o, "config", "-q");
    expect_success(&o);
    unsetenv("BALLAST_BUGDET");
    unsetenv("BALLAST_MOVE_DEBG");
    unsetenv("BALLAST_MODEL_ZOO");
    unsetenv("BALLAST_TEST_CACHE");
    write_text("bad", "bugdet = 2G\n");
    BALLAST(&o, "plan", "--config", "bad");
    EXPECT_FAILURE(&o, 2, "bad:1", "did you mean budget?");
    write_text("bad", "offload = blanced\n");
    BALLAST(&o, "plan", "--config", "bad");
    EXPECT_FAILURE(&o, 2, "no mode \"blanced\"", "(from bad:1)");
    setenv("BALLAST_OFFLOAD", "balacned", 1);
    BALLAST(&o, "plan", "--config", "bad");
    EXPECT_FAILURE(&o, 2, "no mode \"balacned\"", "(from BALLAST_OFFLOAD)");
    unsetenv("BALLAST_OFFLOAD");
    rig_free(&o);
}

/* As editors elsewhere write them: a byte order mark, carriage returns, no end of the last line. */
static void test_other_editors(void **state) {
    (void)state;
    write_text("other", "\xef\xbb\xbfsteps = 5\r\n\r\n# about\r\nprompt = a fox\r\ncfg = 3");
    EXPECT_SETTING("steps", "5", "config file", "--config", "other");
    EXPECT_SETTING("prompt", "\"a fox\"", "config file", "--config", "other");
    EXPECT_SETTING("cfg", "3.0", "config file", "--config", "other");
    write_text("other", "\xef\xbb\xbf");
    EXPECT_SETTING("steps", "null", "not set", "--config", "other");
}

static void test_bad_config(void **state) {
    outcome o = {0};
    static char long_file[65537];
    (void)state;
    write_text("bad", "steps = 5\nstepz = 3\n");
    BALLAST(&o, "config", "--config", "bad");
    EXPECT_FAILURE(&o, 2, "bad:2", "stepz", "no such setting");
    write_text("bad", "steps 5\n");
    BALLAST(&o, "config", "--config", "bad");
    EXPECT_FAILURE(&o, 2, "bad:1", "name = value");
    write_text("bad", "steps = 0\n");
    BALLAST(&o, "config", "--config", "bad");
    EXPECT_FAILURE(&o, 2, "bad:1", "from 1 to 1000", "\"0\"");
    write_text("bad", "config = other\n");
    BALLAST(&o, "config", "--config", "bad");
    EXPECT_FAILURE(&o, 2, "bad:1", "no such setting");
    bl_test_write("bad", "steps = 5\nsampler = He\0un\n", 26);
    BALLAST(&o, "config", "--config", "bad");
    EXPECT_FAILURE(&o, 2, "bad:2", "NUL byte");
    memset(long_file, 'x', sizeof long_file - 1);
    write_text("bad", long_file);
    BALLAST(&o, "config", "--config", "bad");
    EXPECT_FAILURE(&o, 2, "bad: too long");
    long_file[sizeof long_file - 2] = 0;
    write_text("bad", long_file);
    BALLAST(&o, "config", "--config", "bad");
    EXPECT_FAILURE(&o, 2, "bad:1", "name = value", "xxx...");
    BALLAST(&o, "config", "--config", "absent");
    EXPECT_FAILURE(&o, 2, "absent", "No such file");
    BALLAST(&o, "config", "--config", ".");
    EXPECT_FAILURE(&o, 2, "Is a directory");
    setenv("BALLAST_STEPS", "none", 1);
    BALLAST(&o, "config");
    EXPECT_FAILURE(&o, 2, "BALLAST_STEPS", "none");
    BALLAST(&o, "config", "--steps", "4"); /* what is not used is not looked at */
    expect_success(&o);
    unsetenv("BALLAST_STEPS");
    rig_free(&o);
}

static void test_full_disk(void **state) {
    outcome o = {0};
    (void)state;
    rig_run(&o, (const char *const[]){"sh", "-c", "exec \"$0\" config >/dev/full", rig_program(), NULL});
    EXPECT_FAILURE(&o, 1, "standard output", "No space left");
    rig_free(&o);
}

/* Does `text` hold `flag` as a whole word? `minus` is how it writes '-'. */
static bool names_flag(const char *text, const char *flag, const char *minus) {
    char written[128] = "";
    for (const char *p = flag; *p; p++) {
        size_t n = strlen(written);
        snprintf(written + n, sizeof written - n, *p == '-' ? "%s" : "%.0s%c", minus, *p);
    }
    size_t n = strlen(written);
    for (const char *p = text; (p = strstr(p, written)); p += n) {
        const char *end = p + n;
        if (*end != '-' && *end != '_' && !(*end >= 'a' && *end <= 'z') &&
            strncmp(end, minus, strlen(minus)) != 0) {
            return true;
        }
    }
    return false;
}

/* Every "--name" of a text is a setting, or one of the words that stand for something else. */
static void expect_known_flags(const char *text, const char *minus, json_t *settings, const char *where) {
    static const char *const others[] = {"help", "version", "name", "cflags", "libs"};
    char start[16];
    snprintf(start, sizeof start, "%s%s", minus, minus);
    for (const char *p = text; (p = strstr(p, start));) {
        char name[64] = "";
        size_t n = 0;
        p += strlen(start);
        while (n + 1 < sizeof name && ((*p >= 'a' && *p <= 'z') || !strncmp(p, minus, strlen(minus)))) {
            bool letter = *p >= 'a' && *p <= 'z';
            name[n++] = letter ? *p : '-';
            p += letter ? 1 : strlen(minus);
        }
        const char *plain = !strncmp(name, "no-", 3) ? name + 3 : name;
        bool known = !*plain || *plain == '-' || json_object_get(settings, plain); /* a rule of a table */
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            known = known || !strcmp(name, others[i]);
        }
        if (!known) {
            fail_msg("%s names --%s, which is no flag", where, name);
        }
    }
}

/* The manual, the help texts, the README and the table of settings name the same flags: each is documented,
 * and none is that is not there. */
static void test_documents(void **state) {
    outcome o = {0};
    static const char *const documents[] = {"README.md", "docs/offload.md"};
    const char *name;
    char flag[80], path[BL_TEST_PATH], manual_path[BL_TEST_PATH], *help = calloc(1, 1);
    size_t length = 0;
    json_t *value;
    (void)state;
    snprintf(manual_path, sizeof manual_path, "%s/man/man1/ballast.1", getenv("BALLAST_TEST_SHARE"));
    char *manual = rig_read(manual_path, NULL);
    BALLAST(&o, "config", "--json");
    json_t *root = json_loads(o.out, 0, NULL), *settings = json_object_get(root, "settings");
    for (size_t i = 0; i < COMMANDS; i++) {
        expect_contains(manual, commands[i]);
        BALLAST(&o, "help", commands[i]);
        expect_success(&o);
        expect_known_flags(o.out, "-", settings, commands[i]);
        help = realloc(help, length + strlen(o.out) + 1);
        assert_non_null(help);
        strcpy(help + length, o.out);
        length += strlen(o.out);
    }
    json_object_foreach(settings, name, value) {
        snprintf(flag, sizeof flag, "--%s", name);
        if (!names_flag(manual, flag, "\\-") || !names_flag(help, flag, "-")) {
            fail_msg("the manual or the help does not document %s", flag);
        }
    }
    expect_known_flags(manual, "\\-", settings, manual_path);
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        snprintf(path, sizeof path, "%s/../../%s", getenv("BALLAST_TEST_DATA"), documents[i]);
        char *text = rig_read(path, NULL);
        expect_known_flags(text, "-", settings, path);
        free(text);
    }
    json_decref(root);
    free(manual);
    free(help);
    rig_free(&o);
}

/* What a shell would offer after these words of a command line, a word a line. */
static char *completed(const char *words) {
    outcome o = {0};
    char script[BL_TEST_PATH + 256];
    snprintf(script, sizeof script,
             "PATH=%.*s:$PATH; . %s/bash-completion/completions/ballast; COMP_WORDS=(%s); "
             "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _ballast; printf '%%s\\n' \"${COMPREPLY[@]}\"",
             (int)(strrchr(rig_program(), '/') - rig_program()), rig_program(), getenv("BALLAST_TEST_SHARE"),
             words);
    rig_run(&o, (const char *const[]){"bash", "-c", script, NULL});
    char *out = strdup(o.out);
    assert_non_null(out);
    rig_free(&o);
    return out;
}

static void expect_completed(const char *words, const char *right) {
    char *out = completed(words);
    if (strcmp(out, right) != 0) {
        fail_msg("%s completes to: %s", words, out);
    }
    free(out);
}

/* The shells' completions are made from the table: commands, flags of each, values where they are known. */
static void test_completions(void **state) {
    char path[BL_TEST_PATH];
    static const char *const files[] = {"zsh/site-functions/_ballast",
                                        "fish/vendor_completions.d/ballast.fish"};
    (void)state;
    expect_completed("ballast ins", "inspect\n");
    expect_completed("ballast generate --hires-s", "--hires-steps\n--hires-strength\n");
    expect_completed("ballast inspect --hires-s", "\n");
    expect_completed("ballast plan --offload b", "balanced\n");
    expect_completed("ballast generate --schedule kar", "karras\n");
    expect_completed("ballast generate --sampler Eul", "Euler\nEuler\\ a\n");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", getenv("BALLAST_TEST_SHARE"), files[i]);
        char *text = rig_read(path, NULL);
        expect_contains(text, "hires-upscaler");
        expect_contains(text, "none model sequential balanced");
        free(text);
    }
}

/* What libgomp says it goes by, which is not what it would do by itself. */
static void test_spinning(void **state) {
    outcome o = {0};
    (void)state;
    setenv("OMP_DISPLAY_ENV", "verbose", 1);
    unsetenv("OMP_WAIT_POLICY");
    BALLAST(&o, "--version");
    assert_int_equal(o.code, 0);
    expect_contains(o.err, "GOMP_SPINCOUNT = '1000'");
    assert_string_equal(strstr(o.out, "ballast"), o.out); /* printed once */
    setenv("GOMP_SPINCOUNT", "77", 1);
    BALLAST(&o, "--version");
    expect_contains(o.err, "GOMP_SPINCOUNT = '77'");
    assert_null(strstr(o.err, "'1000'"));
    unsetenv("GOMP_SPINCOUNT");
    setenv("OMP_WAIT_POLICY", "passive", 1);
    BALLAST(&o, "--version");
    expect_contains(o.err, "GOMP_SPINCOUNT = '0'");
    assert_null(strstr(o.err, "'1000'"));
    unsetenv("OMP_DISPLAY_ENV");
    rig_free(&o);
}

/* What could compute here is told of cards, too: what they are, or what is missing. */
static void test_devices(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "devices");
    expect_success(&o);
    expect_contains(o.out, "cpu     ");
    expect_contains(o.out, "\ncuda    ");
    expect_contains(o.out, "B free; f32"); /* "24.8 GB, 812 MB free; f32, bf16; auto takes bf16" */
    bool missing = strstr(o.out, "cuda    not here: ") != NULL;
    BALLAST(&o, "devices", "--json");
    expect_success(&o);
    expect_contains(o.out, "\"device\": \"cpu\"");
    expect_contains(o.out, missing ? "\"error\": \"cuda: " : "\"host_store\": true");
    BALLAST(&o, "generate", "--device", "cuda:77", "-p", "a cat", "-o", "never.png");
    EXPECT_FAILURE(&o, 2, "cuda: ");
    BALLAST(&o, "generate", "--device", "abacus", "-p", "a cat", "-o", "never.png");
    EXPECT_FAILURE(&o, 2, "no \"abacus\"", "ballast-abacus.so");
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),       cmocka_unit_test(test_help),
        cmocka_unit_test(test_mistyped),

        cmocka_unit_test(test_tilde),         cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_precedence),    cmocka_unit_test(test_config_is_a_config),
        cmocka_unit_test(test_other_bytes),   cmocka_unit_test(test_elsewhere),
        cmocka_unit_test(test_other_editors), cmocka_unit_test(test_bad_config),
        cmocka_unit_test(test_full_disk),     cmocka_unit_test(test_documents),
        cmocka_unit_test(test_completions),   cmocka_unit_test(test_spinning),
    };
    return cmocka_run_group_tests_name("cli.usage", tests, rig_open, rig_close);
}
