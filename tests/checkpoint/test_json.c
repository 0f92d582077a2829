/* JSON is read as Python's json module reads it. */
#include "checkpoint/json.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text, bl_error *err) {
    size_t n = strlen(text);
    char *copy = malloc(n + 1); /* without the zero: sanitizers see a step too far */
    json_t *root = NULL;
    assert_non_null(copy);
    memcpy(copy, text, n);
    char *exact = realloc(copy, n ? n : 1);
    assert_non_null(exact);
    bl_json_parse(&root, exact, n, "x.json", err);
    free(exact);
    return root;
}

/* The object {"a": `value`} reads as `expected` (without spaces). */
static void expect_read(const char *value, const char *expected) {
    char text[512];
    bl_error err = {.code = 0};
    snprintf(text, sizeof text, "{\"a\": %s}", value);
    json_t *root = parse(text, &err);
    if (!root) {
        fail_msg("%s: %s", value, err.message);
    }
    char *found = json_dumps(json_object_get(root, "a"), JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal(found, expected);
    free(found);
    json_decref(root);
}

static void what_python_writes_is_read(void **state) {
    (void)state;
    expect_read("-Infinity", "\"-Infinity\"");
    expect_read("[Infinity, NaN,-Infinity ]", "[\"Infinity\",\"NaN\",\"-Infinity\"]");
    expect_read("1e999", "\"Infinity\"");
    expect_read("-1.5E+999", "\"-Infinity\"");
    expect_read("1e-999", "0.0");
    expect_read("1000000000000000019884624838656", "1e30");
    expect_read("-9223372036854775808", "-9223372036854775808");
    expect_read("9223372036854775808", "9.2233720368547758e18");
    expect_read("[0, -1, 0.25, 1e3, true, null, \"NaN -Infinity 1e999\"]",
                "[0,-1,0.25,1000.0,true,null,\"NaN -Infinity 1e999\"]");
    expect_read("\"\\\" NaN \\\\\"", "\"\\\" NaN \\\\\"");
    expect_read("\"\\u0000\\ud83d\\ude00\\ud800\\udc00x\\ud800 \\udfff\\ud800\\u0041\"",
                "\"\xe2\x90\x80\xf0\x9f\x98\x80\xf0\x90\x80\x80x\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd"
                "A\"");
}

static void what_python_refuses_is_refused(void **state) {
    static const char *const texts[] = {"",
                                        "[]",
                                        "NaN",
                                        "{\"a\": nan}",
                                        "{\"a\": -NaN}",
                                        "{\"a\": +Infinity}",
                                        "{\"a\": Infinity1}",
                                        "{\"a\": 1e}",
                                        "{\"a\": 01}",
                                        "{\"a\": .5}",
                                        "{\"a\": 1.}",
                                        "{\"a\": inf}",
                                        "{\"a\": \"\\",
                                        "{\"a\": \"\\u00",
                                        "{\"a\": \"",

                                        "{\"a\": 1e999e999}",
                                        "{\"a\": 99999999999999999999x}",
                                        "{\"a\": --1}",
                                        "{\"a\": \"\\x\"}",
                                        "{\"a\": 1} NaN",
                                        "{\"a\": \"\x01\"}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bl_error err = {.code = 0};
        json_t *root = parse(texts[i], &err);
        if (root || err.code != BL_E_FORMAT || !strstr(err.message, "x.json is damaged: line 1")) {
            fail_msg("%s: %d %s", texts[i], err.code, err.message);
        }
    }
}

static void lines_are_counted_as_in_the_file(void **state) {
    (void)state;
    bl_error err = {.code = 0};
    json_t *root = NULL;
    static const char text[] = "{\n\"a\": NaN,\n\"b\" 1}";
    assert_int_equal(bl_json_load(&root, path, &err), 0); /* no such file */
    assert_null(root);
    bl_test_write(path, text, sizeof text - 1);
    assert_int_equal(bl_json_load(&root, path, &err), BL_E_FORMAT);
    assert_non_null(strstr(err.message, "line 3"));
    assert_null(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_python_writes_is_read),
        TEST(what_python_refuses_is_refused),
        TEST(lines_are_counted_as_in_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
