/* FLUX.1 dev and schnell from their folders: planned with both encoders, and not run. */
#include "pipeline/flow_rig.h"

static void check_planned(const char *family, const char *name, int steps) {
    static const char *const modules[] = {"text_encoder_2", "text_encoder", "transformer.times",
                                          "transformer", "vae_decoder"};
    char folder[BL_TEST_PATH], words[128];
    rig_studio s;
    flow_taken t;
    bl_synth_folder(folder, family);
    rig_open(&s, folder, "f32", "");
    ballast_generate_options o = flow_request(&t);
    o.steps = steps;
    json_t *plan = rig_plan(&s, &o);
    const json_t *phases = json_object_get(plan, "phases");
    assert_int_equal(json_array_size(phases), 5);
    for (size_t i = 0; i < 5; i++) {
        const json_t *phase = json_array_get(phases, i);
        assert_string_equal(json_string_value(json_object_get(phase, "module")), modules[i]);
        assert_int_equal(json_integer_value(json_object_get(phase, "passes")), i == 3 ? steps : 1);
    }
    json_decref(plan);
    snprintf(words, sizeof words, "%s is planned and not run", name);
    flow_refuses(&s, &o, words);
    rig_close(&s);
}

static void both_kinds_are_planned_and_not_run(void **state) {
    (void)state;
    check_planned("flux1/dev", "FLUX.1 dev", 28);
    check_planned("flux1/schnell", "FLUX.1 schnell", 4);
}

#define AXES "\"axes_dims_rope\": [4, 4, 8]"

/* Makes a folder of dev's weights, with the axes' configuration and one file more. */
static void make_folder(char folder[BL_TEST_PATH], const char *file, const char *text) {
    static const char *const same[] = {"text_encoder", "vae", "text_encoder_2/model.safetensors",
                                       "transformer/diffusion_pytorch_model.safetensors"};
    char synth[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    bl_synth_folder(synth, "flux1/dev");
    bl_test_folder(folder);
    bl_test_join(to, folder, "transformer/config.json");
    bl_test_write(to, "{" AXES "}", strlen("{" AXES "}"));
    bl_test_join(to, folder, file);
    bl_test_write(to, text, strlen(text));
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        bl_test_join(from, synth, same[i]);
        bl_test_join(to, folder, same[i]);
        assert_int_equal(symlink(from, to), 0);
    }
}

/* A folder with other configurations beside the same weights is another model. */
static void what_contradicts_the_weights_is_refused(void **state) {
    static const struct {
        const char *file, *text, *says;
    } cases[] = {{"transformer/config.json", "{" AXES ", \"guidance_embeds\": false}", "guidance_embeds"},
                 {"transformer/config.json", "{" AXES ", \"num_single_layers\": 3}", "num_single_layers"},
                 {"text_encoder_2/config.json", "{\"feed_forward_proj\": \"relu\"}", "feed_forward_proj"},
                 {"text_encoder_2/config.json", "{\"num_heads\": 8}", "num_heads"},
                 {"text_encoder_2/config.json", "{\"relative_attention_num_buckets\": 64}",
                  "relative_attention_num_buckets"},
                 {"text_encoder_2/config.json", "{\"relative_attention_max_distance\": [64]}",
                  "relative_attention_max_distance"}, /* of a list none is read */
                 {"model_index.json", "{\"text_encoder_2\": [\"transformers\", \"UMT5EncoderModel\"]}",
                  "text_encoder_2"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[BL_TEST_PATH];
        ballast_context *context = NULL;
        ballast_model *model = NULL;
        ballast_error err = {0};
        make_folder(folder, cases[i].file, cases[i].text);
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

/* A tokenizer's configuration is no news where nothing reads its words. */
static void words_that_nobody_reads_are_no_warning(void **state) {
    char folder[BL_TEST_PATH];
    rig_studio s;
    (void)state;
    make_folder(folder, "tokenizer/tokenizer_config.json", "{\"bos_token\": \"<|startoftext|>\"}");
    flow_open_files(&s, folder, NULL, NULL);
    if (s.warnings) {
        fail_msg("%s", s.warning);
    }
    rig_close(&s);
    bl_test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_kinds_are_planned_and_not_run),
        cmocka_unit_test(what_contradicts_the_weights_is_refused),
        cmocka_unit_test(words_that_nobody_reads_are_no_warning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
