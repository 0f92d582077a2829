/* Damage and lack of memory are told apart: by texts that jansson reads and refuses, and by making its
 * allocations fail. */
#include "core/json_text.h"
#include "core/utf8.h"
#include "support/failing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char sample[] =
    "{\"a\": [1, -2.5e+3, 0, {\"b\\n\\u00e9\\ud83d\\ude00\": null, \"c\": [true, false, []]}, "
    "{}],\n\t\"d\\\"\\\\\\/\": \"\xc3\xa9\", \"e\": 1E9, \"f\": {\"g\": [[\"h\"]]}}";

/* With all the memory there is, no refusal is one for lack of it; and what is read is well-formed. */
static void check(const char *text, size_t n) {
    json_error_t why = {0};
    json_t *root = json_loadb(text, n, 0, &why);
    if (root ? !bl_json_well_formed(text, n) : bl_json_lacked_memory(&why, text, n)) {
        fail_msg("%s, jansson says \"%s\": %.*s", root ? "read" : "refused", why.text, (int)n, text);
    }
    json_decref(root);
}

static void texts_are_judged_as_jansson_does(void **state) {
    static const char *const texts[] = {"",
                                        " ",
                                        "{",
                                        "[",
                                        "{}",
                                        "[]",
                                        "[1,]",
                                        "[,1]",
                                        "{\"a\":1,}",
                                        "{\"a\"}",
                                        "{\"a\":}",
                                        "{1:2}",
                                        "[1 2]",
                                        "[] []",
                                        "1",
                                        "\"a\"",
                                        "[01]",
                                        "[-]",
                                        "[-0]",
                                        "[1.]",
                                        "[.5]",
                                        "[1e]",
                                        "[1e+]",
                                        "[+1]",
                                        "[NaN]",
                                        "[tru]",
                                        "[truex]",
                                        "[\"\\x\"]",
                                        "[\"\\u12\"]",
                                        "[\"\\ud800\"]",
                                        "[\"\\ud800\\u0041\"]",
                                        "[\"\\udc00\"]",
                                        "[\"\\ud800\\udbff\"]",
                                        "[\"\\u0000\"]",
                                        "[\"\t\"]",
                                        "[\"\xff\"]",
                                        "[\"a]",
                                        "{\"\\u0000\":1}",
                                        "[1e999]",
                                        "[99999999999999999999]",
                                        "\xef\xbb\xbf[]",
                                        "[1]]",
                                        "[}",
                                        "{\"a\":[}]"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        check(texts[i], strlen(texts[i]));
    }
    check("[1]\0", 4);
    static char deep[5000];
    for (int depth = 2040; depth < 2060; depth++) {
        memset(deep, '[', (size_t)depth);
        memset(deep + depth, ']', (size_t)depth);
        check(deep, 2 * (size_t)depth);
    }
}

/* The sample with one to three bytes changed, left out or put in twice. */
static void damaged_texts_are_damaged(void **state) {
    static const char bytes[] = "\"\\{}[]:,0123456789.eE+-truefalsn \n\x01\xc3";
    uint64_t seed = 7;
    (void)state;
    for (int round = 0; round < 50000; round++) {
        char text[2 * sizeof sample];
        size_t n = sizeof sample - 1;
        memcpy(text, sample, n);
        for (int k = round % 3; k >= 0; k--) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            size_t at = (size_t)(seed >> 33) % n, what = (size_t)(seed >> 20) % 3;
            if (what == 0) {
                text[at] = bytes[(size_t)(seed >> 40) % (sizeof bytes - 1)];
            } else if (what == 1) {
                memmove(text + at, text + at + 1, --n - at);
            } else {
                memmove(text + at + 1, text + at, n++ - at);
            }
        }
        check(text, n);
    }
}

static void lack_of_memory_is_called_that(void **state) {
    (void)state;
    size_t bytes = sizeof sample - 1;
    bl_test_fail_json(true);
    for (long n = 0;; n++) {
        json_error_t why = {0};
        bl_test_fail(n);
        json_t *root = json_loadb(sample, bytes, 0, &why);
        if (!bl_test_failed()) {
            assert_non_null(root);
            json_decref(root);
            break;
        }
        assert_true(root || bl_json_lacked_memory(&why, sample, bytes));
        json_decref(root);
    }
    json_t *value = json_loadb(sample, bytes, 0, NULL);
    char *wanted = bl_json_dump(value, 0);
    assert_non_null(wanted);
    for (long n = 0;; n++) {
        bl_test_fail(n);
        char *text = bl_json_dump(value, 0);
        bool reached = bl_test_failed();
        if (text) {
            assert_string_equal(text, wanted); /* no piece of it is missing */
        }
        free(text);
        if (!reached) {
            assert_non_null(text);
            break;
        }
    }
    free(wanted);
    json_decref(value);
    bl_test_fail_json(false);
}

static void utf8_is_told(void **state) {
    static const char *const good[] = {
        "", "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\xff",
                                      "\x80",
                                      "\xc0\xaf",
                                      "\xc3",
                                      "a\xe2\x82",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(bl_utf8_valid(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(bl_utf8_valid(bad[i]));
    }
    char *copy = bl_utf8_copy("a\xe2\x82");
    assert_string_equal(copy, "a??");
    free(copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_judged_as_jansson_does),
        cmocka_unit_test(damaged_texts_are_damaged),
        cmocka_unit_test(lack_of_memory_is_called_that),
        cmocka_unit_test(utf8_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
