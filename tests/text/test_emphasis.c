/* The emphasis syntaxes. Expected spans of A1111's follow from its documented rules: () x 1.1, [] / 1.1,
 * (a:w) x w; those of ComfyUI's are what its token_weights returns. */
#include "text/emphasis.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define UP 1.1
#define DOWN (1.0 / 1.1)

typedef struct expected {
    const char *text; /* NULL: a BREAK */
    double weight;
} expected;

typedef struct example {
    const char *prompt;
    size_t count;
    expected spans[10];
} example;

static const example examples[] = {
    {"", 1, {{"", 1}}},
    {"plain text", 1, {{"plain text", 1}}},
    {"(word)", 1, {{"word", UP}}},
    {"[word]", 1, {{"word", DOWN}}},
    {"((word))", 1, {{"word", UP *UP}}},
    {"[[word]]", 1, {{"word", DOWN *DOWN}}},
    {"(word:1.2)", 1, {{"word", 1.2}}},
    {"(word:0)", 1, {{"word", 0}}},
    {"(word:-0.5)", 1, {{"word", -0.5}}},
    {"(word:+2)", 1, {{"word", 2}}},
    {"(word:.5)", 1, {{"word", 0.5}}},
    {"(word:2.)", 1, {{"word", 2}}},
    {"(word: 1.3 )", 1, {{"word", 1.3}}},
    {"(word:\t1.3\n)", 1, {{"word", 1.3}}},
    {"a (b:1.5) c", 3, {{"a ", 1}, {"b", 1.5}, {" c", 1}}},
    {"(a (b:2) c)", 3, {{"a ", UP}, {"b", 2 * UP}, {" c", UP}}},
    {"(a [b] c:1.4)", 3, {{"a ", 1.4}, {"b", DOWN * 1.4}, {" c", 1.4}}},
    {"((a:1.5):2)", 1, {{"a", 3}}},
    /* The weight of a square bracket is text: only round ones take one. */
    {"[word:1.2]", 1, {{"word:1.2", DOWN}}},
    {"word:1.2", 1, {{"word:1.2", 1}}},
    {"word:1.2)", 1, {{"word:1.2)", 1}}},
    /* Escapes. */
    {"\\(word\\)", 1, {{"(word)", 1}}},
    {"\\[word\\]", 1, {{"[word]", 1}}},
    {"(a \\(b\\):1.2)", 1, {{"a (b)", 1.2}}},
    {"(a \\(b:1.2\\) c)", 1, {{"a (b:1.2) c", UP}}},
    {"a\\\\(b)", 2, {{"a\\", 1}, {"b", UP}}},
    {"a\\b", 1, {{"ab", 1}}},
    {"a\\", 1, {{"a", 1}}},
    /* Brackets without a partner. */
    {"(word", 1, {{"word", UP}}},
    {"((word", 1, {{"word", UP *UP}}},
    {"[word", 1, {{"word", DOWN}}},
    {"a (b", 2, {{"a ", 1}, {"b", UP}}},
    {"word)", 1, {{"word)", 1}}},
    {"word]", 1, {{"word]", 1}}},
    {"(a]b)", 1, {{"a]b", UP}}},
    {"(a[b)c]", 3, {{"a", UP}, {"b", UP *DOWN}, {"c", DOWN}}},
    {"()", 1, {{"", 1}}},
    {")(", 1, {{")", 1}}},
    /* Not a number: text, and the bracket closes as it does without a weight. */
    {"(word:1.2.3)", 1, {{"word:1.2.3", UP}}},
    {"(word:.)", 1, {{"word:.", UP}}},
    {"(word:)", 1, {{"word:", UP}}},
    {"(word:nan)", 1, {{"word:nan", UP}}},
    {"(word:inf)", 1, {{"word:inf", UP}}},
    {"(word:1e3)", 1, {{"word:1e3", UP}}},
    {"(word:0x2)", 1, {{"word:0x2", UP}}},
    {"(word:1,2)", 1, {{"word:1,2", UP}}},
    {"(word:--1)", 1, {{"word:--1", UP}}},
    {"(a:b:1.5)", 1, {{"a:b", 1.5}}},
    {"(a::1.5)", 1, {{"a:", 1.5}}},
    /* Neighbours of one weight are one span. */
    {"(a)(b)", 1, {{"ab", UP}}},
    {"(a:1.1)(b)", 1, {{"ab", UP}}},
    {"a(b:1)c", 1, {{"abc", 1}}},
    /* Comments. */
    {"a # (b:2)\nc", 1, {{"a \nc", 1}}},
    {"# all of it", 1, {{"", 1}}},
    {"(a#)\nb:1.5)", 1, {{"a\nb", 1.5}}},
    {"(a:1.5# b\n)", 1, {{"a", 1.5}}},
    {"a\\# b\n#c#d\n", 1, {{"a\n\n", 1}}},
    /* BREAK. */
    {"a BREAK b", 3, {{"a ", 1}, {NULL, 1}, {" b", 1}}},
    {"BREAK", 3, {{"", 1}, {NULL, 1}, {"", 1}}},
    {"a,BREAK,b", 3, {{"a,", 1}, {NULL, 1}, {",b", 1}}},
    {"BREAKBREAK", 1, {{"BREAKBREAK", 1}}},
    {"BREAKS OUTBREAK break", 1, {{"BREAKS OUTBREAK break", 1}}},
    {"_BREAK BREAK1 \xc3\xa9"
     "BREAK BREAK\xd0\xb6",
     1,
     {{"_BREAK BREAK1 \xc3\xa9"
       "BREAK BREAK\xd0\xb6",
       1}}},
    {"a BREAK BREAK b", 5, {{"a ", 1}, {NULL, 1}, {" ", 1}, {NULL, 1}, {" b", 1}}},
    {"(a BREAK b:1.3)", 3, {{"a ", 1.3}, {NULL, 1.3}, {" b", 1.3}}},
    {"(a:-1)BREAK", 4, {{"a", -1}, {"", 1}, {NULL, 1}, {"", 1}}},
};

static void examples_parse_as_documented(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        const example *e = &examples[i];
        bl_emphasis a;
        print_message("\"%s\"\n", e->prompt);
        assert_int_equal(bl_emphasis_parse(&a, e->prompt, strlen(e->prompt), NULL), 0);
        assert_int_equal(a.count, e->count);
        for (size_t k = 0; k < a.count; k++) {
            const expected *x = &e->spans[k];
            assert_int_equal(a.spans[k].is_break, x->text == NULL);
            assert_true(fabs(a.spans[k].weight - x->weight) <= 1e-15 * fabs(x->weight));
            assert_int_equal(a.spans[k].length, x->text ? strlen(x->text) : 0);
            if (x->text) {
                assert_memory_equal(a.text + a.spans[k].start, x->text, a.spans[k].length);
            }
        }
        bl_emphasis_clear(&a);
        assert_null(a.text);
    }
}

static const example comfyui_examples[] = {
    {"", 0, {{NULL, 0}}},
    {"plain", 1, {{"plain", 1.0}}},
    {"(word)", 1, {{"word", 1.1}}},
    {"[word]", 1, {{"[word]", 1.0}}},
    {"((word))", 1, {{"word", 1.2100000000000002}}},
    {"(word:1.2)", 1, {{"word", 1.2}}},
    {"((a:1.5) b:2)", 2, {{"a", 1.5}, {" b", 2.0}}},
    {"((a:1.5):2)", 1, {{"a", 1.5}}},
    {"(a (b:1.2) c)", 3, {{"a ", 1.1}, {"b", 1.2}, {" c", 1.1}}},
    {"a) (b:1.2)", 1, {{"a) (b:1.2)", 1.0}}},
    {"a) ((b))", 3, {{"a) (", 1.0}, {"b", 1.1}, {")", 1.0}}},
    {"(a b", 1, {{"(a b", 1.0}}},
    {"a (b (c)", 3, {{"a ", 1.0}, {"b ", 1.1}, {"(c", 1.1}}},
    {"(:1.2)", 1, {{":1.2", 1.1}}},
    {"(a:1.3:1.5)", 1, {{"a:1.3", 1.5}}},
    {"(a:b)", 1, {{"a:b", 1.1}}},
    {"(a: 1.3 )", 1, {{"a", 1.3}}},
    {"(a:1e1)", 1, {{"a", 10.0}}},
    {"(a:15E-1)", 1, {{"a", 1.5}}},
    {"(a:1_0)", 1, {{"a", 10.0}}},
    {"(a:1__0)", 1, {{"a:1__0", 1.1}}},
    {"(a:_1)", 1, {{"a:_1", 1.1}}},
    {"(a:.5)", 1, {{"a", 0.5}}},
    {"(a:2.)", 1, {{"a", 2.0}}},
    {"(a:.)", 1, {{"a:.", 1.1}}},
    {"(a:-1)", 1, {{"a", -1.0}}},
    {"(a:+2)", 1, {{"a", 2.0}}},
    {"(a:- 1)", 1, {{"a:- 1", 1.1}}},
    {"(a:1 2)", 1, {{"a:1 2", 1.1}}},
    {"(a:0x2)", 1, {{"a:0x2", 1.1}}},
    {"(a:1e)", 1, {{"a:1e", 1.1}}},
    {"(a:)", 1, {{"a:", 1.1}}},
    {"()", 0, {{NULL, 0}}},
    {"x()y", 2, {{"x", 1.0}, {"y", 1.0}}},
    {"\\(a\\)", 1, {{"(a)", 1.0}}},
    {"(\\(a\\):1.4)", 1, {{"(a)", 1.4}}},
    {"a\\b", 1, {{"a\\b", 1.0}}},
    {"\\[a", 1, {{"\\[a", 1.0}}},
    {"(a BREAK b:0.5)", 1, {{"a BREAK b", 0.5}}},
    {"(a:1.2) (b)", 3, {{"a", 1.2}, {" ", 1.0}, {"b", 1.1}}},
    {"((a)(b:0.5):3)", 2, {{"a", 3.3000000000000003}, {"b", 0.5}}},
    {")", 1, {{")", 1.0}}},
    {"))((", 1, {{"))((", 1.0}}},
    {"(a:1.2\\))", 1, {{"a:1.2)", 1.1}}},
    {"((a:1.2)", 1, {{"(a", 1.2}}},
    {"(a\\:1.5)", 1, {{"a\\", 1.5}}},
};

static void comfyui_examples_parse_as_there(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof comfyui_examples / sizeof *comfyui_examples; i++) {
        const example *e = &comfyui_examples[i];
        bl_emphasis a;
        print_message("\"%s\"\n", e->prompt);
        assert_int_equal(bl_emphasis_parse_comfyui(&a, e->prompt, strlen(e->prompt), NULL), 0);
        assert_int_equal(a.count, e->count);
        for (size_t k = 0; k < a.count; k++) {
            const expected *x = &e->spans[k];
            assert_false(a.spans[k].is_break);
            assert_true(fabs(a.spans[k].weight - x->weight) <= 1e-15 * fabs(x->weight));
            assert_int_equal(a.spans[k].length, strlen(x->text));
            assert_memory_equal(a.text + a.spans[k].start, x->text, a.spans[k].length);
        }
        bl_emphasis_clear(&a);
    }
}

static void comfyui_refuses_the_absurd(void **state) {
    (void)state;
    static const char *const prompts[] = {"(a:1001)", "(a:-1e9)", "(a:1e999)"};
    bl_emphasis a;
    bl_error err = {0};
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        assert_int_equal(bl_emphasis_parse_comfyui(&a, prompts[i], strlen(prompts[i]), &err), BL_E_ARGUMENT);
        assert_non_null(strstr(err.message, "emphasis"));
    }
    char deep[2 * (BL_EMPHASIS_DEPTH + 1) + 4] = "";
    size_t n = BL_EMPHASIS_DEPTH + 1;
    memset(deep, '(', n);
    memcpy(deep + n, "a:1", 3);
    memset(deep + n + 3, ')', n);
    assert_int_equal(bl_emphasis_parse_comfyui(&a, deep, 2 * n + 3, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "deeper than 500"));
    assert_int_equal(bl_emphasis_parse_comfyui(&a, deep + 1, 2 * n + 1, &err), 0); /* one level less */
    assert_true(a.count == 1 && a.spans[0].weight == 1.0);
    bl_emphasis_clear(&a);
}

static void weights_are_the_nearest_doubles(void **state) {
    (void)state;
    static const char *const numbers[] = {"1.05",    "0.1",       "3.14159265358979",
                                          "123.456", "0.0000001", "999.999"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char prompt[64];
        snprintf(prompt, sizeof prompt, "(a:%s)", numbers[i]);
        bl_emphasis a;
        assert_int_equal(bl_emphasis_parse(&a, prompt, strlen(prompt), NULL), 0);
        assert_true(a.spans[0].weight == strtod(numbers[i], NULL));
        bl_emphasis_clear(&a);
    }
    const char *longest =
        "(a:1.00000000000000000000000000000000000000000000000000000000000000000000000000001)";
    bl_emphasis a;
    assert_int_equal(bl_emphasis_parse(&a, longest, strlen(longest), NULL), 0);
    assert_true(a.spans[0].weight == 1.0);
    bl_emphasis_clear(&a);
}

static void refuse(const char *prompt, const char *reason) {
    bl_emphasis a;
    bl_error err;
    assert_int_equal(bl_emphasis_parse(&a, prompt, strlen(prompt), &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, reason));
}

static void absurd_emphasis_is_refused(void **state) {
    (void)state;
    refuse("a (word:1001)", "\"word\"");
    refuse("(word:-99999999999999999999)", "-1e+20");
    refuse("((word:100):100)", "10000");
    char many[2048];
    memset(many, '9', sizeof many);
    memcpy(many, "(a:", 3);
    memcpy(many + sizeof many - 2, ")", 2);
    refuse(many, "inf");
    memset(many, '(', sizeof many);
    memcpy(many + sizeof many - 2, "a", 2);
    refuse(many, "emphasis");
    refuse("(caf\xe9:1.2)", "byte 4");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_parse_as_documented), cmocka_unit_test(comfyui_examples_parse_as_there),
        cmocka_unit_test(comfyui_refuses_the_absurd),   cmocka_unit_test(weights_are_the_nearest_doubles),
        cmocka_unit_test(absurd_emphasis_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
