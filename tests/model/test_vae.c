/* The autoencoder against diffusers, both ways. */
#include "rig.h"

#include "model/autoencoder_kl.h"

/* The graph for the case "d.square" or "e.square". */
static bl_graph *graph_of(const rig *r, const char *which, bl_dtype dtype, const char *const *taps) {
    bool decode = which[0] == 'd';
    char name[RIG_NAME];
    rig_name(name, "%s.%s", which, decode ? "z" : "moments"); /* both have the latent's size */
    const int64_t *size = bl_golden_tensor(&r->golden, name)->shape;
    bl_vae_shape shape = {.batch = (int)size[0], .height = (int)size[2], .width = (int)size[3]};
    bl_graph *g = NULL;
    bl_error err = {0};
    if (decode) {
        rig_ok(bl_vae_decoder_graph(&g, &r->arch.vae, shape, dtype, taps, &err), &err);
    } else {
        rig_ok(bl_vae_encoder_graph(&g, &r->arch.vae, shape, dtype, taps, &err), &err);
    }
    return g;
}

/* All cases of one checkpoint; in F32 with the inner tensors of those that have them, as SD1.x's do. */
static void check_all(const char *family, bl_synth_layout layout, bl_dtype dtype, int threads) {
    rig r;
    rig_open(&r, family, layout, "vae", threads);
    int count, cases = 0, inner = 0;
    const bl_file_tensor *all = bl_safetensors_tensors(r.golden.file, &count);
    for (int i = 0; i < count && (dtype == BL_F32 || rig_has_bf16(&r)); i++) {
        char which[RIG_NAME];
        bool decoded = rig_case(which, all[i].name, "image") && which[0] == 'd';
        if (decoded || rig_case(which, all[i].name, "moments")) {
            const char *taps[RIG_PORTS] = {NULL};
            rig_check(&r, graph_of(&r, which, dtype, NULL), which, dtype);
            if (dtype == BL_F32 && rig_taps(&r, which, taps)) {
                rig_check(&r, graph_of(&r, which, dtype, taps), which, dtype);
                inner++;
            }
            cases++;
        }
    }
    assert_true((cases >= 5 && (inner >= 2 || strcmp(family, "sd15") != 0)) || dtype != BL_F32);
    rig_close(&r);
}

static rig_checker all = {check_all};

int main(void) {
    const struct CMUnitTest tests[] = {RIG_WAYS(all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
