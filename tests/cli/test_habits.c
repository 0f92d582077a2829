/* What people are used to from other programs: tags in prompts, the shape of a start picture. With the
 * embedded model's small sizes. */
#include "rig.h"

#include "image/png.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char model[BL_TEST_PATH];

static int setup(void **state) {
    int result = rig_open(state);
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    return result;
}

static bool same_pixels(const char *one, const char *other) {
    bl_picture a, b;
    assert_int_equal(bl_png_read(&a, one, NULL), 0);
    assert_int_equal(bl_png_read(&b, other, NULL), 0);
    bool same =
        a.width == b.width && a.height == b.height && !memcmp(a.rgb, b.rgb, (size_t)(a.width * a.height * 3));
    bl_picture_clear(&a);
    bl_picture_clear(&b);
    return same;
}

#define SMALL "-m", model, "-S", "1", "-s", "1", "--no-hint", "--overwrite"

/* <hypernet:...>, or <lora:...> in a negative prompt, is no text to draw; an adapter that there is not is
 * refused. */
static void test_adapter_tags(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "generate", SMALL, "-W", "64", "-H", "64", "-p", "a red heart", "-n", "x", "-o", "plain.png");
    expect_success(&o);
    BALLAST(&o, "generate", SMALL, "-W", "64", "-H", "64", "-p", "a red heart <hypernet:x><hypernet:y>", "-n",
            "<lora:z> x", "-o", "tagged.png");
    assert_int_equal(o.code, 0);
    expect_contains(o.err, "ballast: prompt: <hypernet:x> is left out");
    expect_contains(o.err, "ballast: prompt: <hypernet:y> is left out");
    expect_contains(o.err, "ballast: negative: <lora:z> is left out");
    assert_true(same_pixels("plain.png", "tagged.png"));
    BALLAST(&o, "generate", SMALL, "-p", "a red heart <lora:x:0.8>", "-o", "refused.png");
    assert_int_equal(o.code, 2);
    expect_contains(o.err, "ballast: no adapter \"x\" in ");
    expect_contains(o.err, "; put its .safetensors there, or take its name out of the prompt");
    rig_free(&o);
}

static void expect_size(const char *path, int width, int height) {
    bl_picture p;
    assert_int_equal(bl_png_read(&p, path, NULL), 0);
    if (p.width != width || p.height != height) {
        fail_msg("%s is %d x %d", path, (int)p.width, (int)p.height);
    }
    bl_picture_clear(&p);
}

/* Without sizes a start picture keeps its shape, at the model's number of pixels. */
static void test_shape(void **state) {
    static uint8_t grey[64 * 96 * 3];
    outcome o = {0};
    (void)state;
    memset(grey, 128, sizeof grey);
    assert_int_equal(bl_png_write("tall.png", grey, 96, 64, NULL, true, NULL), 0);
    BALLAST(&o, "plan", "-m", model, "-p", "cat", "-i", "tall.png");
    assert_int_equal(o.code, 0);
    expect_contains(o.err, "start picture's shape, 416 x 624; --width and --height choose another");
    BALLAST(&o, "generate", SMALL, "-p", "cat", "-i", "tall.png", "-W", "64", "-o", "t.png");
    expect_contains(o.err, "64 x 96");
    expect_size("t.png", 64, 96);
    BALLAST(&o, "generate", SMALL, "-p", "cat", "-i", "tall.png", "-W", "64", "-H", "64", "-o", "t.png");
    assert_null(strstr(o.err, "gets the start picture's shape"));
    expect_size("t.png", 64, 64);
    rig_free(&o);
}

/* Progress, names and the time left count the same pictures; every second of the timing line has a name. */
static void test_one_numbering(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "generate", SMALL, "-s", "2", "-W", "64", "-H", "64", "-p", "cat", "-c", "2", "-o", "c.png");
    assert_string_equal(o.out, "c-1.png\nc-2.png\n");
    expect_contains(o.err, "picture 1 of 2, denoise 1/2\n"); /* weights were loaded in it: that is no speed */
    expect_contains(o.err, "picture 1 of 2, denoise 2/2, ");
    expect_contains(o.err, "left"); /* the last step of the first picture is not the end */
    expect_contains(o.err, "picture 2 of 2");
    expect_contains(o.err, " other ");
    BALLAST(&o, "generate", SMALL, "-W", "64", "-H", "64", "-p", "cat", "--batch", "2", "-c", "2", "-o",
            "c.png");
    expect_contains(o.err, "pictures 1-2 of 4, denoise");
    expect_contains(o.err, "pictures 3-4 of 4, denoise");
    rig_free(&o);
}

/* Names with folders that are not there yet; a picture from standard input; a drawn seed under -q. */
static void test_files(void **state) {
    static uint8_t grey[64 * 64 * 3];
    outcome o = {0};
    (void)state;
    memset(grey, 128, sizeof grey);
    assert_int_equal(bl_png_write("grey.png", grey, 64, 64, NULL, true, NULL), 0);
    BALLAST(&o, "generate", SMALL, "-q", "-W", "64", "-H", "64", "-p", "cat", "-o", "new/deep/%s.png",
            "--save-latents", "other/x.st", "--trace", "traces/t.json");
    expect_success(&o);
    assert_string_equal(o.out, "");
    assert_int_equal(
        access("new/deep/1.png", R_OK) | access("other/x.st", R_OK) | access("traces/t.json", R_OK), 0);
    BALLAST(&o, "generate", SMALL, "-p", "cat", "-o", "grey.png/x.png");
    EXPECT_FAILURE(&o, 2, "--output", "\"grey.png\"", "Not a directory");
    BALLAST(&o, "generate", SMALL, "-p", "cat", "-o", "nowhere/");
    EXPECT_FAILURE(&o, 2, "--output", "is a folder");
    assert_int_equal(rig_files("nowhere"), 0);

    BALLAST(&o, "generate", SMALL, "-q", "-p", "cat", "-i", "grey.png", "-o", "file.png");
    expect_success(&o);
    rig_run(&o, (const char *[]){
                    "sh", "-c", "exec \"$0\" generate -m \"$1\" -S 1 -s 1 -q -p cat -i - -o in.png <grey.png",
                    rig_program(), model, NULL});
    expect_success(&o);
    expect_same_file("file.png", "in.png");
    rig_run(&o, (const char *[]){"sh", "-c", "echo nothing | \"$0\" generate -q -p cat -i - -o none.png",
                                 rig_program(), NULL});
    EXPECT_FAILURE(&o, 2, "--init-image: standard input (\"-\")");

    BALLAST(&o, "generate", "-m", model, "-s", "1", "-q", "-W", "64", "-H", "64", "-p", "cat");
    assert_int_equal(o.code, 0);
    o.out[strcspn(o.out, "\n")] = 0;
    assert_int_equal(access(o.out, R_OK), 0);
    rig_free(&o);
}

/* A plan says how sure it is, and what all pictures take; calibrating ends with a result. */
static void test_plans(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "plan", "-m", model, "-s", "3", "-W", "72", "-H", "64", "-c", "4");
    assert_int_equal(o.code, 0);
    expect_contains(o.out, "estimated, ");
    expect_contains(o.out, " s, then 3 of ");
    BALLAST(&o, "calibrate", "-m", model, "-s", "3", "-W", "72", "-H", "64");
    assert_int_equal(o.code, 0);
    expect_contains(o.out, "measured ");
    expect_contains(o.out, ": a picture with these settings takes ");
    assert_null(strstr(o.err, "picture"));
    BALLAST(&o, "plan", "-m", model, "-s", "3", "-W", "72", "-H", "64");
    expect_contains(o.out, "measured on this machine");
    BALLAST(&o, "plan", "-m", model, "--device", "sim:rtx4090");
    expect_contains(o.out, "estimated from the description of ");
    BALLAST(&o, "plan", "--ensd", "-1");
    EXPECT_FAILURE(&o, 2, "--ensd: wants a whole number from 0 up (\"-1\")");
    BALLAST(&o, "plan", "-m", model, "--budget", "9000T");
    expect_contains(o.err, "budget: 9000 TB is more than the memory that there is");
    rig_free(&o);
}

/* How often the piece stands in the text. */
static int count(const char *text, const char *piece) {
    int n = 0;
    for (const char *p = strstr(text, piece); p; p = strstr(p + 1, piece)) {
        n++;
    }
    return n;
}

static void expect_parameters(const char *path, const char *piece) {
    bl_picture p;
    assert_int_equal(bl_png_read(&p, path, NULL), 0);
    assert_non_null(p.parameters);
    expect_contains(p.parameters, piece);
    bl_picture_clear(&p);
}

/* The embedded model's file says what its pictures look best with. What is given has the last word. */
static void test_recommended(void **state) {
    outcome o = {0};
    (void)state;
    BALLAST(&o, "generate", "-p", "cat", "-S", "1", "-W", "64", "-H", "64", "--no-hint", "-c", "2", "-o",
            "own.png");
    assert_int_equal(o.code, 0);
    assert_int_equal(count(o.err, "20 steps, cfg 5: the model's file recommends them"), 1);
    expect_parameters("own-1.png", "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, ");
    BALLAST(&o, "generate", "-p", "cat", "-S", "1", "-W", "64", "-H", "64", "--no-hint", "-s", "2", "-o",
            "steps.png");
    expect_contains(o.err, "cfg 5: the model's file recommends it; --cfg has the last word");
    expect_parameters("steps.png", "Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, ");
    BALLAST(&o, "generate", "-p", "cat", "-S", "1", "-W", "64", "-H", "64", "--no-hint", "-s", "2", "--cfg",
            "6", "-o", "cfg.png");
    expect_success(&o);
    expect_parameters("cfg.png", "CFG scale: 6, ");
    BALLAST(&o, "generate", SMALL, "-W", "64", "-H", "64", "-p", "cat", "-o", "other.png");
    expect_success(&o);
    expect_parameters("other.png", "CFG scale: 7, ");
    BALLAST(&o, "inspect");
    expect_contains(o.out, "5, recommended by the model's file\n");
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adapter_tags),  cmocka_unit_test(test_shape),
        cmocka_unit_test(test_one_numbering), cmocka_unit_test(test_files),
        cmocka_unit_test(test_plans),         cmocka_unit_test(test_recommended),
    };
    return cmocka_run_group_tests_name("cli.habits", tests, setup, rig_close);
}
