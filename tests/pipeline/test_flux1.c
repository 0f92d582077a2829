/* FLUX.1 dev and schnell from a request to a picture, through the public functions, against diffusers:
 * folders with a tiny transformer, its VAE, a narrow CLIP and a narrow T5 with a small vocabulary. */
#include "pipeline/flow_rig.h"

#include "support/flux1_files.h"
#include "support/gguf.h"
#include "support/other_names.h"
#include "support/slow.h"

static const char *dtype_names[] = {"f32", "bf16"};

/* Two small steps of a small picture. */
static ballast_generate_options small_request(flow_taken *t) {
    ballast_generate_options o = flow_request(t);
    o.width = o.height = 32;
    return o;
}

static ballast_generate_options started_request(flow_taken *t) {
    ballast_generate_options o = small_request(t);
    flow_add_all(&o);
    o.init_width = o.init_height = 32;
    o.hires_scale = 0;
    o.steps = 4;
    o.cfg = 1;
    o.strength = 0.75;
    return o;
}

static void check_dev(rig_studio *s, const bl_golden *g, bl_dtype dtype) {
    flow_taken t;
    ballast_generate_options o = small_request(&t);
    o.steps = 4;
    flow_check(s, g, "plain", o, 8, dtype);
    o = small_request(&t);
    o.steps = 3;
    o.cfg = 3;
    o.guidance = 2;
    o.negative_prompt = "a cat";
    o.width = 48;
    flow_check(s, g, "guided", o, 8, dtype);
    flow_check(s, g, "start", started_request(&t), 8, dtype);
}

static void pictures_are_those_of_diffusers(void **state) {
    (void)state;
    for (int i = 0; i < (bl_test_slow() ? 2 : 4); i++) {
        const bool dev = i % 2 == 0;
        const bl_dtype dtype = i / 2 ? BL_BF16 : BL_F32;
        char folder[BL_TEST_PATH];
        bl_golden g;
        rig_studio s;
        flow_taken t;
        bl_golden_open(&g, dev ? "flux1/dev/golden/pictures.safetensors"
                               : "flux1/schnell/golden/pictures.safetensors");
        bl_test_folder(folder);
        bl_test_flux1_folder(folder, dev ? "flux1/dev" : "flux1/schnell");
        rig_open(&s, folder, dtype_names[i / 2], "");
        if (dev) {
            check_dev(&s, &g, dtype);
        } else {
            ballast_generate_options o = small_request(&t);
            o.steps = 4;
            flow_check(&s, &g, "plain", o, 8, dtype);
        }
        rig_close(&s);
        bl_test_folder_remove(folder);
        bl_golden_close(&g);
    }
}

/* ---- every file that holds it */

static void take_from(flow_taken *t, const char *path, const char *const *encoders, size_t count,
                      const char *vae) {
    rig_studio s;
    ballast_generate_options o = small_request(t);
    flow_open_parts(&s, path, encoders, count, vae);
    o.negative_prompt = "a cat";
    o.cfg = 2;
    rig_make(&s, &o);
    rig_close(&s);
}

static void same_pictures(flow_taken *got, const flow_taken *wanted, const char *what) {
    rig_same(&got->pictures, &wanted->pictures, what);
    flow_drop(got);
}

/* Its authors' file, CLIP in a file and T5 in another, by either's names; GGUF, which holds what is stored
 * small, against the same values in F32. */
static void single_files_give_the_folders_picture(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], single[BL_TEST_PATH], clip[BL_TEST_PATH], t5[BL_TEST_PATH],
        llama[BL_TEST_PATH], vae[BL_TEST_PATH], small[BL_TEST_PATH], widened[BL_TEST_PATH],
        words[BL_TEST_PATH];
    flow_taken wanted, got;
    bl_test_folder(folder);
    bl_test_flux1_wide_folder(folder);
    take_from(&wanted, folder, NULL, 0, NULL);
    bl_test_join(single, folder, "files/single.safetensors");
    bl_test_join(clip, folder, "text_encoder/model.safetensors");
    bl_test_join(t5, folder, "text_encoder_2/model.safetensors");
    bl_test_join(llama, folder, "files/llama.safetensors");
    bl_test_join(vae, folder, "files/ae.safetensors");
    bl_test_join(words, folder, "tokenizer_2");
    bl_test_flux1_single(single, "model.diffusion_model.");
    bl_test_t5_llama(llama);
    bl_test_ldm_vae(vae, "flux1/dev");
    take_from(&got, single, (const char *[]){t5, clip, words}, 3, vae);
    same_pictures(&got, &wanted, "its authors' names");
    bl_test_t5_vocabulary(folder, "files/tokenizer.json");
    take_from(&got, single, (const char *[]){clip, llama}, 2, vae);
    same_pictures(&got, &wanted, "llama.cpp's names, the vocabulary beside them");
    flow_drop(&wanted);
    bl_test_flux1_single(single, "");
    bl_test_join(small, folder, "files/small.gguf");
    bl_test_join(widened, folder, "files/widened.safetensors");
    bl_test_write_gguf(small, single);
    bl_test_write_widened(widened, small);
    take_from(&wanted, widened, (const char *[]){folder}, 1, vae);
    take_from(&got, small, (const char *[]){folder}, 1, vae);
    same_pictures(&got, &wanted, "GGUF");
    flow_drop(&wanted);
    bl_test_folder_remove(folder);
}

/* Folders of CLIP's have a vocabulary, too, which is not T5's, wherever it lies. */
static void vocabularies_of_others_are_passed_over(void **state) {
    static const char theirs[] = "{\"model\": {\"type\": \"BPE\"}}";
    (void)state;
    char folder[BL_TEST_PATH], single[BL_TEST_PATH], clip[BL_TEST_PATH], t5[BL_TEST_PATH], vae[BL_TEST_PATH],
        from[BL_TEST_PATH], to[BL_TEST_PATH];
    flow_taken wanted, got;
    bl_test_folder(folder);
    bl_test_flux1_wide_folder(folder);
    take_from(&wanted, folder, NULL, 0, NULL);
    bl_test_join(single, folder, "single.safetensors");
    bl_test_join(clip, folder, "clip");
    bl_test_join(t5, folder, "text_encoder_2/model.safetensors");
    bl_test_join(vae, folder, "vae/diffusion_pytorch_model.safetensors");
    bl_test_flux1_single(single, "");
    bl_test_join(to, folder, "clip/tokenizer.json");
    bl_test_write(to, theirs, sizeof theirs - 1);
    bl_test_join(to, folder, "tokenizer.json"); /* beside the transformer */
    bl_test_write(to, theirs, sizeof theirs - 1);
    for (int i = 0; i < 2; i++) {
        static const char *const names[][2] = {{"text_encoder/config.json", "clip/config.json"},
                                               {"text_encoder/model.safetensors", "clip/model.safetensors"}};
        bl_test_join(from, folder, names[i][0]);
        bl_test_join(to, folder, names[i][1]);
        assert_int_equal(symlink(from, to), 0);
    }
    for (int i = 0; i < 2; i++) {
        take_from(&got, single, i ? (const char *[]){clip, t5} : (const char *[]){t5, clip}, 2, vae);
        same_pictures(&got, &wanted, "beside CLIP's vocabulary");
    }
    flow_drop(&wanted);
    bl_test_folder_remove(folder);
}

/* What misses an encoder, or has one twice, or none of its own, says what to give. */
static void encoders_that_do_not_fit_are_refused(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], single[BL_TEST_PATH], clip[BL_TEST_PATH], vae[BL_TEST_PATH];
    bl_test_folder(folder);
    bl_test_flux1_wide_folder(folder);
    bl_test_join(single, folder, "single.safetensors");
    bl_test_join(clip, folder, "text_encoder/model.safetensors");
    bl_test_join(vae, folder, "vae/diffusion_pytorch_model.safetensors");
    bl_test_flux1_single(single, "");
    const struct {
        const char *encoders[2];
        size_t count;
        const char *says;
    } cases[] = {{{clip}, 1, "give each with --text-encoder FILE"},
                 {{clip, clip}, 2, "hold the same one of the model's encoders"},
                 {{vae}, 1, "holds neither T5's encoder nor CLIP"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ballast_context *context = NULL;
        ballast_model *model = NULL;
        ballast_error err = {0};
        ballast_model_options mo;
        ballast_model_options_init(&mo, sizeof mo);
        mo.path = single;
        mo.vae_path = vae;
        mo.text_encoder_paths = cases[i].encoders;
        mo.text_encoder_count = cases[i].count;
        assert_int_equal(ballast_context_open(&context, NULL, &err), 0);
        assert_true(ballast_model_open(&model, context, &mo, &err) < 0);
        if (!strstr(err.message, cases[i].says)) {
            fail_msg("\"%s\" is not in: %s", cases[i].says, err.message);
        }
        ballast_context_close(&context);
    }
    bl_test_folder_remove(folder);
}

/* One change by two names, on a model by either's: the same picture, and another than without it. */
static void adapters_change_the_same_by_every_name(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], single[BL_TEST_PATH], vae[BL_TEST_PATH], lora[2][BL_TEST_PATH];
    flow_taken t[4];
    bl_test_folder(folder);
    bl_test_flux1_wide_folder(folder);
    bl_test_join(single, folder, "single.safetensors");
    bl_test_join(vae, folder, "vae/diffusion_pytorch_model.safetensors");
    bl_test_flux1_single(single, "");
    for (int kohya = 0; kohya < 2; kohya++) {
        bl_test_join(lora[kohya], folder, kohya ? "kohya.safetensors" : "peft.safetensors");
        bl_test_flux1_lora(lora[kohya], kohya);
    }
    for (int i = 0; i < 4; i++) { /* the last without */
        rig_studio s;
        ballast_adapter adapter;
        ballast_generate_options o = small_request(&t[i]);
        ballast_adapter_init(&adapter, sizeof adapter);
        adapter.path = lora[i % 2];
        o.adapters = &adapter;
        o.adapter_count = i < 3;
        o.steps = 1;
        flow_open_parts(&s, i == 2 ? single : folder, (const char *[]){folder}, i == 2, i == 2 ? vae : NULL);
        rig_make(&s, &o);
        if (s.warnings) {
            fail_msg("%s", s.warning);
        }
        rig_close(&s);
    }
    for (int i = 1; i < 4; i++) {
        const int same = !memcmp(t[i].latents, t[0].latents, (size_t)t[0].count * sizeof(float));
        assert_int_equal(same, i < 3);
    }
    for (int i = 0; i < 4; i++) {
        flow_drop(&t[i]);
    }
    bl_test_folder_remove(folder);
}

/* ---- the transformer alone */

enum { CHANNELS = 16, SQUARE = 4 * CHANNELS, ROWS = 24, TEXT = 13, JOINT = 48, VECTOR = 32 }; /* of case a */

/* Its inputs out of the goldens, which have a row a patch where the network has channels of a picture. */
static void check_alone(rig_studio *s, const bl_golden *g, const char *in, const char *out, int wide) {
    static float latents[ROWS * SQUARE], output[ROWS * SQUARE];
    bl_error why;
    ballast_error err = {0};
    bl_safetensors *made;
    float *rows = bl_golden_f32(g, "a.hidden_states"), *text = bl_golden_f32(g, "a.encoder_hidden_states"),
          *t = bl_golden_f32(g, "a.timestep"), *told = bl_golden_f32(g, "a.guidance"),
          *pooled = bl_golden_f32(g, "a.pooled");
    int at[ROWS * SQUARE]; /* where a value of the picture is in the rows */
    for (int i = 0; i < ROWS * SQUARE; i++) {
        const int c = i / (4 * ROWS), y = i % (4 * ROWS) / wide, x = i % wide;
        at[i] = ((y / 2 * (wide / 2) + x / 2) * CHANNELS + c) * 4 + y % 2 * 2 + x % 2;
        latents[i] = rows[at[i]];
    }
    const bl_tensor_data data[] = {
        {.name = "a.latents",
         .dtype = BL_F32,
         .rank = 4,
         .shape = {1, CHANNELS, 4 * ROWS / wide, wide},
         .data = latents},
        {.name = "a.context", .dtype = BL_F32, .rank = 3, .shape = {1, TEXT, JOINT}, .data = text},
        {.name = "a.t", .dtype = BL_F32, .rank = 1, .shape = {1}, .data = t},
        {.name = "a.guidance", .dtype = BL_F32, .rank = 1, .shape = {1}, .data = told},
        {.name = "a.pooled", .dtype = BL_F32, .rank = 2, .shape = {1, VECTOR}, .data = pooled}};
    assert_int_equal(bl_safetensors_write(in, data, 5, NULL, 0, &why), 0);
    if (ballast_eval(s->model, "transformer", in, out, 0, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(bl_safetensors_open(&made, out, &why), 0);
    const bl_file_tensor *x = bl_safetensors_find(made, "a.output");
    assert_true(x && x->bytes == sizeof latents);
    assert_int_equal(bl_safetensors_read(made, x->offset, x->bytes, latents, &why), 0);
    for (int i = 0; i < ROWS * SQUARE; i++) {
        output[at[i]] = latents[i];
    }
    bl_golden_check(g, "a.output", output, ROWS * SQUARE, BL_F32);
    bl_safetensors_close(&made);
    free(rows);
    free(text);
    free(t);
    free(told);
    free(pooled);
}

static void the_transformer_runs_alone(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], in[BL_TEST_PATH], out[BL_TEST_PATH];
    rig_studio s;
    bl_golden g;
    bl_test_folder(folder);
    bl_test_flux1_folder(folder, "flux1/dev");
    bl_test_join(in, folder, "in.safetensors");
    bl_test_join(out, folder, "out.safetensors");
    bl_golden_open(&g, "flux1/dev/golden/transformer.safetensors");
    rig_open(&s, folder, "f32", "");
    check_alone(&s, &g, in, out, 8);
    rig_close(&s);
    bl_golden_close(&g);
    bl_test_folder_remove(folder);
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
    bl_test_folder(folder);
    bl_test_flux1_folder(folder, "flux1/dev");
    rig_open(&s, folder, "f32", "");
    flow_same_everywhere(&s, rich_request, bl_test_slow() ? FLOW_MODES : 3);
    rig_close(&s);
    bl_test_folder_remove(folder);
}

static void what_was_encoded_is_taken_for_its_own_text(void **state) {
    (void)state;
    char folder[BL_TEST_PATH];
    rig_studio s;
    bl_test_folder(folder);
    bl_test_flux1_folder(folder, "flux1/schnell");
    rig_open(&s, folder, "f32", "");
    flow_takes_texts_apart(&s, small_request);
    rig_close(&s);
    bl_test_folder_remove(folder);
}

/* The passes of T5 in a plan; its weights come once for all texts, even where they do not stay. */
static int64_t t5_passes(const json_t *plan) {
    json_t *x;
    size_t i;
    int64_t passes = 0, weights = 0, brought = 0;
    json_array_foreach(json_object_get(plan, "phases"), i, x) {
        if (!strcmp(json_string_value(json_object_get(x, "module")), "text_encoder_2")) {
            passes += json_integer_value(json_object_get(x, "passes"));
            weights = json_integer_value(json_object_get(x, "weight_bytes"));
        }
    }
    json_array_foreach(json_object_get(plan, "decisions"), i, x) {
        if (!strcmp(json_string_value(json_object_get(x, "module")), "text_encoder_2") &&
            !strcmp(json_string_value(json_object_get(x, "op")), "onload")) {
            brought += json_integer_value(json_object_get(x, "bytes"));
        }
    }
    assert_true(brought <= weights);
    return passes;
}

/* A negative prompt costs T5 no second pass over its weights; the picture is that of texts read one by one.
 */
static void two_texts_take_one_pass(void **state) {
    (void)state;
    char folder[BL_TEST_PATH];
    flow_taken t[3];
    bl_test_folder(folder);
    bl_test_flux1_folder(folder, "flux1/dev");
    for (int together = 0; together < 2; together++) {
        rig_studio s;
        rig_open(&s, folder, "f32", "");
        ballast_generate_options o = small_request(&t[2]);
        o.steps = 1;
        o.cfg = 1;
        if (!together) {
            rig_make(&s, &o); /* the prompt is known from now on */
            flow_drop(&t[2]);
        }
        o.payload = &t[together];
        t[together] = (flow_taken){0};
        o.negative_prompt = "a cat";
        o.cfg = 3;
        const rig_size least = rig_bytes(rig_planned(&s, &o, "min_budget_bytes"));
        o.budget = least.text;
        json_t *plan = rig_plan(&s, &o);
        assert_int_equal(t5_passes(plan), 1);
        json_decref(plan);
        rig_make(&s, &o);
        rig_close(&s);
    }
    rig_same(&t[1].pictures, &t[0].pictures, "two texts in one pass");
    flow_drop(&t[0]);
    flow_drop(&t[1]);
    bl_test_folder_remove(folder);
}

/* ---- guidance */

/* A picture's parameters, kept for the caller, who frees them. */
static int take_parameters(void *payload, const ballast_image *image) {
    free(*(char **)payload);
    *(char **)payload = strdup(image->parameters);
    return 0;
}

static void check_guidance(const char *family, const char *wanted, const char *warning) {
    char folder[BL_TEST_PATH], *parameters = NULL;
    rig_studio s;
    flow_taken t;
    bl_test_folder(folder);
    bl_test_flux1_folder(folder, family);
    rig_open(&s, folder, "f32", "");
    ballast_generate_options o = small_request(&t);
    o.image = take_parameters;
    o.save_latents = NULL;
    o.payload = &parameters;
    o.steps = 1;
    o.guidance = 2.5;
    o.cfg = 3; /* which diffusers leaves out without a negative prompt */
    o.compat = "diffusers";
    rig_make(&s, &o);
    assert_non_null(parameters);
    assert_int_equal(strstr(parameters, "Distilled CFG Scale: 2.5") != NULL, wanted != NULL);
    if (!strstr(s.warning, warning)) {
        fail_msg("\"%s\" is not in: %s", warning, s.warning);
    }
    o.guidance = 101;
    flow_refuses(&s, &o, "guidance: 101 is not between 0 and 100");
    free(parameters);
    rig_close(&s);
    bl_test_folder_remove(folder);
}

static void guidance_is_written_and_told(void **state) {
    (void)state;
    check_guidance("flux1/dev", "2.5", "cfg 3 is left out, as diffusers does it without a negative prompt");
    check_guidance("flux1/schnell", NULL,
                   "guidance 2.5 changes nothing: FLUX.1 schnell is told no such number");
}

/* ---- who is planned alone */

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
    snprintf(words, sizeof words, "%s is planned and not run: T5's vocabulary is missing", name);
    flow_refuses(&s, &o, words);
    rig_close(&s);
}

static void without_a_vocabulary_both_are_planned(void **state) {
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
                 {"model_index.json", "{\"_class_name\": \"FluxKontextPipeline\"}", "FluxKontextPipeline"},
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
        cmocka_unit_test(pictures_are_those_of_diffusers),
        cmocka_unit_test(single_files_give_the_folders_picture),
        cmocka_unit_test(vocabularies_of_others_are_passed_over),
        cmocka_unit_test(encoders_that_do_not_fit_are_refused),
        cmocka_unit_test(adapters_change_the_same_by_every_name),
        cmocka_unit_test(the_transformer_runs_alone),
        cmocka_unit_test(placement_changes_nothing),
        cmocka_unit_test(what_was_encoded_is_taken_for_its_own_text),
        cmocka_unit_test(two_texts_take_one_pass),
        cmocka_unit_test(guidance_is_written_and_told),
        cmocka_unit_test(without_a_vocabulary_both_are_planned),
        cmocka_unit_test(what_contradicts_the_weights_is_refused),
        cmocka_unit_test(words_that_nobody_reads_are_no_warning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
