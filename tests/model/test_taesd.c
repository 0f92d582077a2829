/* TAESD's decoder against diffusers' AutoencoderTiny, out of the files of both layouts, and TAEF2's against
 * its authors' network. */
#include "rig.h"

#include "model/taesd.h"

#include <math.h>

#define CASES 6
#define CASES_TAEF2 2
#define TAEF2 "common/taef2/decoder.safetensors"

/* `file`: of one of the folders in common/, whose golden file is its. */
static void open_with(rig *r, const char *file, int threads) {
    char path[BL_TEST_PATH], golden[64], klein[BL_TEST_PATH];
    const bool second = !strcmp(file, TAEF2);
    bl_error err = {0};
    rig_open(r, "sd15", BL_SYNTH_SINGLE, "vae", threads);
    bl_golden_close(&r->golden);
    snprintf(golden, sizeof golden, "common/%s/golden.safetensors", second ? "taef2" : "taesd");
    bl_golden_open(&r->golden, golden);
    bl_test_data(path, file);
    if (second) {
        bl_checkpoint_close(&r->ckpt);
        bl_synth_folder(klein, "flux2/klein_2_2");
        rig_ok(bl_checkpoint_open(&r->ckpt, klein, NULL, &err), &err);
    }
    rig_ok(bl_checkpoint_take_taesd(r->ckpt, path, &err), &err);
    rig_ok(bl_architecture_detect(&r->arch, r->ckpt, &err), &err);
    assert_int_equal(r->arch.taesd.channels, second ? 4 : 8);
    assert_int_equal(r->arch.taesd.latent_channels, second ? 32 : 4);
    assert_int_equal(r->arch.taesd.pooled, second);
}

/* One case, with the inner layers that the golden file has of it. */
static void check_case(const rig *r, const char *which, bl_dtype dtype) {
    char name[RIG_NAME];
    const char *taps[RIG_PORTS] = {NULL};
    bl_graph *g = NULL;
    bl_error err = {0};
    rig_name(name, "%s.z", which);
    const int64_t *size = bl_golden_tensor(&r->golden, name)->shape;
    rig_taps(r, which, taps);
    bl_taesd_shape shape = {.batch = (int)size[0], .height = (int)size[2], .width = (int)size[3]};
    rig_ok(bl_taesd_graph(&g, &r->arch.taesd, shape, dtype, taps, &err), &err);
    float *z = bl_golden_f32(&r->golden, name);
    bl_taesd_clamp(z, z, (size_t)(size[0] * size[1] * size[2] * size[3]));
    void *inputs[1] = {z}, *outputs[RIG_PORTS];
    for (int i = 0; i < g->output_count; i++) {
        outputs[i] = malloc((size_t)bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, i)) * sizeof(float));
        assert_non_null(outputs[i]);
    }
    rig_run(r, g, (const void *const *)inputs, outputs);
    for (int i = 0; i < g->output_count; i++) {
        const bl_tensor *t = bl_graph_port(g, BL_OUTPUT, i);
        bool image = !strcmp(t->name, "image");
        rig_name(name, image ? "%s.%s" : "%s.at.%s", which, t->name);
        if (image) {
            bl_taesd_range(outputs[i], (size_t)bl_tensor_elements(t));
        }
        bl_golden_check(&r->golden, name, outputs[i], bl_tensor_elements(t), dtype);
        free(outputs[i]);
    }
    free(z);
    bl_graph_free(&g);
}

static void check_all(const char *file, bl_dtype dtype, int threads) {
    rig r;
    int count, cases = 0;
    open_with(&r, file, threads);
    const bl_file_tensor *all = bl_safetensors_tensors(r.golden.file, &count);
    for (int i = 0; i < count && (dtype == BL_F32 || rig_has_bf16(&r)); i++) {
        char which[RIG_NAME];
        if (rig_case(which, all[i].name, "image")) {
            check_case(&r, which, dtype);
            cases++;
        }
    }
    assert_true(cases == (strcmp(file, TAEF2) ? CASES : CASES_TAEF2) || dtype != BL_F32);
    rig_close(&r);
}

static void the_authors_layout(void **state) {
    (void)state;
    check_all("common/taesd/decoder.safetensors", BL_F32, 1);
    check_all("common/taesd/decoder.safetensors", BL_BF16, 0);
}

static void diffusers_layout(void **state) {
    (void)state;
    check_all("common/taesd/diffusers.safetensors", BL_F32, 0);
}

static void flux2_has_its_own(void **state) {
    (void)state;
    check_all(TAEF2, BL_F32, 1);
    check_all(TAEF2, BL_BF16, 0);
}

/* NaN of a damaged file is not made a colour. */
static void nan_stays(void **state) {
    (void)state;
    rig r;
    float z[4 * 2 * 2], image[3 * 16 * 16];
    bl_graph *g = NULL;
    bl_error err = {0};
    open_with(&r, "common/taesd/decoder.safetensors", 1);
    rig_ok(bl_taesd_graph(&g, &r.arch.taesd, (bl_taesd_shape){.batch = 1, .height = 2, .width = 2}, BL_F32,
                          NULL, &err),
           &err);
    for (int i = 0; i < 16; i++) {
        z[i] = (float)NAN;
    }
    const void *inputs[] = {z};
    void *outputs[] = {image};
    rig_run(&r, g, inputs, outputs);
    assert_true(isnan(image[0]));
    bl_graph_free(&g);
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_authors_layout),
                                       cmocka_unit_test(diffusers_layout),
                                       cmocka_unit_test(flux2_has_its_own), cmocka_unit_test(nan_stays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
