/* A complaint of a setting that is not on the command line says where it comes from, whoever complains: the
 * command or the library, of a value, of a name of a file, of two values that do not go together. */
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GENERATE \
    { "generate", "-p", "fox", "-W", "64", "-H", "64", "-s", "1", NULL }
#define PLAN \
    { "plan", "-W", "64", "-H", "64", NULL }

typedef struct mistake {
    const char *setting, *variable, *value;
    const char *command[12];
} mistake;

static const mistake mistakes[] = {
    {"model", "BALLAST_MODEL", "absent.safetensors", PLAN},
    {"model", "BALLAST_MODEL", "text.txt", PLAN},
    {"model", "BALLAST_MODEL", "empty", PLAN},
    {"vae", "BALLAST_VAE", "absent.safetensors", PLAN},
    {"vae", "BALLAST_VAE", "text.txt", PLAN},
    {"text-encoder", "BALLAST_TEXT_ENCODER", "absent.safetensors", PLAN},
    {"prompt", "BALLAST_PROMPT", "\xff", PLAN},
    {"negative", "BALLAST_NEGATIVE", "\xff", PLAN},
    {"output", "BALLAST_OUTPUT", "empty", GENERATE},
    {"output", "BALLAST_OUTPUT", "/dev/null/such.png", GENERATE},
    {"output", "BALLAST_OUTPUT", "a.gif", GENERATE},
    {"quality", "BALLAST_QUALITY", "101", GENERATE},
    {"fit", "BALLAST_FIT", "x", PLAN},
    {"output", "BALLAST_OUTPUT", "text.txt", GENERATE},
    {"output", "BALLAST_OUTPUT", "%q", GENERATE},
    {"output", "BALLAST_OUTPUT", "-", {"generate", "-p", "fox", "--json", NULL}},
    {"output", "BALLAST_OUTPUT", "text.txt", {"eval", "unet", "--inputs", "x", NULL}},
    {"width", "BALLAST_WIDTH", "12", {"plan", NULL}},
    {"height", "BALLAST_HEIGHT", "60000", {"plan", "-W", "60000", NULL}},
    {"steps", "BALLAST_STEPS", "0", PLAN},
    {"sampler", "BALLAST_SAMPLER", "LMX", {"plan", NULL}},
    {"schedule", "BALLAST_SCHEDULE", "foo", PLAN},
    {"seed", "BALLAST_SEED", "x", PLAN},
    {"clip-skip", "BALLAST_CLIP_SKIP", "30", PLAN},
    {"rng", "BALLAST_RNG", "x", PLAN},
    {"compat", "BALLAST_COMPAT", "x", PLAN},
    {"prediction", "BALLAST_PREDICTION", "x", PLAN},
    {"init-image", "BALLAST_INIT_IMAGE", "absent.png", PLAN},
    {"init-image", "BALLAST_INIT_IMAGE", "text.txt", PLAN},
    {"hires", "BALLAST_HIRES", "0.5", PLAN},
    {"hires-strength", "BALLAST_HIRES_STRENGTH", "0", {"plan", "-W", "64", "-H", "64", "--hires", "2", NULL}},
    {"hires-upscaler", "BALLAST_HIRES_UPSCALER", "x", PLAN},
    {"latents", "BALLAST_LATENTS", "absent.safetensors", GENERATE},
    {"latents", "BALLAST_LATENTS", "text.txt:x", GENERATE},
    {"save-latents", "BALLAST_SAVE_LATENTS", "empty", GENERATE},
    {"dtype", "BALLAST_DTYPE", "x", PLAN},
    {"threads", "BALLAST_THREADS", "2000", PLAN},
    {"isa", "BALLAST_ISA", "x", PLAN},
    {"offload", "BALLAST_OFFLOAD", "x", PLAN},
    {"budget", "BALLAST_BUDGET", "x", PLAN},
    {"budget", "BALLAST_BUDGET", "1M", PLAN},
    {"reserve", "BALLAST_RESERVE", "999999G", PLAN},
    {"low", "BALLAST_LOW", "0.9", {"plan", "-q", "--high=0.5", NULL}},
    {"never", "BALLAST_NEVER", "x", PLAN},
    {"tiled-decode", "BALLAST_TILED_DECODE", "x", PLAN},
    {"device", "BALLAST_DEVICE", "sim:x", PLAN},
    {"device", "BALLAST_DEVICE", "sim:./absent.json", PLAN},
    {"trace", "BALLAST_TRACE", "empty", GENERATE},
    {"arena", "BALLAST_ARENA", "x", {"inspect", NULL}},
    {"arena", "BALLAST_ARENA", "63x63", {"inspect", NULL}},
    {"sweep", "BALLAST_SWEEP", "x", PLAN},
    {"svg", "BALLAST_SVG", "a.svg", PLAN},
    {"svg", "BALLAST_SVG", "empty", {"plan", "--sweep", "1G:2G:3", NULL}},
    {"inputs", "BALLAST_INPUTS", "absent.safetensors", {"eval", "unet", "-o", "out.safetensors", NULL}},
    {"inputs", "BALLAST_INPUTS", "text.txt", {"eval", "unet", "-o", "out.safetensors", NULL}},
};

static void the_environment_is_named(void **state) {
    outcome o = {0};
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        const mistake *m = &mistakes[i];
        setenv(m->variable, m->value, 1);
        rig_ballast(&o, m->command);
        EXPECT_FAILURE(&o, 2, m->variable);
        unsetenv(m->variable);
        setenv("BALLAST_DEVICE", "cpu", 1);
    }
    setenv("BALLAST_LOW", "0.9", 1);
    setenv("BALLAST_HIGH", "0.5", 1);
    BALLAST(&o, "plan");
    EXPECT_FAILURE(&o, 2, "(from BALLAST_LOW and BALLAST_HIGH)");
    unsetenv("BALLAST_LOW");
    unsetenv("BALLAST_HIGH");
    setenv("BALLAST_CONFIG", "absent", 1);
    BALLAST(&o, "plan");
    EXPECT_FAILURE(&o, 2, "absent", "(from BALLAST_CONFIG)");
    unsetenv("BALLAST_CONFIG");
    rig_free(&o);
}

static void the_config_file_is_named(void **state) {
    outcome o = {0};
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        const mistake *m = &mistakes[i];
        char text[256];
        snprintf(text, sizeof text, "# mine\n%s = %s\n", m->setting, m->value);
        bl_test_write("mine.conf", text, strlen(text));
        if (!strcmp(m->setting, "device")) { /* the environment comes before the file */
            unsetenv("BALLAST_DEVICE");
        }
        setenv("BALLAST_CONFIG", "mine.conf", 1);
        rig_ballast(&o, m->command);
        EXPECT_FAILURE(&o, 2, "mine.conf");
        unsetenv("BALLAST_CONFIG");
        setenv("BALLAST_DEVICE", "cpu", 1);
    }
    unlink("mine.conf");
    rig_free(&o);
}

/* Nothing is added to what stands on the command line, whatever else the environment says. */
static void the_command_line_needs_no_naming(void **state) {
    outcome o = {0};
    (void)state;
    setenv("BALLAST_SAMPLER", "Euler", 1);
    setenv("BALLAST_MODEL", "x", 1);
    BALLAST(&o, "plan", "--sampler", "LMS", "-m", "absent");
    EXPECT_FAILURE(&o, 2, "absent");
    assert_null(strstr(o.err, "from BALLAST"));
    unsetenv("BALLAST_SAMPLER");
    unsetenv("BALLAST_MODEL");
    rig_free(&o);
}

static int open_folder(void **state) {
    int rc = rig_open(state);
    bl_test_write("text.txt", "just a text, of more than eight bytes", 37);
    return rc ? rc : mkdir("empty", 0700);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_named),
        cmocka_unit_test(the_config_file_is_named),
        cmocka_unit_test(the_command_line_needs_no_naming),
    };
    return cmocka_run_group_tests_name("cli.sources", tests, open_folder, rig_close);
}
