/* Z-Image from a request to a picture, through the public functions, against diffusers: a folder with a tiny
 * transformer, its VAE and a tiny Qwen3 with the whole vocabulary. */
#include "pipeline/flow_rig.h"

#include "support/gguf.h"
#include "support/other_names.h"
#include "support/slow.h"
#include "support/zimage_files.h"

/* "a" and 29 times " a": with its frame 38 tokens, one step of 32 more than short prompts have. */
#define A5 " a a a a a"
static const char long_text[] = "a" A5 A5 A5 A5 A5 " a a a a";

static void open_model(rig_studio *s, const char *dtype) {
    char folder[BL_TEST_PATH];
    bl_synth_folder(folder, "zimage");
    rig_open(s, folder, dtype, "");
}

/* ---- against diffusers */

/* A case of the goldens; `guidance` as diffusers counts it. */
static void check_case(rig_studio *s, const bl_golden *g, const char *name, const char *negative,
                       double guidance, int steps, int height, int width, bl_dtype dtype) {
    flow_taken t;
    ballast_generate_options o = flow_request(&t);
    o.negative_prompt = negative;
    o.cfg = guidance;
    o.steps = steps;
    o.height = height;
    o.width = width;
    flow_check(s, g, name, o, 8, dtype);
}

static void pictures_are_those_of_diffusers(void **state) {
    (void)state;
    bl_golden g;
    bl_golden_open(&g, "zimage/golden/pictures.safetensors");
    for (int i = 0; i < (bl_test_slow() ? 1 : 2); i++) {
        rig_studio s;
        open_model(&s, i ? "bf16" : "f32");
        check_case(&s, &g, "cat", NULL, 0, 4, 64, 64, i ? BL_BF16 : BL_F32);
        check_case(&s, &g, "guided", long_text, 2.5, 3, 64, 96, i ? BL_BF16 : BL_F32);
        rig_close(&s);
    }
    bl_golden_close(&g);
}

/* ---- every file that holds it */

/* ComfyUI's single file beside encoder and VAE of their own; GGUF files of both networks, which hold what is
 * stored small, against the same values in F32. */
static void single_files_give_the_folders_picture(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], single[BL_TEST_PATH], synth[BL_TEST_PATH], encoder[BL_TEST_PATH],
        vae[BL_TEST_PATH], llama[BL_TEST_PATH], bare[BL_TEST_PATH], ldm[BL_TEST_PATH], small[BL_TEST_PATH],
        small_encoder[BL_TEST_PATH], widened[BL_TEST_PATH], widened_encoder[BL_TEST_PATH];
    flow_taken wanted, got;
    bl_test_folder(folder);
    bl_synth_folder(synth, "zimage");
    bl_test_zimage_folder(folder);
    bl_test_join(single, folder, "single.safetensors");
    bl_test_join(encoder, synth, "text_encoder/model.safetensors");
    bl_test_join(vae, synth, "vae/diffusion_pytorch_model.safetensors");
    flow_take_from(&wanted, folder, NULL, NULL);
    bl_test_zimage_single(single, "model.diffusion_model.");
    flow_take_from(&got, single, encoder, vae);
    rig_same(&got.pictures, &wanted.pictures, "ComfyUI's names");
    flow_drop(&got);
    if (bl_test_slow()) { /* the others differ in names */
        flow_drop(&wanted);
        bl_test_folder_remove(folder);
        return;
    }
    bl_test_join(llama, folder, "llama.safetensors");
    bl_test_qwen_llama(llama, "zimage");
    flow_take_from(&got, single, llama, vae);
    rig_same(&got.pictures, &wanted.pictures, "llama.cpp's names");
    flow_drop(&got);
    bl_test_join(bare, folder, "bare.safetensors");
    bl_test_join(ldm, folder, "ae.safetensors");
    bl_test_qwen_bare(bare, "zimage");
    bl_test_ldm_vae(ldm, "zimage");
    flow_take_from(&got, single, bare, ldm);
    rig_same(&got.pictures, &wanted.pictures, "names without \"model.\", and Flux.1's VAE");
    flow_drop(&got);
    flow_drop(&wanted);
    bl_test_zimage_single(single, "");
    bl_test_join(small, folder, "small.gguf");
    bl_test_join(small_encoder, folder, "encoder.gguf");
    bl_test_join(widened, folder, "widened.safetensors");
    bl_test_join(widened_encoder, folder, "widened_encoder.safetensors");
    bl_test_write_gguf(small, single);
    bl_test_write_gguf(small_encoder, llama);
    bl_test_write_widened(widened, small);
    bl_test_write_widened(widened_encoder, small_encoder);
    flow_take_from(&wanted, widened, widened_encoder, vae);
    flow_take_from(&got, small, small_encoder, vae);
    rig_same(&got.pictures, &wanted.pictures, "GGUF");
    flow_drop(&got);
    flow_drop(&wanted);
    bl_test_folder_remove(folder);
}

/* ---- whatever the placement */

/* With a negative prompt of another length, a start picture, a second pass through pictures, and previews. */
static ballast_generate_options rich_request(flow_taken *t) {
    ballast_generate_options o = flow_request(t);
    o.negative_prompt = long_text;
    flow_add_all(&o);
    return o;
}

static void placement_changes_nothing(void **state) {
    (void)state;
    rig_studio s;
    open_model(&s, "f32");
    flow_same_everywhere(&s, rich_request, bl_test_slow() ? FLOW_MODES : 1); /* a mode, two budgets */
    rig_close(&s);
}

/* ---- the transformer alone */

/* Its inputs out of the goldens; what is asked for of its inner modules, too. */
static void the_transformer_runs_alone(void **state) {
    (void)state;
    static const char *const from[] = {"b.latents", "b.caption", "b.t"};
    static const int64_t shapes[3][4] = {{1, 16, 14, 10}, {1, 40, 16}, {1}};
    static const int ranks[3] = {4, 3, 1};
    char folder[BL_TEST_PATH], in[BL_TEST_PATH], out[BL_TEST_PATH];
    float *values[3];
    bl_tensor_data data[4] = {{0}};
    rig_studio s;
    bl_golden g;
    bl_error why;
    ballast_error err = {0};
    bl_safetensors *made;
    bl_test_folder(folder);
    bl_test_join(in, folder, "in.safetensors");
    bl_test_join(out, folder, "out.safetensors");
    bl_golden_open(&g, "zimage/golden/transformer.safetensors");
    for (int i = 0; i < 3; i++) {
        values[i] = bl_golden_f32(&g, from[i]);
        data[i] = (bl_tensor_data){.name = from[i], .dtype = BL_F32, .rank = ranks[i], .data = values[i]};
        memcpy(data[i].shape, shapes[i], sizeof shapes[i]);
    }
    const float nothing = 0;
    data[3] =
        (bl_tensor_data){.name = "b.at.layers.0", .dtype = BL_F32, .rank = 1, .shape = {1}, .data = &nothing};
    assert_int_equal(bl_safetensors_write(in, data, 4, NULL, 0, &why), 0);
    open_model(&s, "f32");
    if (ballast_eval(s.model, "transformer", in, out, 0, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(bl_safetensors_open(&made, out, &why), 0);
    static const char *const outputs[] = {"b.output", "b.at.layers.0"};
    for (int i = 0; i < 2; i++) {
        const bl_file_tensor *t = bl_safetensors_find(made, outputs[i]);
        assert_non_null(t);
        float *mine = malloc(t->bytes);
        assert_int_equal(bl_safetensors_read(made, t->offset, t->bytes, mine, &why), 0);
        bl_golden_check(&g, outputs[i], mine, (int64_t)(t->bytes / sizeof *mine), BL_F32);
        free(mine);
    }
    bl_safetensors_close(&made);
    for (int i = 0; i < 3; i++) {
        free(values[i]);
    }
    rig_close(&s);
    bl_golden_close(&g);
    bl_test_folder_remove(folder);
}

/* ---- what does not apply */

static int parameters_of(void *payload, const ballast_image *image) {
    snprintf(payload, 512, "%s", image->parameters);
    return 0;
}

static void what_does_not_apply_is_refused_or_told(void **state) {
    (void)state;
    rig_studio s;
    flow_taken t, plain;
    char parameters[512] = "", *report = NULL;
    open_model(&s, "f32");
    assert_int_equal(ballast_model_inspect(&report, s.model, 0, 0, NULL), 0);
    assert_non_null(strstr(report, "\"sampler\": \"Euler\""));
    ballast_string_free(&report);
    ballast_generate_options o = flow_request(&t);
    o.clip_skip = 2;
    flow_refuses(&s, &o, "clip-skip: Z-Image");
    o.clip_skip = 0;
    o.sampler = "Euler a";
    flow_refuses(&s, &o, "sampler: Euler a does not walk");
    o.sampler = NULL;
    o.schedule = "karras";
    flow_refuses(&s, &o, "schedule: 'karras'");
    o.schedule = NULL;
    o.width = 72;
    flow_refuses(&s, &o, "width: 72 is not a positive multiple of 16; the next below is 64");
    o.width = 64;
    o.compat = "comfyui";
    o.prompt = "embedding:good";
    flow_refuses(&s, &o, "Z-Image does not have");
    o.compat = "a1111";
    ballast_adapter adapter;
    char lora[BL_TEST_PATH];
    bl_synth_component(lora, "zimage", "vae"); /* any file */
    ballast_adapter_init(&adapter, sizeof adapter);
    adapter.path = lora;
    o.adapters = &adapter;
    o.adapter_count = 1;
    flow_refuses(&s, &o, "none of its");
    o.adapter_count = 0;
    ballast_error err = {0};
    assert_int_equal(ballast_eval(s.model, "text_encoder", lora, "/nonexistent/out", 0, &err),
                     BALLAST_E_UNSUPPORTED);
    assert_int_equal(ballast_model_inspect(&report, s.model, 72, 64, &err), BALLAST_E_ARGUMENT);
    assert_non_null(strstr(err.message, "multiples of 16"));
    o.prompt = "a (cat:1.2) AND a dog";
    assert_int_equal(s.warnings, 0);
    rig_make(&s, &o);
    assert_int_equal(s.warnings, 1);
    assert_non_null(strstr(s.warning, "reads prompts as they are written: weights"));
    flow_drop(&t);
    /* steps, guidance and sampler that nobody gave; 0 and 1 are no guidance */
    o = flow_request(&t);
    o.steps = 0;
    o.payload = parameters;
    o.image = parameters_of;
    o.save_latents = NULL;
    rig_make(&s, &o);
    assert_non_null(strstr(parameters, "Steps: 8, Sampler: Euler,"));
    assert_non_null(strstr(parameters, "CFG scale: 1"));
    o = flow_request(&plain);
    o.cfg = 1;
    rig_make(&s, &o);
    o = flow_request(&t);
    o.cfg = 0;
    rig_make(&s, &o);
    rig_same(&t.pictures, &plain.pictures, "cfg 0");
    flow_drop(&t);
    flow_drop(&plain);
    /* diffusers' count has 0 for what is recommended, however its name is written */
    o = flow_request(&plain);
    o.compat = "diffusers";
    o.cfg = 0;
    rig_make(&s, &o);
    o = flow_request(&t);
    o.compat = "Diffusers";
    rig_make(&s, &o);
    rig_same(&t.pictures, &plain.pictures, "no cfg, in diffusers' count");
    flow_drop(&t);
    flow_drop(&plain);
    rig_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_those_of_diffusers),
        cmocka_unit_test(the_transformer_runs_alone),
        cmocka_unit_test(placement_changes_nothing),
        cmocka_unit_test(what_does_not_apply_is_refused_or_told),
        cmocka_unit_test(single_files_give_the_folders_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
