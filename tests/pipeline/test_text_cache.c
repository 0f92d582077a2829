/* Prompts that were encoded before: the same bits as encoded anew, whatever else changed; no encoder in the
 * plan; and what an encoding depends on makes it another. */
#include "pipeline/rig.h"

#include "support/slow.h"

#define FAMILIES 3
#define SIDE 64

static const char *const families[FAMILIES] = {"sd15", "sd21v", "sdxl"};

static void open_studio_as(rig_studio *s, const char *checkpoint, const char *dtype, size_t entries) {
    ballast_context_options co;
    ballast_model_options mo;
    rig_options(&co, &mo, checkpoint, dtype);
    co.threads = 1;
    co.text_cache = entries;
    rig_open_given(s, &co, &mo);
}

static void open_studio(rig_studio *s, const char *checkpoint, size_t entries) {
    open_studio_as(s, checkpoint, "f32", entries);
}

static int figure(json_t *object, const char *name) {
    json_t *v = json_object_get(json_object_get(object, "text_cache"), name);
    assert_true(json_is_integer(v));
    return (int)json_integer_value(v);
}

static bool has_encoder(json_t *plan) {
    json_t *phase;
    size_t i;
    json_array_foreach(json_object_get(plan, "phases"), i, phase) {
        if (!strncmp(json_string_value(json_object_get(phase, "module")), "text_encoder", 12)) {
            return true;
        }
    }
    return false;
}

/* Makes it; how many chunks were encoded for it. The plan has an encoder where there were some. */
static int made(rig_studio *s, const ballast_generate_options *o) {
    json_t *report = rig_generate(s, o), *batches = json_object_get(report, "batches"), *batch;
    int misses = figure(report, "misses"), sum = 0;
    size_t i;
    json_array_foreach(batches, i, batch) {
        assert_int_equal(has_encoder(json_object_get(batch, "plan")), figure(batch, "misses") > 0);
        const char *line = json_string_value(json_object_get(json_object_get(batch, "line"), "text"));
        assert_true(figure(batch, "misses") || strstr(line, " prompt 0."));
        sum += figure(batch, "misses");
    }
    assert_int_equal(sum, misses);
    json_decref(report);
    return misses;
}

/* ---- the same bits */

typedef struct way {
    const char *prompt, *negative, *compat;
    int clip_skip, batch, hires, init, pad;
    double cfg;
} way;

static const way ways[] = {
    {"a red fox", "blurry", "a1111", 0, 1, 0, 0, 0, 5},
    {"a (red:1.3) fox", "blurry", "a1111", 0, 2, 0, 0, 0, 5},
    {"a red fox BREAK in the snow", "blurry", "a1111", 0, 1, 0, 0, 0, 5},
    {"a red fox BREAK in the snow", "", "a1111", 0, 1, 0, 0, 1, 5},
    {"[a|b] fox AND [cat:dog:1] :0.4", "[bad::1]", "a1111", 0, 1, 1, 0, 0, 5},
    {"a (red:1.3) fox", "blurry", "comfyui", 2, 1, 0, 1, 0, 5},
    {"a red fox", "blurry", "diffusers", 1, 1, 0, 0, 0, 5},
    {"a red fox", "blurry", "a1111", 2, 1, 1, 1, 0, 1},
};
#define WAYS (sizeof ways / sizeof *ways)

static ballast_generate_options request(rig_pictures *p, const way *w) {
    static const uint8_t start[SIDE * SIDE * 3] = {200, 10};
    ballast_generate_options o = rig_request(p, SIDE);
    o.prompt = w->prompt;
    o.negative_prompt = w->negative;
    o.compat = w->compat;
    o.clip_skip = w->clip_skip;
    o.batch = w->batch;
    o.cfg = w->cfg;
    o.pad_conds = w->pad;
    o.hires_scale = w->hires ? 1.25 : 0;
    o.init_rgb = w->init ? start : NULL;
    o.init_width = o.init_height = w->init ? SIDE : 0;
    o.next = &(ballast_expected){0};
    return o;
}

static void test_same_bits(void **state) {
    static const char *const modes[] = {"none", "model", "sequential", "balanced", "auto"};
    (void)state;
    for (int f = bl_test_slow() ? 2 : 0; f < FAMILIES; f++) {
        char checkpoint[BL_TEST_PATH];
        rig_studio cold, warm;
        rig_pictures wanted[WAYS] = {{0}}, got = {0};
        bl_synth_checkpoint(checkpoint, families[f], BL_SYNTH_SINGLE);
        open_studio(&cold, checkpoint, 0);
        open_studio(&warm, checkpoint, 64);
        for (size_t i = 0; i < WAYS; i++) { /* in which order the parts were encoded differs */
            ballast_generate_options o = request(&wanted[i], &ways[i]);
            assert_true(made(&cold, &o) > 0);
            o = request(&got, &ways[WAYS - 1 - i]);
            made(&warm, &o);
            rig_release(&got);
        }
        for (int m = 0; m < 5; m++) {
            for (size_t k = 0; k < 2; k++) { /* all ways come up */
                const size_t i = (2 * (size_t)m + k) % WAYS;
                ballast_error err = {0};
                ballast_generate_options o = request(&got, &ways[i]);
                uint64_t least = rig_planned(&warm, &o, "min_budget_bytes");
                rig_size budget = rig_bytes(least + least / 4 * i);
                o.offload = modes[m];
                o.budget = budget.text;
                if (m < 4 && ballast_plan(NULL, NULL, warm.model, &o, NULL, &err)) { /* it needs more */
                    o.budget = NULL;
                }
                assert_int_equal(made(&warm, &o), 0);
                rig_same(&got, &wanted[i], ways[i].prompt);
                rig_release(&got);
            }
        }
        for (size_t i = 0; i < WAYS; i++) {
            rig_release(&wanted[i]);
        }
        rig_close(&cold);
        rig_close(&warm);
    }
}

/* With an adapter of the encoder, with an embedding, with both, in turn: what is found is what was encoded
 * with those, in each type. */
static void test_changed_encoders(void **state) {
    static const char *const dtypes[] = {"f32", "bf16"};
    char checkpoint[BL_TEST_PATH], folder[BL_TEST_PATH], path[BL_TEST_PATH];
    ballast_adapter a;
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    bl_test_data(folder, "sd15/adapters/embedding");
    bl_test_data(path, "sd15/adapters/lora/te_only.safetensors");
    ballast_adapter_init(&a, sizeof a);
    a.path = path;
    for (int d = 0; d < 2; d++) {
        rig_studio cold, warm;
        rig_pictures wanted[4] = {{0}}, got = {0};
        open_studio_as(&cold, checkpoint, dtypes[d], 0);
        open_studio_as(&warm, checkpoint, dtypes[d], 64);
        for (int i = 0; i < 12; i++) { /* 1: the adapter, 2: the embedding; each once cold, then twice kept */
            const int which = i % 4, round = i / 4;
            rig_pictures *p = round ? &got : &wanted[which];
            ballast_generate_options o = rig_request(p, SIDE);
            o.steps = 1;
            o.cfg = 5;
            o.adapters = &a;
            o.adapter_count = which & 1;
            o.embedding_folders = folder;
            o.negative_prompt = which & 2 ? "quandar, blurry" : "blurry";
            /* an embedding changes what one text becomes, an adapter what all do */
            const int anew[] = {2, 2, 1, 1};
            assert_int_equal(made(round ? &warm : &cold, &o), round > 1 ? 0 : round ? anew[which] : 2);
            if (round) {
                rig_same(&got, &wanted[which], dtypes[d]);
                rig_release(&got);
            }
        }
        for (int i = 1; i < 4; i++) {
            assert_true(memcmp(wanted[i].rgb, wanted[i - 1].rgb, wanted[i].bytes) != 0);
        }
        for (int i = 0; i < 4; i++) {
            rig_release(&wanted[i]);
        }
        rig_close(&cold);
        rig_close(&warm);
    }
}

/* ---- what an encoding depends on */

static void test_other_encodings(void **state) {
    char checkpoint[BL_TEST_PATH], path[BL_TEST_PATH];
    rig_studio s;
    rig_pictures p = {0};
    ballast_adapter a;
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    bl_test_data(path, "sd15/adapters/lora/te_only.safetensors");
    open_studio(&s, checkpoint, 64);
    ballast_generate_options o = rig_request(&p, SIDE);
    ballast_adapter_init(&a, sizeof a);
    a.path = path;
    o.cfg = 5;
    assert_int_equal(made(&s, &o), 2);
    assert_int_equal(made(&s, &o), 0);
    o.seed++; /* nothing of these is the encoder's */
    o.cfg = 4;
    o.steps = 1;
    o.sampler = "Euler";
    o.prompt = "a photo of a (red:1.4) fox in the snow";
    assert_int_equal(made(&s, &o), 0);
    o.prompt = "a photo of a (blue:1.4) fox in the snow";
    assert_int_equal(made(&s, &o), 1); /* the negative prompt is known */
    o.clip_skip = 2;
    assert_int_equal(made(&s, &o), 2);
    o.adapters = &a;
    o.adapter_count = 1;
    assert_int_equal(made(&s, &o), 2);
    assert_int_equal(made(&s, &o), 0);
    a.denoiser = 0.2; /* the UNet's own affair */
    assert_int_equal(made(&s, &o), 0);
    a.text = 0.5;
    assert_int_equal(made(&s, &o), 2);
    a.text = 0;
    assert_int_equal(made(&s, &o), 0);
    a.text = 1;
    assert_int_equal(made(&s, &o), 0);
    assert_int_equal(ballast_model_release(s.model, NULL), 0);
    assert_int_equal(made(&s, &o), 0);
    rig_release(&p);
    rig_close(&s);
}

/* Two models, of which the second has the first one's name and another text encoder. */
static void test_other_model(void **state) {
    char checkpoint[BL_TEST_PATH];
    rig_studio first, second;
    rig_pictures p = {0};
    ballast_error err = {0};
    ballast_model_options mo;
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    open_studio(&first, checkpoint, 64);
    ballast_generate_options o = rig_request(&p, SIDE);
    assert_int_equal(made(&first, &o), 1);
    second = first;
    ballast_model_options_init(&mo, sizeof mo);
    mo.path = checkpoint;
    mo.dtype = "bf16";
    assert_int_equal(ballast_model_open(&second.model, first.context, &mo, &err), 0);
    assert_int_equal(made(&second, &o), 1);
    assert_int_equal(made(&second, &o), 0);
    assert_int_equal(made(&first, &o), 0);
    ballast_model_close(&second.model);
    json_t *report = rig_generate(&first, &o);
    assert_int_equal(figure(report, "entries"), 1); /* what was the other's went with it */
    json_decref(report);
    assert_int_equal(ballast_model_open(&second.model, first.context, &mo, &err), 0);
    assert_int_equal(made(&second, &o), 1); /* its file may be another by now */
    ballast_model_close(&second.model);
    rig_release(&p);
    rig_close(&first);
}

/* ---- bounds, and switched off */

static void test_bounds(void **state) {
    char checkpoint[BL_TEST_PATH];
    rig_studio s;
    (void)state;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    open_studio(&s, checkpoint, 3);
    ballast_generate_options o = rig_request(NULL, SIDE);
    o.image = NULL;
    o.steps = 1;
    int bytes = 0;
    for (int i = 0; i < 20; i++) {
        char prompt[32];
        snprintf(prompt, sizeof prompt, "view %d", i);
        o.prompt = prompt;
        json_t *report = rig_generate(&s, &o);
        assert_int_equal(figure(report, "entries"), i < 2 ? i + 1 : 3);
        assert_int_equal(figure(report, "most_entries"), 3);
        assert_true(figure(report, "bytes") < figure(report, "most_bytes"));
        assert_true(i < 3 || figure(report, "bytes") == bytes);
        bytes = figure(report, "bytes");
        json_decref(report);
    }
    o.prompt = "view 17"; /* used last: 18 goes when 20 comes */
    assert_int_equal(made(&s, &o), 0);
    o.prompt = "view 20";
    assert_int_equal(made(&s, &o), 1);
    o.prompt = "view 18";
    assert_int_equal(made(&s, &o), 1);
    o.prompt = "view 17";
    assert_int_equal(made(&s, &o), 0);
    rig_close(&s);
    open_studio(&s, checkpoint, 0);
    o.count = 2;
    assert_int_equal(made(&s, &o), 2);
    rig_close(&s);
}

/* ---- plans */

static void test_plans(void **state) {
    char checkpoint[BL_TEST_PATH];
    rig_studio s;
    (void)state;
    bl_synth_checkpoint(checkpoint, "sdxl", BL_SYNTH_SINGLE);
    open_studio(&s, checkpoint, 64);
    ballast_generate_options o = rig_request(NULL, SIDE);
    o.image = NULL;
    json_t *cold = rig_plan(&s, &o);
    o.count = 3;
    json_t *several = rig_plan(&s, &o);
    assert_true(has_encoder(cold) && !has_encoder(several));
    assert_int_equal(figure(cold, "misses"), 1);
    assert_int_equal(figure(several, "misses"), 0);
    assert_int_equal(figure(several, "first_misses"), 1);
    assert_int_equal(json_integer_value(json_object_get(several, "min_budget_bytes")),
                     json_integer_value(json_object_get(cold, "min_budget_bytes")));
    assert_int_equal(made(&s, &o), 1); /* the first of three */
    o.count = 1;
    json_t *warm = rig_plan(&s, &o);
    assert_true(!has_encoder(warm));
    assert_int_equal(figure(warm, "hits"), 1);
    assert_true(json_integer_value(json_object_get(warm, "working_set_bytes")) <
                json_integer_value(json_object_get(cold, "working_set_bytes")));
    json_decref(cold);
    json_decref(several);
    json_decref(warm);
    rig_close(&s);
}

/* A queue's next ones with the same prompt need no encoder: where it has no room beside them, what they need
 * stays in its place. */
static void test_what_follows(void **state) {
    char checkpoint[BL_TEST_PATH];
    rig_studio s;
    ballast_expected next[2];
    double bytes[2];
    (void)state;
    bl_synth_checkpoint(checkpoint, "sdxl", BL_SYNTH_SINGLE);
    for (int same = 0; same < 2; same++) {
        open_studio(&s, checkpoint, 64);
        ballast_generate_options o = rig_request(NULL, SIDE), other = o;
        o.image = other.image = NULL;
        other.prompt = same ? o.prompt : "a lighthouse";
        for (int i = 0; i < 2; i++) {
            ballast_expected_init(&next[i], sizeof next[i]);
            next[i].model = s.model;
            next[i].options = &other;
        }
        o.next = next;
        o.next_count = 2;
        rig_size budget = rig_bytes(rig_planned(&s, &o, "working_set_bytes") * 6 / 10);
        o.budget = budget.text;
        assert_int_equal(made(&s, &o), 1);
        o = other;
        o.budget = budget.text;
        json_t *report = rig_generate(&s, &o);
        assert_int_equal(figure(report, "misses"), !same);
        bytes[same] = (double)rig_figure(report, 0, "plan", "moved_bytes");
        json_decref(report);
        rig_close(&s);
    }
    print_message("moved for the second: %.0f bytes, with the same prompt %.0f\n", bytes[0], bytes[1]);
    assert_true(bytes[1] < bytes[0]);
    rig_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),       cmocka_unit_test(test_changed_encoders),
        cmocka_unit_test(test_other_encodings), cmocka_unit_test(test_other_model),
        cmocka_unit_test(test_bounds),          cmocka_unit_test(test_plans),
        cmocka_unit_test(test_what_follows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
