/* FLUX.2 klein from a request to a picture, through the public functions, against diffusers: a folder with a
 * tiny transformer, its VAE and a narrow Qwen3 with the whole vocabulary. */
#include "pipeline/flow_rig.h"

#include "support/slow.h"

#define FAMILY "flux2/klein_2_2"

static void open_model(rig_studio *s, const char *dtype) {
    char folder[BL_TEST_PATH];
    bl_synth_folder(folder, FAMILY);
    rig_open(s, folder, dtype, "");
}

static void pictures_are_those_of_diffusers(void **state) {
    (void)state;
    bl_golden g;
    bl_golden_open(&g, FAMILY "/golden/pictures.safetensors");
    for (int i = 0; i < (bl_test_slow() ? 1 : 2); i++) {
        const bl_dtype dtype = i ? BL_BF16 : BL_F32;
        rig_studio s;
        flow_taken t;
        open_model(&s, i ? "bf16" : "f32");
        ballast_generate_options o = flow_request(&t);
        o.steps = 4;
        o.cfg = 1;
        flow_check(&s, &g, "distilled", o, 16, dtype);
        o = flow_request(&t);
        o.steps = 3;
        o.cfg = 4;
        o.negative_prompt = "";
        o.width = 96;
        flow_check(&s, &g, "guided", o, 16, dtype);
        rig_close(&s);
    }
    bl_golden_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_those_of_diffusers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
