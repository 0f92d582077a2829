/* Which files are TAESD decoders, and what is said of all others. */
#include "checkpoint/scratch.h"

#include "checkpoint/architecture.h"
#include "model/taesd.h"
#include "model/weights.h"
#include "support/synth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

/* How a copy differs: the tensor whose name is, or begins with, `name`. */
typedef struct change {
    const char *name;
    const char *renamed; /* NULL: it keeps its name */
    int axis;            /* whose size becomes `size`; -1: none */
    int64_t size;
    bool dropped;
} change;

static bool rewrite(void *context, char *name, bl_tensor_data *t) {
    const change *c = context;
    if (strncmp(name, c->name, strlen(c->name)) != 0) {
        return true;
    }
    if (c->renamed) {
        snprintf(name, 256, "%s", c->renamed);
    }
    if (c->axis >= 0) {
        t->shape[c->axis] = c->size;
        t->data = NULL;
    }
    return !c->dropped;
}

/* Opens a model, NULL: sd15, with the file as its decoder, as far as a model that is opened does. */
static int open_in(const char *family, const char *file, bl_error *err) {
    char model[BL_TEST_PATH];
    bl_checkpoint *ckpt = NULL;
    bl_architecture arch;
    bl_graph *g = NULL;
    bl_model_weights weights = {0};
    if (family) {
        bl_synth_folder(model, family);
    } else {
        bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    }
    assert_int_equal(bl_checkpoint_open(&ckpt, model, NULL, err), 0);
    int rc = bl_checkpoint_take_taesd(ckpt, file, err);
    rc = rc ? rc : bl_architecture_detect(&arch, ckpt, err);
    rc = rc ? rc
            : bl_taesd_graph(&g, &arch.taesd, (bl_taesd_shape){.batch = 1, .height = 2, .width = 2}, BL_F32,
                             NULL, err);
    rc = rc ? rc : bl_model_weights_open(&weights, g, ckpt, err);
    bl_model_weights_close(&weights);
    bl_graph_free(&g);
    bl_checkpoint_close(&ckpt);
    return rc;
}

static int open_with(const char *file, bl_error *err) {
    return open_in(NULL, file, err);
}

static void refused(int code, const char *says) {
    bl_error err = {0};
    int rc = open_with(path, &err);
    if (rc != code || !strstr(err.message, says)) {
        fail_msg("wanted %d and \"%s\", got %d: %s", code, says, rc, err.message);
    }
    assert_non_null(strstr(err.message, "x.safetensors"));
}

static void differs(const char *layout, change c, int code, const char *says) {
    char from[BL_TEST_PATH];
    bl_test_data(from, layout);
    bl_test_rewrite(path, from, rewrite, &c, NULL, 0);
    refused(code, says);
}

#define AUTHORS "common/taesd/decoder.safetensors"
#define TAEF2 "common/taef2/decoder.safetensors"
#define DIFFUSERS "common/taesd/diffusers.safetensors"

/* From its authors' names to diffusers', which count from the layer behind the clamp. */
static bool rename_layer(void *context, char *name, bl_tensor_data *t) {
    char rest[256], *end;
    (void)context;
    (void)t;
    const long layer = strtol(name, &end, 10);
    snprintf(rest, sizeof rest, "%s", end);
    snprintf(name, 256, "decoder.layers.%ld%.200s", layer - 1, rest);
    return true;
}

static void taef2_has_both_layouts(void **state) {
    char from[BL_TEST_PATH];
    bl_error err = {0};
    bl_taesd_about about;
    (void)state;
    bl_test_data(from, TAEF2);
    bl_test_rewrite(path, from, rename_layer, NULL, NULL, 0);
    assert_int_equal(open_in("flux2/klein_2_2", path, &err), 0);
    assert_int_equal(bl_taesd_inspect(&about, path, &err), 0);
    assert_true(about.diffusers && about.latent_channels == 32);
}

static void both_layouts_are_taken(void **state) {
    (void)state;
    static const char *const files[] = {AUTHORS, DIFFUSERS};
    for (int i = 0; i < 2; i++) {
        char from[BL_TEST_PATH];
        bl_error err = {0};
        bl_test_data(from, files[i]);
        assert_int_equal(open_with(from, &err), 0);
    }
}

static void what_does_not_fit_is_named(void **state) {
    (void)state;
    differs(AUTHORS, (change){.name = "3.conv.0.weight", .axis = -1, .dropped = true}, BL_E_FORMAT,
            "\"3.conv.0.weight\" of the taesd is missing");
    differs(DIFFUSERS, (change){.name = "decoder.layers.18.bias", .axis = -1, .dropped = true}, BL_E_FORMAT,
            "\"decoder.layers.18.bias\" of the taesd is missing");
    differs(AUTHORS, (change){.name = "12.weight", .axis = 1, .size = 7}, BL_E_FORMAT,
            "has shape [8, 7, 3, 3]; expected [8, 8, 3, 3]");
    differs(AUTHORS, (change){.name = "19.weight", .axis = 0, .size = 4}, BL_E_FORMAT,
            "expected [3, 8, 3, 3]");
    differs(AUTHORS, (change){.name = "1.weight", .axis = 2, .size = 5}, BL_E_FORMAT,
            "expected [8, 4, 3, 3]");
    differs(AUTHORS, (change){.name = "1.weight", .axis = 0, .size = 16}, BL_E_FORMAT, "expected [16]");
    differs(AUTHORS, (change){.name = "1.weight", .axis = 1, .size = 16}, BL_E_UNSUPPORTED,
            "latents of 16 channels, as SD 3 and FLUX.1 have them; those of SD 1.x have 4");
    differs(DIFFUSERS, (change){.name = "decoder.layers.0.weight", .axis = 1, .size = 32}, BL_E_UNSUPPORTED,
            "latents of 32 channels, as FLUX.2 has them; those of");
}

static void relatives_are_none(void **state) {
    (void)state;
    differs(AUTHORS, (change){.name = "18.conv.0.bias", .renamed = "18.pool.0.weight", .axis = -1},
            BL_E_FORMAT, "\"18.pool.0.weight\" is none of TAESD's decoder");
    differs(AUTHORS, (change){.name = "19.bias", .renamed = "20.bias", .axis = -1}, BL_E_FORMAT,
            "\"20.bias\"");
    differs(AUTHORS, (change){.name = "19.bias", .renamed = "12.bias", .axis = -1}, BL_E_FORMAT,
            "\"12.bias\"");
    differs(DIFFUSERS,
            (change){.name = "decoder.layers.18.bias", .renamed = "decoder.layers.19.bias", .axis = -1},
            BL_E_FORMAT, "\"decoder.layers.19.bias\"");
}

/* TAEF2's branch is in three blocks: in no other, and in none of them half. */
static void branches_are_whole(void **state) {
    (void)state;
    differs(TAEF2, (change){.name = "5.pool.3.weight", .axis = -1, .dropped = true}, BL_E_UNSUPPORTED,
            "latents of 32 channels, as FLUX.2 has them; those of SD 1.x have 4");
    differs(TAEF2, (change){.name = "5.pool.0.weight", .renamed = "8.pool.0.weight", .axis = -1}, BL_E_FORMAT,
            "\"8.pool.0.weight\" is none of TAESD's decoder");
    bl_error err = {0};
    char from[BL_TEST_PATH];
    static const char *const dropped[] = {"3.pool.0.weight", "5.pool.0.weight", "4.pool.1.bias"};
    bl_test_data(from, TAEF2);
    for (int i = 0; i < 3; i++) {
        change c = {.name = dropped[i], .axis = -1, .dropped = true};
        bl_test_rewrite(path, from, rewrite, &c, NULL, 0);
        assert_int_equal(open_in("flux2/klein_2_2", path, &err), BL_E_FORMAT);
        assert_non_null(strstr(err.message, "of the taesd is missing"));
        assert_non_null(strstr(err.message, dropped[i]));
    }
    assert_int_equal(open_in("flux2/klein_2_2", from, &err), 0);
}

static void other_files_are_none(void **state) {
    (void)state;
    bl_error err = {0};
    bl_test_write_header(path,
                         "{\"0.weight\": {\"dtype\": \"F16\", \"shape\": [8, 3, 3, 3], \"data_offsets\": [0, "
                         "432]}, \"1.conv.0.weight\": {\"dtype\": \"F16\", \"shape\": [1], \"data_offsets\": "
                         "[432, 434]}}",
                         434);
    refused(BL_E_FORMAT, "is TAESD's encoder; the decoder is a file of its own");
    bl_test_write_header(
        path, "{\"emb_params\": {\"dtype\": \"F16\", \"shape\": [2], \"data_offsets\": [0, 4]}}", 4);
    refused(BL_E_FORMAT, "is no TAESD decoder: saw 1 tensors, the first \"emb_params\"");
    bl_test_write_header(path, "{}", 0);
    refused(BL_E_FORMAT, "is no TAESD decoder: saw 0 tensors");
    bl_test_write(path, "PK\3\4 taesd_decoder.pth", 22);
    refused(BL_E_UNSUPPORTED, "is a zip archive, not a safetensors file");
    assert_int_equal(open_with(folder, &err), BL_E_FORMAT);
    assert_non_null(strstr(err.message, "is a folder; give the file in it"));
}

/* ---- whose they are */

static char found_in[BL_TEST_PATH + 16];

/* What a model of the family takes of `given`: the path behind it, "" for none, and what is said. */
static void finds(const bl_family *family, const char *given, const char *wanted, const char *says) {
    bl_error err = {0};
    char note[BL_TAESD_NOTE], *found;
    assert_int_equal(bl_taesd_find(&found, note, given, family, &err), 0);
    if (*wanted) {
        assert_non_null(found);
        assert_string_equal(found + (strcmp(found, given) ? strlen(given) : 0), wanted);
    } else {
        assert_null(found);
    }
    assert_true(*says ? strstr(note, says) != NULL : !*note);
    free(found);
}

static void put(const char *name) {
    char file[BL_TEST_PATH + 128];
    snprintf(file, sizeof file, "%s/%s", found_in, name);
    bl_test_write(file, "x", 1);
}

static void each_family_has_its_own(void **state) {
    (void)state;
    char name[BL_TEST_PATH + 128];
    snprintf(found_in, sizeof found_in, "%s/whose", folder);
    assert_int_equal(mkdir(found_in, 0700), 0);
    finds(&bl_sd1, found_in, "", "holds none for SD 1.x: no taesd_decoder.safetensors");
    finds(&bl_sdxl, found_in, "", "holds none for SDXL base: no taesdxl_decoder.safetensors");
    snprintf(name, sizeof name, "%s/taesdxl", found_in);
    assert_int_equal(mkdir(name, 0700), 0);
    put("taesdxl/diffusion_pytorch_model.safetensors");
    finds(&bl_sdxl, found_in, "/taesdxl/diffusion_pytorch_model.safetensors", "");
    finds(&bl_sdxl, name, "/diffusion_pytorch_model.safetensors", ""); /* a folder as diffusers writes it */
    finds(&bl_sd2, found_in, "", "holds none for SD 2.x");
    put("taesd.safetensors");
    finds(&bl_sd2, found_in, "/taesd.safetensors", "");
    put("taesd_decoder.safetensors");
    put("taesdxl_decoder.safetensors");
    finds(&bl_sd1, found_in, "/taesd_decoder.safetensors", "");
    finds(&bl_sdxl, found_in, "/taesdxl_decoder.safetensors", "");
    /* a file is taken as it is, and its name is held against the family */
    finds(&bl_sd1, "x/any.safetensors", "x/any.safetensors", "");
    finds(&bl_sd2, "x/taesd_decoder.safetensors", "x/taesd_decoder.safetensors", "");
    finds(&bl_sdxl, "x/taesdxl_decoder.safetensors", "x/taesdxl_decoder.safetensors", "");
    finds(&bl_sdxl, "x/taesd_decoder.safetensors", "x/taesd_decoder.safetensors",
          "is for SD 1.x by its name");
    finds(&bl_sd1, "x/TAESDXL_decoder.safetensors", "x/TAESDXL_decoder.safetensors",
          "is for SDXL base by its name");
    finds(&bl_z_image, found_in, "", "holds none for Z-Image: no taef1_decoder.safetensors");
    put("taef1_decoder.safetensors");
    put("taef2.safetensors");
    finds(&bl_z_image, found_in, "/taef1_decoder.safetensors", "");
    finds(&bl_flux2_klein, found_in, "/taef2.safetensors", "");
    finds(&bl_flux2_klein, "x/taef1_decoder.safetensors", "x/taef1_decoder.safetensors",
          "whose is taef2_decoder.safetensors");
    finds(&bl_sd35_large, found_in, "", "holds none for SD3.5 large: no taesd3_decoder.safetensors");
    put("taesd3_decoder.safetensors");
    finds(&bl_sd35_medium, found_in, "/taesd3_decoder.safetensors", "");
    finds(&bl_sd3_medium, "x/taesd3_decoder.safetensors", "x/taesd3_decoder.safetensors", "");
    finds(&bl_sd35_medium, "x/taesd_decoder.safetensors", "x/taesd_decoder.safetensors",
          "is for SD 1.x by its name");
    finds(&bl_sd1, "x/taesd3_decoder.safetensors", "x/taesd3_decoder.safetensors",
          "is for SD3.5 medium by its name");
}

static void a_file_is_told_of(void **state) {
    (void)state;
    bl_error err = {0};
    bl_taesd_about a;
    char file[BL_TEST_PATH];
    bl_test_data(file, "common/taesd/decoder.safetensors");
    assert_int_equal(bl_taesd_inspect(&a, file, &err), 0);
    assert_true(!a.diffusers && a.channels == 8 && a.latent_channels == 4 && a.tensors == 67 && a.bytes > 0);
    assert_null(a.family);
    bl_test_data(file, "common/taesd/diffusers.safetensors");
    assert_int_equal(bl_taesd_inspect(&a, file, &err), 0);
    assert_true(a.diffusers && a.channels == 8 && a.tensors == 67);
    bl_test_data(file, "sd15/adapters/lora/kohya.safetensors");
    assert_int_equal(bl_taesd_inspect(&a, file, &err), BL_E_FORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(each_family_has_its_own), TEST(a_file_is_told_of),
                                       TEST(both_layouts_are_taken),  TEST(what_does_not_fit_is_named),
                                       TEST(relatives_are_none),      TEST(other_files_are_none),
                                       TEST(branches_are_whole),      TEST(taef2_has_both_layouts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
