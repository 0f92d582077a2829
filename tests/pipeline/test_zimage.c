/* Z-Image from a request to a picture, through the public functions, against diffusers: a folder with a tiny
 * transformer, its VAE and a tiny Qwen3 with the whole vocabulary. */
#include "pipeline/rig.h"

#include "support/gguf.h"
#include "support/goldens.h"
#include "support/slow.h"
#include "support/zimage_files.h"

#define CHANNELS 16

/* "a" and 29 times " a": with its frame 38 tokens, one step of 32 more than short prompts have. */
#define A5 " a a a a a"
static const char long_text[] = "a" A5 A5 A5 A5 A5 " a a a a";

/* What a generation gave. */
typedef struct taken {
    rig_pictures pictures;
    float *latents; /* [16, height, width] */
    int64_t count;
} taken;

static int take_latents(void *payload, const ballast_latents *latents) {
    taken *t = payload;
    assert_int_equal(latents->channels, CHANNELS);
    t->count = (int64_t)latents->channels * latents->height * latents->width;
    free(t->latents);
    t->latents = malloc((size_t)t->count * sizeof *t->latents);
    assert_non_null(t->latents);
    memcpy(t->latents, latents->data, (size_t)t->count * sizeof *t->latents);
    return 0;
}

static int take_picture(void *payload, const ballast_image *image) {
    return rig_take(&((taken *)payload)->pictures, image);
}

static void drop(taken *t) {
    free(t->latents);
    rig_release(&t->pictures);
}

static ballast_generate_options request(taken *t) {
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    *t = (taken){0};
    o.prompt = "a photo of a cat";
    o.width = o.height = 64;
    o.steps = 2;
    o.seed = 3;
    o.hints = 0;
    o.image = take_picture;
    o.save_latents = take_latents;
    o.payload = t;
    return o;
}

static void open_model(rig_studio *s, const char *dtype) {
    char folder[BL_TEST_PATH];
    bl_synth_folder(folder, "zimage");
    rig_open(s, folder, dtype, "");
}

/* ---- against diffusers */

/* A case of the goldens; `guidance` as diffusers counts it. */
static void check_case(rig_studio *s, const bl_golden *g, const char *name, const char *negative,
                       double guidance, int steps, int height, int width, bl_dtype dtype) {
    char tensor[64];
    taken t;
    ballast_generate_options o = request(&t);
    snprintf(tensor, sizeof tensor, "%s.noise", name);
    float *noise = bl_golden_f32(g, tensor);
    o.negative_prompt = negative;
    o.compat = "diffusers";
    o.cfg = guidance;
    o.steps = steps;
    o.height = height;
    o.width = width;
    o.latents = noise;
    o.latents_batch = 1;
    o.latents_height = height / 8;
    o.latents_width = width / 8;
    rig_make(s, &o);
    snprintf(tensor, sizeof tensor, "%s.latents", name);
    bl_golden_check(g, tensor, t.latents, t.count, dtype);
    snprintf(tensor, sizeof tensor, "%s.image", name);
    float *image = bl_golden_f32(g, tensor);
    const size_t plane = (size_t)height * (size_t)width;
    assert_int_equal(t.pictures.bytes, 3 * plane);
    const double slack = dtype == BL_F32 ? 0.51 : 12;
    for (size_t i = 0; i < 3 * plane; i++) {
        double v = 127.5 * (image[i % 3 * plane + i / 3] + 1);
        v = v < 0 ? 0 : v > 255 ? 255 : v;
        if (v - t.pictures.rgb[i] > slack || t.pictures.rgb[i] - v > slack) {
            fail_msg("%s: byte %zu is %d for %.3f", name, i, t.pictures.rgb[i], v);
        }
    }
    free(image);
    free(noise);
    drop(&t);
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

/* Opens a model out of several files, any of which may be NULL but the first. */
static void open_files(rig_studio *s, const char *path, const char *encoder, const char *vae) {
    ballast_error err = {0};
    ballast_context_options co;
    ballast_model_options mo;
    ballast_context_options_init(&co, sizeof co);
    ballast_model_options_init(&mo, sizeof mo);
    *s = (rig_studio){0};
    co.cache_dir = "";
    mo.path = path;
    mo.dtype = "f32";
    mo.vae_path = vae;
    mo.text_encoder_paths = &encoder;
    mo.text_encoder_count = encoder != NULL;
    if (ballast_context_open(&s->context, &co, &err) ||
        ballast_model_open(&s->model, s->context, &mo, &err)) {
        fail_msg("%s: %s", path, err.message);
    }
}

static void take_from(taken *t, const char *path, const char *encoder, const char *vae) {
    rig_studio s;
    ballast_generate_options o = request(t);
    open_files(&s, path, encoder, vae);
    o.negative_prompt = "dull";
    o.cfg = 3;
    rig_make(&s, &o);
    rig_close(&s);
}

/* ComfyUI's single file beside encoder and VAE of their own; GGUF files of both networks, which hold what is
 * stored small, against the same values in F32. */
static void single_files_give_the_folders_picture(void **state) {
    (void)state;
    char folder[BL_TEST_PATH], single[BL_TEST_PATH], synth[BL_TEST_PATH], encoder[BL_TEST_PATH],
        vae[BL_TEST_PATH], llama[BL_TEST_PATH], bare[BL_TEST_PATH], ldm[BL_TEST_PATH], small[BL_TEST_PATH],
        small_encoder[BL_TEST_PATH], widened[BL_TEST_PATH], widened_encoder[BL_TEST_PATH];
    taken wanted, got;
    bl_test_folder(folder);
    bl_synth_folder(synth, "zimage");
    bl_test_zimage_folder(folder);
    bl_test_join(single, folder, "single.safetensors");
    bl_test_join(encoder, synth, "text_encoder/model.safetensors");
    bl_test_join(vae, synth, "vae/diffusion_pytorch_model.safetensors");
    take_from(&wanted, folder, NULL, NULL);
    bl_test_zimage_single(single, "model.diffusion_model.");
    take_from(&got, single, encoder, vae);
    rig_same(&got.pictures, &wanted.pictures, "ComfyUI's names");
    drop(&got);
    if (bl_test_slow()) { /* the others differ in names */
        drop(&wanted);
        bl_test_folder_remove(folder);
        return;
    }
    bl_test_join(llama, folder, "llama.safetensors");
    bl_test_zimage_llama(llama);
    take_from(&got, single, llama, vae);
    rig_same(&got.pictures, &wanted.pictures, "llama.cpp's names");
    drop(&got);
    bl_test_join(bare, folder, "bare.safetensors");
    bl_test_join(ldm, folder, "ae.safetensors");
    bl_test_zimage_bare(bare);
    bl_test_zimage_vae(ldm);
    take_from(&got, single, bare, ldm);
    rig_same(&got.pictures, &wanted.pictures, "names without \"model.\", and Flux.1's VAE");
    drop(&got);
    drop(&wanted);
    bl_test_zimage_single(single, "");
    bl_test_join(small, folder, "small.gguf");
    bl_test_join(small_encoder, folder, "encoder.gguf");
    bl_test_join(widened, folder, "widened.safetensors");
    bl_test_join(widened_encoder, folder, "widened_encoder.safetensors");
    bl_test_write_gguf(small, single);
    bl_test_write_gguf(small_encoder, llama);
    bl_test_write_widened(widened, small);
    bl_test_write_widened(widened_encoder, small_encoder);
    take_from(&wanted, widened, widened_encoder, vae);
    take_from(&got, small, small_encoder, vae);
    rig_same(&got.pictures, &wanted.pictures, "GGUF");
    drop(&got);
    drop(&wanted);
    bl_test_folder_remove(folder);
}

/* ---- whatever the placement */

static const char *const modes[] = {"none", "model", "sequential", "balanced", "auto"};
enum { MODES = sizeof modes / sizeof *modes, BUDGETS = 8 };

/* With a negative prompt of another length, a start picture, a second pass through pictures, and previews. */
static ballast_generate_options rich_request(taken *t) {
    static uint8_t start[64 * 64 * 3];
    for (size_t i = 0; i < sizeof start; i++) {
        start[i] = (uint8_t)(i * 7919 % 251);
    }
    ballast_generate_options o = request(t);
    o.negative_prompt = long_text;
    o.cfg = 3;
    o.init_rgb = start;
    o.init_width = o.init_height = 64;
    o.strength = 0.9;
    rig_add_hires(&o);
    o.hires_scale = 1.5;
    o.count = 1;
    return o;
}

static void placement_changes_nothing(void **state) {
    (void)state;
    rig_studio s;
    taken wanted, got;
    ballast_generate_options o = rich_request(&wanted);
    open_model(&s, "f32");
    json_t *report = rig_generate(&s, &o);
    const uint64_t least = rig_figure(report, 0, "plan", "min_budget_bytes"),
                   most = rig_figure(report, 0, "plan", "peak_bytes");
    json_decref(report);
    assert_int_equal(wanted.pictures.bytes, 96 * 96 * 3);
    assert_true(least < most);
    for (int i = 0; i < MODES + BUDGETS; i += bl_test_slow() ? MODES : 1) { /* a mode, two budgets */
        o = rich_request(&got);
        rig_size budget =
            rig_bytes(least + (most - least) * (uint64_t)(i < MODES ? 0 : i - MODES) / (BUDGETS - 1));
        o.offload = modes[i < MODES ? i : MODES - 1];
        o.budget = i < MODES ? NULL : budget.text;
        rig_make(&s, &o);
        rig_same(&got.pictures, &wanted.pictures, i < MODES ? modes[i] : budget.text);
        drop(&got);
    }
    drop(&wanted);
    rig_close(&s);
}

/* ---- what does not apply */

static int parameters_of(void *payload, const ballast_image *image) {
    snprintf(payload, 512, "%s", image->parameters);
    return 0;
}

static void refuses(rig_studio *s, const ballast_generate_options *o, const char *words) {
    ballast_error err = {0};
    assert_true(ballast_generate(NULL, s->model, o, &err) < 0);
    if (!strstr(err.message, words)) {
        fail_msg("\"%s\" is not in: %s", words, err.message);
    }
}

static void what_does_not_apply_is_refused_or_told(void **state) {
    (void)state;
    rig_studio s;
    taken t, plain;
    char parameters[512] = "", *report = NULL;
    open_model(&s, "f32");
    assert_int_equal(ballast_model_inspect(&report, s.model, 0, 0, NULL), 0);
    assert_non_null(strstr(report, "\"sampler\": \"Euler\""));
    ballast_string_free(&report);
    ballast_generate_options o = request(&t);
    o.clip_skip = 2;
    refuses(&s, &o, "clip-skip: Z-Image");
    o.clip_skip = 0;
    o.sampler = "Euler a";
    refuses(&s, &o, "sampler: Euler a does not walk");
    o.sampler = NULL;
    o.schedule = "karras";
    refuses(&s, &o, "schedule: 'karras'");
    o.schedule = NULL;
    o.width = 72;
    refuses(&s, &o, "width: 72 is not a positive multiple of 16; the next below is 64");
    o.width = 64;
    o.compat = "comfyui";
    o.prompt = "embedding:good";
    refuses(&s, &o, "Z-Image does not have");
    o.compat = "a1111";
    ballast_adapter adapter;
    char lora[BL_TEST_PATH];
    bl_synth_component(lora, "zimage", "vae"); /* any file */
    ballast_adapter_init(&adapter, sizeof adapter);
    adapter.path = lora;
    o.adapters = &adapter;
    o.adapter_count = 1;
    refuses(&s, &o, "adapters: none are added to Z-Image");
    o.adapter_count = 0;
    ballast_error err = {0};
    assert_int_equal(ballast_eval(s.model, "transformer", lora, "/nonexistent/out", 0, &err),
                     BALLAST_E_UNSUPPORTED);
    assert_int_equal(ballast_eval(s.model, "text_encoder", lora, "/nonexistent/out", 0, &err),
                     BALLAST_E_UNSUPPORTED);
    o.prompt = "a (cat:1.2) AND a dog";
    assert_int_equal(s.warnings, 0);
    rig_make(&s, &o);
    assert_int_equal(s.warnings, 1);
    assert_non_null(strstr(s.warning, "reads prompts as they are written: weights"));
    drop(&t);
    /* steps, guidance and sampler that nobody gave; 0 and 1 are no guidance */
    o = request(&t);
    o.steps = 0;
    o.payload = parameters;
    o.image = parameters_of;
    o.save_latents = NULL;
    rig_make(&s, &o);
    assert_non_null(strstr(parameters, "Steps: 8, Sampler: Euler,"));
    assert_non_null(strstr(parameters, "CFG scale: 1"));
    o = request(&plain);
    o.cfg = 1;
    rig_make(&s, &o);
    o = request(&t);
    o.cfg = 0;
    rig_make(&s, &o);
    rig_same(&t.pictures, &plain.pictures, "cfg 0");
    drop(&t);
    drop(&plain);
    /* diffusers' count has 0 for what is recommended, however its name is written */
    o = request(&plain);
    o.compat = "diffusers";
    o.cfg = 0;
    rig_make(&s, &o);
    o = request(&t);
    o.compat = "Diffusers";
    rig_make(&s, &o);
    rig_same(&t.pictures, &plain.pictures, "no cfg, in diffusers' count");
    drop(&t);
    drop(&plain);
    rig_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_those_of_diffusers),
        cmocka_unit_test(placement_changes_nothing),
        cmocka_unit_test(what_does_not_apply_is_refused_or_told),
        cmocka_unit_test(single_files_give_the_folders_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
