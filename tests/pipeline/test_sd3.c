/* SD3.5 from its folder, with all of its three text encoders and without the last: planned, and not run. */
#include "pipeline/flow_rig.h"

#include <sys/stat.h>

/* The modules of the plan's phases, in their order. */
static void check_planned(const char *folder, const char *name, int steps, const char *const *modules) {
    char words[128];
    rig_studio s;
    flow_taken t;
    size_t n = 0;
    rig_open(&s, folder, "f32", "");
    ballast_generate_options o = flow_request(&t);
    o.steps = steps;
    o.cfg = 4;
    json_t *plan = rig_plan(&s, &o);
    const json_t *phases = json_object_get(plan, "phases");
    for (; modules[n]; n++) {
        const json_t *phase = json_array_get(phases, n);
        const char *module = json_string_value(json_object_get(phase, "module"));
        const bool clip = !strcmp(modules[n], "text_encoder") || !strcmp(modules[n], "text_encoder_2"),
                   step = !strcmp(modules[n], "transformer");
        assert_string_equal(module ? module : "", modules[n]);
        assert_int_equal(json_integer_value(json_object_get(phase, "passes")), clip ? 2 : step ? steps : 1);
    }
    assert_int_equal(json_array_size(phases), n);
    json_decref(plan);
    snprintf(words, sizeof words, "%s is planned and not run", name);
    flow_refuses(&s, &o, words);
    rig_close(&s);
}

static void folders_are_planned_and_not_run(void **state) {
    static const char *const modules[] = {
        "text_encoder_3",    "text_encoder_3", "text_encoder", "text_encoder_2",
        "transformer.times", "transformer",    "vae_decoder",  NULL};
    char folder[BL_TEST_PATH];
    (void)state;
    bl_synth_folder(folder, "sd3/medium");
    check_planned(folder, "SD3.5 medium", 40, modules);
    bl_synth_folder(folder, "sd3/first");
    check_planned(folder, "SD3 medium", 28, modules);
}

#define HEADS "\"attention_head_dim\": 16"

/* Makes a folder of a family's weights, but for what is left out, with one file more. */
static void make_folder(char folder[BL_TEST_PATH], const char *family, const char *left_out, const char *file,
                        const char *text) {
    static const char *const same[] = {"text_encoder/model.safetensors", "text_encoder_2/model.safetensors",
                                       "text_encoder_3/model.safetensors", "vae",
                                       "transformer/diffusion_pytorch_model.safetensors"};
    char synth[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    bl_synth_folder(synth, family);
    bl_test_folder(folder);
    bl_test_join(to, folder, "transformer/config.json");
    bl_test_write(to, "{" HEADS "}", strlen("{" HEADS "}"));
    bl_test_join(to, folder, file);
    bl_test_write(to, text, strlen(text));
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        if (left_out && !strncmp(same[i], left_out, strlen(left_out))) {
            continue;
        }
        bl_test_join(from, synth, same[i]);
        bl_test_join(to, folder, same[i]);
        char *slash = strrchr(to, '/');
        *slash = 0;
        mkdir(to, 0777);
        *slash = '/';
        assert_int_equal(symlink(from, to), 0);
    }
}

static void t5_may_be_missing(void **state) {
    static const char *const modules[] = {"text_encoder", "text_encoder_2", "transformer.times",
                                          "transformer",  "vae_decoder",    NULL};
    char folder[BL_TEST_PATH];
    (void)state;
    make_folder(folder, "sd3/medium", "text_encoder_3", "model_index.json",
                "{\"text_encoder_3\": [null, null], \"tokenizer_3\": [null, null]}");
    check_planned(folder, "SD3.5 medium", 2, modules);
    bl_test_folder_remove(folder);
}

/* A folder with other configurations beside the same weights is another model. */
static void what_contradicts_the_weights_is_refused(void **state) {
    static const struct {
        const char *family, *left_out, *file, *text, *says;
    } cases[] = {
        {"sd3/medium", NULL, "transformer/config.json", "{" HEADS ", \"qk_norm\": null}", "qk_norm"},
        {"sd3/medium", NULL, "transformer/config.json", "{" HEADS ", \"qk_norm\": \"layer_norm\"}",
         "qk_norm"},
        {"sd3/first", NULL, "transformer/config.json", "{" HEADS ", \"qk_norm\": \"rms_norm\"}", "qk_norm"},
        {"sd3/medium", NULL, "transformer/config.json", "{" HEADS ", \"dual_attention_layers\": [1]}",
         "dual_attention_layers"},
        {"sd3/medium", NULL, "transformer/config.json", "{" HEADS ", \"num_layers\": 4}", "num_layers"},
        {"sd3/medium", NULL, "transformer/config.json", "{" HEADS ", \"pos_embed_max_size\": 16}",
         "pos_embed_max_size"},
        {"sd3/medium", NULL, "transformer/config.json", "{\"_class_name\": \"AuraFlowTransformer2DModel\"}",
         "SD3Transformer2DModel"},
        {"sd3/medium", NULL, "text_encoder_3/config.json", "{\"feed_forward_proj\": \"relu\"}",
         "feed_forward_proj"},
        {"sd3/medium", NULL, "text_encoder_2/config.json", "{\"eos_token_id\": 7}", "eos_token_id"},
        {"sd3/medium", "text_encoder_2", "model_index.json", "{}", "no text_encoder_2, which is CLIP's G"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[BL_TEST_PATH];
        ballast_context *context = NULL;
        ballast_model *model = NULL;
        ballast_error err = {0};
        make_folder(folder, cases[i].family, cases[i].left_out, cases[i].file, cases[i].text);
        ballast_model_options mo;
        ballast_model_options_init(&mo, sizeof mo);
        mo.path = folder;
        assert_int_equal(ballast_context_open(&context, NULL, &err), 0);
        assert_true(ballast_model_open(&model, context, &mo, &err) < 0);
        if (!strstr(err.message, cases[i].says)) {
            fail_msg("\"%s\" is not in: %s", cases[i].says, err.message);
        }
        ballast_context_close(&context);
        bl_test_folder_remove(folder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_are_planned_and_not_run),
        cmocka_unit_test(t5_may_be_missing),
        cmocka_unit_test(what_contradicts_the_weights_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
