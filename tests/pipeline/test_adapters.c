/* Pictures with adapters: against the reference's latents, the same bits whatever the placement and whatever
 * came before, and blocks that an adapter does not touch stay where they are. */
#include "pipeline/rig.h"

#include "support/slow.h"

#include <time.h>

#define FAMILIES 3
#define MOST 4 /* adapters of a case */

static const char *const families[FAMILIES] = {"sd15", "sd21v", "sdxl"};

typedef struct wanted {
    ballast_adapter list[MOST];
    char path[MOST][BL_TEST_PATH];
    size_t count;
} wanted;

static void want(wanted *w, const char *family, const char *name, double text, double denoiser) {
    char inside[256];
    snprintf(inside, sizeof inside, "%s/adapters/lora/%s.safetensors", family, name);
    assert_true(w->count < MOST);
    bl_test_data(w->path[w->count], inside);
    ballast_adapter *a = &w->list[w->count];
    ballast_adapter_init(a, sizeof *a);
    a->path = w->path[w->count++];
    a->text = text;
    a->denoiser = denoiser;
}

static void use(ballast_generate_options *o, const wanted *w) {
    o->adapters = w->count ? w->list : NULL;
    o->adapter_count = w->count;
}

static void open_studio(rig_studio *s, const char *family, bl_synth_layout layout) {
    char checkpoint[BL_TEST_PATH];
    bl_synth_checkpoint(checkpoint, family, layout);
    rig_open(s, checkpoint, "f32", "");
}

/* ---- goldens */

typedef struct taken {
    float *latents;
    char *parameters;
} taken;

static int take_latents(void *payload, const ballast_latents *l) {
    taken *t = payload;
    size_t bytes = (size_t)(l->channels * l->height * l->width) * sizeof *l->data;
    t->latents = malloc(bytes);
    assert_non_null(t->latents);
    memcpy(t->latents, l->data, bytes);
    return 0;
}

static int take_parameters(void *payload, const ballast_image *image) {
    taken *t = payload;
    t->parameters = strdup(image->parameters);
    return 0;
}

static void check_golden(rig_studio *s, const char *family, const bl_golden *golden, const float *noise,
                         const char *key, const char *tags) {
    char prompt[512], folder[BL_TEST_PATH], inside[256];
    taken t = {0};
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    snprintf(inside, sizeof inside, "%s/adapters/lora", family);
    bl_test_data(folder, inside);
    snprintf(prompt, sizeof prompt, "a photo of a red fox in the snow, highly detailed%s", tags);
    o.prompt = prompt;
    o.negative_prompt = "blurry, low quality";
    o.adapter_folders = folder;
    o.width = o.height = 128;
    o.steps = 4;
    o.sampler = "Euler";
    o.compat = "diffusers";
    o.latents = noise;
    o.latents_batch = 1;
    o.latents_height = o.latents_width = 16;
    o.save_latents = take_latents;
    o.image = take_parameters;
    o.payload = &t;
    o.hints = 0;
    rig_make(s, &o);
    bl_golden_check(golden, key, t.latents, 4 * 16 * 16, BL_F32);
    assert_non_null(strstr(t.parameters, tags));
    assert_non_null(strstr(t.parameters, "Lora hashes: \""));
    free(t.latents);
    free(t.parameters);
}

static void test_goldens(void **state) {
    (void)state;
    for (int f = 0; f < (bl_test_slow() ? 1 : FAMILIES); f++) {
        rig_studio s;
        bl_golden golden, noises;
        char name[256];
        int count;
        snprintf(name, sizeof name, "%s/adapters/golden/txt2img.safetensors", families[f]);
        bl_golden_open(&golden, name);
        snprintf(name, sizeof name, "%s/golden/pipeline/txt2img.safetensors", families[f]);
        bl_golden_open(&noises, name);
        snprintf(name, sizeof name, "%s/adapters/golden/cases.json", families[f]);
        json_t *cases = bl_test_json(name), *tags = json_object_get(cases, "tags");
        float *noise = bl_golden_f32(&noises, "euler_128.noise");
        open_studio(&s, families[f], f % 2 ? BL_SYNTH_FOLDER : BL_SYNTH_SINGLE);
        const bl_file_tensor *t = bl_safetensors_tensors(golden.file, &count);
        assert_true(count >= 5);
        for (int i = 0; i < count; i++) {
            char key[128];
            snprintf(key, sizeof key, "%.*s", (int)(strlen(t[i].name) - strlen(".final")), t[i].name);
            check_golden(&s, families[f], &golden, noise, t[i].name,
                         json_string_value(json_object_get(tags, key)));
        }
        free(noise);
        json_decref(cases);
        bl_golden_close(&golden);
        bl_golden_close(&noises);
        rig_close(&s);
    }
}

/* ---- placement */

/* 0, 1 and 3 adapters. */
static void adapters_of(wanted *w, const char *family, int number) {
    *w = (wanted){.count = 0};
    if (number) {
        want(w, family, "kohya", 0.8, 0.8);
    }
    if (number > 1) {
        want(w, family, "dora", 1, 0.6);
        want(w, family, "lokr", -0.5, 1);
    }
}

/* The picture that a process of its own makes: nothing was there before. */
static void make_fresh(rig_pictures *out, const char *family, const wanted *w) {
    rig_studio s;
    *out = (rig_pictures){0};
    ballast_generate_options o = rig_request(out, 64);
    open_studio(&s, family, BL_SYNTH_SINGLE);
    use(&o, w);
    o.cfg = 5;
    rig_make(&s, &o);
    rig_close(&s);
}

/* Every budget in auto and in one of the other modes, with the argument "all" in each. */
static bool whole;

static void test_placement(void **state) {
    static const char *const modes[] = {"none", "model", "sequential", "balanced", "auto"};
    enum { sets = 3, budgets = 8 };
    (void)state;
    const int step = whole ? 1 : bl_test_slow() ? 3 : 2;
    for (int f = bl_test_slow() ? 2 : 0; f < FAMILIES; f++) {
        rig_studio s;
        wanted w[sets];
        rig_pictures fresh[sets], got = {0};
        open_studio(&s, families[f], BL_SYNTH_SINGLE);
        for (int k = 0; k < sets; k++) {
            adapters_of(&w[k], families[f], k);
            make_fresh(&fresh[k], families[f], &w[k]);
            for (int i = 0; i < k; i++) {
                assert_memory_not_equal(fresh[k].rgb, fresh[i].rgb, fresh[i].bytes);
            }
        }
        ballast_generate_options o = rig_request(&got, 64);
        o.cfg = 5;
        uint64_t least = rig_planned(&s, &o, "min_budget_bytes"),
                 all = rig_planned(&s, &o, "working_set_bytes");
        int made = 0;
        /* sets take turns, so that each picture finds another's blocks */
        for (int b = 0; b < budgets; b += step) {
            rig_size budget = rig_bytes(least + (all - least) * (uint64_t)b / (budgets - 2));
            for (int m = 0; m < 5; m++) {
                if (!whole && m < 4 && m != (b / step + 2) % 4) {
                    continue;
                }
                for (int k = 0; k < sets; k++) {
                    ballast_error err = {0};
                    o.offload = modes[m];
                    o.budget = budget.text;
                    use(&o, &w[k]);
                    rig_release(&got);
                    int rc = ballast_generate(NULL, s.model, &o, &err);
                    if (rc == BALLAST_E_BUDGET && m < 4) { /* these need more than the least */
                        continue;
                    }
                    char what[128];
                    snprintf(what, sizeof what, "%s, %d adapters, %s, budget %s", families[f],
                             (int)w[k].count, modes[m], budget.text);
                    if (rc) {
                        fail_msg("%s: %s", what, err.message);
                    }
                    rig_same(&got, &fresh[k], what);
                    made++;
                }
            }
        }
        assert_true(made >= (whole ? 45 : 27) / step);
        rig_release(&got);
        for (int k = 0; k < sets; k++) {
            rig_release(&fresh[k]);
        }
        rig_close(&s);
    }
}

/* ---- what stays */

static uint64_t moved(rig_studio *s, const ballast_generate_options *o) {
    json_t *report = rig_generate(s, o);
    uint64_t plan = rig_figure(report, 0, "plan", "moved_bytes"),
             was = rig_figure(report, 0, "ledger", "moved_bytes");
    json_decref(report);
    assert_int_equal(plan, was);
    return was;
}

static void test_blocks_stay(void **state) {
    (void)state;
    rig_studio s;
    rig_pictures p = {0}, first = {0}, again = {0};
    wanted one = {.count = 0}, other = {.count = 0}, text = {.count = 0};
    open_studio(&s, "sd15", BL_SYNTH_SINGLE);
    ballast_generate_options o = rig_request(&p, 64);
    uint64_t all = moved(&s, &o);
    first = p;
    p = (rig_pictures){0};
    assert_true(all > 0);
    assert_int_equal(moved(&s, &o), 0);
    want(&one, "sd15", "locon_tucker", 1, 1);
    use(&o, &one);
    uint64_t few = moved(&s, &o);
    assert_true(few > 0 && few < all / 2);
    assert_int_equal(moved(&s, &o), 0); /* the same adapter and strength */
    one.list[0].text = 0.3;             /* which touches nothing of the text encoder */
    assert_int_equal(moved(&s, &o), 0);
    want(&one, "sd15", "te_only", 0, 1); /* nor this */
    use(&o, &one);
    assert_int_equal(moved(&s, &o), 0);
    one.list[0].denoiser = 0.5;
    assert_int_equal(moved(&s, &o), few);
    want(&text, "sd15", "te_only", 1, 1);
    use(&o, &text);
    uint64_t encoder = moved(&s, &o); /* the UNet's go back to what they were */
    assert_true(encoder > few && encoder < all);
    want(&other, "sd15", "te_only", 0, 0);
    use(&o, &other);
    moved(&s, &o);
    rig_release(&p);
    use(&o, &(wanted){.count = 0});
    assert_int_equal(moved(&s, &o), 0); /* strength 0 is none at all */
    again = p;
    rig_same(&again, &first, "after adapters came and went");
    rig_release(&again);
    rig_release(&first);
    rig_close(&s);
}

#define SIDE 64 /* of the many pictures */

/* Picture number i of many. */
static void ask_number(ballast_generate_options *o, wanted *w, int i) {
    *w = (wanted){.count = 0};
    want(w, "sd15", i % 3 ? "locon" : "loha", 0.01 * i, 1 - 0.013 * i);
    use(o, w);
    o->steps = 1;
}

/* As a process of its own: prints the picture. */
static int one_alone(int i) {
    rig_studio s;
    rig_pictures p = {0};
    wanted w;
    open_studio(&s, "sd15", BL_SYNTH_SINGLE);
    ballast_generate_options o = rig_request(&p, SIDE);
    ask_number(&o, &w, i);
    rig_make(&s, &o);
    fwrite(p.rgb, 1, p.bytes, stdout);
    rig_release(&p);
    rig_close(&s);
    return 0;
}

static void fresh_process(const rig_pictures *one, int i) {
    static char got[SIDE * SIDE * 3 + 1];
    char number[16], word[] = "alone";
    snprintf(number, sizeof number, "%d", i);
    int code = rig_again(got, sizeof got, (char *[]){word, number, NULL});
    if (code) {
        fail_msg("picture %d alone: code %d: %.200s", i, code, got);
    }
    assert_int_equal(one->bytes, sizeof got - 1);
    rig_same(one, &(rig_pictures){.rgb = (uint8_t *)got, .bytes = sizeof got - 1, .count = 1},
             "as in a process of its own");
}

/* Strengths that change from picture to picture: each has the bits of a fresh process, and memory does not
 * grow. */
static void test_many(void **state) {
    (void)state;
    rig_studio s;
    rig_pictures p = {0};
    uint64_t early = 0;
    double first_half = 0, second_half = 0; /* processor seconds, without the first tenth */
    const int pictures = bl_test_slow() ? 12 : whole ? 100 : 40;
    open_studio(&s, "sd15", BL_SYNTH_SINGLE);
    ballast_generate_options o = rig_request(&p, SIDE);
    for (int i = 0; i < pictures; i++) {
        wanted w;
        ask_number(&o, &w, i);
        rig_release(&p);
        clock_t began = clock();
        rig_make(&s, &o);
        double took = (double)(clock() - began) / CLOCKS_PER_SEC;
        first_half += i >= pictures / 10 && i < pictures * 55 / 100 ? took : 0;
        second_half += i >= pictures * 55 / 100 ? took : 0;
        if (i == pictures / 4) {
            early = rig_status("VmRSS");
        }
        if (i % (pictures / 4) == pictures / 4 - 1) { /* four of them, the last among these */
            uint64_t late = rig_status("VmRSS");
            fresh_process(&p, i);
            if (!bl_test_slow() && i == pictures - 1 && late > early + (2u << 20)) {
                fail_msg("%llu bytes are resident after %d pictures, and %llu after a quarter of them",
                         (unsigned long long)late, pictures, (unsigned long long)early);
            }
        }
    }
    print_message("%d pictures: %.3f processor seconds in the first half, %.3f in the second\n", pictures,
                  first_half, second_half);
    if (!bl_test_slow() && second_half > 1.5 * first_half) {
        fail_msg("pictures take longer and longer");
    }
    rig_release(&p);
    rig_close(&s);
}

/* The line has what merging took, where it took time. */
static void test_line(void **state) {
    (void)state;
    rig_studio s;
    rig_pictures p = {0};
    wanted w = {.count = 0};
    open_studio(&s, "sd15", BL_SYNTH_SINGLE);
    ballast_generate_options o = rig_request(&p, 64);
    for (int i = 0; i < 3; i++) { /* without, with, and with what is merged already */
        if (i == 1) {
            want(&w, "sd15", "kohya", 1, 1);
            use(&o, &w);
        }
        json_t *report = rig_generate(&s, &o);
        json_t *batch = json_array_get(json_object_get(report, "batches"), 0);
        json_t *stages = json_object_get(json_object_get(batch, "line"), "stages"), *stage;
        double merge = 0;
        size_t k;
        json_array_foreach(stages, k, stage) {
            bool is_it = !strcmp(json_string_value(json_object_get(stage, "name")), "merge");
            merge += is_it ? json_number_value(json_object_get(stage, "seconds")) : 0;
        }
        assert_true(json_array_size(stages) > 2);
        assert_int_equal(merge > 0, i == 1);
        json_decref(report);
    }
    rig_release(&p);
    rig_close(&s);
}

/* Bytes and seconds of merging are in the plan; what is streamed pays them at each onload. */
static void test_plan(void **state) {
    (void)state;
    rig_studio s;
    rig_pictures p = {0};
    wanted w = {.count = 0};
    double seconds[2];
    open_studio(&s, "sd15", BL_SYNTH_SINGLE);
    ballast_generate_options o = rig_request(&p, 64);
    assert_int_equal(rig_planned(&s, &o, "adapter_bytes"), 0);
    want(&w, "sd15", "kohya", 1, 1);
    use(&o, &w);
    assert_true(rig_planned(&s, &o, "adapter_bytes") > 100000);
    for (int i = 0; i < 2; i++) {
        o.steps = 6;
        o.offload = i ? "sequential" : "auto";
        json_t *plan = rig_plan(&s, &o);
        seconds[i] = json_number_value(json_object_get(plan, "merge_seconds"));
        json_decref(plan);
    }
    assert_true(seconds[0] > 0);
    assert_true(seconds[1] > 3 * seconds[0]);
    rig_close(&s);
}

/* ---- what is said */

static void expect_refused(rig_studio *s, const ballast_generate_options *o, int code, const char *says) {
    ballast_error err = {0};
    assert_int_equal(ballast_generate(NULL, s->model, o, &err), code);
    if (!strstr(err.message, says)) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
    }
}

static void test_refusals(void **state) {
    (void)state;
    rig_studio s;
    rig_pictures p = {0}, without = {0};
    char folder[BL_TEST_PATH];
    open_studio(&s, "sd15", BL_SYNTH_SINGLE);
    bl_test_data(folder, "sd15/adapters/lora");
    ballast_generate_options o = rig_request(&p, 64);
    rig_make(&s, &o);
    without = p;
    p = (rig_pictures){0};
    o.adapter_folders = folder;
    o.prompt = "a photo of a red fox in the snow<lora:kohia:1>";
    expect_refused(&s, &o, BALLAST_E_NOT_FOUND, "the nearest names are kohya");
    o.missing_adapters = "leave";
    rig_make(&s, &o);
    assert_non_null(strstr(s.warning, "kohia"));
    rig_same(&p, &without, "without the missing adapter");
    o.missing_adapters = "refuse";
    o.prompt = "a fox <lora:kohya:much>";
    expect_refused(&s, &o, BALLAST_E_ARGUMENT, "\"much\" is no strength");
    o.prompt = "a fox <lora:kohya:1:1:4>";
    expect_refused(&s, &o, BALLAST_E_ARGUMENT, "\"4\" is no strength");
    o.prompt = "a fox <lora:refuse_nan>";
    expect_refused(&s, &o, BALLAST_E_FORMAT, "holds a NaN");
    o.prompt = "a fox <lora:unmatched_3_layers:0.5>";
    rig_make(&s, &o);
    assert_non_null(strstr(s.warning, "9 keys match no layer"));
    /* in a negative prompt it does nothing, which is said */
    o.prompt = "a photo of a red fox in the snow";
    o.negative_prompt = "blurry<lora:kohya:1>";
    s.warning[0] = 0;
    rig_release(&p);
    rig_make(&s, &o);
    assert_non_null(strstr(s.warning, "negative: <lora:kohya:1> is left out and does nothing"));
    rig_same(&p, &without, "a tag in the negative prompt");
    o.negative_prompt = "blurry";
    o.prompt = "a fox <lora:../lora/kohya>";
    expect_refused(&s, &o, BALLAST_E_NOT_FOUND, "no adapter");
    rig_release(&p);
    rig_release(&without);
    rig_close(&s);
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "alone")) {
        return one_alone(atoi(argv[2]));
    }
    whole = argc > 1 && !strcmp(argv[1], "all");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_goldens),     cmocka_unit_test(test_placement),
                                       cmocka_unit_test(test_blocks_stay), cmocka_unit_test(test_many),
                                       cmocka_unit_test(test_refusals),    cmocka_unit_test(test_plan),
                                       cmocka_unit_test(test_line)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
