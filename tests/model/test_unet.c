/* The UNet against diffusers: all cases, inner tensors, both layouts of the checkpoint. */
#include "rig.h"

#include "model/unet.h"

static bl_graph *graph_of(const rig *r, const char *which, bl_dtype dtype, const char *const *taps) {
    char sample[RIG_NAME], context[RIG_NAME];
    rig_name(sample, "%s.sample", which);
    rig_name(context, "%s.context", which);
    const int64_t *size = bl_golden_tensor(&r->golden, sample)->shape;
    const int64_t *rows = bl_golden_tensor(&r->golden, context)->shape;
    bl_unet_shape shape = {
        .batch = (int)size[0], .height = (int)size[2], .width = (int)size[3], .tokens = (int)rows[1]};
    bl_graph *g = NULL;
    bl_error err = {0};
    rig_ok(bl_unet_graph(&g, &r->arch.unet, shape, dtype, taps, &err), &err);
    return g;
}

/* All cases of one checkpoint; in F32 with the inner tensors of those that have them. */
static void check_all(const char *family, bl_synth_layout layout, bl_dtype dtype, int threads) {
    rig r;
    rig_open(&r, family, layout, "unet", threads);
    int count, cases = 0, inner = 0;
    const bl_file_tensor *all = bl_safetensors_tensors(r.golden.file, &count);
    for (int i = 0; i < count && (dtype == BL_F32 || rig_has_bf16(&r)); i++) {
        char which[RIG_NAME];
        if (rig_case(which, all[i].name, "output")) {
            const char *taps[RIG_PORTS] = {NULL};
            rig_check(&r, graph_of(&r, which, dtype, NULL), which, dtype);
            if (dtype == BL_F32 && rig_taps(&r, which, taps)) {
                rig_check(&r, graph_of(&r, which, dtype, taps), which, dtype);
                inner++;
            }
            cases++;
        }
    }
    assert_true((cases >= 7 && inner) || dtype != BL_F32);
    rig_close(&r);
}

static rig_checker all = {check_all};

int main(void) {
    const struct CMUnitTest tests[] = {RIG_WAYS(all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
