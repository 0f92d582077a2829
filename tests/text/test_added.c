/* Words beside CLIP's vocabulary. The ids are those that transformers 5.24 gives. */
#include "text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bl_tokenizer *base;

static int open_base(void **state) {
    (void)state;
    return bl_tokenizer_new(&base, NULL);
}

static int close_base(void **state) {
    (void)state;
    bl_tokenizer_free(&base);
    return 0;
}

typedef struct example {
    const char *text;
    int32_t ids[12]; /* ends with 0 */
} example;

static void expect_from(int32_t least_id, const bl_added_token *words, int words_count,
                        const example *examples, int count) {
    bl_tokenizer *t;
    assert_int_equal(bl_tokenizer_extend(&t, base, words, words_count, NULL), 0);
    for (int i = 0; i < count; i++) {
        bl_token_list list = {0};
        assert_int_equal(bl_tokenize(&list, t, least_id, examples[i].text, strlen(examples[i].text), NULL),
                         0);
        for (size_t k = 0; k <= list.count; k++) {
            int32_t id = k < list.count ? list.ids[k] : -1, right = examples[i].ids[k];
            if (id != (right ? right : -1)) {
                fail_msg("\"%s\": token %zu is %d, not %d", examples[i].text, k, id, right);
            }
        }
        free(list.ids);
    }
    bl_tokenizer_free(&t);
}
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define EXPECT(words, examples) expect_from(0, words, COUNT(words), examples, COUNT(examples))

static void words_are_found_anywhere(void **state) {
    static const bl_added_token words[] = {{"<cat-toy>", 49408, true, false, 0}};
    static const example examples[] = {
        {"a <cat-toy>", {320, 49408}},
        {"a <Cat-Toy> b", {320, 49408, 321}},
        {"a<cat-toy>b", {320, 49408, 321}},
        {"<cat-toy>  <cat-toy>", {49408, 49408}},
        {"x<cat-toy-big>", {343, 283, 2368, 268, 5988, 268, 1205, 285}},
        {"photo of a sks dog", {1125, 539, 320, 48136, 1929}},
    };
    (void)state;
    EXPECT(words, examples);
}

static void the_longest_is_taken(void **state) {
    static const bl_added_token words[] = {{"<cat-toy>", 49408, true, false, 0},
                                           {"<cat-toy-big>", 49409, true, false, 0},
                                           {"sks", 49410, true, false, 0},
                                           {"a b", 49411, true, false, 0},
                                           {"b c d", 49412, true, false, 0}};
    static const example examples[] = {
        {"x<cat-toy-big>", {343, 49409}},
        {"asks sksy SKS", {320, 49410, 49410, 344, 49410}},
        {"a b c d", {49411, 322, 323}},
        {"x b c d", {343, 49412}},
    };
    (void)state;
    EXPECT(words, examples);
}

static void case_counts_where_it_is_said(void **state) {
    static const bl_added_token words[] = {{"<cat-toy>", 49408, false, false, 0}};
    static const example examples[] = {
        {"a<cat-toy>b", {320, 49408, 321}},
        {"a <Cat-Toy> b", {320, 283, 2368, 268, 5988, 285, 321}},
    };
    (void)state;
    EXPECT(words, examples);
}

static void letters_and_blanks_are_normalized(void **state) {
    static const bl_added_token words[] = {{"\xc3\x89t\xc3\xa9", 49408, true, false, 0}, /* Été */
                                           {"Ab c", 49409, true, false, 0},
                                           {"\xc4\xb0x", 49410, true, false, 0}};
    static const example examples[] = {
        {"a \xc3\xa9t\xc3\xa9 b", {320, 49408, 321}},
        {"a E\xcc\x81te\xcc\x81 b", {320, 49408, 321}},
        {"x ab  c y", {343, 49409, 344}},
        {"xAB\tcy", {343, 49409, 344}},
        {"a \xc4\xb0x b", {320, 49410, 321}},
        {"a i\xcc\x87x b", {320, 49410, 321}},
    };
    (void)state;
    EXPECT(words, examples);
}

static void whole_words_stand_alone(void **state) {
    static const bl_added_token words[] = {{"sks", 49408, true, true, 0}, {"ks y", 49409, true, false, 0}};
    static const bl_added_token raw[] = {{"sks", 49408, false, true, 0}};
    static const example examples[] = {
        {"photo of a sks dog", {1125, 539, 320, 49408, 1929}},
        {"asks y", {7953, 344}}, /* passed over together with what begins in it */
        {"sks_a sks-a sks.", {48136, 318, 320, 49408, 268, 320, 49408, 269}},
        {"sks\xc3\xa9", {909, 82, 4166}},
        {"\xc3\xa9 sks", {4166, 49408}},
    };
    (void)state;
    EXPECT(words, examples);
    bl_tokenizer *t;
    assert_int_equal(bl_tokenizer_extend(&t, base, raw, 1, NULL), 0);
    bl_token_list list = {0};
    assert_int_equal(bl_tokenize(&list, t, 0, "sks sksy \xc3\xa9sks", 13, NULL), 0);
    assert_int_equal(list.ids[0], 49408);
    for (size_t i = 1; i < list.count; i++) {
        assert_true(list.ids[i] < 49408);
    }
    free(list.ids);
    bl_tokenizer_free(&t);
}

/* A trained word may have several vectors, as diffusers writes them. */
static void further_vectors_follow(void **state) {
    static const bl_added_token words[] = {{"<cat>", 49408, true, false, 0},
                                           {"<cat>_1", 49409, true, false, 0},
                                           {"<cat>_2", 49410, true, false, 0},
                                           {"<cat>_4", 49411, true, false, 0}};
    static const example examples[] = {
        {"a <cat> b", {320, 49408, 49409, 49410, 321}},
        {"<cat>_1", {49409}},
    };
    (void)state;
    EXPECT(words, examples);
}

/* What is padded with is a word of the vocabulary, and a special one to diffusers alone. */
static void numbers_of_the_vocabulary_can_be_left_out(void **state) {
    static const bl_added_token words[] = {{"!", 3, false, false, 0}, {"<a>", 49408, true, false, 0}};
    static const example all[] = {{"<a>! b!c", {49408, 3, 321, 3, 322}}};
    static const example own[] = {{"<a>! b!c", {49408, 256, 321, 256, 322}}};
    (void)state;
    EXPECT(words, all);
    expect_from(49408, words, COUNT(words), own, COUNT(own));
}

static void special_tokens_stay(void **state) {
    static const bl_added_token words[] = {{"<|start", 49408, false, false, 0},
                                           {"<|endoftext|>", 49407, true, false, 0},
                                           {"<|endoftext|>s", 49409, false, false, 0}};
    static const example examples[] = {
        {"a<|startoftext|>b<|endoftext|>", {320, 49406, 321, 49407}},
        {"<|endoftext|>s<|starta", {49409, 49408, 320}},
    };
    (void)state;
    EXPECT(words, examples);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_found_anywhere),
        cmocka_unit_test(the_longest_is_taken),
        cmocka_unit_test(case_counts_where_it_is_said),
        cmocka_unit_test(letters_and_blanks_are_normalized),
        cmocka_unit_test(whole_words_stand_alone),
        cmocka_unit_test(further_vectors_follow),
        cmocka_unit_test(numbers_of_the_vocabulary_can_be_left_out),
        cmocka_unit_test(special_tokens_stay),
    };
    return cmocka_run_group_tests(tests, open_base, close_base);
}
