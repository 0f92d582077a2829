/* Every network of the golden models gives the same bits at every arena level, for batches that are taken
 * apart evenly and batches that are not. */
#include "rig.h"

#include "model/autoencoder_kl.h"
#include "model/clip_text.h"
#include "model/unet.h"
#include "support/slow.h"

/* What a graph takes: numbers in -1 .. 1 that repeat at no size of a picture, tokens in ascending order. */
static void *input(const bl_tensor *t) {
    int64_t count = bl_tensor_elements(t);
    void *data = malloc((size_t)count * 4);
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++) {
        if (t->dtype == BL_I32) {
            ((int32_t *)data)[i] = (int32_t)(i % t->h);
        } else {
            ((float *)data)[i] = (float)(i * 7919 % 2003) / 1001.5f - 1.0f;
        }
    }
    return data;
}

static void run_level(const rig *r, const bl_graph *g, int level, void *const *inputs, void *const *outputs) {
    bl_error err = {0};
    bl_model_weights weights;
    rig_ok(bl_model_weights_open(&weights, g, r->ckpt, &err), &err);
    bl_source source = bl_model_source(&weights);
    bl_prepare_options options = {.arena_level = level};
    for (int i = 0; i < g->output_count; i++) { /* bytes that no output holds */
        memset(outputs[i], 0xff, (size_t)bl_tensor_bytes(bl_graph_port(g, BL_OUTPUT, i)));
    }
    rig_ok(bl_run_once(r->device, g, &source, &options, (const void *const *)(const void *)inputs, outputs,
                       &err),
           &err);
    bl_model_weights_close(&weights);
}

/* Frees the graph. */
static void check(const rig *r, bl_graph *g) {
    void *inputs[RIG_PORTS], *wanted[RIG_PORTS], *got[RIG_PORTS];
    bl_device_caps caps = bl_device_caps_of(r->device);
    assert_true(g->input_count <= RIG_PORTS && g->output_count <= RIG_PORTS && caps.arena_levels > 1);
    for (int i = 0; i < g->input_count; i++) {
        inputs[i] = input(bl_graph_port(g, BL_INPUT, i));
    }
    for (int i = 0; i < g->output_count; i++) {
        size_t bytes = (size_t)bl_tensor_bytes(bl_graph_port(g, BL_OUTPUT, i));
        wanted[i] = malloc(bytes);
        got[i] = malloc(bytes);
        assert_true(wanted[i] && got[i]);
    }
    run_level(r, g, 0, inputs, wanted);
    for (int level = 1; level < caps.arena_levels; level++) {
        run_level(r, g, level, inputs, got);
        for (int i = 0; i < g->output_count; i++) {
            const bl_tensor *t = bl_graph_port(g, BL_OUTPUT, i);
            if (memcmp(got[i], wanted[i], (size_t)bl_tensor_bytes(t)) != 0) {
                fail_msg("%s %s, batch %d, level %d: other bits of %s", bl_module_name(g->module),
                         bl_dtype_name(g->dtype), t->n, level, t->name);
            }
        }
    }
    for (int i = 0; i < g->input_count; i++) {
        free(inputs[i]);
    }
    for (int i = 0; i < g->output_count; i++) {
        free(wanted[i]);
        free(got[i]);
    }
    bl_graph_free(&g);
}

static void check_modules(const rig *r, bl_dtype dtype, int batch, int height, int width) {
    bl_graph *g = NULL;
    bl_error err = {0};
    bl_vae_shape vae = {batch, height, width};
    bl_clip_text_outputs want = {.context = true, .pooled = true};
    rig_ok(bl_unet_graph(&g, &r->arch.unet,
                         (bl_unet_shape){.batch = batch, .height = height, .width = width, .tokens = 77},
                         dtype, NULL, &err),
           &err);
    check(r, g);
    rig_ok(bl_vae_decoder_graph(&g, &r->arch.vae, vae, dtype, NULL, &err), &err);
    check(r, g);
    rig_ok(bl_vae_encoder_graph(&g, &r->arch.vae, vae, dtype, NULL, &err), &err);
    check(r, g);
    for (int i = 0; i < 2 && r->arch.text[i].present; i++) {
        rig_ok(bl_clip_text_graph(&g, i ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, &r->arch.text[i], batch, 77,
                                  want, dtype, NULL, &err),
               &err);
        check(r, g);
    }
}

static void check_family(const char *family) {
    rig r;
    if (bl_test_slow() && strcmp(family, "sdxl") != 0) {
        skip();
    }
    rig_open(&r, family, BL_SYNTH_SINGLE, "text", 1);
    const bl_dtype dtypes[] = {BL_F32, BL_BF16};
    for (int i = 0; i < (rig_has_bf16(&r) ? 2 : 1); i++) {
        check_modules(&r, dtypes[i], 2, 8, 8);
        check_modules(&r, dtypes[i], 5, 9, 6);
    }
    rig_close(&r);
}

static void test_sd15(void **state) {
    (void)state;
    check_family("sd15");
}

static void test_sd21v(void **state) {
    (void)state;
    check_family("sd21v");
}

static void test_sdxl(void **state) {
    (void)state;
    check_family("sdxl");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sd15),
        cmocka_unit_test(test_sd21v),
        cmocka_unit_test(test_sdxl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
