/* Sizes that the buffers between the modules are made for, whatever a checkpoint says: tokens, positions,
 * pixels a latent. */
#include "pipeline/rig.h"

/* How a copy differs from its checkpoint. */
typedef struct change {
    const char *part; /* of the names of tensors */
    int64_t rows;     /* what they have then; 0: they are left out */
} change;

static bool apply(void *context, char *name, bl_tensor_data *t) {
    const change *c = context;
    if (!strstr(name, c->part)) {
        return true;
    }
    t->shape[0] = c->rows;
    return c->rows > 0;
}

static int open_changed(change how, ballast_error *err) {
    char folder[BL_TEST_PATH], path[BL_TEST_PATH], from[BL_TEST_PATH];
    ballast_context_options co;
    ballast_context_options_init(&co, sizeof co);
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    rig_studio s = {0};
    bl_synth_checkpoint(from, "sd15", BL_SYNTH_SINGLE);
    bl_test_folder(folder);
    bl_test_join(path, folder, "x.safetensors");
    bl_test_rewrite(path, from, apply, &how, NULL, 0);
    co.cache_dir = "";
    mo.path = path;
    assert_int_equal(ballast_context_open(&s.context, &co, err), 0);
    int rc = ballast_model_open(&s.model, s.context, &mo, err);
    if (!rc) {
        ballast_generate_options o = rig_request(NULL, 64);
        o.steps = 1;
        o.image = NULL;
        rc = ballast_generate(NULL, s.model, &o, err);
    }
    rig_close(&s);
    bl_test_folder_remove(folder);
    return rc;
}

static void expect_refusal(change how, const char *text) {
    ballast_error err = {0};
    assert_int_equal(open_changed(how, &err), BALLAST_E_UNSUPPORTED);
    if (!strstr(err.message, text)) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, text);
    }
}

static void test_text(void **state) {
    ballast_error err = {0};
    (void)state;
    expect_refusal((change){"position_embedding.weight", 76}, "49408 tokens and 76 positions");
    expect_refusal((change){"token_embedding.weight", 49407}, "49407 tokens");
    /* more than is used does no harm */
    assert_int_equal(open_changed((change){"position_embedding.weight", 248}, &err), 0);
    assert_int_equal(open_changed((change){"token_embedding.weight", 49409}, &err), 0);
}

static void test_vae(void **state) {
    (void)state;
    expect_refusal((change){"first_stage_model.decoder.up.3.", 0}, "latents stand for 4x4 pixels");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_vae),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
