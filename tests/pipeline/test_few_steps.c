/* How often the denoiser is called, and for how many pictures at once: few-step models without guidance, and
 * a sampler that chooses its steps. */
#include "pipeline/rig.h"

typedef struct use {
    const char *model, *sampler, *schedule;
    int steps, calls;
} use;

/* As the models' makers and shared parameters have it, cfg 1 in all. */
static const use uses[] = {
    {"LCM", "LCM", NULL, 8, 8},
    {"Lightning", "Euler", "sgm_uniform", 4, 4},
    {"Hyper", "TCD", "sgm_uniform", 8, 8},
    {"Hyper, one step", "Euler", "sgm_uniform", 1, 1},
    {"DMD2", "LCM", "sgm_uniform", 4, 4},
    {"Turbo", "Euler a", "turbo", 1, 1},
    {"Turbo, four steps", "Euler a", "turbo", 4, 4},
};

static json_t *phase_of(json_t *plan, const char *name) {
    json_t *phase;
    size_t i;
    json_array_foreach(json_object_get(plan, "phases"), i, phase) {
        if (!strcmp(json_string_value(json_object_get(phase, "name")), name)) {
            return phase;
        }
    }
    return NULL;
}

static int64_t figure(json_t *phase, const char *name) {
    return json_integer_value(json_object_get(phase, name));
}

/* Passes of the denoiser in the plan, and bytes of its arena and of the encoder's, which go with the pictures
 * at once. A plan of several batches is of those that follow the first: it has no encoder. */
static void look(rig_studio *s, const ballast_generate_options *o, int64_t *passes, int64_t *arena,
                 int64_t *texts) {
    json_t *plan = rig_plan(s, o), *denoise = phase_of(plan, "denoise"),
           *encode = phase_of(plan, "encode prompt");
    assert_non_null(denoise);
    *passes = figure(denoise, "passes");
    *arena = figure(denoise, "arena_bytes");
    *texts = encode ? figure(encode, "arena_bytes") * figure(encode, "passes") : 0;
    json_decref(plan);
}

static void no_unconditional_half(void **state) {
    (void)state;
    char path[BL_TEST_PATH];
    rig_studio s;
    rig_pictures p = {0};
    bl_test_data(path, "sd15/adapters/lora/lcm.safetensors");
    ballast_adapter lcm;
    ballast_adapter_init(&lcm, sizeof lcm);
    lcm.path = path;
    rig_open_small(&s);
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        ballast_generate_options o = rig_request(&p, 64);
        rig_pictures first;
        int64_t passes, arena, texts, guided_passes, guided_arena, guided_texts;
        o.prompt = uses[i].model; /* new each time: what was encoded before has no phase in the plan */
        o.sampler = uses[i].sampler;
        o.schedule = uses[i].schedule;
        o.steps = uses[i].steps;
        o.adapters = &lcm;
        o.adapter_count = 1;
        look(&s, &o, &passes, &arena, &texts);
        assert_int_equal(passes, uses[i].calls);
        o.cfg = 2;
        look(&s, &o, &guided_passes, &guided_arena, &guided_texts);
        assert_int_equal(guided_passes, passes);
        assert_true(arena < guided_arena && texts < guided_texts);
        o.cfg = 1;
        rig_make(&s, &o);
        first = p;
        p = (rig_pictures){0};
        o.negative_prompt = "another one, which nobody reads";
        rig_make(&s, &o);
        rig_same(&p, &first, uses[i].model);
        rig_release(&first);
        rig_release(&p);
    }
    rig_close(&s);
}

/* Progress is told in parts of the way, and comes to its end. */
typedef struct watched {
    rig_pictures pictures;
    int last, steps;
} watched;

static int watch(void *payload, const ballast_progress *p) {
    watched *w = payload;
    if (!strcmp(p->stage, "denoise")) {
        w->steps = p->steps;
        w->last = p->step;
    }
    return 0;
}

/* Planned is the most, made are fewer, in threes; each picture goes its own way. */
static void steps_of_its_own(void **state) {
    (void)state;
    rig_studio s;
    watched w = {0};
    rig_pictures p = {0}, alone;
    rig_open_small(&s);
    ballast_generate_options o = rig_request(&p, 64);
    int64_t passes, arena, texts;
    o.sampler = "DPM adaptive";
    o.batch = 2;
    look(&s, &o, &passes, &arena, &texts);
    assert_int_equal(passes, 600);
    o.progress = watch;
    o.payload = &w;
    json_t *report = rig_generate(&s, &o), *batches = json_object_get(report, "batches");
    assert_int_equal(json_array_size(batches), 2);
    for (size_t i = 0; i < 2; i++) {
        int64_t left = json_integer_value(json_object_get(json_array_get(batches, i), "left_out"));
        assert_true(left > 0 && left < 600 && left % 3 == 0);
    }
    json_decref(report);
    assert_int_equal(w.steps, 100);
    assert_int_equal(w.last, 100);
    o.batch = 1;
    o.seed++;
    o.progress = NULL;
    o.payload = &p;
    rig_make(&s, &o);
    alone = w.pictures;
    alone.rgb += p.bytes;
    alone.bytes -= p.bytes;
    rig_same(&p, &alone, "the second of two");
    rig_release(&w.pictures);
    rig_release(&p);
    rig_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_unconditional_half),
                                       cmocka_unit_test(steps_of_its_own)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
