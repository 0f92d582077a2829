/* A family is one struct: one that does not exist, with 16 latent channels, a shift, a preview of its own and
 * another native size, goes through a whole request with init image, second pass, previews and tiles. Its
 * networks are the tiny SD 1.x ones with wider ends. */
#include "pipeline/generate.h"
#include "rig.h"

#include "checkpoint/safetensors.h"
#include "device/cpu/cpu.h"
#include "device/run_once.h"
#include "image/pixels.h"
#include "model/autoencoder_kl.h"

#include <math.h>

enum { CHANNELS = 16, NATIVE = 72, SCALE = 8 };

static const bl_family wide = {
    .name = "Wide",
    .type = "wide",
    .prediction = BL_PREDICT_V,
    .latent_channels = CHANNELS,
    .downscale = SCALE,
    .latent_scale = 0.36,
    .latent_shift = 0.125,
    .preview = {[15] = {1, 0, 0}}, /* red is the last channel; green and blue are grey */
    .native_size = NATIVE,
    .native_size_v = NATIVE,
    .encoders = 1,
    .encoder = {{.pad_token = 49407, .context_norm = true}},
    .pooled = -1,
};

/* The axes along which a tensor of SD 1.x grows from 4 channels, or 8 moments, to four times as many. */
static const struct {
    const char *name;
    bool rows, columns;
} wider[] = {
    {"model.diffusion_model.input_blocks.0.0.weight", false, true},
    {"model.diffusion_model.out.2.weight", true, false},
    {"model.diffusion_model.out.2.bias", true, false},
    {"first_stage_model.post_quant_conv.weight", true, true},
    {"first_stage_model.post_quant_conv.bias", true, false},
    {"first_stage_model.decoder.conv_in.weight", false, true},
    {"first_stage_model.encoder.conv_out.weight", true, false},
    {"first_stage_model.encoder.conv_out.bias", true, false},
    {"first_stage_model.quant_conv.weight", true, true},
    {"first_stage_model.quant_conv.bias", true, false},
};
#define WIDER (sizeof wider / sizeof *wider)

/* Makes the tensor wider along these axes: its elements again and again; halved along the input, so that sums
 * stay as large. */
static void widen(bl_tensor_data *d, bool rows, bool columns) {
    const float *from = d->data;
    const int64_t height = d->shape[0], before = d->rank > 1 ? d->shape[1] : 1;
    d->shape[0] *= rows ? 4 : 1;
    d->shape[1] *= columns ? 4 : 1;
    int64_t inner = 1, all = 1, now = d->rank > 1 ? d->shape[1] : 1;
    for (int i = 0; i < d->rank; i++) {
        all *= d->shape[i];
        inner *= i > 1 ? d->shape[i] : 1;
    }
    float *to = malloc((size_t)all * sizeof *to);
    assert_non_null(to);
    for (int64_t i = 0; i < all; i++) {
        int64_t row = i / (now * inner) % height, column = i / inner % now % before;
        to[i] = from[(row * before + column) * inner + i % inner] * (columns ? 0.5f : 1.0f);
    }
    free((void *)(uintptr_t)d->data);
    d->data = to;
}

static void make_checkpoint(const char *path) {
    char from[BL_TEST_PATH];
    bl_error err;
    bl_safetensors *f;
    int count;
    bl_synth_checkpoint(from, "sd15", BL_SYNTH_SINGLE);
    if (bl_safetensors_open(&f, from, &err)) {
        fail_msg("%s", err.message);
    }
    const bl_file_tensor *all = bl_safetensors_tensors(f, &count);
    bl_tensor_data *out = calloc((size_t)count, sizeof *out);
    assert_non_null(out);
    for (int i = 0; i < count; i++) {
        void *data = malloc((size_t)all[i].bytes);
        assert_non_null(data);
        assert_int_equal(bl_safetensors_read(f, all[i].offset, all[i].bytes, data, &err), 0);
        out[i] =
            (bl_tensor_data){.name = all[i].name, .dtype = all[i].dtype, .rank = all[i].rank, .data = data};
        memcpy(out[i].shape, all[i].shape, sizeof all[i].shape);
        for (size_t k = 0; k < WIDER; k++) {
            if (!strcmp(all[i].name, wider[k].name)) {
                assert_true(all[i].dtype == BL_F32);
                widen(&out[i], wider[k].rows, wider[k].columns);
            }
        }
    }
    assert_int_equal(bl_safetensors_write(path, out, count, NULL, 0, &err), 0);
    for (int i = 0; i < count; i++) {
        free((void *)(uintptr_t)out[i].data);
    }
    free(out);
    bl_safetensors_close(&f);
}

/* The model on the cpu device. */
typedef struct wide_model {
    char folder[BL_TEST_PATH], path[BL_TEST_PATH];
    bl_device *device;
    bl_memory *memory;
    bl_checkpoint *ckpt;
    bl_architecture arch;
    bl_modules *modules;
    bl_tokenizer *tokenizer;
    bl_log log;
} wide_model;

static int open_wide(void **state) {
    static wide_model m;
    bl_error err = {0};
    bl_checkpoint *narrow = NULL;
    char from[BL_TEST_PATH];
    *state = &m;
    bl_test_folder(m.folder);
    bl_test_join(m.path, m.folder, "wide.safetensors");
    make_checkpoint(m.path);
    bl_synth_checkpoint(from, "sd15", BL_SYNTH_SINGLE);
    int rc = bl_checkpoint_open(&narrow, from, NULL, &err);
    rc = rc ? rc : bl_architecture_detect(&m.arch, narrow, &err);
    bl_checkpoint_close(&narrow);
    m.arch.family = &wide;
    m.arch.unet.in_channels = m.arch.unet.out_channels = m.arch.vae.latent_channels = CHANNELS;
    m.arch.vae.scale = wide.latent_scale;
    m.arch.vae.shift = wide.latent_shift;
    m.arch.prediction = wide.prediction;
    bl_modules_options o = {
        .ckpt = NULL, .arch = &m.arch, .dtype = BL_F32, .vae_dtype = BL_F32, .log = &m.log};
    rc = rc ? rc : bl_checkpoint_open(&m.ckpt, m.path, NULL, &err);
    rc = rc ? rc : bl_cpu_open(&m.device, NULL, &err);
    rc = rc ? rc : bl_memory_open(&m.memory, m.device, NULL, &m.log, &err);
    o.ckpt = m.ckpt;
    o.memory = m.memory;
    rc = rc ? rc : bl_modules_open(&m.modules, &o, &err);
    rc = rc ? rc : bl_tokenizer_new(&m.tokenizer, &err);
    if (rc) {
        fail_msg("%s", err.message);
    }
    return 0;
}

static int close_wide(void **state) {
    wide_model *m = *state;
    bl_modules_close(&m->modules);
    bl_tokenizer_free(&m->tokenizer);
    bl_memory_close(&m->memory);
    bl_device_close(&m->device);
    bl_checkpoint_close(&m->ckpt);
    bl_test_folder_remove(m->folder);
    return 0;
}

/* What a request hands out. */
typedef struct taken {
    float *latents; /* the last ones, [CHANNELS, height, width] */
    int height, width;
    uint8_t *preview; /* the last one, [height, width, 3] */
    rig_pictures pictures;
} taken;

static int take_latents(void *payload, const ballast_latents *latents) {
    taken *t = payload;
    assert_int_equal(latents->channels, CHANNELS);
    size_t n = (size_t)CHANNELS * (size_t)latents->height * (size_t)latents->width;
    t->latents = realloc(t->latents, n * sizeof *t->latents);
    memcpy(t->latents, latents->data, n * sizeof *t->latents);
    t->height = latents->height;
    t->width = latents->width;
    return 0;
}

static int take_preview(void *payload, const ballast_image *image) {
    taken *t = payload;
    size_t bytes = (size_t)image->width * (size_t)image->height * 3;
    t->preview = realloc(t->preview, bytes);
    memcpy(t->preview, image->rgb, bytes);
    return 0;
}

static int take_picture(void *payload, const ballast_image *image) {
    return rig_take(&((taken *)payload)->pictures, image);
}

static ballast_generate_options request(taken *t) {
    ballast_generate_options o = rig_request(&t->pictures, 0);
    o.payload = t;
    o.sampler = "Euler";
    o.cfg = 3;
    o.image = take_picture;
    o.preview = take_preview;
    o.save_latents = take_latents;
    return o;
}

static void run(wide_model *m, const ballast_generate_options *o) {
    bl_error err = {0};
    bl_pipeline p = {.modules = m->modules,
                     .ckpt = m->ckpt,
                     .arch = &m->arch,
                     .tokenizer = {m->tokenizer, m->tokenizer},
                     .model_name = "wide",
                     .native_size = wide.native_size};
    if (bl_generate(NULL, &p, o, &err)) {
        fail_msg("%s", err.message);
    }
}

static void drop(taken *t) {
    free(t->latents);
    free(t->preview);
    rig_release(&t->pictures);
}

/* The family's own size, its preview of its last channel, and its scale and shift before the decoder. */
static void a_picture(void **state) {
    wide_model *m = *state;
    taken t = {0};
    ballast_generate_options o = request(&t);
    run(m, &o);
    enum { SIDE = NATIVE / SCALE, PIXELS = SIDE * SIDE, BYTES = NATIVE * NATIVE * 3 };
    assert_true(t.height == SIDE && t.width == SIDE && t.pictures.bytes == BYTES);
    for (int i = 0; i < PIXELS; i++) { /* Euler ends on what the last step denoised */
        float red = 127.5f * (t.latents[15 * PIXELS + i] + 1);
        red = red < 0 ? 0 : red > 255 ? 255 : red;
        assert_true(fabsf(red - (float)t.preview[i * 3]) <= 1.5f);
        assert_true(t.preview[i * 3 + 1] == 127 && t.preview[i * 3 + 2] == 127);
    }
    bl_graph *g = NULL;
    bl_error err = {0};
    float z[CHANNELS * PIXELS], *image = malloc(BYTES * sizeof *image);
    for (int i = 0; i < CHANNELS * PIXELS; i++) {
        z[i] = t.latents[i] / (float)wide.latent_scale + (float)wide.latent_shift;
    }
    assert_int_equal(
        bl_vae_decoder_graph(&g, &m->arch.vae, (bl_vae_shape){1, SIDE, SIDE}, BL_F32, NULL, &err), 0);
    bl_model_weights weights;
    assert_int_equal(bl_model_weights_open(&weights, g, m->ckpt, &err), 0);
    bl_source source = bl_model_source(&weights);
    assert_int_equal(bl_run_once(m->device, g, &source, NULL, (const void *[]){z}, (void *[]){image}, &err),
                     0);
    bl_model_weights_close(&weights);
    bl_graph_free(&g);
    uint8_t *rgb = malloc(BYTES);
    bl_pixels_from_float(rgb, image, NATIVE, NATIVE, BL_PIXELS_TRUNCATE);
    assert_memory_equal(rgb, t.pictures.rgb, BYTES);
    free(rgb);
    free(image);
    drop(&t);
}

/* Everything else that depends on channels and sizes: noise of one's own, an init image, a second pass
 * through pictures and one through latents, tiles, a batch. */
static void every_way(void **state) {
    wide_model *m = *state;
    enum { W = 80, H = 64, OF_ONE = CHANNELS * (H / SCALE) * (W / SCALE) };
    static uint8_t init[W * H * 3];
    static float noise[OF_ONE];
    for (int i = 0; i < OF_ONE; i++) {
        noise[i] = (float)(i * 7919 % 2003) / 1001.5f - 1.0f;
    }
    for (int way = 0; way < 4; way++) {
        taken t = {0};
        ballast_generate_options o = request(&t);
        o.width = W;
        o.height = H;
        o.latents = way == 0 ? noise : NULL;
        o.latents_batch = 1;
        o.latents_height = H / SCALE;
        o.latents_width = W / SCALE;
        o.init_rgb = way == 1 ? init : NULL;
        o.init_width = W;
        o.init_height = H;
        o.hires_scale = way >= 2 ? 1.5 : 0;
        o.hires_upscaler = way == 2 ? "Lanczos" : "Latent";
        o.tiled_decode = way == 2 ? "on" : "off";
        o.batch = way == 3 ? 2 : 1;
        run(m, &o);
        int times = way >= 2 ? 3 : 2, side = 2 * SCALE / 2;
        assert_int_equal(t.pictures.count, o.batch);
        assert_int_equal(t.height, H * times / 2 / side);
        assert_int_equal(t.width, W * times / 2 / side);
        drop(&t);
    }
}

static void latents_of_another_family_are_refused(void **state) {
    wide_model *m = *state;
    taken t = {0};
    bl_error err = {0};
    ballast_generate_options o = request(&t);
    static const float four[4 * 9 * 8];
    bl_request r;
    o.latents = four;
    o.latents_batch = 1;
    o.latents_height = 8;
    o.latents_width = 9;
    assert_int_equal(bl_request_check(&r, &o, &m->arch, NATIVE, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "[1, 16, 9, 9]"));
    static const float sixteen[16 * 9 * 9];
    o.latents = sixteen;
    o.latents_height = 9;
    o.latents_channels = 16;
    assert_int_equal(bl_request_check(&r, &o, &m->arch, NATIVE, &err), 0);
    bl_request_clear(&r);
    o.latents_channels = 4;
    assert_int_equal(bl_request_check(&r, &o, &m->arch, NATIVE, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "[1, 4, 9, 9]"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture),
        cmocka_unit_test(every_way),
        cmocka_unit_test(latents_of_another_family_are_refused),
    };
    return cmocka_run_group_tests(tests, open_wide, close_wide);
}
