/* What came after a model's generations before is expected to come again, where the caller does not say what
 * does. */
#include "rig.h"

#include <jansson.h>

#define SIDE 64
#define MODELS 2
#define GENERATIONS 10
#define LEARNED 4 /* of two in turn: both orders were seen by then */

static const char *const families[MODELS] = {"sd15", "sd21v"};

/* A context with several models, and all lines of its log. */
typedef struct house {
    ballast_context *context;
    ballast_model *models[MODELS];
    char paths[MODELS][BL_TEST_PATH];
    char log[8192];
} house;

static void house_log(void *payload, int level, const char *line) {
    house *h = payload;
    size_t used = strlen(h->log);
    (void)level;
    snprintf(h->log + used, sizeof h->log - used, "%s\n", line);
}

static void open_house(house *h) {
    ballast_error err = {0};
    ballast_context_options co;
    ballast_context_options_init(&co, sizeof co);
    co.cache_dir = "";
    co.threads = 1;
    co.log = house_log;
    co.log_payload = h;
    *h = (house){0};
    assert_int_equal(ballast_context_open(&h->context, &co, &err), 0);
    for (int i = 0; i < MODELS; i++) {
        ballast_model_options mo;
        ballast_model_options_init(&mo, sizeof mo);
        bl_synth_checkpoint(h->paths[i], families[i], BL_SYNTH_SINGLE);
        mo.path = h->paths[i];
        mo.dtype = "f32";
        assert_int_equal(ballast_model_open(&h->models[i], h->context, &mo, &err), 0);
    }
}

static void close_house(house *h) {
    for (int i = 0; i < MODELS; i++) {
        ballast_model_close(&h->models[i]);
    }
    ballast_context_close(&h->context);
}

/* A picture of one of the models; the bytes that were moved for it. */
static uint64_t picture(house *h, int model, ballast_generate_options o) {
    rig_studio s = {.context = h->context, .model = h->models[model]};
    rig_pictures one = {0};
    o.payload = o.payload ? o.payload : &one;
    json_t *report = rig_generate(&s, &o);
    uint64_t moved = rig_figure(report, 0, "ledger", "moved_bytes");
    assert_true(moved == rig_figure(report, 0, "plan", "moved_bytes"));
    json_decref(report);
    rig_release(&one);
    return moved;
}

static uint64_t planned(house *h, int model, const ballast_generate_options *o, const char *name) {
    rig_studio s = {.context = h->context, .model = h->models[model]};
    return rig_planned(&s, o, name);
}

/* Nothing is known: an empty list. */
static const ballast_expected nothing;

/* Two models in turn, and nobody says so: less comes again than where nothing is known. Same pictures. */
static void test_two_in_turn(void **state) {
    (void)state;
    uint64_t sum[2] = {0};
    rig_pictures pictures[2] = {0};
    for (int habits = 0; habits < 2; habits++) {
        house h;
        open_house(&h);
        ballast_generate_options o = rig_request(&pictures[habits], SIDE);
        o.steps = 6;
        o.next = habits ? NULL : &nothing;
        uint64_t first = planned(&h, 0, &o, "working_set_bytes");
        rig_size budget = rig_bytes(first + planned(&h, 1, &o, "working_set_bytes") / 2);
        o.budget = budget.text;
        for (int i = 0; i < GENERATIONS; i++) {
            uint64_t moved = picture(&h, i % 2, o);
            sum[habits] += i < LEARNED ? 0 : moved;
        }
        close_house(&h);
    }
    rig_same(&pictures[1], &pictures[0], "by habit");
    rig_release(&pictures[0]);
    rig_release(&pictures[1]);
    print_message("%llu bytes by habit, %llu without\n", (unsigned long long)sum[1],
                  (unsigned long long)sum[0]);
    assert_true(sum[1] < sum[0]); /* how much less hangs on measured seconds */
}

static int count_lines(const char *log, const char *word) {
    int count = 0;
    for (const char *p = log; (p = strstr(p, word)) != NULL; p++) {
        count++;
    }
    return count;
}

/* What is said of a request is said when it is made, not whenever it is expected. */
static void test_lines_are_not_repeated(void **state) {
    (void)state;
    house h;
    rig_pictures none = {0};
    open_house(&h);
    ballast_generate_options o = rig_request(&none, SIDE), tagged = o;
    tagged.prompt = "a fox <hypernet:fur>";
    picture(&h, 0, o);
    picture(&h, 1, tagged);
    picture(&h, 0, o);
    picture(&h, 0, o);
    assert_int_equal(count_lines(h.log, "<hypernet:fur>"), 1);
    rig_release(&none);
    close_house(&h);
}

/* A model that was closed, or given back, is expected no more; it may come again. */
static void test_models_go(void **state) {
    (void)state;
    house h;
    rig_pictures none = {0};
    ballast_error err = {0};
    open_house(&h);
    ballast_generate_options o = rig_request(&none, SIDE);
    for (int i = 0; i < 4; i++) {
        picture(&h, i % 2, o);
    }
    assert_int_equal(ballast_model_release(h.models[1], &err), 0);
    picture(&h, 0, o);
    assert_true(picture(&h, 1, o) > 0);
    picture(&h, 0, o);
    ballast_model_close(&h.models[1]);
    picture(&h, 0, o);
    assert_true(picture(&h, 0, o) == 0);
    rig_release(&none);
    close_house(&h);
}

/* How many decisions of a report are of the model. */
static int decisions_of(json_t *report, const char *path) {
    json_t *plan = json_object_get(json_array_get(json_object_get(report, "batches"), 0), "plan"), *d;
    const char *base = strrchr(path, '/') + 1;
    size_t i, length = strlen(base) - strlen(".safetensors");
    int count = 0;
    json_array_foreach(json_object_get(plan, "decisions"), i, d) {
        const char *name = json_string_value(json_object_get(d, "model"));
        assert_non_null(name);
        count += strlen(name) == length && !strncmp(name, base, length);
    }
    return count;
}

/* Decisions are of one of the models, by its name: in room for one and a half each takes the other's places.
 */
static void test_decisions_name_models(void **state) {
    (void)state;
    house h;
    rig_pictures none = {0};
    open_house(&h);
    ballast_generate_options o = rig_request(&none, SIDE);
    uint64_t first = planned(&h, 0, &o, "working_set_bytes"),
             second = planned(&h, 1, &o, "working_set_bytes");
    rig_size budget = rig_bytes(first + second / 2);
    int of[MODELS][MODELS] = {0}; /* while the first model works, of the second */
    o.budget = budget.text;
    for (int i = 0; i < 6; i++) {
        rig_studio s = {.context = h.context, .model = h.models[i % 2]};
        json_t *report = rig_generate(&s, &o);
        of[i % 2][0] += decisions_of(report, h.paths[0]);
        of[i % 2][1] += decisions_of(report, h.paths[1]);
        json_decref(report);
    }
    assert_true(of[0][0] > 0 && of[1][1] > 0);
    assert_true(of[0][1] > 0 || of[1][0] > 0);
    rig_release(&none);
    close_house(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_not_repeated),
        cmocka_unit_test(test_models_go),
        cmocka_unit_test(test_decisions_name_models),
        cmocka_unit_test(test_two_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
