/* A device as a described machine, on which is planned what the device itself has no time for. */
#include "studio.h"

#include <jansson.h>
#include <unistd.h>

static json_t *plan_of(ballast_model *model) {
    ballast_error err = {0};
    char *text = NULL;
    ballast_generate_options o = studio_request();
    o.budget = "1G";
    if (ballast_plan(&text, NULL, model, &o, NULL, &err)) {
        fail_msg("%s", err.message);
    }
    json_t *plan = json_loads(text, 0, NULL);
    ballast_string_free(&text);
    return plan;
}

static const char *text_of(const json_t *plan, const char *name) {
    return json_string_value(json_object_get(plan, name));
}

static double number_of(const json_t *plan, const char *name) {
    return json_number_value(json_object_get(plan, name));
}

static void test_described(void **state) {
    studio real, described = {0};
    ballast_error err = {0};
    char *text = NULL;
    (void)state;
    studio_open(&real);
    if (ballast_context_describe(&text, real.context, &err)) {
        fail_msg("%s", err.message);
    }
    bl_test_write("card.json", text, strlen(text));
    ballast_string_free(&text);
    ballast_context_options co = studio_options(&described);
    co.device = "sim:card.json";
    if (ballast_context_open(&described.context, &co, &err)) {
        fail_msg("%s", err.message);
    }
    studio_open_model(&described.model, described.context);
    json_t *a = plan_of(real.model), *b = plan_of(described.model);
    assert_string_equal(text_of(a, "device"), text_of(b, "device"));
    assert_true(number_of(a, "budget_bytes") == number_of(b, "budget_bytes"));
    assert_true(number_of(b, "seconds") > 0);
    assert_int_equal(json_array_size(json_object_get(a, "phases")),
                     json_array_size(json_object_get(b, "phases")));
    json_decref(a);
    json_decref(b);
    studio_close(&described);
    studio_close(&real);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_described)};
    return cmocka_run_group_tests_name("api.describe", tests, rig_open, rig_close);
}
