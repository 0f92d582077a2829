/* What a new prompt costs beside the same prompt: the encoder's own work and what the plan says, nothing
 * else. Weights of the encoder come once for all texts of a request, whatever their lengths. */
#include "pipeline/flow_rig.h"

#include <math.h>

static const char *const families[] = {"zimage", "flux2/klein_2_2"};

/* With guidance; the two texts take different numbers of rows. */
static ballast_generate_options request(flow_taken *t, const char *prompt) {
    ballast_generate_options o = flow_request(t);
    o.prompt = prompt;
    o.negative_prompt =
        "dull grey dull grey dull grey dull grey dull grey dull grey dull grey dull grey dull grey "
        "dull grey dull grey dull grey dull grey dull grey dull grey dull grey dull grey";
    o.cfg = 3;
    return o;
}

static double number(const json_t *object, const char *name) {
    const json_t *v = json_object_get(object, name);
    if (!json_is_number(v)) {
        fail_msg("there is no %s", name);
    }
    return json_number_value(v);
}

static bool encodes(const json_t *phase) {
    return !strcmp(json_string_value(json_object_get(phase, "module")), "text_encoder");
}

/* Bytes that a plan brings to the device: of text encoders while they run, or of all else. */
static double brought(const json_t *plan, bool encoder) {
    const char *first =
        json_string_value(json_object_get(json_array_get(json_object_get(plan, "phases"), 0), "name"));
    double sum = 0;
    size_t i;
    json_t *d;
    json_array_foreach(json_object_get(plan, "decisions"), i, d) {
        const bool now = !strcmp(json_string_value(json_object_get(d, "phase")), first);
        if (!strcmp(json_string_value(json_object_get(d, "op")), "onload") && encodes(d) == encoder &&
            (now || !encoder)) {
            sum += number(d, "bytes");
        }
    }
    return sum;
}

/* The shares of the phases add up to those of the whole, and these to its seconds. */
static void check_shares(const json_t *whole) {
    static const char *const names[] = {"first_load_seconds", "swap_seconds", "steady_seconds"};
    double all = 0;
    for (int k = 0; k < 3; k++) {
        double sum = 0;
        size_t i;
        json_t *phase;
        json_array_foreach(json_object_get(whole, "phases"), i, phase) {
            sum += number(phase, names[k]);
        }
        assert_true(fabs(sum - number(whole, names[k])) <= 1e-9 + 1e-6 * sum);
        all += sum;
    }
    assert_true(fabs(all - number(whole, "seconds")) <= 1e-9 + 1e-6 * all);
}

/* Two plans, or what came of them: phase by phase the same, but that the first has one more, an encoder's,
 * which brings no byte of it twice. */
static void check_difference(const json_t *anew, const json_t *same) {
    const json_t *first = json_object_get(anew, "phases"), *second = json_object_get(same, "phases");
    const json_t *encoder = json_array_get(first, 0);
    assert_true(encodes(encoder) && number(encoder, "passes") == 1);
    assert_int_equal(json_array_size(first), json_array_size(second) + 1);
    for (size_t i = 0; i < json_array_size(second); i++) {
        const json_t *a = json_array_get(first, i + 1), *b = json_array_get(second, i);
        assert_string_equal(json_string_value(json_object_get(a, "name")),
                            json_string_value(json_object_get(b, "name")));
        assert_true(!encodes(a) && number(a, "passes") == number(b, "passes"));
    }
    assert_true(brought(anew, true) <= number(encoder, "weight_bytes"));
}

/* The last batch's part of a report. */
static json_t *part(json_t *report, const char *name) {
    json_t *batches = json_object_get(report, "batches");
    return json_object_get(json_array_get(batches, json_array_size(batches) - 1), name);
}

/* Makes it; bytes are those of the plan. */
static json_t *made(rig_studio *s, ballast_generate_options o) {
    json_t *report = rig_generate(s, &o), *ledger = part(report, "ledger");
    assert_true(number(ledger, "moved_bytes") == number(part(report, "plan"), "moved_bytes"));
    check_shares(ledger);
    check_shares(part(report, "plan"));
    assert_non_null(
        strstr(json_string_value(json_object_get(part(report, "line"), "text")), "| first load "));
    return report;
}

/* Both texts encoded in one pass give the picture that each by itself gives. */
static void check_bits(const char *folder, const flow_taken *wanted) {
    flow_taken t;
    rig_studio s;
    ballast_context_options co;
    ballast_model_options mo;
    rig_options(&co, &mo, folder, "f32");
    co.text_cache = 0;
    rig_open_given(&s, &co, &mo);
    ballast_generate_options o = request(&t, "a photo of a dog");
    json_t *report = made(&s, o);
    assert_int_equal(rig_figure(report, 0, "text_cache", "misses"), 2);
    assert_true(number(json_array_get(json_object_get(part(report, "plan"), "phases"), 0), "passes") == 1);
    assert_false(encodes(json_array_get(json_object_get(part(report, "plan"), "phases"), 1)));
    rig_same(&t.pictures, &wanted->pictures, "two texts in one pass");
    json_decref(report);
    flow_drop(&t);
    rig_close(&s);
}

/* Three pictures of one process with a third of what would fit all: the first, another prompt, and that
 * again. */
static void on_the_processor(void **state) {
    (void)state;
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        char folder[BL_TEST_PATH];
        flow_taken t[3];
        json_t *reports[3], *ledger[3];
        rig_studio s;
        bl_synth_folder(folder, families[f]);
        rig_open_on(&s, "cpu", folder, "f32", "");
        ballast_generate_options o = request(&t[0], "a photo of a cat");
        const uint64_t least = rig_planned(&s, &o, "min_budget_bytes"),
                       all = rig_planned(&s, &o, "working_set_bytes");
        const rig_size budget = rig_bytes(least + (all - least) / 3);
        for (int i = 0; i < 3; i++) {
            o = request(&t[i], i ? "a photo of a dog" : "a photo of a cat");
            o.budget = budget.text;
            reports[i] = made(&s, o);
            ledger[i] = part(reports[i], "ledger");
        }
        assert_true(number(ledger[0], "first_load_seconds") > 0);
        assert_true(number(ledger[1], "first_load_seconds") == 0 && number(ledger[1], "swap_seconds") > 0);
        assert_true(number(ledger[2], "first_load_seconds") == 0);
        check_difference(part(reports[1], "plan"), part(reports[2], "plan"));
        rig_same(&t[2].pictures, &t[1].pictures, "the same prompt");
        check_bits(folder, &t[1]);
        for (int i = 0; i < 3; i++) {
            json_decref(reports[i]);
            flow_drop(&t[i]);
        }
        rig_close(&s);
    }
}

/* Planned for a card whose budget and whose host are too small for all. */
static json_t *planned(const char *device, const char *folder, size_t text_cache, const char *budget,
                       const char *host) {
    flow_taken t;
    rig_studio s;
    ballast_context_options co;
    ballast_model_options mo;
    rig_options(&co, &mo, folder, "f32");
    co.device = device;
    co.text_cache = text_cache;
    rig_open_given(&s, &co, &mo);
    ballast_generate_options o = request(&t, "a photo of a cat");
    o.budget = budget;
    o.host_budget = host;
    o.count = 2;
    json_t *plan = rig_plan(&s, &o);
    rig_close(&s);
    return plan;
}

static void on_a_card(void **state) {
    (void)state;
    char scratch[BL_TEST_PATH], card[BL_TEST_PATH], device[BL_TEST_PATH + 8];
    bl_test_folder(scratch);
    bl_test_join(card, scratch, "card.json");
    static const char text[] = "{\"name\": \"card\", \"memory_bytes\": 2000000000, \"copy_rate\": 1e9, "
                               "\"copy_latency\": 1e-6, \"memory_rate\": 1e10, \"host_bytes\": 1000000000, "
                               "\"file_rate\": 2e8, \"file_latency\": 1e-5, \"flops\": {\"f32\": 1e12, "
                               "\"bf16\": 2e12}}";
    bl_test_write(card, text, sizeof text - 1);
    snprintf(device, sizeof device, "sim:%s", card);
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        char folder[BL_TEST_PATH];
        bl_synth_folder(folder, families[f]);
        json_t *wide = planned(device, folder, 64, NULL, NULL);
        const double least = number(wide, "min_budget_bytes"), all = number(wide, "working_set_bytes");
        for (int i = 0; i < 4; i++) {
            const rig_size budget = rig_bytes((uint64_t)(least + (all - least) * (1 + i % 2) / 3)),
                           host = rig_bytes((uint64_t)(all * (i < 2 ? 1 : 0.6)));
            json_t *anew = planned(device, folder, 0, budget.text, host.text),
                   *same = planned(device, folder, 64, budget.text, host.text);
            check_shares(anew);
            check_shares(same);
            assert_true(number(anew, "first_load_seconds") == 0 && number(same, "first_load_seconds") == 0);
            check_difference(anew, same); /* and what else comes is what the encoder displaced */
            const json_t *encoder = json_array_get(json_object_get(anew, "phases"), 0);
            assert_true(brought(anew, false) - brought(same, false) <=
                        number(encoder, "weight_bytes") + number(encoder, "arena_bytes"));
            for (size_t k = 0; k < json_array_size(json_object_get(same, "phases")); k++) {
                const json_t *a = json_array_get(json_object_get(anew, "phases"), k + 1),
                             *b = json_array_get(json_object_get(same, "phases"), k);
                assert_true(fabs(number(a, "compute_seconds") - number(b, "compute_seconds")) < 1e-12);
                assert_true(number(a, "arena_bytes") == number(b, "arena_bytes"));
            }
            json_decref(anew);
            json_decref(same);
        }
        json_decref(wide);
    }
    bl_test_folder_remove(scratch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_the_processor),
        cmocka_unit_test(on_a_card),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
