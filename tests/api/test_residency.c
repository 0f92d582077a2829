/* Where the weights lie: before, within and after a generation. */
#include "studio.h"

#include <jansson.h>

typedef struct look {
    ballast_model *model;
    json_int_t most; /* bytes seen resident from callbacks */
    int looks;
} look;

static json_t *residency(ballast_model *model) {
    char *text = NULL;
    ballast_error err = {0};
    if (ballast_model_residency(&text, model, &err)) {
        fail_msg("%s", err.message);
    }
    json_t *object = json_loads(text, 0, NULL);
    assert_non_null(object);
    ballast_string_free(&text);
    return object;
}

static json_int_t number(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

/* Sums agree with the blocks that they are of; the bytes that are resident. */
static json_int_t check(const json_t *object) {
    json_int_t all = 0;
    size_t i, k;
    json_t *module, *block;
    json_array_foreach(json_object_get(object, "modules"), i, module) {
        json_int_t here = 0, bytes = 0;
        json_array_foreach(json_object_get(module, "blocks"), k, block) {
            json_t *at = json_object_get(block, "at");
            bytes += number(block, "bytes");
            if (json_is_integer(at)) {
                here += number(block, "bytes");
                assert_true(json_integer_value(at) + number(block, "bytes") <=
                            number(object, "region_bytes"));
            } else {
                assert_true(json_is_null(at));
            }
        }
        assert_int_equal(number(module, "bytes"), bytes);
        assert_int_equal(number(module, "resident_bytes"), here);
        all += here;
    }
    assert_int_equal(number(object, "resident_bytes"), all);
    return all;
}

static int on_progress(void *payload, const ballast_progress *progress) {
    look *l = payload;
    (void)progress;
    json_t *object = residency(l->model);
    json_int_t bytes = check(object);
    l->most = bytes > l->most ? bytes : l->most;
    l->looks++;
    json_decref(object);
    return 0;
}

static void test_residency(void **state) {
    studio s;
    ballast_error err = {0};
    (void)state;
    studio_open(&s);
    json_t *object = residency(s.model);
    assert_int_equal(number(object, "region_bytes"), 0);
    assert_int_equal(check(object), 0);
    assert_true(json_array_size(json_object_get(object, "modules")) >= 3);
    json_decref(object);
    look l = {.model = s.model};
    ballast_generate_options o = studio_request();
    o.progress = on_progress;
    o.payload = &l;
    if (ballast_generate(NULL, s.model, &o, &err)) {
        fail_msg("%s", err.message);
    }
    assert_true(l.looks > 3 && l.most > 0);
    object = residency(s.model);
    assert_true(check(object) > 0);
    json_decref(object);
    assert_int_equal(ballast_model_release(s.model, &err), 0);
    object = residency(s.model);
    assert_int_equal(check(object), 0);
    assert_int_equal(number(object, "region_bytes"), 0);
    json_decref(object);
    studio_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_residency)};
    return cmocka_run_group_tests_name("api.residency", tests, rig_open, rig_close);
}
