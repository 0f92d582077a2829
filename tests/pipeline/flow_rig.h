/* Pictures of families whose denoiser is a transformer, with their latents, held against diffusers and
 * against each other. What goes wrong in here fails the running test. */
#ifndef BALLAST_TESTS_PIPELINE_FLOW_RIG_H
#define BALLAST_TESTS_PIPELINE_FLOW_RIG_H

#include "pipeline/rig.h"

#include "support/goldens.h"

/* What a generation gave. Begin with {0}; flow_drop. */
typedef struct flow_taken {
    rig_pictures pictures;
    float *latents; /* [channels, height, width] of the last picture */
    int64_t count;
    int channels, height, width;
} flow_taken;

static inline int flow_take_latents(void *payload, const ballast_latents *latents) {
    flow_taken *t = payload;
    t->channels = latents->channels;
    t->height = latents->height;
    t->width = latents->width;
    t->count = (int64_t)latents->channels * latents->height * latents->width;
    free(t->latents);
    t->latents = malloc((size_t)t->count * sizeof *t->latents);
    assert_non_null(t->latents);
    memcpy(t->latents, latents->data, (size_t)t->count * sizeof *t->latents);
    return 0;
}

static inline int flow_take_picture(void *payload, const ballast_image *image) {
    return rig_take(&((flow_taken *)payload)->pictures, image);
}

static inline void flow_drop(flow_taken *t) {
    free(t->latents);
    rig_release(&t->pictures);
}

/* Two small steps. */
static inline ballast_generate_options flow_request(flow_taken *t) {
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    *t = (flow_taken){0};
    o.prompt = "a photo of a cat";
    o.width = o.height = 64;
    o.steps = 2;
    o.seed = 3;
    o.hints = 0;
    o.image = flow_take_picture;
    o.save_latents = flow_take_latents;
    o.payload = t;
    return o;
}

/* Makes the picture of a request that began with flow_request and has its size, from noise, and holds it
 * against NAME.latents and NAME.image. `scale`: pixels along one side of a latent. */
static inline void flow_check(rig_studio *s, const bl_golden *g, const char *name, ballast_generate_options o,
                              int scale, bl_dtype dtype) {
    char tensor[64];
    flow_taken *t = o.payload;
    const size_t plane = (size_t)o.height * (size_t)o.width;
    snprintf(tensor, sizeof tensor, "%s.noise", name);
    float *noise = bl_golden_f32(g, tensor);
    o.compat = "diffusers";
    o.latents = noise;
    o.latents_batch = 1;
    o.latents_height = o.height / scale;
    o.latents_width = o.width / scale;
    rig_make(s, &o);
    snprintf(tensor, sizeof tensor, "%s.latents", name);
    bl_golden_check(g, tensor, t->latents, t->count, dtype);
    snprintf(tensor, sizeof tensor, "%s.image", name);
    float *image = bl_golden_f32(g, tensor);
    assert_int_equal(t->pictures.bytes, 3 * plane);
    const double slack = dtype == BL_F32 ? 0.51 : 12;
    for (size_t i = 0; i < 3 * plane; i++) {
        double v = 127.5 * (image[i % 3 * plane + i / 3] + 1);
        v = v < 0 ? 0 : v > 255 ? 255 : v;
        if (v - t->pictures.rgb[i] > slack || t->pictures.rgb[i] - v > slack) {
            fail_msg("%s: byte %zu is %d for %.3f", name, i, t->pictures.rgb[i], v);
        }
    }
    free(image);
    free(noise);
    flow_drop(t);
}

/* Opens a model out of several files; `vae` may be NULL. */
static inline void flow_open_parts(rig_studio *s, const char *path, const char *const *encoders, size_t count,
                                   const char *vae) {
    ballast_context_options co;
    ballast_model_options mo;
    rig_options(&co, &mo, path, "f32");
    mo.vae_path = vae;
    mo.text_encoder_paths = encoders;
    mo.text_encoder_count = count;
    rig_open_given(s, &co, &mo);
}

/* The same with one encoder at most: any but the first may be NULL. */
static inline void flow_open_files(rig_studio *s, const char *path, const char *encoder, const char *vae) {
    flow_open_parts(s, path, &encoder, encoder != NULL, vae);
}

/* The request is refused in these words. */
static inline void flow_refuses(rig_studio *s, const ballast_generate_options *o, const char *words) {
    ballast_error err = {0};
    assert_true(ballast_generate(NULL, s->model, o, &err) < 0);
    if (!strstr(err.message, words)) {
        fail_msg("\"%s\" is not in: %s", words, err.message);
    }
}

/* The picture of two steps with guidance. */
static inline void flow_take_from(flow_taken *t, const char *path, const char *encoder, const char *vae) {
    rig_studio s;
    ballast_generate_options o = flow_request(t);
    flow_open_files(&s, path, encoder, vae);
    o.negative_prompt = "dull";
    o.cfg = 3;
    rig_make(&s, &o);
    rig_close(&s);
}

/* Adds a start picture, previews and a second pass through pictures. */
static inline void flow_add_all(ballast_generate_options *o) {
    static uint8_t start[64 * 64 * 3];
    for (size_t i = 0; i < sizeof start; i++) {
        start[i] = (uint8_t)(i * 7919 % 251);
    }
    o->cfg = 3;
    o->init_rgb = start;
    o->init_width = o->init_height = 64;
    o->strength = 0.9;
    rig_add_hires(o);
    o->hires_scale = 1.5;
    o->count = 1;
}

enum { FLOW_MODES = 5, FLOW_BUDGETS = 8 };

/* The picture of the request that `ask` makes is the same in every mode and budget; `step`: of those only
 * each so manieth. */
static inline void flow_same_everywhere(rig_studio *s, ballast_generate_options (*ask)(flow_taken *t),
                                        int step) {
    static const char *const modes[FLOW_MODES] = {"none", "model", "sequential", "balanced", "auto"};
    flow_taken wanted, got;
    ballast_generate_options o = ask(&wanted);
    json_t *report = rig_generate(s, &o);
    const uint64_t least = rig_figure(report, 0, "plan", "min_budget_bytes"),
                   most = rig_figure(report, 0, "plan", "peak_bytes");
    json_decref(report);
    assert_true(wanted.pictures.bytes > 0 && least < most);
    for (int i = 0; i < FLOW_MODES + FLOW_BUDGETS; i += step) {
        const int b = i - FLOW_MODES;
        o = ask(&got);
        rig_size budget = rig_bytes(least + (most - least) * (uint64_t)(b < 0 ? 0 : b) / (FLOW_BUDGETS - 1));
        o.offload = modes[b < 0 ? i : FLOW_MODES - 1];
        o.budget = b < 0 ? NULL : budget.text;
        rig_make(s, &o);
        rig_same(&got.pictures, &wanted.pictures, b < 0 ? modes[i] : budget.text);
        flow_drop(&got);
    }
    flow_drop(&wanted);
}

/* Texts that T5 has no pieces for are the same to it, and not to CLIP; one that was encoded is not again, and
 * is taken for its own text. */
static inline void flow_takes_texts_apart(rig_studio *s, ballast_generate_options (*ask)(flow_taken *t)) {
    static const char *const texts[] = {"\xe2\x98\x83 cat", "\xe2\x98\x82 cat"};
    flow_taken t[4];
    for (int i = 0; i < 4; i++) {
        ballast_generate_options o = ask(&t[i]);
        o.prompt = texts[i % 2];
        json_decref(rig_generate(s, &o));
    }
    rig_same(&t[2].pictures, &t[0].pictures, "the first text, known");
    rig_same(&t[3].pictures, &t[1].pictures, "the second text, known");
    assert_int_not_equal(memcmp(t[1].latents, t[0].latents, (size_t)t[0].count * sizeof(float)), 0);
    for (int i = 0; i < 4; i++) {
        flow_drop(&t[i]);
    }
}

#endif
