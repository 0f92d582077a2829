/* Flags that are not there under this name, and flags that are there for nothing. */
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Names of other programs, beginnings of ours, and one dash where two belong. */
static void test_other_names(void **state) {
    static const char *const flags[][2] = {
        {"--cfg-scale", "here --cfg X"},
        {"--negative-prompt", "here --negative TEXT"},
        {"--negative_prompt=blurry",
         "--negative_prompt: no such flag; what it does elsewhere is here --negative"},
        {"--sampling-method", "here --sampler NAME"},
        {"--size", "--width N --height N"},
        {"--medvram", "--budget SIZE"},
        {"--lowvram", "--budget SIZE"},
        {"--denoising-strength", "here --strength X"},
        {"--n_iter", "here --count N"},
        {"--prompt-file", "--prompt \"$(cat FILE)\""},
        {"--num_inference_steps", "here --steps N"},
        {"--enable-model-cpu-offload", "here --offload model"},
        {"--lora-model-dir", "here --lora-dir DIR"},
        {"--embd-dir", "here --embedding-dir DIR"},
        {"--resize_mode", "here --fit crop"},
        {"--port", "here --listen HOST:PORT"},
        {"--cors-allow-origins", "here --allow-origin URL"},
        {"--api-auth=a:b", "here --auth FILE"},
        {"-w", "here --width N"},
        {"--neg", "did you mean --negative?"},
        {"--out", "did you mean --output?"},
        {"--comp", "did you mean --compat?"},
        {"-vae", "two dashes: --vae"},
        {"-model=x", "two dashes: --model"},
        {"-steps", "two dashes: --steps"},
    };
    outcome o = {0};
    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        BALLAST(&o, "generate", "-p", "fox", flags[i][0], "7");
        EXPECT_FAILURE(&o, 2, flags[i][1]);
    }
    bl_test_write("bad", "cfg_scale = 7\n", 14);
    BALLAST(&o, "config", "--config", "bad");
    EXPECT_FAILURE(&o, 2, "bad:1", "--cfg X");
    rig_free(&o);
}

/* What a flag of the command line does not do is said, in one line each; of a config file it is not. */
static void test_no_effect(void **state) {
    static const char *const flags[][5] = {
        {"--strength has no effect without a start picture", "--strength", "0.4"},
        {"--hires-steps has no effect without a second pass", "--hires-steps", "4"},
        {"--hires-upscaler has no effect", "--hires-upscaler", "lanczos"},
        {"--never has no effect with --offload auto", "--never", "unet"},
        {"--fit-check has no effect", "--no-fit-check"},
        {"--variation-seed has no effect", "--variation-seed", "3"},
        {"--negative has no effect with --cfg 1", "--cfg=1", "--negative", "x"},
        {"--eta has no effect with the sampler that is taken where none is named", "--eta", "0.5"},
        {"--eta has no effect with --sampler \"LCM\"", "--eta=0.5", "--sampler", "lcm"},
        {"--ensd has no effect with --sampler \"DPM++ SDE\"", "--ensd=31337", "--sampler",
         "DPM++ SDE Karras"},
        {"--schedule has no effect with --sampler LCM", "--sampler=lcm", "--compat=Diffusers", "--schedule",
         "trailing"},
        {"two schedules are given; --schedule exponential counts", "--sampler=DPM++ 2M Karras", "--schedule",
         "exponential"},
        {"--prompt is given more than once; the last one counts: \"b\"", "-p", "a", "-p", "b"},
    };
    outcome o = {0};
    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        const char *argv[8] = {"plan"};
        for (int k = 1; k < 5; k++) {
            argv[k] = flags[i][k];
        }
        rig_ballast(&o, argv);
        expect_contains(o.err, flags[i][0]);
    }
    char taesd[BL_TEST_PATH];
    bl_test_data(taesd, "common/taesd/decoder.safetensors");
    BALLAST(&o, "generate", "-p", "x", "-W", "64", "-H", "64", "-s", "1", "-S", "1", "-o", "plain.png",
            "--quality", "50", "--taesd", taesd);
    assert_int_equal(o.code, 0);
    expect_contains(o.err, "--quality has no effect on PNG");
    expect_contains(o.err, "--taesd has no effect without --decode taesd or --preview taesd");
    BALLAST(&o, "plan", "--taesd", taesd, "--decode", "taesd");
    expect_success(&o);
    BALLAST(&o, "plan", "--eta", "0.5", "--ensd", "31337", "--sampler", "Euler a", "-s", "2", "--cfg", "5");
    expect_success(&o);
    BALLAST(&o, "plan", "--eta", "0.5", "--sampler", "DDIM", "-s", "2", "--cfg", "5");
    expect_success(&o);
    BALLAST(&o, "plan", "-q", "--strength", "0.4");
    expect_success(&o);
    bl_test_write("quiet", "strength = 0.4\nnever = unet\n", 28);
    BALLAST(&o, "plan", "--config", "quiet");
    expect_success(&o);
    BALLAST(&o, "plan", "--budget", "1M"); /* a failure is one line */
    EXPECT_FAILURE(&o, 2, "budget");
    BALLAST(&o, "plan", "-m", "absent", "--strength", "0.4");
    EXPECT_FAILURE(&o, 2, "absent");
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_no_effect),
    };
    return cmocka_run_group_tests_name("cli.flag_names", tests, rig_open, rig_close);
}
