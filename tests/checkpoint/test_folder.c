/* diffusers folders as they are found: shards, variants, missing and damaged files. */
#include "checkpoint/architecture.h"
#include "checkpoint/internal.h"
#include "support/files.h"
#include "support/synth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[BL_TEST_PATH], source[BL_TEST_PATH];

/* A copy of sd15's folder by links, in which files can be taken away and put. */
static int make_copy(void **state) {
    static const char *const files[] = {
        "model_index.json",         "scheduler/scheduler_config.json",
        "unet/config.json",         "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",          "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json", "text_encoder/model.safetensors"};
    (void)state;
    bl_test_folder(folder);
    bl_synth_checkpoint(source, "sd15", BL_SYNTH_FOLDER);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[BL_TEST_PATH], to[BL_TEST_PATH];
        bl_test_join(from, source, files[i]);
        bl_test_join(to, folder, files[i]);
        char *real = realpath(from, NULL);
        assert_non_null(real);
        assert_int_equal(symlink(real, to), 0);
        free(real);
    }
    return 0;
}

static int remove_copy(void **state) {
    (void)state;
    bl_test_folder_remove(folder);
    return 0;
}

static void take_away(const char *name) {
    char path[BL_TEST_PATH];
    bl_test_join(path, folder, name);
    assert_int_equal(unlink(path), 0);
}

static void put(const char *name, const char *text) {
    char path[BL_TEST_PATH];
    bl_test_join(path, folder, name);
    unlink(path); /* not through the link */
    bl_test_write(path, text, strlen(text));
}

static void move(const char *from, const char *to) {
    char a[BL_TEST_PATH], b[BL_TEST_PATH];
    bl_test_join(a, folder, from);
    bl_test_join(b, folder, to);
    assert_int_equal(rename(a, b), 0);
}

/* It opens, is SD 1.x, and all is where it should be. Owner of the result: the caller. */
static bl_checkpoint *expect_sd15(const char *path) {
    bl_checkpoint *c;
    bl_architecture a;
    bl_error err;
    if (bl_checkpoint_open(&c, path, NULL, &err) || bl_architecture_detect(&a, c, &err)) {
        fail_msg("%s", err.message);
    }
    assert_ptr_equal(a.family, &bl_sd1);
    assert_int_equal(a.text[0].layers, 12);
    assert_int_equal(a.text[0].heads, 4);
    return c;
}

static void expect_refusal(int code, const char *text) {
    bl_checkpoint *c = NULL;
    bl_error err = {.code = 0};
    int rc = bl_checkpoint_open(&c, folder, NULL, &err);
    if (rc != code || c || !strstr(err.message, text)) {
        fail_msg("expected code %d and \"%s\", got code %d: %s", code, text, rc, err.message);
    }
}

/* ---- what is right */

static void model_index_stands_for_its_folder(void **state) {
    (void)state;
    char path[BL_TEST_PATH], before[BL_TEST_PATH];
    bl_test_join(path, folder, "model_index.json");
    bl_checkpoint *c = expect_sd15(path);
    assert_true(bl_checkpoint_is_folder(c));
    assert_string_equal(bl_checkpoint_path(c), folder);
    bl_checkpoint_close(&c);
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    c = expect_sd15("model_index.json");
    bl_checkpoint_close(&c);
    assert_int_equal(chdir(before), 0);
}

static void model_index_may_be_missing(void **state) {
    (void)state;
    take_away("model_index.json");
    bl_checkpoint *c = expect_sd15(folder);
    bl_checkpoint_close(&c);
}

static void configurations_may_be_missing(void **state) {
    (void)state;
    bl_checkpoint *c;
    bl_architecture a;
    bl_error err;
    take_away("model_index.json");
    take_away("scheduler/scheduler_config.json");
    take_away("unet/config.json");
    take_away("vae/config.json");
    take_away("text_encoder/config.json");
    assert_int_equal(bl_checkpoint_open(&c, folder, NULL, &err), 0);
    assert_int_equal(bl_architecture_detect(&a, c, &err), 0);
    assert_int_equal(a.unet.heads[0], 8);
    assert_true(a.text[0].quick_gelu);
    assert_true(a.vae.scale == 0.18215);
    assert_int_equal(a.prediction, BL_PREDICT_EPSILON);
    bl_checkpoint_close(&c);
}

static void half_precision_variants_are_found(void **state) {
    (void)state;
    move("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors");
    move("vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors");
    move("text_encoder/model.safetensors", "text_encoder/model.fp16.safetensors");
    bl_checkpoint *c = expect_sd15(folder);
    assert_non_null(strstr(bl_safetensors_path(bl_checkpoint_module_file(c, BL_UNET)), "fp16"));
    bl_checkpoint_close(&c);
}

/* Of several files the one with the most precise, finished weights is taken. */
static void any_variant_is_found(void **state) {
    static const char *const names[] = {"",     ".fp32", ".fp16",         ".bf16",
                                        ".ema", ".zz",   ".fp16.non_ema", ".non_ema"};
    const int count = (int)(sizeof names / sizeof *names);
    (void)state;
    char from[BL_TEST_PATH], to[BL_TEST_PATH], *real;
    bl_test_join(from, folder, "unet/diffusion_pytorch_model.safetensors");
    real = realpath(from, NULL);
    assert_non_null(real);
    take_away("unet/diffusion_pytorch_model.safetensors");
    put("unet/diffusion_pytorch_model.bin", "a pickle");
    put("unet/model.safetensors.bak", "x");
    put("unet/diffusion_pytorch_model.bf16-00001-of-00002.safetensors", "x");
    for (int i = count - 1; i >= 0; i--) {
        char name[128];
        snprintf(name, sizeof name, "unet/diffusion_pytorch_model%s.safetensors", names[i]);
        bl_test_join(to, folder, name);
        assert_int_equal(symlink(real, to), 0);
        bl_checkpoint *c = expect_sd15(folder);
        assert_string_equal(bl_safetensors_path(bl_checkpoint_module_file(c, BL_UNET)), to);
        bl_checkpoint_close(&c);
    }
    free(real);
}

static bool strip_text_model(void *context, char *name, bl_tensor_data *t) {
    static const char prefix[] = "text_model.";
    (void)context;
    (void)t;
    if (strncmp(name, prefix, sizeof prefix - 1) == 0) {
        memmove(name, name + sizeof prefix - 1, strlen(name + sizeof prefix - 1) + 1);
    }
    return true;
}

static void text_encoders_without_prefix_are_read(void **state) {
    (void)state;
    char from[BL_TEST_PATH], to[BL_TEST_PATH], name[300];
    take_away("text_encoder/model.safetensors");
    bl_test_join(from, source, "text_encoder/model.safetensors");
    bl_test_join(to, folder, "text_encoder/model.safetensors");
    bl_test_rewrite(to, from, strip_text_model, NULL, NULL, 0);
    bl_checkpoint *c = expect_sd15(folder);
    bl_view v;
    assert_true(bl_checkpoint_find(&v, c, BL_TEXT_ENCODER, "text_model.encoder.layers.11.mlp.fc2.bias"));
    bl_checkpoint_stored_name(name, sizeof name, c, BL_TEXT_ENCODER, "text_model.final_layer_norm.weight");
    assert_string_equal(name, "final_layer_norm.weight");
    bl_checkpoint_close(&c);
}

/* ---- shards */

static bool every_second(void *context, char *name, bl_tensor_data *t) {
    (void)name;
    (void)t;
    int *turn = context; /* even: keeps the second, fourth, ... */
    return (*turn)++ % 2 != 0;
}

/* Cuts the UNet in two and writes the index under `index_name`. */
static void make_shards(const char *index_name) {
    static const char *const shards[] = {"unet/part-1.safetensors", "unet/part-2.safetensors"};
    char from[BL_TEST_PATH], to[BL_TEST_PATH], index[BL_TEST_PATH];
    bl_test_join(from, source, "unet/diffusion_pytorch_model.safetensors");
    json_t *map = json_object();
    for (int i = 0; i < 2; i++) {
        int turn = i;
        bl_safetensors *f;
        bl_error err;
        bl_test_join(to, folder, shards[i]);
        bl_test_rewrite(to, from, every_second, &turn, NULL, 0);
        assert_int_equal(bl_safetensors_open(&f, to, &err), 0);
        int count;
        const bl_file_tensor *t = bl_safetensors_tensors(f, &count);
        for (int k = 0; k < count; k++) {
            json_object_set_new(map, t[k].name, json_string(shards[i] + 5));
        }
        bl_safetensors_close(&f);
    }
    json_t *root = json_pack("{s:{},s:o}", "metadata", "weight_map", map);
    bl_test_join(index, folder, index_name);
    assert_int_equal(json_dump_file(root, index, 0), 0);
    json_decref(root);
    take_away("unet/diffusion_pytorch_model.safetensors");
}

static void shards_are_one_module(void **state) {
    static const char *const names[] = {"unet/diffusion_pytorch_model.safetensors.index.json",
                                        "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
                                        "unet/diffusion_pytorch_model.fp16.safetensors.index.json",
                                        "unet/diffusion_pytorch_model.safetensors.index.bf16.json",
                                        "unet/diffusion_pytorch_model.non_ema.safetensors.index.json"};
    (void)state;
    make_shards(names[0]);
    for (int i = 0; i < 5; i++) {
        if (i) {
            move(names[i - 1], names[i]);
        }
        bl_checkpoint *c = expect_sd15(folder);
        assert_int_equal(c->file_count, 4);
        bl_checkpoint_close(&c);
    }
}

static void bad_shards_are_refused(void **state) {
    static const char index[] = "unet/diffusion_pytorch_model.safetensors.index.json";
    (void)state;
    make_shards(index);
    put(index, "{\"weight_map\":{\"a\":\"../vae/diffusion_pytorch_model.safetensors\"}}");
    expect_refusal(BL_E_FORMAT, "not in a file of this folder");
    put(index, "{\"weight_map\":{\"a\":\"/etc/passwd\"}}");
    expect_refusal(BL_E_FORMAT, "not in a file of this folder");
    put(index, "{\"weight_map\":{\"a\":7}}");
    expect_refusal(BL_E_FORMAT, "not in a file of this folder");
    put(index, "{\"weight_map\":{\"a\":\"part-9.safetensors\"}}");
    expect_refusal(BL_E_NOT_FOUND, "part-9.safetensors");
    put(index, "{\"weight_map\":{}}");
    expect_refusal(BL_E_FORMAT, "no \"weight_map\"");
    put(index, "{\"weight_map\":");
    expect_refusal(BL_E_FORMAT, "is damaged: line 1");
    char a[BL_TEST_PATH], b[BL_TEST_PATH];
    bl_test_join(a, folder, "unet/part-1.safetensors");
    bl_test_join(b, folder, "unet/part-3.safetensors");
    assert_int_equal(symlink(a, b), 0);
    put(index, "{\"weight_map\":{\"a\":\"part-1.safetensors\",\"b\":\"part-3.safetensors\"}}");
    expect_refusal(BL_E_FORMAT, "is in both");
}

static void too_many_shards_are_refused(void **state) {
    static const char index[] = "unet/diffusion_pytorch_model.safetensors.index.json";
    (void)state;
    make_shards(index);
    json_t *map = json_object();
    for (int i = 0; i < 300; i++) {
        char name[64], path[BL_TEST_PATH];
        snprintf(name, sizeof name, "unet/s%d.safetensors", i);
        bl_test_join(path, folder, name);
        bl_test_write_header(path, "{}", 0);
        json_object_set_new(map, name, json_string(name + 5));
    }
    json_t *root = json_pack("{s:o}", "weight_map", map);
    char path[BL_TEST_PATH];
    bl_test_join(path, folder, index);
    assert_int_equal(json_dump_file(root, path, 0), 0);
    json_decref(root);
    expect_refusal(BL_E_FORMAT, "more than 256 files");
}

/* ---- what is wrong */

static void pickles_are_refused(void **state) {
    (void)state;
    move("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin");
    expect_refusal(BL_E_UNSUPPORTED, "safe_serialization");
    move("unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.ema.bin");
    expect_refusal(BL_E_UNSUPPORTED, "model.ema.bin");
    move("unet/diffusion_pytorch_model.ema.bin", "unet/diffusion_pytorch_model.bin.index.json");
    expect_refusal(BL_E_UNSUPPORTED, "safe_serialization");
}

static void a_folder_of_something_else_is_refused(void **state) {
    (void)state;
    char inner[BL_TEST_PATH];
    bl_checkpoint *c = NULL;
    bl_error err;
    bl_test_join(inner, folder, "scheduler");
    assert_int_equal(bl_checkpoint_open(&c, inner, NULL, &err), BL_E_NOT_FOUND);
    assert_non_null(strstr(err.message, "neither model_index.json nor weights in unet/"));
    assert_null(c);
}

static void damaged_configurations_are_refused(void **state) {
    static const char *const files[] = {"model_index.json", "scheduler/scheduler_config.json",
                                        "unet/config.json", "vae/config.json", "text_encoder/config.json"};
    static const char *const texts[] = {"{\"a\": 1", "[]", "", "{\"a\": \"\xff\"}"};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
            put(files[i], texts[k]);
            expect_refusal(BL_E_FORMAT, files[i]);
        }
        put(files[i], "{}");
    }
    bl_checkpoint *c;
    bl_architecture a;
    bl_error err;
    assert_int_equal(bl_checkpoint_open(&c, folder, NULL, &err), 0);
    assert_int_equal(bl_architecture_detect(&a, c, &err), 0);
    bl_checkpoint_close(&c);
}

static void impossible_configurations_are_refused(void **state) {
    static const struct {
        const char *file, *text, *message;
    } refused[] = {{"unet/config.json", "{\"attention_head_dim\":7}", "7 heads do not divide"},
                   {"unet/config.json", "{\"norm_num_groups\":7}", "7 groups do not divide"},
                   {"vae/config.json", "{\"norm_num_groups\":7}", "7 groups do not divide"},
                   {"text_encoder/config.json", "{\"num_attention_heads\":5}", "with 5 heads"},
                   {"text_encoder/config.json", "{\"hidden_act\":\"swish\"}", "\"swish\""},
                   {"text_encoder/config.json", "{\"num_hidden_layers\":13}", "has 12 layers"},
                   {"scheduler/scheduler_config.json", "{\"_class_name\":\"EDMEulerScheduler\"}",
                    "uses EDMEulerScheduler"}};
    (void)state;
    put("unet/config.json", "{}");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        put(refused[i].file, refused[i].text);
        bl_checkpoint *c;
        bl_architecture a;
        bl_error err;
        assert_int_equal(bl_checkpoint_open(&c, folder, NULL, &err), 0);
        if (bl_architecture_detect(&a, c, &err) >= 0 || !strstr(err.message, refused[i].message)) {
            fail_msg("%s: %s", refused[i].text, err.message);
        }
        bl_checkpoint_close(&c);
        put(refused[i].file, "{}");
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_copy, remove_copy)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(model_index_stands_for_its_folder),
        TEST(model_index_may_be_missing),
        TEST(configurations_may_be_missing),
        TEST(half_precision_variants_are_found),
        TEST(any_variant_is_found),
        TEST(text_encoders_without_prefix_are_read),
        TEST(shards_are_one_module),
        TEST(bad_shards_are_refused),
        TEST(too_many_shards_are_refused),
        TEST(pickles_are_refused),
        TEST(a_folder_of_something_else_is_refused),
        TEST(damaged_configurations_are_refused),
        TEST(impossible_configurations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
