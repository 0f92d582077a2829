/* `ballast eval`: each module on the goldens' own files, every output under the name it has there. */
#include "rig.h"

#include "support/slow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Compares every output tensor with the golden of its name; returns how many. */
static int compare(const char *outputs, const char *golden_name, bl_dtype precision) {
    bl_safetensors *f;
    bl_golden golden;
    bl_error err;
    int count;
    if (bl_safetensors_open(&f, outputs, &err)) {
        fail_msg("%s", err.message);
    }
    bl_golden_open(&golden, golden_name);
    const bl_file_tensor *all = bl_safetensors_tensors(f, &count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(all[i].dtype, BL_F32);
        float *mine = malloc(all[i].bytes + 1);
        assert_non_null(mine);
        assert_int_equal(bl_safetensors_read(f, all[i].offset, all[i].bytes, mine, &err), 0);
        bl_golden_check(&golden, all[i].name, mine, (int64_t)(all[i].bytes / sizeof *mine), precision);
        free(mine);
    }
    bl_golden_close(&golden);
    bl_safetensors_close(&f);
    return count;
}

static void eval_in(const char *family, bl_synth_layout layout, const char *module, const char *file,
                    int least, bl_dtype dtype) {
    char model[BL_TEST_PATH], inputs[BL_TEST_PATH], golden[128];
    outcome o = {0};
    bl_synth_checkpoint(model, family, layout);
    snprintf(golden, sizeof golden, "%s/golden/%s.safetensors", family, file);
    bl_test_data(inputs, golden);
    BALLAST(&o, "eval", module, "-m", model, "--inputs", inputs, "-o", "out.safetensors", "--overwrite",
            "--dtype", dtype == BL_BF16 ? "bf16" : "f32");
    expect_success(&o);
    assert_string_equal(o.out, "out.safetensors\n");
    int count = compare("out.safetensors", golden, dtype);
    if (count < least) {
        fail_msg("%s %s: %d outputs, at least %d are in the golden", family, module, count, least);
    }
    rig_free(&o);
}

/* In F32; on a device that BALLAST_TEST_DEVICE names in BF16, too. */
static void eval(const char *family, bl_synth_layout layout, const char *module, const char *file,
                 int least) {
    eval_in(family, layout, module, file, least, BL_F32);
    if (getenv("BALLAST_TEST_DEVICE")) {
        eval_in(family, layout, module, file, least, BL_BF16);
    }
}

/* Adapters are added to the module's weights: the golden's inputs give what the reference has with them. */
static void with_adapters(void **state) {
    char model[BL_TEST_PATH], inputs[BL_TEST_PATH], lora[BL_TEST_PATH + 16];
    outcome o = {0};
    bl_golden golden;
    bl_safetensors *f;
    bl_error err;
    (void)state;
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    bl_test_data(inputs, "sd15/golden/unet.safetensors");
    bl_test_data(lora, "sd15/adapters/lora/kohya.safetensors");
    snprintf(lora + strlen(lora), 16, ":0.3:0.8");
    BALLAST(&o, "eval", "unet", "-m", model, "--inputs", inputs, "-o", "out.safetensors", "--overwrite",
            "--dtype", "f32", "--lora", lora);
    expect_success(&o);
    bl_golden_open(&golden, "sd15/adapters/golden/unet.safetensors");
    assert_int_equal(bl_safetensors_open(&f, "out.safetensors", &err), 0);
    const bl_file_tensor *t = bl_safetensors_find(f, "a.output");
    assert_non_null(t);
    float *mine = malloc(t->bytes);
    assert_non_null(mine);
    assert_int_equal(bl_safetensors_read(f, t->offset, t->bytes, mine, &err), 0);
    bl_golden_check(&golden, "kohya_te0.3_unet0.8.output", mine, (int64_t)(t->bytes / sizeof *mine), BL_F32);
    free(mine);
    bl_golden_close(&golden);
    bl_safetensors_close(&f);
    rig_free(&o);
}

static void family(const char *name, bl_synth_layout layout) {
    eval(name, layout, "text_encoder", "text", 2);
    eval(name, layout, "unet", "unet", 2);
    eval(name, layout, "vae_decoder", "vae", 2);
    eval(name, layout, "vae_encoder", "vae", 2);
}

static void test_sd15(void **state) {
    (void)state;
    if (bl_test_slow()) {
        skip();
    }
    family("sd15", BL_SYNTH_SINGLE);
}

static void test_sd21v(void **state) {
    (void)state;
    if (bl_test_slow()) {
        skip();
    }
    family("sd21v", BL_SYNTH_FOLDER);
}

static void test_sdxl(void **state) {
    (void)state;
    family("sdxl", BL_SYNTH_SINGLE);
    eval("sdxl", BL_SYNTH_SINGLE, "text_encoder_2", "text", 2);
}

/* The output of every inner module at once, of a file whose names have no case before them. */
static void test_every_inner_module(void **state) {
    static const float zeros[77 * 32];
    static char names[96][64];
    char model[BL_TEST_PATH];
    bl_tensor_data in[96] = {{"sample", BL_F32, 4, {1, 4, 16, 16}, zeros},
                             {"timestep", BL_F32, 1, {1}, zeros},
                             {"context", BL_F32, 3, {1, 77, 32}, zeros}};
    int taps = 0, written;
    outcome o = {0};
    bl_error err;
    bl_safetensors *f;
    (void)state;
    for (int i = 0; i < 4 * 5;
         i++) { /* four levels with two resnets on the way down and three on the way up */
        int level = i / 5, down = i % 5 < 2, index = down ? i % 5 : i % 5 - 2;
        bool attention = down ? level < 3 : level > 0;
        for (int part = 0; part < (attention ? 3 : 1); part++, taps++) {
            snprintf(names[taps], sizeof names[taps], "at.%s_blocks.%d.%s.%d%s", down ? "down" : "up", level,
                     part ? "attentions" : "resnets", index, part == 2 ? ".transformer_blocks.0" : "");
            in[3 + taps] = (bl_tensor_data){names[taps], BL_F32, 0, {0}, zeros};
        }
    }
    assert_true(taps > 48);
    assert_int_equal(bl_safetensors_write("in.safetensors", in, 3 + taps, NULL, 0, &err), 0);
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    BALLAST(&o, "eval", "unet", "-m", model, "--inputs", "in.safetensors", "-o", "taps.safetensors");
    expect_success(&o);
    assert_int_equal(bl_safetensors_open(&f, "taps.safetensors", &err), 0);
    bl_safetensors_tensors(f, &written);
    assert_int_equal(written, taps + 1);
    assert_non_null(bl_safetensors_find(f, "output"));
    for (int i = 0; i < taps; i++) {
        assert_non_null(bl_safetensors_find(f, names[i]));
    }
    bl_safetensors_close(&f);
    rig_free(&o);
}

/* Of those that a pattern names, or all. */
int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sd15),     cmocka_unit_test(test_sd21v),
        cmocka_unit_test(test_sdxl),     cmocka_unit_test(test_every_inner_module),
        cmocka_unit_test(with_adapters),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name("cli.eval", tests, rig_open, rig_close);
}
