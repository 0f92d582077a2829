/* Pictures that the command starts from or makes again: start pictures of any form, and --like. */
#include "pictures.h"

static void test_image_to_image(void **state) {
    outcome o = {0};
    (void)state;
    SMALL(&o, "-S", "3", "-o", "first.png");
    expect_success(&o);
    SMALL(&o, "-S", "4", "-i", "first.png", "--strength", "0.5", "-o", "second.png");
    expect_success(&o);
    expect_contains(o.err, "encode");
    SMALL(&o, "-S", "4", "-i", "first.png", "--strength", "0.5", "-o", "again.png");
    expect_same_file("second.png", "again.png");
    SMALL(&o, "-S", "4", "--hires", "2", "--hires-upscaler", "lanczos", "-o", "large.png");
    expect_success(&o);
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "-i", "large.png", "--strength", "0.01", "-s", "50",
            "-W", "40", "-H", "24", "-o",
            "resized.png"); /* hardly changed, but smaller and of another shape */
    expect_success(&o);
    bl_picture resized;
    read_png(&resized, "resized.png");
    assert_int_equal(resized.width, 40);
    assert_int_equal(resized.height, 24);
    bl_picture_clear(&resized);
    bl_picture large;
    read_png(&large, "large.png");
    assert_int_equal(large.width, 128);
    assert_int_equal(large.height, 144);
    bl_picture_clear(&large);
    rig_free(&o);
}

/* Pictures of transformers say all that makes them again, a second pass included. */
static void test_transformers_again(void **state) {
    static const char *const families[] = {"zimage", "flux2/klein_2_2"}, *const names[][2] = {
                                                                             {"z.png", "z2.png"},
                                                                             {"k.png", "k2.png"}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        char folder[BL_TEST_PATH];
        outcome o = {0};
        bl_synth_folder(folder, families[i]);
        BALLAST(&o, "generate", "-m", folder, "-p", "a cat", "-n", "dull", "--cfg", "3", "-s", "2", "-W",
                "64", "-H", "64", "-S", "5", "--hires", "1.5", "--hires-upscaler", "Lanczos", "-o",
                names[i][0]);
        expect_success(&o);
        BALLAST(&o, "generate", "-m", folder, "--like", names[i][0], "-o", names[i][1]);
        expect_success(&o);
        expect_same_file(names[i][0], names[i][1]);
        rig_free(&o);
    }
}

/* Any form goes out and comes in again, with what made it; the pixels are those of the PNG, as near as the
 * form allows. */
static void test_forms(void **state) {
    static const char *const names[] = {"form.jpg", "form.JPEG", "form.webp"};
    outcome o = {0};
    bl_picture png, other;
    bl_error err = {0};
    (void)state;
    SMALL(&o, "-S", "77", "-o", "form.png");
    expect_success(&o);
    read_png(&png, "form.png");
    for (int i = 0; i < 3; i++) {
        size_t bytes, more;
        SMALL(&o, "-S", "77", "--quality", "100", "-o", names[i]);
        expect_success(&o);
        char *file = rig_read(names[i], &bytes);
        assert_memory_equal(file, i < 2 ? "\xff\xd8\xff" : "RIFF", i < 2 ? 3 : 4);
        assert_int_equal(bl_picture_decode(&other, (uint8_t *)file, bytes, 0, names[i], &err), 0);
        assert_string_equal(other.parameters, png.parameters);
        double apart = 0;
        for (int64_t k = 0; k < png.width * png.height * 3; k++) {
            apart += abs(other.rgb[k] - png.rgb[k]);
        }
        assert_true(apart / (double)(png.width * png.height * 3) < 40); /* it is nearly noise */
        bl_picture_clear(&other);
        free(file);
        SMALL(&o, "-S", "77", "--quality", "20", "-o", names[i], "--overwrite");
        expect_success(&o);
        free(rig_read(names[i], &more));
        assert_true(more < bytes);
        SMALL(&o, "-S", "4", "-i", names[i], "--strength", "0.5", "-o", "from.png", "--overwrite");
        expect_success(&o);
        rig_run(&o,
                (const char *const[]){"sh", "-c",
                                      "exec \"$0\" generate -m \"$1\" -p \"$2\" -n \"$3\" -W 64 -H 72 -s 3 "
                                      "-S 4 -i - --strength 0.5 -o from2.png --overwrite <\"$4\"",
                                      rig_program(), model, PROMPT, NEGATIVE, names[i], NULL});
        expect_success(&o);
        expect_same_file("from.png", "from2.png");
    }
    bl_picture_clear(&png);
    rig_free(&o);
}

/* A picture is made again from what it carries, whatever form it has; what stands beside --like comes first,
 * and what cannot be taken over is said. */
static void test_like(void **state) {
    static const char *const names[] = {"like.png", "like.jpg", "like.webp"};
    outcome o = {0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        SMALL(&o, "-S", "77", "--cfg", "5.5", "--sampler", "DPM++ 2M Karras", "--hires", "1.5",
              "--hires-steps", "2", "--hires-strength", "0.6", "--hires-upscaler", "latent-bicubic",
              "--clip-skip", "2", "--variation-seed", "3", "--variation-strength", "0.25", "-o", names[i]);
        expect_success(&o);
        BALLAST(&o, "generate", "-m", model, "--like", names[i], "-o", "again.png", "--overwrite");
        expect_success(&o);
        expect_same_file("like.png", "again.png");
    }
    SMALL(&o, "-S", "78", "--rng", "gpu", "-o", "gpu.png");
    BALLAST(&o, "generate", "-m", model, "--like", "gpu.png", "-o", "again.png", "--overwrite");
    expect_success(&o);
    expect_same_file("gpu.png", "again.png");
    SMALL(&o, "-S", "78", "-o", "other.png");
    BALLAST(&o, "generate", "-m", model, "--like", "other.png", "-S", "77", "-s", "2", "-o", "own.png");
    expect_success(&o);
    bl_picture own;
    read_png(&own, "own.png");
    expect_contains(own.parameters, "Steps: 2, ");
    expect_contains(own.parameters, "Seed: 77, ");
    expect_contains(own.parameters, PROMPT "\nNegative prompt: " NEGATIVE "\n");
    bl_picture_clear(&own);

    static const char theirs[] =
        "a fox\nSteps: 2, Sampler: Foo, Schedule type: Karras, CFG scale: 6, Seed: 5, Size: 64x72, "
        "Model hash: 12345, Model: theirs, Denoising strength: 0.4, Hires upscaler: 4x-UltraSharp, "
        "ADetailer model: face, Version: v1.10.1";
    uint8_t rgb[3] = {0};
    bl_error err = {0};
    assert_int_equal(bl_png_write("theirs.png", rgb, 1, 1, theirs, true, &err), 0);
    BALLAST(&o, "generate", "-m", model, "--like", "theirs.png", "-o", "mine.png");
    assert_int_equal(o.code, 0);
    expect_contains(o.err,
                    "ballast: --like: not taken over: Sampler: Foo, Hires upscaler: 4x-UltraSharp, ADetailer "
                    "model: face, Denoising strength: 0.4, Model: theirs\n");
    read_png(&own, "mine.png");
    expect_contains(own.parameters,
                    "a fox\nSteps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6, Seed: 5, "
                    "Size: 64x72, ");
    bl_picture_clear(&own);
    assert_int_equal(bl_png_write("none.png", rgb, 1, 1, NULL, true, &err), 0);
    BALLAST(&o, "generate", "-m", model, "--like", "none.png", "-o", "x.png");
    EXPECT_FAILURE(&o, 2, "--like: none.png carries no parameters");
    BALLAST(&o, "generate", "-m", model, "--like", "absent.png", "-o", "x.png");
    EXPECT_FAILURE(&o, 2, "--like: cannot read absent.png");
    rig_free(&o);
}

/* A start picture of another shape is cut, unless something else is asked for, and it is said. */
/* A picture names the files of its adapters and embeddings; --like says which of them are others here. */
static void test_like_files(void **state) {
    outcome o = {0};
    bl_picture with;
    bl_error err = {0};
    char adapters[BL_TEST_PATH], embeddings[BL_TEST_PATH];
    (void)state;
    bl_test_data(adapters, "sd15/adapters/lora");
    bl_test_data(embeddings, "sd15/adapters/embedding");
    BALLAST(&o, "generate", "-m", model, "-p", "a zorbel <lora:te_only:0.5>", "-n", "quandar", "-W", "64",
            "-H", "64", "-s", "1", "--cfg", "3", "--lora-dir", adapters, "--embedding-dir", embeddings, "-o",
            "files.png");
    expect_success(&o);
    read_png(&with, "files.png");
    expect_contains(with.parameters, "Lora hashes: \"te_only: ");
    const char *at = strstr(with.parameters, "TI hashes: \"zorbel: ");
    assert_non_null(at);
    assert_true(strlen(at) > 60 && !strncmp(at + 32, ", quandar: ", 11)); /* 12 digits each */
    BALLAST(&o, "generate", "-m", model, "--like", "files.png", "--lora-dir", adapters, "--embedding-dir",
            embeddings, "-o", "files-again.png");
    expect_success(&o);
    expect_same_file("files.png", "files-again.png");
    assert_null(strstr(o.err, "--like"));
    BALLAST(&o, "generate", "-m", model, "--like", "files.png", "--lora-dir", adapters, "--embedding-dir",
            ".", "-o", "without.png");
    assert_int_equal(o.code, 0);
    expect_contains(o.err, "ballast: --like: embedding zorbel is not in this picture: it was made with ");
    expect_contains(o.err, "ballast: --like: embedding quandar is not in this picture: it was made with ");
    static const char theirs[] =
        "a zorbel <lora:te_only:1>\nSteps: 1, Seed: 1, Size: 64x64, "
        "Lora hashes: \"te_only: 0123456789ab\", TI hashes: \"zorbel: ba9876543210\"";
    uint8_t rgb[3] = {0};
    assert_int_equal(bl_png_write("theirs2.png", rgb, 1, 1, theirs, true, &err), 0);
    BALLAST(&o, "generate", "-m", model, "--like", "theirs2.png", "--lora-dir", adapters, "--embedding-dir",
            embeddings, "-o", "mine2.png");
    assert_int_equal(o.code, 0);
    expect_contains(o.err, "ballast: --like: adapter te_only is another file: ");
    expect_contains(o.err, ", and the picture was made with 0123456789ab\n");
    expect_contains(o.err, "ballast: --like: embedding zorbel is another file: ");
    bl_picture_clear(&with);
    rig_free(&o);
}

static void test_fit(void **state) {
    static const char *const ways[] = {"crop", "stretch", "pad"};
    outcome o = {0};
    (void)state;
    SMALL(&o, "-S", "5", "-o", "shape.png");
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "fit-%s.png", ways[i]);
        BALLAST(&o, "generate", "-m", model, "-p", "fox", "-i", "shape.png", "--strength", "0.3", "-s", "4",
                "-S", "1", "-W", "64", "-H", "32", "--fit", ways[i], "-o", name);
        expect_success(&o);
        assert_int_equal(strstr(o.err, "has another shape, 64 x 72") != NULL, i != 1);
    }
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "-i", "shape.png", "--strength", "0.3", "-s", "4", "-S",
            "1", "-W", "64", "-H", "32", "-o", "fit-default.png");
    expect_success(&o);
    expect_same_file("fit-default.png", "fit-crop.png");
    char *crop = rig_read("fit-crop.png", NULL), *stretch = rig_read("fit-stretch.png", NULL);
    char *pad = rig_read("fit-pad.png", NULL);
    assert_true(memcmp(crop, stretch, 400) && memcmp(crop, pad, 400) && memcmp(stretch, pad, 400));
    free(crop);
    free(stretch);
    free(pad);
    BALLAST(&o, "generate", "-m", model, "-p", "fox", "-i", "shape.png", "--fit", "squash", "-o", "x.png");
    EXPECT_FAILURE(&o, 2, "fit", "crop, stretch, pad");
    rig_free(&o);
}

/* What is transparent is laid over white, which is said. */
static void test_transparent(void **state) {
    /* 1 x 1, RGBA 0 0 0 0 */
    static const char png[] =
        "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\b\6\0\0\0\x1f\x15\xc4\x89\0\0\0\013IDATx\x9c"
        "c`\0\2\0\0\5\0\1z^\xab?\0\0\0\0IEND\xae\x42`\x82";
    outcome o = {0};
    (void)state;
    bl_test_write("clear.png", png, sizeof png - 1);
    SMALL(&o, "-i", "clear.png", "-o", "clear-out.png");
    assert_int_equal(o.code, 0);
    expect_contains(o.err, "ballast: --init-image: where the picture is transparent it is laid over white\n");
    SMALL(&o, "-i", "clear.png", "-o", "clear-out.png", "--overwrite", "-q");
    expect_success(&o);
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_to_image), cmocka_unit_test(test_transformers_again),
        cmocka_unit_test(test_forms),          cmocka_unit_test(test_like),
        cmocka_unit_test(test_like_files),     cmocka_unit_test(test_fit),
        cmocka_unit_test(test_transparent),
    };
    return cmocka_run_group_tests_name("cli.from_pictures", tests, setup, rig_close);
}
