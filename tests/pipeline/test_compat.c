/* What A1111, ComfyUI and diffusers make of prompts, sizes, clip skip and LCM: final latents against
 * tools/compat_goldens.py, which computes them with diffusers' networks. docs/accuracy.md has the rules. */
#include "pipeline/rig.h"

#include "support/goldens.h"

#define LONG_PAIRS 40 /* "cat dog ", 80 tokens */
#define SHORT "bad hands"

static char long_text[8 * LONG_PAIRS + 1], and_text[8 * LONG_PAIRS + 32];

typedef struct rule {
    const char *name; /* of the golden: COMPAT.WHAT */
    const char *prompt, *negative;
    double cfg;
    int steps;
    const char *sampler, *schedule;
    int height, width;
    int clip_skip;
    double hires;
    bool pad;
} rule;

#define ONE_STEP .steps = 1, .sampler = "Euler", .schedule = "normal", .height = 64, .width = 64
#define TWO_STEPS .cfg = 7, .steps = 2, .sampler = "Euler", .schedule = "leading", .height = 64, .width = 64
#define LCM(n) .prompt = "cat", .cfg = 1, .steps = n, .sampler = "LCM", .height = 64, .width = 64

#define WALK(n, by) .steps = n, .sampler = by, .schedule = "normal", .height = 64, .width = 64

static const rule rules[] = {
    {"a1111.edit", "[cat:dog:2] house # [a:b:1]", "[bad hands::0.25]", 7, WALK(4, "Euler")},
    {"a1111.alternate", "[cat|dog|red house]", "", 1, WALK(4, "Euler")},
    {"a1111.edit_heun", "[cat:dog:0.5]", SHORT, 7, WALK(4, "Heun")},
    {"a1111.edit_hires", "[cat:dog:1]", "", 1, ONE_STEP, .hires = 1.3},
    {"a1111.and", and_text, SHORT, 7, ONE_STEP},
    {"a1111.and_padded", and_text, SHORT, 7, ONE_STEP, .pad = true},
    {"a1111.and_unguided", "cat :0.25 AND dog :.75", SHORT, 1, WALK(2, "Euler")},
    {"a1111.weight_alone", "cat:.5", SHORT, 7, WALK(2, "Euler")},
    {"a1111.weights", "(cat:1.5) dog ((red house:0.5))", "", 1, ONE_STEP},
    {"a1111.clip_skip_3", "cat", SHORT, 7, ONE_STEP, .clip_skip = 3},
    {"a1111.sides_72x104", "cat", "", 1, 1, "Euler", "normal", .height = 72, .width = 104},
    {"comfyui.weights", "(cat:1.5) (dog (red:0.5) house)", "", 1, ONE_STEP},
    {"comfyui.clip_skip_3", "cat", SHORT, 7, ONE_STEP, .clip_skip = 3},
    {"comfyui.sides_72x104", "cat", "", 1, 1, "Euler", "normal", .height = 72, .width = 104},
    {"diffusers.weights_are_text", "(cat:1.5) BREAK dog", SHORT, TWO_STEPS},
    {"diffusers.clip_skip_3", "cat", SHORT, TWO_STEPS, .clip_skip = 3},
};

/* Of one family: what is the same in the others. */
static const rule sd15_rules[] = {
    {"a1111.break", "cat BREAK (dog:1.3)", "", 1, ONE_STEP},
    {"a1111.long_prompt", long_text, SHORT, 7, ONE_STEP},
    {"a1111.long_negative", SHORT, long_text, 7, ONE_STEP},
    {"a1111.padded", long_text, SHORT, 7, ONE_STEP, .pad = true},
    {"a1111.hires_1.3", "cat", "", 1, ONE_STEP, .hires = 1.3},
    {"a1111.lcm_1", LCM(1)},
    {"a1111.lcm_2", LCM(2)},
    {"a1111.lcm_4", LCM(4)},
    {"a1111.lcm_60", LCM(60)},
    {"a1111.lcm_sgm", LCM(4), .schedule = "sgm_uniform"},
    {"a1111.lcm_karras", LCM(4), .schedule = "karras"},
    {"a1111.lcm_simple", LCM(4), .schedule = "simple"},
    {"a1111.lcm_ddim", LCM(4), .schedule = "ddim_uniform"},
    {"comfyui.brackets", "[cat] BREAK dog", "", 1, ONE_STEP},
    {"comfyui.long_prompt", long_text, SHORT, 7, ONE_STEP},
    {"diffusers.cut_at_75", long_text, SHORT, TWO_STEPS},
};

static const rule sdxl_rules[] = {
    {"a1111.no_negative", "cat", NULL, 7, ONE_STEP},
    {"a1111.no_negative", "cat", "", 7, ONE_STEP},
    {"a1111.blank_negative", "cat", " ", 7, ONE_STEP},
    {"a1111.zeros_and_long", long_text, "", 7, ONE_STEP},
    {"a1111.hires_1.3", "cat", "", 1, ONE_STEP, .hires = 1.3},
    {"comfyui.empty_negative", "cat", "", 7, ONE_STEP},
    {"diffusers.no_negative", "cat", NULL, TWO_STEPS},
    {"diffusers.empty_negative", "cat", "", TWO_STEPS},
};

typedef struct final {
    float *latents;
    int height, width;
    bool said_padded; /* in the picture's parameters */
} final;

static int take_final(void *payload, const ballast_latents *latents) {
    final *f = payload;
    size_t bytes = (size_t)(4 * latents->height * latents->width) * sizeof(float);
    assert_int_equal(latents->index, 0);
    *f = (final){malloc(bytes), latents->height, latents->width, false};
    assert_non_null(f->latents);
    memcpy(f->latents, latents->data, bytes);
    return 0;
}

static int take_parameters(void *payload, const ballast_image *image) {
    final *f = payload;
    f->said_padded = strstr(image->parameters, "Pad conds: True") != NULL;
    return 0;
}

static final make(rig_studio *s, const rule *r) {
    final f = {0};
    char compat[16];
    snprintf(compat, sizeof compat, "%.*s", (int)strcspn(r->name, "."), r->name);
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    o.prompt = r->prompt;
    o.negative_prompt = r->negative;
    o.cfg = r->cfg;
    o.steps = r->steps;
    o.sampler = r->sampler;
    o.schedule = r->schedule;
    o.compat = compat;
    o.height = r->height;
    o.width = r->width;
    o.seed = 1;
    o.clip_skip = r->clip_skip;
    o.hires_scale = r->hires;
    o.hires_strength = 0.5;
    o.pad_conds = r->pad;
    o.image = take_parameters;
    o.hints = 0;
    o.save_latents = take_final;
    o.payload = &f;
    rig_make(s, &o);
    return f;
}

/* 1e-4 of the peak: guidance of 7 multiplies what float32 leaves open, and steps add up. */
static void check_rules(rig_studio *s, const bl_golden *golden, const rule *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s.final", list[i].name);
        final f = make(s, &list[i]);
        float *gold = bl_golden_f32(golden, name);
        int64_t n = (int64_t)4 * f.height * f.width;
        const int64_t *shape = bl_golden_tensor(golden, name)->shape;
        assert_true(f.said_padded == list[i].pad);
        assert_true(shape[2] == f.height && shape[3] == f.width);
        bl_check_close(name, gold, f.latents, n, 1e-4 * bl_peak(gold, n));
        free(gold);
        free(f.latents);
    }
}

/* The goldens are of one set of weights. */
static bool belongs(const bl_golden *golden, const char *family) {
    char name[64];
    snprintf(name, sizeof name, "%s/weights.json", family);
    json_t *weights = bl_test_json(name);
    const char *digest = json_string_value(
        json_object_get(json_object_get(weights, "sha256"), "single_file/model.safetensors"));
    const char *of = bl_safetensors_metadata(golden->file, "weights");
    bool same = digest && of && !strcmp(digest, of);
    json_decref(weights);
    return same;
}

static void check_family(const char *family) {
    char name[BL_TEST_PATH];
    rig_studio s;
    bl_golden golden;
    snprintf(name, sizeof name, "%s/golden/compat.safetensors", family);
    bl_golden_open(&golden, name);
    if (!belongs(&golden, family)) {
        bl_golden_close(&golden);
        print_message("%s is of other weights than those of this set: run tools/compat_goldens.py\n", name);
        skip();
    }
    bl_synth_checkpoint(name, family, BL_SYNTH_SINGLE);
    rig_open(&s, name, "f32", "");
    check_rules(&s, &golden, rules, sizeof rules / sizeof *rules);
    if (!strcmp(family, "sd15")) {
        check_rules(&s, &golden, sd15_rules, sizeof sd15_rules / sizeof *sd15_rules);
    }
    if (!strcmp(family, "sdxl")) {
        check_rules(&s, &golden, sdxl_rules, sizeof sdxl_rules / sizeof *sdxl_rules);
    }
    rig_close(&s);
    bl_golden_close(&golden);
}

static void test_sd15(void **state) {
    (void)state;
    check_family("sd15");
}

static void test_sd21v(void **state) {
    (void)state;
    check_family("sd21v");
}

static void test_sdxl(void **state) {
    (void)state;
    check_family("sdxl");
}

/* With one Euler step the final latents are the prediction, which is linear in what the UNet says: so
 * guidance can be had from two pictures without it, whatever the weights are. Each half is then at its own
 * length. */
static void each_half_at_its_own_length(void **state) {
    (void)state;
    static const rule guided = {"a1111.", long_text, SHORT, 7, ONE_STEP};
    rule cond = guided, uncond = guided;
    cond.cfg = uncond.cfg = 1;
    uncond.prompt = SHORT;
    char path[BL_TEST_PATH];
    rig_studio s;
    bl_synth_checkpoint(path, "sd15", BL_SYNTH_SINGLE);
    rig_open(&s, path, "f32", "");
    final g = make(&s, &guided), c = make(&s, &cond), u = make(&s, &uncond);
    float want[256];
    for (int i = 0; i < 256; i++) {
        want[i] = u.latents[i] + 7 * (c.latents[i] - u.latents[i]);
    }
    bl_check_close("guided", want, g.latents, 256, 1e-4 * bl_peak(want, 256));
    free(g.latents);
    free(c.latents);
    free(u.latents);
    rig_close(&s);
}

int main(void) {
    for (int i = 0; i < LONG_PAIRS; i++) {
        memcpy(long_text + 8 * i, "cat dog ", 8);
    }
    snprintf(and_text, sizeof and_text, "cat AND %s:-0.5", long_text);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_half_at_its_own_length),
        cmocka_unit_test(test_sd15),
        cmocka_unit_test(test_sd21v),
        cmocka_unit_test(test_sdxl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
