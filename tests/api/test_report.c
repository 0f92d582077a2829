/* Reports are data: each is what the schema says, the schema is what docs/report.md says, and what is logged
 * for people is in them. */
#include "studio.h"

#include "support/slow.h"

#define SCHEMA SOURCE_FOLDER "/share/report.schema.json"
#define CHECK SOURCE_FOLDER "/tests/api/check_report.py"

static void run(const char *const *argv) {
    outcome o = {0};
    rig_run(&o, argv);
    if (o.code) {
        fail_msg("%s", *o.out ? o.out : o.err);
    }
    rig_free(&o);
}

/* Holds the text against a definition of the schema. */
static void check(const char *definition, const char *text) {
    bl_test_write("report.json", text, strlen(text));
    run((const char *const[]){PYTHON, "-B", CHECK, SCHEMA, definition, "report.json", NULL});
}

static json_t *parsed(char **text) {
    json_t *object = json_loads(*text, 0, NULL);
    assert_non_null(object);
    ballast_string_free(text);
    return object;
}

static json_t *generate(studio *s, const ballast_generate_options *o) {
    ballast_error err = {0};
    char *text;
    s->log[0] = 0;
    if (ballast_generate(&text, s->model, o, &err)) {
        fail_msg("%s", err.message);
    }
    check("report", text);
    return parsed(&text);
}

static json_t *at(json_t *object, const char *a, const char *b) {
    json_t *v = json_object_get(object, a);
    v = b ? json_object_get(v, b) : v;
    if (!v) {
        fail_msg("no %s %s", a, b ? b : "");
    }
    return v;
}

/* What was said of each batch and of the request is what the report holds; decisions add up to the moves. */
static void check_against_log(const studio *s, json_t *report, int batches) {
    json_t *list = at(report, "batches", NULL), *hint = at(report, "hint", NULL), *batch, *d;
    size_t i, k;
    assert_int_equal(json_array_size(list), batches);
    json_array_foreach(list, i, batch) {
        expect_contains(s->log, json_string_value(at(batch, "line", "text")));
        json_int_t blocks = 0, bytes = 0;
        bool whole = false; /* modules, of balanced */
        json_array_foreach(at(batch, "plan", "decisions"), k, d) {
            bool onload = !strcmp(json_string_value(at(d, "op", NULL)), "onload");
            whole = whole || json_object_get(d, "low");
            blocks += onload ? json_integer_value(at(d, "blocks", NULL)) : 0;
            bytes += onload ? json_integer_value(at(d, "bytes", NULL)) : 0;
        }
        assert_true(whole || blocks == json_integer_value(at(batch, "plan", "moves")));
        assert_true(whole || bytes == json_integer_value(at(batch, "plan", "moved_bytes")));
    }
    if (json_is_null(hint)) {
        assert_null(strstr(s->log, "Hint: "));
    } else {
        expect_contains(s->log, json_string_value(at(hint, "text", NULL)));
        expect_contains(json_string_value(at(hint, "text", NULL)), "s");
    }
}

static void test_generations(void **state) {
    static const char *const modes[] = {"auto", "none", "model", "sequential", "balanced", "balanced"};
    studio s;
    (void)state;
    studio_open(&s);
    for (int i = 0; i < 6; i++) {
        if (bl_test_slow() && i % 2 && i != 5) {
            continue;
        }
        ballast_generate_options o = studio_request();
        o.offload = modes[i];
        o.fit_check = i != 5;
        o.low = i == 5 ? 0 : -1;
        o.hints = i > 0;
        o.count = 2;
        o.batch = i == 2 ? 2 : 1;
        json_t *report = generate(&s, &o);
        check_against_log(&s, report, 2);
        assert_int_equal(json_integer_value(at(report, "schema", NULL)), 1);
        assert_int_equal(json_integer_value(at(report, "images", NULL)), 2 * o.batch);
        assert_true(json_real_value(at(report, "wall_seconds", NULL)) > 0);
        json_decref(report);
    }
    ballast_generate_options o = studio_request(); /* whatever else can be asked for */
    o.negative_prompt = "blurry";
    o.seed = UINT64_MAX;
    o.hires_scale = 1.5;
    o.hires_upscaler = "Lanczos";
    o.tiled_decode = "on";
    o.verbose = 1;
    json_t *report = generate(&s, &o);
    check_against_log(&s, report, 1);
    assert_int_equal(json_integer_value(at(report, "width", NULL)), SIDE * 3 / 2);
    assert_string_equal(json_string_value(at(report, "negative_prompt", NULL)), "blurry");
    json_decref(report);
    studio_close(&s);
}

/* Plans, for the machine at hand and for a described card. */
static void test_plans(void **state) {
    char card[BL_TEST_PATH], *text;
    studio s;
    ballast_error err = {0};
    (void)state;
    studio_open(&s);
    ballast_generate_options o = studio_request();
    ballast_plan_options po;
    ballast_plan_options_init(&po, sizeof po);
    for (int i = 0; i < 3; i++) {
        if (i == 1) {
            po.compare = 1;
            po.advise = "sdnext";
            po.sweep = "1K:100M:5"; /* the first does not work */
        } else if (i == 2) {
            studio_close(&s);
            s = (studio){0};
            ballast_context_options co = studio_options(&s);
            snprintf(card, sizeof card, "sim:%s/share/devices/rtx4090.json", SOURCE_FOLDER);
            co.device = card;
            assert_int_equal(ballast_context_open(&s.context, &co, &err), 0);
            studio_open_model(&s.model, s.context);
        }
        if (ballast_plan(&text, NULL, s.model, &o, &po, &err)) {
            fail_msg("%s", err.message);
        }
        assert_true(!err.code && !err.message[0]); /* a row that does not work is no error */
        check("explained_plan", text);
        json_t *plan = parsed(&text);
        assert_int_equal(json_array_size(json_object_get(plan, "sweep")), i ? 5 : 0);
        json_decref(plan);
    }
    studio_close(&s);
}

/* The command adds the files. */
static void test_command(void **state) {
    char model[BL_TEST_PATH];
    outcome o = {0};
    (void)state;
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    BALLAST(&o, "generate", "--json", "-m", model, "-p", "a fox", "-W", "64", "-H", "64", "-s", "2", "-c",
            "2", "-S", "18446744073709551615", "-o", "c.png");
    assert_int_equal(o.code, 0);
    check("report", o.out);
    expect_contains(o.out, "\"files\"");
    BALLAST(&o, "plan", "--json", "--compare", "--advise", "comfyui", "-m", model, "-W", "64", "-H", "64");
    assert_int_equal(o.code, 0);
    check("explained_plan", o.out);
    rig_free(&o);
}

/* The check would notice: a field that is missing, one that nobody named, a word that is none. */
static void test_check(void **state) {
    static const char *const wrong[] = {
        "{\"name\": \"decode\", \"seconds\": 1}",
        "{\"path\": \"a\", \"seed\": 1, \"index\": 0, \"width\": 8, \"height\": 8, \"colour\": 1}",
        "{\"path\": \"a\", \"seed\": -1, \"index\": 0, \"width\": 8, \"height\": 8}"};
    outcome o = {0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        bl_test_write("wrong.json", wrong[i], strlen(wrong[i]));
        rig_run(&o, (const char *const[]){PYTHON, "-B", CHECK, SCHEMA, "file", "wrong.json", NULL});
        assert_int_equal(o.code, 1);
        expect_contains(o.out, "wrong.json");
    }
    rig_free(&o);
}

static void test_documented(void **state) {
    (void)state;
    run((const char *const[]){PYTHON, "-B", CHECK, "--documented", SCHEMA, SOURCE_FOLDER "/docs/report.md",
                              NULL});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generations), cmocka_unit_test(test_plans),      cmocka_unit_test(test_command),
        cmocka_unit_test(test_check),       cmocka_unit_test(test_documented),
    };
    return cmocka_run_group_tests_name("api.report", tests, rig_open, rig_close);
}
