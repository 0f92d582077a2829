/* SD3.5 medium and SD3 from a request to a picture, through the public functions, against diffusers: folders
 * with a tiny transformer, its VAE, two narrow CLIPs and a narrow T5 with a small vocabulary, or without T5.
 */
#include "pipeline/flow_rig.h"

#include "support/sd3_files.h"
#include "support/slow.h"

#include <sys/stat.h>

static const char *dtype_names[] = {"f32", "bf16"};

static void make_sd3(char folder[BL_TEST_PATH], const char *family, bool t5) {
    bl_test_folder(folder);
    bl_test_sd3_folder(folder, family, t5);
}

/* Two small steps of a small picture. */
static ballast_generate_options small_request(flow_taken *t) {
    ballast_generate_options o = flow_request(t);
    o.width = o.height = 32;
    o.cfg = 1;
    return o;
}

static void check_medium(rig_studio *s, const bl_golden *g, bl_dtype dtype) {
    flow_taken t;
    ballast_generate_options o = small_request(&t);
    o.steps = 3;
    o.cfg = 3;
    o.negative_prompt = "a cat";
    o.width = 48;
    flow_check(s, g, "guided", o, 8, dtype);
    o = small_request(&t);
    o.negative_prompt = "a cat";
    flow_add_all(&o);
    o.init_width = o.init_height = 32;
    o.hires_scale = 0;
    o.steps = 4;
    o.strength = 0.75;
    flow_check(s, g, "start", o, 8, dtype);
}

static void pictures_are_those_of_diffusers(void **state) {
    (void)state;
    for (int i = 0; i < (bl_test_slow() ? 2 : 4); i++) {
        const bool medium = i % 2 == 0;
        const bl_dtype dtype = i / 2 ? BL_BF16 : BL_F32;
        char folder[BL_TEST_PATH];
        bl_golden g;
        rig_studio s;
        flow_taken t;
        bl_golden_open(&g, medium ? "sd3/medium/golden/pictures.safetensors"
                                  : "sd3/first/golden/pictures.safetensors");
        make_sd3(folder, medium ? "sd3/medium" : "sd3/first", true);
        rig_open(&s, folder, dtype_names[i / 2], "");
        ballast_generate_options o = small_request(&t);
        o.steps = 4;
        flow_check(&s, &g, "plain", o, 8, dtype);
        if (medium) {
            check_medium(&s, &g, dtype);
        }
        rig_close(&s);
        bl_test_folder_remove(folder);
        bl_golden_close(&g);
    }
}

/* ---- whatever the placement */

/* With a negative prompt, a start picture, a second pass through pictures, and previews. */
static ballast_generate_options rich_request(flow_taken *t) {
    ballast_generate_options o = small_request(t);
    o.negative_prompt = "a cat";
    flow_add_all(&o);
    o.init_width = o.init_height = 32;
    return o;
}

static void placement_changes_nothing(void **state) {
    (void)state;
    char folder[BL_TEST_PATH];
    rig_studio s;
    make_sd3(folder, "sd3/medium", true);
    rig_open(&s, folder, "f32", "");
    flow_same_everywhere(&s, rich_request, bl_test_slow() ? FLOW_MODES : 3);
    rig_close(&s);
    bl_test_folder_remove(folder);
}

static void what_was_encoded_is_taken_for_its_own_text(void **state) {
    (void)state;
    char folder[BL_TEST_PATH];
    rig_studio s;
    make_sd3(folder, "sd3/medium", true);
    rig_open(&s, folder, "f32", "");
    flow_takes_texts_apart(&s, small_request);
    rig_close(&s);
    bl_test_folder_remove(folder);
}

/* The table of positions has an end. */
static void larger_than_the_table_is_refused(void **state) {
    (void)state;
    char folder[BL_TEST_PATH];
    rig_studio s;
    flow_taken t;
    make_sd3(folder, "sd3/medium", true);
    rig_open(&s, folder, "f32", "");
    ballast_generate_options o = small_request(&t);
    o.width = 208;
    flow_refuses(&s, &o, "at most 24 x 24, not 26 x 4");
    rig_close(&s);
    bl_test_folder_remove(folder);
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

/* ---- who is planned alone, and who is refused */

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
    if (name) {
        snprintf(words, sizeof words, "%s is planned and not run: T5's vocabulary is missing", name);
        flow_refuses(&s, &o, words);
    }
    rig_close(&s);
}

static void without_a_vocabulary_they_are_planned(void **state) {
    static const char *const modules[] = {"text_encoder_3",
                                          "text_encoder",
                                          "text_encoder_2",
                                          "transformer.times",
                                          "transformer",
                                          "vae_decoder",
                                          NULL};
    char folder[BL_TEST_PATH];
    (void)state;
    bl_synth_folder(folder, "sd3/medium");
    check_planned(folder, "SD3.5 medium", 40, modules);
    bl_synth_folder(folder, "sd3/first");
    check_planned(folder, "SD3 medium", 28, modules);
}

/* Zeros stand for its rows, as in diffusers; and then CLIP's 75 tokens are all that is read. */
static void check_without(const char *folder) {
    bl_golden g;
    rig_studio s;
    flow_taken t;
    bl_golden_open(&g, "sd3/medium/golden/pictures.safetensors");
    rig_open(&s, folder, "f32", "");
    ballast_generate_options o = small_request(&t);
    o.cfg = 3;
    o.negative_prompt = "a cat";
    flow_check(&s, &g, "without", o, 8, BL_F32);
    assert_false(s.warnings);
    o = small_request(&t);
    o.prompt = "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a "
               "a a a a a a "
               "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a";
    rig_make(&s, &o);
    assert_non_null(strstr(s.warning, "without T5 reads 75 tokens of a prompt: the last"));
    flow_drop(&t);
    rig_close(&s);
    bl_golden_close(&g);
}

static void t5_may_be_missing(void **state) {
    static const char *const modules[] = {"text_encoder", "text_encoder_2", "transformer.times",
                                          "transformer",  "vae_decoder",    NULL};
    char folder[BL_TEST_PATH];
    (void)state;
    make_sd3(folder, "sd3/medium", false);
    check_planned(folder, NULL, 2, modules);
    check_without(folder);
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
        cmocka_unit_test(pictures_are_those_of_diffusers),
        cmocka_unit_test(placement_changes_nothing),
        cmocka_unit_test(what_was_encoded_is_taken_for_its_own_text),
        cmocka_unit_test(larger_than_the_table_is_refused),
        cmocka_unit_test(without_a_vocabulary_they_are_planned),
        cmocka_unit_test(t5_may_be_missing),
        cmocka_unit_test(what_contradicts_the_weights_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
