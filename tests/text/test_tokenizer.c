/* The tokenizer against transformers' ids for 65 prompts in many scripts (tests/data/common/tokens.json),
 * exactly. */
#include "text/prompt.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

typedef struct fixture {
    bl_tokenizer *tokenizer;
    json_t *root;
} fixture;

static int setup(void **state) {
    static fixture f;
    char path[4096];
    const char *data = getenv("BALLAST_TEST_DATA");
    snprintf(path, sizeof path, "%s/common/tokens.json", data ? data : "tests/data");
    json_error_t error;
    f.root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!f.root) {
        fprintf(stderr, "%s: %s\n", path, error.text);
        return -1;
    }
    *state = &f;
    return bl_tokenizer_new(&f.tokenizer, NULL);
}

static int teardown(void **state) {
    fixture *f = *state;
    json_decref(f->root);
    bl_tokenizer_free(&f->tokenizer);
    assert_null(f->tokenizer);
    return 0;
}

static void ids_are_those_of_transformers(void **state) {
    const fixture *f = *state;
    const json_t *prompts = json_object_get(f->root, "prompts");
    assert_true(json_array_size(prompts) >= 60);
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *record = json_array_get(prompts, i), *prompt = json_object_get(record, "prompt");
        const json_t *ids = json_object_get(record, "ids");
        bl_token_list list = {0};
        assert_int_equal(
            bl_tokenize(&list, f->tokenizer, 0, json_string_value(prompt), json_string_length(prompt), NULL),
            0);
        print_message("%zu: %s\n", i, json_string_value(prompt));
        assert_int_equal(list.count + 2, json_array_size(ids));
        for (size_t k = 0; k < list.count; k++) {
            assert_int_equal(list.ids[k], json_integer_value(json_array_get(ids, k + 1)));
        }
        free(list.ids);
    }
}

/* Padding with another token replaces all that follows the first end token. */
static void first_plain_chunk_is_what_a_pipeline_feeds(void **state) {
    const fixture *f = *state;
    const json_t *prompts = json_object_get(f->root, "prompts");
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *record = json_array_get(prompts, i), *prompt = json_object_get(record, "prompt");
        const json_t *row = json_object_get(record, "ids77");
        size_t tokens = json_array_size(json_object_get(record, "ids")) - 2;
        for (int pad = 0; pad <= BL_TOKEN_EOS; pad += BL_TOKEN_EOS) {
            bl_chunks c;
            assert_int_equal(bl_prompt_parse(&c, f->tokenizer, json_string_value(prompt),
                                             json_string_length(prompt), BL_PROMPT_PLAIN, pad, NULL),
                             0);
            assert_int_equal(c.count, 1);
            assert_int_equal(c.left_out, tokens > 75 ? tokens - 75 : 0);
            size_t last = 1 + (tokens < 75 ? tokens : 75); /* the end token behind the text */
            bool ended = false;
            for (int k = 0; k < BL_CHUNK_TOKENS; k++) {
                int expected =
                    (size_t)k > last ? pad : (int)json_integer_value(json_array_get(row, (size_t)k));
                assert_int_equal(c.ids[k], expected);
                assert_true(c.weights[k] == 1.0f);
                if (c.ids[k] == BL_TOKEN_EOS && !ended) {
                    ended = true;
                    assert_int_equal(c.eos_index[0], k);
                }
            }
            assert_true(ended);
            bl_chunks_clear(&c);
        }
    }
}

static void text_that_is_not_utf8_is_refused_with_its_place(void **state) {
    const fixture *f = *state;
    static const struct {
        const char *text;
        const char *place;
    } cases[] = {
        {"caf\xe9", "byte 3 is 0xe9"},        {"\xff", "byte 0 is 0xff"},
        {"ab\xed\xa0\x80", "byte 2 is 0xed"}, {"a\xf4\x90\x80\x80", "byte 1 is 0xf4"},
        {"x\xc0\xaf", "byte 1 is 0xc0"},      {"cut \xf0\x9f\x98", "byte 4 is 0xf0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_token_list list = {0};
        bl_error err;
        assert_int_equal(bl_token_list_add(&list, 7, &err), 0);
        assert_int_equal(bl_tokenize(&list, f->tokenizer, 0, cases[i].text, strlen(cases[i].text), &err),
                         BL_E_ARGUMENT);
        assert_non_null(strstr(err.message, cases[i].place));
        assert_int_equal(list.count, 1);
        free(list.ids);
    }
}

static void a_text_that_is_too_long_is_refused(void **state) {
    const fixture *f = *state;
    size_t n = BL_PROMPT_MAX_BYTES + 1;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, 'a', n);
    bl_token_list list = {0};
    bl_error err;
    assert_int_equal(bl_tokenize(&list, f->tokenizer, 0, text, n, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "16385 bytes"));
    /* One byte less is one word of 16384 letters: it must not take the square of that. */
    assert_int_equal(bl_tokenize(&list, f->tokenizer, 0, text, n - 1, &err), 0);
    assert_true(list.count > 100);
    free(list.ids);
    free(text);
}

/* Ids of the vocabulary that can be derived by hand: 256 + place of a byte in the alphabet. */
static void single_bytes_end_a_word(void **state) {
    const fixture *f = *state;
    bl_token_list list = {0};
    assert_int_equal(bl_tokenize(&list, f->tokenizer, 0, "! A", 3, NULL), 0);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.ids[0], 256 + '!' - 33);
    assert_int_equal(list.ids[1], 256 + 'a' - 33);
    free(list.ids);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_transformers),
        cmocka_unit_test(first_plain_chunk_is_what_a_pipeline_feeds),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_with_its_place),
        cmocka_unit_test(a_text_that_is_too_long_is_refused),
        cmocka_unit_test(single_bytes_end_a_word),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
