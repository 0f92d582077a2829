/* FLUX.2 klein from a request to a picture, through the public functions, against diffusers: a folder with a
 * tiny transformer, its VAE and a narrow Qwen3 with the whole vocabulary. */
#include "pipeline/flow_rig.h"

#include "support/flux2_files.h"
#include "support/gguf.h"
#include "support/other_names.h"
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
        o = flow_request(&t);
        flow_add_all(&o);
        o.hires_scale = 0;
        o.steps = 4;
        o.cfg = 1;
        o.strength = 0.75;
        flow_check(&s, &g, "start", o, 16, dtype);
        rig_close(&s);
    }
    bl_golden_close(&g);
}

/* ---- every file that holds it */

/* Its authors' file beside encoder and VAE of their own; a GGUF file, which holds what is stored small,
 * against the same values in F32. */
static void single_files_give_the_folders_picture(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], single[BL_TEST_PATH], llama[BL_TEST_PATH], vae[BL_TEST_PATH],
        small[BL_TEST_PATH], widened[BL_TEST_PATH];
    flow_taken wanted, got;
    bl_test_folder(folder);
    bl_test_flux2_folder(folder);
    bl_test_join(single, folder, "single.safetensors");
    bl_test_join(llama, folder, "llama.safetensors");
    bl_test_join(vae, folder, "ae.safetensors");
    flow_take_from(&wanted, folder, NULL, NULL);
    bl_test_flux2_single(single, "model.diffusion_model.");
    bl_test_qwen_llama(llama, FAMILY);
    bl_test_ldm_vae(vae, FAMILY);
    flow_take_from(&got, single, llama, vae);
    rig_same(&got.pictures, &wanted.pictures, "its authors' names");
    flow_drop(&got);
    flow_drop(&wanted);
    bl_test_flux2_single(single, "");
    bl_test_join(small, folder, "small.gguf");
    bl_test_join(widened, folder, "widened.safetensors");
    bl_test_write_gguf(small, single);
    bl_test_write_widened(widened, small);
    flow_take_from(&wanted, widened, llama, vae);
    flow_take_from(&got, small, llama, vae);
    rig_same(&got.pictures, &wanted.pictures, "GGUF");
    flow_drop(&got);
    flow_drop(&wanted);
    bl_test_folder_remove(folder);
}

/* ---- whatever the placement */

/* With a negative prompt of another length, a start picture, a second pass through pictures, and previews. */
static ballast_generate_options rich_request(flow_taken *t) {
    ballast_generate_options o = flow_request(t);
    o.negative_prompt = "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a";
    flow_add_all(&o);
    return o;
}

/* What inspect says of the encoder is of the rows that it reads. */
static void check_arena(rig_studio *s, const json_t *phase) {
    char *report = NULL;
    assert_int_equal(ballast_model_inspect(&report, s->model, 64, 64, NULL), 0);
    json_t *all = json_loads(report, 0, NULL);
    const json_t *encoder = json_object_get(json_object_get(all, "modules"), "text_encoder");
    assert_int_equal(json_integer_value(json_object_get(encoder, "arena_bytes")),
                     json_integer_value(json_object_get(phase, "arena_bytes")));
    json_decref(all);
    ballast_string_free(&report);
}

/* The encoder runs once for both texts. Modulations are
 * made in one pass for all steps of the base, and in one for those of the second pass. */
static void check_phases(rig_studio *s) {
    flow_taken t;
    ballast_generate_options o = flow_request(&t);
    o.cfg = 1;
    json_t *plan = rig_plan(s, &o), *phase;
    check_arena(s, json_array_get(json_object_get(plan, "phases"), 0));
    json_decref(plan);
    o = rich_request(&t);
    plan = rig_plan(s, &o);
    size_t i;
    int64_t phases[2] = {0}, passes[2] = {0};
    json_array_foreach(json_object_get(plan, "phases"), i, phase) {
        const char *module = json_string_value(json_object_get(phase, "module"));
        const int times = !strcmp(module, "transformer.times");
        if (times || !strcmp(module, "text_encoder")) {
            phases[times]++;
            passes[times] += json_integer_value(json_object_get(phase, "passes"));
        }
    }
    assert_true(phases[0] == 1 && passes[0] == 1);
    assert_true(phases[1] == 2 && passes[1] == 2);
    json_decref(plan);
}

static void placement_changes_nothing(void **state) {
    (void)state;
    rig_studio s;
    open_model(&s, "f32");
    check_phases(&s);
    flow_same_everywhere(&s, rich_request, bl_test_slow() ? FLOW_MODES : 2);
    rig_close(&s);
}

/* diffusers leaves the guidance of a distilled model out; the others guide it all the same. */
static void distilled_models_are_guided_as_each_does_it(void **state) {
    static const char index[] = "{\"_class_name\": \"Flux2KleinPipeline\", \"is_distilled\": true}";
    static const char *const compats[] = {"diffusers", "diffusers", "a1111"};
    (void)state;
    char folder[BL_TEST_PATH], path[BL_TEST_PATH];
    flow_taken t[3];
    rig_studio s;
    bl_test_folder(folder);
    bl_test_flux2_folder(folder);
    bl_test_join(path, folder, "model_index.json");
    assert_int_equal(unlink(path), 0);
    bl_test_write(path, index, sizeof index - 1);
    flow_open_files(&s, folder, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        ballast_generate_options o = flow_request(&t[i]);
        o.compat = compats[i];
        o.cfg = i ? 4 : 1;
        rig_make(&s, &o);
    }
    rig_same(&t[1].pictures, &t[0].pictures, "diffusers, cfg 4");
    const int same = memcmp(t[2].latents, t[0].latents, (size_t)t[0].count * sizeof(float));
    assert_int_not_equal(same, 0);
    for (int i = 0; i < 3; i++) {
        flow_drop(&t[i]);
    }
    rig_close(&s);
    bl_test_folder_remove(folder);
}

/* ---- the transformer alone */

enum { TALL = 6, WIDE = 4, SQUARE = 128, TEXT = 13, JOINT = 48 }; /* of the goldens' case a */

/* Its inputs out of the goldens, which have a row a token where the network has channels of a picture. */
static void the_transformer_runs_alone(void **state) {
    (void)state;
    static float latents[SQUARE * TALL * WIDE], output[TALL * WIDE * SQUARE];
    char folder[BL_TEST_PATH], in[BL_TEST_PATH], out[BL_TEST_PATH];
    rig_studio s;
    bl_golden g;
    bl_error why;
    ballast_error err = {0};
    bl_safetensors *made;
    bl_test_folder(folder);
    bl_test_join(in, folder, "in.safetensors");
    bl_test_join(out, folder, "out.safetensors");
    bl_golden_open(&g, FAMILY "/golden/transformer.safetensors");
    float *rows = bl_golden_f32(&g, "a.hidden_states"), *text = bl_golden_f32(&g, "a.encoder_hidden_states"),
          *t = bl_golden_f32(&g, "a.timestep");
    for (int i = 0; i < SQUARE * TALL * WIDE; i++) {
        latents[i] = rows[i % (TALL * WIDE) * SQUARE + i / (TALL * WIDE)];
    }
    const float nothing = 0;
    const bl_tensor_data data[] = {
        {.name = "a.latents", .dtype = BL_F32, .rank = 4, .shape = {1, SQUARE, TALL, WIDE}, .data = latents},
        {.name = "a.context", .dtype = BL_F32, .rank = 3, .shape = {1, TEXT, JOINT}, .data = text},
        {.name = "a.t", .dtype = BL_F32, .rank = 1, .shape = {1}, .data = t},
        {.name = "a.at.single_transformer_blocks.0",
         .dtype = BL_F32,
         .rank = 1,
         .shape = {1},
         .data = &nothing}};
    assert_int_equal(bl_safetensors_write(in, data, 4, NULL, 0, &why), 0);
    open_model(&s, "f32");
    if (ballast_eval(s.model, "transformer", in, out, 0, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(bl_safetensors_open(&made, out, &why), 0);
    const bl_file_tensor *x = bl_safetensors_find(made, "a.output");
    assert_true(x && x->bytes == sizeof latents);
    assert_int_equal(bl_safetensors_read(made, x->offset, x->bytes, latents, &why), 0);
    for (int i = 0; i < SQUARE * TALL * WIDE; i++) {
        output[i % (TALL * WIDE) * SQUARE + i / (TALL * WIDE)] = latents[i];
    }
    bl_golden_check(&g, "a.output", output, SQUARE * TALL * WIDE, BL_F32);
    assert_non_null(bl_safetensors_find(made, "a.at.single_transformer_blocks.0"));
    bl_safetensors_close(&made);
    free(rows);
    free(text);
    free(t);
    rig_close(&s);
    bl_golden_close(&g);
    bl_test_folder_remove(folder);
}

/* ---- what is read of the encoder */

/* Bytes that this process has read so far, of files and else. */
static uint64_t bytes_read(void) {
    unsigned long long n = 0;
    char line[64];
    FILE *f = fopen("/proc/self/io", "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) && sscanf(line, "rchar: %llu", &n) != 1) {
    }
    fclose(f);
    return n;
}

/* Of 28 layers those up to the 27th, and neither the last norm nor a table. */
static void check_blocks(rig_studio *s) {
    char *report = NULL, wanted[64];
    size_t i, count = 0;
    const json_t *block;
    assert_int_equal(ballast_model_inspect(&report, s->model, 0, 0, NULL), 0);
    json_t *all = json_loads(report, 0, NULL);
    const json_t *encoder = json_object_get(json_object_get(all, "modules"), "text_encoder");
    json_array_foreach(json_object_get(encoder, "blocks"), i, block) {
        snprintf(wanted, sizeof wanted, "model.layers.%zu", count++);
        assert_string_equal(json_string_value(json_object_get(block, "name")), wanted);
    }
    assert_int_equal(count, 27);
    json_decref(all);
    ballast_string_free(&report);
}

/* Of the table of embeddings, 151936 rows, those of the prompt's tokens: all that is read for a first
 * picture, every weight that it needs, is less than the table, and what another text takes far less. */
static void of_the_table_rows_are_read(void **state) {
    enum { TABLE = 151936 * 16 * 4 };
    (void)state;
    rig_studio s;
    flow_taken t;
    const uint64_t start = bytes_read();
    open_model(&s, "f32");
    check_blocks(&s);
    ballast_generate_options o = flow_request(&t);
    o.cfg = 1;
    o.steps = 1;
    rig_make(&s, &o);
    flow_drop(&t);
    o = flow_request(&t);
    o.cfg = 1;
    o.steps = 1;
    o.prompt = "another text";
    const uint64_t before = bytes_read();
    rig_make(&s, &o);
    const uint64_t after = bytes_read();
    assert_true(start < before && before - start < TABLE);
    assert_true(before < after && after - before < TABLE / 32);
    flow_drop(&t);
    rig_close(&s);
}

/* ---- what does not apply, and who is planned alone */

static void taesd_is_refused(rig_studio *s) {
    char folder[BL_TEST_PATH], file[BL_TEST_PATH];
    ballast_context_options co;
    ballast_model_options mo;
    ballast_model *model = NULL;
    ballast_error err = {0};
    bl_synth_folder(folder, FAMILY);
    bl_test_data(file, "common/taesd/decoder.safetensors");
    rig_options(&co, &mo, folder, "f32");
    mo.taesd_path = file;
    assert_int_equal(ballast_model_open(&model, s->context, &mo, &err), BALLAST_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "decodes latents of 4 channels; those of FLUX.2 klein have 32"));
}

static void dev_is_planned_and_not_run(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], words[BL_TEST_PATH];
    rig_studio s;
    flow_taken t;
    bl_test_folder(folder);
    bl_test_flux2_dev_folder(folder);
    bl_test_join(words, folder, "tokenizer/vocab.json"); /* Mistral's, which nothing reads */
    bl_test_write(words, "{\"a\": 0}", strlen("{\"a\": 0}"));
    flow_open_files(&s, folder, NULL, NULL);
    ballast_generate_options o = flow_request(&t);
    json_t *plan = rig_plan(&s, &o);
    assert_int_equal(json_array_size(json_object_get(plan, "phases")), 4);
    json_decref(plan);
    flow_refuses(&s, &o, "FLUX.2 dev is planned and not run: Mistral reads its prompts");
    rig_close(&s);
    bl_test_folder_remove(folder);
}

static void what_does_not_apply_is_refused_or_told(void **state) {
    (void)state;
    rig_studio s;
    flow_taken t;
    open_model(&s, "f32");
    ballast_generate_options o = flow_request(&t);
    o.width = 72;
    flow_refuses(&s, &o, "width: 72 is not a positive multiple of 16; the next below is 64");
    o.width = 64;
    o.decode = "taesd";
    flow_refuses(&s, &o, "decode: taesd needs its file");
    taesd_is_refused(&s);
    o.decode = NULL;
    o.sampler = "Euler a";
    flow_refuses(&s, &o, "sampler: Euler a does not walk");
    o.sampler = "Heun"; /* which asks for more times than there are steps */
    o.cfg = 1;
    rig_make(&s, &o);
    flow_drop(&t);
    o.sampler = NULL;
    char *report = NULL; /* the folder says that it was not distilled */
    assert_int_equal(ballast_model_inspect(&report, s.model, 0, 0, NULL), 0);
    assert_non_null(strstr(report, "\"steps\": 50"));
    assert_non_null(strstr(report, "\"cfg\": 4.0"));
    ballast_string_free(&report);
    rig_close(&s);
}

static int opened(const char *folder, const char *encoder, ballast_error *err) {
    ballast_context *context = NULL;
    ballast_model *model = NULL;
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    mo.path = folder;
    mo.text_encoder_paths = &encoder;
    mo.text_encoder_count = encoder != NULL;
    assert_int_equal(ballast_context_open(&context, NULL, err), 0);
    int rc = ballast_model_open(&model, context, &mo, err);
    ballast_model_close(&model);
    ballast_context_close(&context);
    return rc;
}

/* Words that are not those which Ballast has: in the model's folder, or in that of an encoder that was given,
 * which has the last word. */
static void other_words_are_refused(void **state) {
    static const char *const links[][2] = {{"model_index.json", "model_index.json"},
                                           {"scheduler", "scheduler"},
                                           {"transformer", "transformer"},
                                           {"text_encoder", "text_encoder"},
                                           {"vae", "vae"},
                                           {"text_encoder/model.safetensors", "given/model.safetensors"},
                                           {"text_encoder/config.json", "given/config.json"}};
    static const char words[] = "{\"a\": 0}";
    char synth[BL_TEST_PATH], folder[BL_TEST_PATH], given[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    ballast_error err = {0};
    (void)state;
    bl_synth_folder(synth, FAMILY);
    bl_test_folder(folder);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        bl_test_join(from, synth, links[i][0]);
        bl_test_join(to, folder, links[i][1]);
        assert_int_equal(symlink(from, to), 0);
    }
    bl_test_join(given, folder, "given");
    assert_int_equal(opened(folder, NULL, &err), 0);
    bl_test_join(to, folder, "tokenizer/vocab.json");
    bl_test_write(to, words, strlen(words));
    assert_int_equal(opened(folder, NULL, &err), BALLAST_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "tokenizer/vocab.json: token 0 is another than Qwen3's"));
    assert_int_equal(opened(folder, given, &err), BALLAST_E_UNSUPPORTED); /* by the folder it is in */
    bl_test_join(to, synth, "text_encoder");
    assert_int_equal(opened(folder, to, &err), 0);
    bl_test_join(to, folder, "given/vocab.json");
    bl_test_write(to, words, strlen(words));
    assert_int_equal(opened(folder, given, &err), BALLAST_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "given/vocab.json: token 0 is another than Qwen3's"));
    bl_test_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_those_of_diffusers),
        cmocka_unit_test(single_files_give_the_folders_picture),
        cmocka_unit_test(placement_changes_nothing),
        cmocka_unit_test(distilled_models_are_guided_as_each_does_it),
        cmocka_unit_test(the_transformer_runs_alone),
        cmocka_unit_test(of_the_table_rows_are_read),
        cmocka_unit_test(dev_is_planned_and_not_run),
        cmocka_unit_test(what_does_not_apply_is_refused_or_told),
        cmocka_unit_test(other_words_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
