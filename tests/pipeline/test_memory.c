/* The device's memory has one owner: several models under one budget, places given back, plans that touch
 * nothing, and many generations of everything mixed. On the plugin `steady`, the cpu device on a clock of its
 * own: what is planned hangs on measured seconds. */
#include "pipeline/rig.h"

#include <malloc.h>

#define SIDE 64
#define MODELS 3

static const char *const families[MODELS] = {"sd15", "sd21v", "sdxl"};

/* A context with several models. */
typedef struct house {
    ballast_context *context;
    ballast_model *models[MODELS];
    char paths[MODELS][BL_TEST_PATH];
    int count;
} house;

static void open_house(house *h, int count) {
    ballast_error err = {0};
    ballast_context_options co;
    ballast_context_options_init(&co, sizeof co);
    co.cache_dir = "";
    co.device = "steady";
    *h = (house){.count = count};
    assert_int_equal(ballast_context_open(&h->context, &co, &err), 0);
    for (int i = 0; i < count; i++) {
        ballast_model_options mo;
        ballast_model_options_init(&mo, sizeof mo);
        bl_synth_checkpoint(h->paths[i], families[i], BL_SYNTH_SINGLE);
        mo.path = h->paths[i];
        mo.dtype = "f32";
        if (ballast_model_open(&h->models[i], h->context, &mo, &err)) {
            fail_msg("%s", err.message);
        }
    }
}

static void close_house(house *h) {
    for (int i = 0; i < h->count; i++) {
        ballast_model_close(&h->models[i]);
    }
    ballast_context_close(&h->context);
}

static rig_studio studio_of(const house *h, int model) {
    return (rig_studio){.context = h->context, .model = h->models[model]};
}

/* A picture of one of the models; its moved bytes and peak as the ledger has them, which are the plan's. */
static void picture(const house *h, int model, ballast_generate_options o, uint64_t *moved, uint64_t *peak) {
    rig_pictures p = {0};
    rig_studio s = studio_of(h, model);
    o.payload = &p;
    json_t *report = rig_generate(&s, &o);
    *moved = rig_figure(report, 0, "ledger", "moved_bytes");
    *peak = rig_figure(report, 0, "ledger", "peak_bytes");
    assert_true(*moved == rig_figure(report, 0, "plan", "moved_bytes"));
    assert_true(*peak == rig_figure(report, 0, "plan", "peak_bytes"));
    json_decref(report);
    rig_release(&p);
}

static uint64_t figure_of_plan(const house *h, int model, const ballast_generate_options *o,
                               const char *name) {
    rig_studio s = studio_of(h, model);
    return rig_planned(&s, o, name);
}

/* Room for one and a half: both make their pictures, neither has a region of its own, and what the second
 * needs the first one gives up. */
static void test_one_budget_for_two_models(void **state) {
    (void)state;
    house h;
    rig_pictures none = {0};
    uint64_t moved, peak;
    ballast_error err = {0};
    open_house(&h, 2);
    ballast_generate_options o = rig_request(&none, SIDE);
    uint64_t first = figure_of_plan(&h, 0, &o, "working_set_bytes");
    uint64_t second = figure_of_plan(&h, 1, &o, "working_set_bytes");
    ballast_placement_options p;
    ballast_placement_options_init(&p, sizeof p);
    rig_size budget = rig_bytes((first > second ? first : second) + (first < second ? first : second) / 2);
    p.budget = budget.text;
    assert_int_equal(ballast_context_place(h.context, &p, &err), 0);
    uint64_t most = strtoull(budget.text, NULL, 10);
    for (int i = 0; i < 4; i++) {
        picture(&h, i % 2, o, &moved, &peak);
        assert_true(peak <= most);
        assert_true(i < 2 || moved < (i % 2 ? second : first));
    }
    /* In room for both, and knowing that they take turns, nothing moves once both have come into a larger
     * region. */
    budget = rig_bytes(first + second);
    assert_int_equal(ballast_context_place(h.context, &p, &err), 0);
    ballast_generate_options next = o;
    for (int i = 0; i < 8; i++) {
        ballast_expected list[2];
        for (int k = 0; k < 2; k++) {
            ballast_expected_init(&list[k], sizeof list[k]);
            list[k].model = h.models[(i + k + 1) % 2];
            list[k].options = &next;
        }
        o.next = list;
        o.next_count = 2;
        picture(&h, i % 2, o, &moved, &peak);
        assert_true(peak <= first + second);
        assert_true(i < 5 || moved == 0);
    }
    close_house(&h);
}

/* Clip skip 1, 2, 1, 2: another clip skip is another encoder beside the first, and only that one comes in. */
static void test_clip_skip_in_turn(void **state) {
    (void)state;
    house h;
    rig_pictures none = {0};
    uint64_t moved[5], peak;
    open_house(&h, 1);
    ballast_generate_options o = rig_request(&none, SIDE);
    for (int i = 0; i < 5; i++) {
        o.clip_skip = i % 2 ? 2 : 1;
        picture(&h, 0, o, &moved[i], &peak);
    }
    assert_true(moved[0] > 0 && moved[1] > 0 && moved[1] < moved[0] / 2);
    assert_true(moved[2] <= moved[1] * 2 && moved[3] <= moved[1] && moved[4] <= moved[1] * 2);
    close_house(&h);
}

/* A plan with another clip skip, and one of another model, leave what is resident alone. */
static void test_plans_touch_nothing(void **state) {
    (void)state;
    house h;
    rig_pictures none = {0};
    uint64_t moved, peak;
    open_house(&h, 2);
    ballast_generate_options o = rig_request(&none, SIDE), other = o;
    picture(&h, 0, o, &moved, &peak);
    other.clip_skip = 2;
    other.width = 128;
    figure_of_plan(&h, 0, &other, "peak_bytes");
    figure_of_plan(&h, 1, &o, "peak_bytes");
    picture(&h, 0, o, &moved, &peak);
    assert_true(moved == 0);
    close_house(&h);
}

/* Released places are free; the next picture is the same. */
static void test_release(void **state) {
    (void)state;
    house h;
    rig_pictures before = {0}, after = {0};
    ballast_error err = {0};
    open_house(&h, 2);
    rig_studio s = studio_of(&h, 0);
    ballast_generate_options o = rig_request(&before, SIDE);
    rig_make(&s, &o);
    uint64_t held = rig_status("VmSize"), all = figure_of_plan(&h, 0, &o, "working_set_bytes");
    assert_int_equal(ballast_model_release(h.models[0], &err), 0);
    uint64_t left = rig_status("VmSize");
    assert_true(left + all / 2 < held);
    o.payload = &after;
    json_t *report = rig_generate(&s, &o);
    assert_true(rig_figure(report, 0, "ledger", "moved_bytes") > 0);
    rig_same(&after, &before, "after the release");
    json_decref(report);
    rig_release(&before);
    rig_release(&after);
    close_house(&h);
}

static void refused_place(house *h, ballast_placement_options p, const char *words) {
    ballast_error err = {0};
    assert_int_not_equal(ballast_context_place(h->context, &p, &err), 0);
    if (!strstr(err.message, words)) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    }
}

static void test_placement_of_the_context(void **state) {
    (void)state;
    house h;
    rig_pictures none = {0};
    ballast_error err = {0};
    uint64_t moved, peak;
    open_house(&h, 1);
    ballast_placement_options p, wrong;
    ballast_placement_options_init(&p, sizeof p);
    wrong = p;
    wrong.budget = "much";
    refused_place(&h, wrong, "budget: \"much\" is no size");
    wrong = p;
    wrong.offload = "never";
    refused_place(&h, wrong, "offload: no mode \"never\"");
    wrong = p;
    wrong.low = 0.9;
    wrong.high = 0.1;
    refused_place(&h, wrong, "low, high");
    ballast_generate_options o = rig_request(&none, SIDE);
    rig_size least = rig_bytes(figure_of_plan(&h, 0, &o, "min_budget_bytes"));
    p.budget = least.text;
    p.offload = "sequential";
    assert_int_equal(ballast_context_place(h.context, &p, &err), 0);
    picture(&h, 0, o, &moved, &peak);
    assert_true(peak <= strtoull(least.text, NULL, 10) && moved > 0);
    o.offload = "none"; /* the generation's own word counts, and here it cannot be kept */
    rig_studio s = studio_of(&h, 0);
    assert_int_equal(ballast_generate(NULL, s.model, &o, &err), BALLAST_E_BUDGET);
    assert_int_equal(ballast_context_place(h.context, NULL, &err), 0); /* the defaults again */
    picture(&h, 0, o, &moved, &peak);
    picture(&h, 0, o, &moved, &peak);
    assert_true(moved == 0);
    close_house(&h);
}

/* With room for one and a half models in turn: who knows that the other one comes next moves less. */
static void test_what_is_expected_next(void **state) {
    (void)state;
    uint64_t sum[2] = {0};
    for (int knows = 0; knows < 2; knows++) {
        house h;
        rig_pictures none = {0};
        ballast_error err = {0};
        uint64_t moved, peak;
        open_house(&h, 2);
        ballast_generate_options o = rig_request(&none, SIDE), next = o;
        o.steps = next.steps = 6;
        uint64_t first = figure_of_plan(&h, 0, &o, "working_set_bytes");
        rig_size budget = rig_bytes(first + figure_of_plan(&h, 1, &o, "working_set_bytes") / 2);
        o.budget = next.budget = budget.text;
        ballast_expected list[2];
        ballast_expected_init(&list[0], sizeof list[0]);
        list[0].options = &next;
        list[1] = list[0];
        for (int i = 0; i < 8; i++) {
            list[0].model = h.models[(i + 1) % 2];
            list[1].model = h.models[i % 2];
            o.next = list; /* an empty list: nothing is known, habits neither */
            o.next_count = knows ? 2 : 0;
            picture(&h, i % 2, o, &moved, &peak);
            sum[knows] += i < 2 ? 0 : moved;
        }
        list[0].likelihood = 0;
        o.next_count = 1;
        assert_int_equal(ballast_generate(NULL, h.models[0], &o, &err), BALLAST_E_ARGUMENT);
        assert_non_null(strstr(err.message, "next[0]"));
        list[0].likelihood = 1;
        list[0].model = NULL;
        assert_int_equal(ballast_generate(NULL, h.models[0], &o, &err), BALLAST_E_ARGUMENT);
        close_house(&h);
    }
    assert_true(sum[1] <= sum[0]);
}

/* ---- everything mixed */

#define GENERATIONS 300 /* all of them with the argument "all", else half */
#define PARTS 3
#define SIZES 2
#define SKIPS 2

static ballast_generate_options mixed_request(rig_pictures *p, int size, int skip) {
    ballast_generate_options o = rig_request(p, SIDE);
    o.width = size ? 96 : SIDE;
    o.clip_skip = skip ? 2 : 0;
    return o;
}

/* In a process of its own: FAMILY SIZE SKIP FILE. Writes the picture's bytes into the file. */
static int child_reference(char **argv) {
    rig_studio s;
    rig_pictures p = {0};
    char checkpoint[BL_TEST_PATH];
    bl_synth_checkpoint(checkpoint, argv[2], BL_SYNTH_SINGLE);
    rig_open(&s, checkpoint, "f32", "");
    ballast_generate_options o = mixed_request(&p, argv[3][0] == '1', argv[4][0] == '1');
    rig_make(&s, &o);
    FILE *f = fopen(argv[5], "we");
    assert_non_null(f);
    assert_int_equal(fwrite(p.rgb, 1, p.bytes, f), p.bytes);
    fclose(f);
    rig_release(&p);
    rig_close(&s);
    printf("%zu\n", p.bytes);
    return 0;
}

static void take_reference(rig_pictures *out, int model, int size, int skip) {
    char line[256], path[] = "/tmp/ballast-mixed-XXXXXX", word[] = "reference", family[16];
    char sizes[2] = {(char)('0' + size), 0}, skips[2] = {(char)('0' + skip), 0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(family, sizeof family, "%s", families[model]);
    int code = rig_again(line, sizeof line, (char *[]){word, family, sizes, skips, path, NULL});
    if (code) {
        fail_msg("the reference of %s: code %d: %s", family, code, line);
    }
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    static unsigned char bytes[3 * 96 * 96];
    out->bytes = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    unlink(path);
    out->rgb = malloc(out->bytes);
    assert_non_null(out->rgb);
    memcpy(out->rgb, bytes, out->bytes);
}

static uint32_t draw(uint32_t *state, uint32_t below) {
    *state = *state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)*state * below) >> 32);
}

/* Stops at the call number *payload. */
static int stop_after(void *payload, const ballast_progress *progress) {
    (void)progress;
    int *left = ((void **)payload)[1];
    return --*left <= 0;
}

static int take_mixed(void *payload, const ballast_image *image) {
    return rig_take(((void **)payload)[0], image);
}

#define ROOM 1000000 /* for what an allocator keeps in pieces; a picture takes 20 times as much */

static bool whole;

/* Bytes of the process once all models' places are given back. */
static unsigned long long resident_when_released(const house *h) {
    ballast_error err = {0};
    for (int i = 0; i < h->count; i++) {
        assert_int_equal(ballast_model_release(h->models[i], &err), 0);
    }
    malloc_trim(0);
    return rig_status("VmRSS");
}

static void test_everything_mixed(void **state) {
    (void)state;
    static const char *const modes[] = {"auto", "auto", "sequential", "model", "balanced"};
    rig_pictures wanted[MODELS][SIZES][SKIPS] = {0};
    for (int i = 0; i < MODELS * SIZES * SKIPS; i++) {
        take_reference(&wanted[i / 4][i / 2 % 2][i % 2], i / 4, i / 2 % 2, i % 2);
    }
    house h;
    open_house(&h, MODELS);
    uint32_t seed = 5;
    struct need {
        uint64_t least, all;
    } need[MODELS][SIZES][SKIPS] = {0};
    unsigned long long resident[PARTS] = {0};
    const int generations = whole ? GENERATIONS : GENERATIONS / 2, part = generations / PARTS;
    int cancelled = 0;
    for (int i = 0; i < generations; i++) {
        int model = (int)draw(&seed, MODELS), size = (int)draw(&seed, 2), skip = (int)draw(&seed, 2);
        rig_pictures got = {0};
        ballast_error err = {0};
        char *text = NULL;
        int left = draw(&seed, 6) ? 1 << 30 : 1 + (int)draw(&seed, 60);
        void *payload[2] = {&got, &left};
        ballast_generate_options o = mixed_request(NULL, size, skip);
        if (!need[model][size][skip].all) {
            need[model][size][skip] = (struct need){figure_of_plan(&h, model, &o, "min_budget_bytes"),
                                                    figure_of_plan(&h, model, &o, "working_set_bytes")};
        }
        uint64_t least = need[model][size][skip].least, all = need[model][size][skip].all;
        rig_size budget = rig_bytes(least + (all - least) / 4 * draw(&seed, 10));
        o.offload = modes[draw(&seed, 5)];
        o.budget = !strcmp(o.offload, "model") || !draw(&seed, 4) ? NULL : budget.text;
        o.image = take_mixed;
        o.progress = stop_after;
        o.payload = payload;
        int code = ballast_generate(&text, h.models[model], &o, &err);
        if (code == BALLAST_E_CANCELLED) {
            cancelled++;
        } else if (code) {
            fail_msg("generation %d, %s, budget %s: %s", i, o.offload, o.budget ? o.budget : "", err.message);
        } else {
            rig_same(&got, &wanted[model][size][skip], families[model]);
            json_t *report = json_loads(text, 0, NULL);
            static const char *const figures[] = {"moved_bytes", "peak_bytes"};
            for (int k = 0; k < 2; k++) {
                assert_true(rig_figure(report, 0, "plan", figures[k]) ==
                            rig_figure(report, 0, "ledger", figures[k]));
            }
            assert_true(!o.budget ||
                        rig_figure(report, 0, "ledger", "peak_bytes") <= strtoull(o.budget, NULL, 10));
            json_decref(report);
        }
        ballast_string_free(&text);
        rig_release(&got);
        if (!draw(&seed, 12)) {
            assert_int_equal(ballast_model_release(h.models[draw(&seed, MODELS)], &err), 0);
        }
        if (i % part == part - 1) {
            resident[i / part] = resident_when_released(&h);
        }
    }
    assert_true(cancelled > generations / 30);
    print_message("resident after each third: %llu, %llu, %llu bytes\n", resident[0], resident[1],
                  resident[2]);
    /* half of the generations do not meet all there is in their first third */
    assert_true(resident[2] < resident[whole ? 0 : 1] + ROOM);
    assert_true(!whole || resident[1] < resident[0] + ROOM);
    close_house(&h);
    for (int i = 0; i < MODELS * SIZES * SKIPS; i++) {
        rig_release(&wanted[i / 4][i / 2 % 2][i % 2]);
    }
}

int main(int argc, char **argv) {
    if (argc == 6 && !strcmp(argv[1], "reference")) {
        return child_reference(argv);
    }
    whole = argc == 2 && !strcmp(argv[1], "all");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_budget_for_two_models), cmocka_unit_test(test_clip_skip_in_turn),
        cmocka_unit_test(test_plans_touch_nothing),       cmocka_unit_test(test_release),
        cmocka_unit_test(test_placement_of_the_context),  cmocka_unit_test(test_what_is_expected_next),
        cmocka_unit_test(test_everything_mixed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
