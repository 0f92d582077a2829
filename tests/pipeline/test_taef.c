/* TAEF1 in Z-Image and FLUX.1, TAESD3 in SD3.5 and TAEF2 in FLUX.2 klein, for previews and in the VAE's
 * place: pictures of their own, the same wherever weights are, made of the latents as the denoiser has them.
 */
#include "pipeline/flow_rig.h"

#include "support/flux1_files.h"
#include "support/sd3_files.h"

#define SIDE 64

static char folder[BL_TEST_PATH], taef1[BL_TEST_PATH], taef2[BL_TEST_PATH], taesd3[BL_TEST_PATH];

/* The four channels that the file's first layer reads, four times. */
static bool widen(void *context, char *name, bl_tensor_data *t) {
    static float values[8 * 16 * 9];
    (void)context;
    if (!strcmp(name, "1.weight")) {
        uint32_t state = 1;
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            state = state * 1664525u + 1013904223u;
            values[i] = (float)(state >> 8) / 83886080.0f - 0.1f;
        }
        t->dtype = BL_F32;
        t->shape[1] = 16;
        t->data = values;
    }
    return true;
}

static int make_files(void **state) {
    char from[BL_TEST_PATH];
    (void)state;
    bl_test_folder(folder);
    bl_test_join(taef1, folder, "taef1_decoder.safetensors");
    bl_test_data(from, "common/taesd/decoder.safetensors");
    bl_test_rewrite(taef1, from, widen, NULL, NULL, 0);
    bl_test_join(taesd3, folder, "taesd3_decoder.safetensors");
    bl_test_rewrite(taesd3, from, widen, NULL, NULL, 0);
    bl_test_data(taef2, "common/taef2/decoder.safetensors");
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    bl_test_folder_remove(folder);
    return 0;
}

/* A picture with the previews on its way. */
typedef struct watched {
    flow_taken taken; /* first: flow_take_picture gets it */
    int previews, width;
} watched;

static int watch(void *payload, const ballast_image *image) {
    watched *w = payload;
    w->previews++;
    w->width = image->width;
    return 0;
}

static ballast_generate_options request(watched *w) {
    ballast_generate_options o = flow_request(&w->taken);
    w->previews = w->width = 0;
    o.cfg = 1;
    o.decode = o.previews = "taesd";
    o.preview = watch;
    o.preview_every = 1;
    return o;
}

/* The decoder alone, on the latents of the picture in the order of the VAE's: the same picture. */
static void check_alone(rig_studio *s, const flow_taken *t, int packed) {
    char in[BL_TEST_PATH], out[BL_TEST_PATH];
    const int channels = t->channels / (packed * packed), side = SIDE / 8;
    float *z = malloc((size_t)t->count * sizeof *z);
    bl_error why;
    ballast_error err = {0};
    bl_safetensors *made;
    assert_non_null(z);
    size_t i = 0;
    for (int c = 0; c < channels; c++) {
        for (int y = 0; y < side; y++) {
            for (int x = 0; x < side; x++) {
                const int k = (c * packed + y % packed) * packed + x % packed;
                z[i++] = t->latents[(k * t->height + y / packed) * t->width + x / packed];
            }
        }
    }
    const bl_tensor_data data = {
        .name = "d.z", .dtype = BL_F32, .rank = 4, .shape = {1, channels, side, side}, .data = z};
    bl_test_join(in, folder, "in.safetensors");
    bl_test_join(out, folder, "out.safetensors");
    assert_int_equal(bl_safetensors_write(in, &data, 1, NULL, 0, &why), 0);
    if (ballast_eval(s->model, "taesd", in, out, 1, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(bl_safetensors_open(&made, out, &why), 0);
    const bl_file_tensor *image = bl_safetensors_find(made, "d.image");
    assert_non_null(image);
    float *pixels = malloc(image->bytes);
    assert_int_equal(bl_safetensors_read(made, image->offset, image->bytes, pixels, &why), 0);
    for (size_t k = 0; k < t->pictures.bytes; k++) {
        double v = 127.5 * ((double)pixels[k % 3 * SIDE * SIDE + k / 3] + 1);
        v = v < 0 ? 0 : v > 255 ? 255 : v;
        if (v - t->pictures.rgb[k] > 1.01 || t->pictures.rgb[k] - v > 1.01) {
            fail_msg("byte %zu is %d for %.3f", k, t->pictures.rgb[k], v);
        }
    }
    free(pixels);
    free(z);
    bl_safetensors_close(&made);
}

static void check_model(const char *path, const char *decoder, int packed) {
    static const char *const modes[] = {"auto", "sequential", "auto"};
    ballast_context_options co;
    ballast_model_options mo;
    rig_studio s;
    watched wanted, got;
    rig_options(&co, &mo, path, "f32");
    mo.taesd_path = decoder;
    rig_open_given(&s, &co, &mo);
    ballast_generate_options o = request(&wanted);
    const uint64_t least = rig_planned(&s, &o, "min_budget_bytes");
    const rig_size budget = rig_bytes(least);
    for (int i = 0; i < 3; i++) {
        o = request(i ? &got : &wanted);
        o.offload = modes[i];
        o.budget = i == 2 ? budget.text : NULL;
        rig_make(&s, &o);
        if (i) {
            rig_same(&got.taken.pictures, &wanted.taken.pictures, modes[i]);
            assert_int_equal(got.previews, wanted.previews);
            flow_drop(&got.taken);
        }
    }
    assert_int_equal(wanted.previews, 1); /* none after the last step */
    assert_int_equal(wanted.width, SIDE);
    assert_int_equal(wanted.taken.pictures.bytes, 3 * SIDE * SIDE);
    check_alone(&s, &wanted.taken, packed);
    flow_drop(&wanted.taken);
    rig_close(&s);
}

static void zimage_takes_taef1(void **state) {
    char path[BL_TEST_PATH];
    (void)state;
    bl_synth_folder(path, "zimage");
    check_model(path, taef1, 1);
}

static void sd3_takes_taesd3(void **state) {
    char path[BL_TEST_PATH];
    (void)state;
    bl_test_join(path, folder, "sd3/model_index.json");
    *strrchr(path, '/') = '\0';
    bl_test_sd3_folder(path, "sd3/medium", false);
    check_model(path, taesd3, 1);
}

static void flux1_takes_taef1(void **state) {
    char path[BL_TEST_PATH];
    (void)state;
    bl_test_join(path, folder, "flux1/model_index.json");
    *strrchr(path, '/') = '\0';
    bl_test_flux1_folder(path, "flux1/dev"); /* with T5's vocabulary */
    check_model(path, taef1, 1);
}

static void klein_takes_taef2(void **state) {
    char path[BL_TEST_PATH];
    (void)state;
    bl_synth_folder(path, "flux2/klein_2_2");
    check_model(path, taef2, 2);
}

/* Each is the other's no decoder. */
static void others_are_refused(void **state) {
    static const char *const families[] = {"zimage", "flux2/klein_2_2"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        char path[BL_TEST_PATH];
        ballast_context_options co;
        ballast_model_options mo;
        ballast_context *context;
        ballast_model *model = NULL;
        ballast_error err = {0};
        bl_synth_folder(path, families[i]);
        rig_options(&co, &mo, path, "f32");
        mo.taesd_path = i ? taef1 : taef2;
        assert_int_equal(ballast_context_open(&context, &co, &err), 0);
        assert_int_equal(ballast_model_open(&model, context, &mo, &err), BALLAST_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, i ? "16 channels, as SD 3 and FLUX.1 have them; those of FLUX.2"
                                              : "32 channels, as FLUX.2 has them; those of Z-Image have 16"));
        ballast_context_close(&context);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zimage_takes_taef1), cmocka_unit_test(flux1_takes_taef1),
        cmocka_unit_test(sd3_takes_taesd3), cmocka_unit_test(klein_takes_taef2),
        cmocka_unit_test(others_are_refused)};
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
