/* Byte-level BPE against tiktoken's and transformers' ids for 199 strings in many scripts (tests/data/common/
 * qwen_tokens.json), exactly. */
#include "text/byte_bpe.h"
#include "text/unicode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

typedef struct fixture {
    bl_byte_bpe *t;
    json_t *root;
} fixture;

static int setup(void **state) {
    static fixture f;
    char path[4096];
    const char *data = getenv("BALLAST_TEST_DATA");
    snprintf(path, sizeof path, "%s/common/qwen_tokens.json", data ? data : "tests/data");
    json_error_t error;
    f.root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!f.root) {
        fprintf(stderr, "%s: %s\n", path, error.text);
        return -1;
    }
    *state = &f;
    return bl_byte_bpe_new(&f.t, NULL);
}

static int teardown(void **state) {
    fixture *f = *state;
    json_decref(f->root);
    bl_byte_bpe_free(&f->t);
    assert_null(f->t);
    return 0;
}

static void check(const fixture *f, const char *text, size_t bytes, const json_t *ids) {
    bl_token_list list = {0};
    assert_int_equal(bl_text_check(text, bytes, NULL), 0);
    assert_int_equal(bl_byte_bpe_encode(&list, f->t, text, bytes, NULL), 0);
    for (size_t k = 0; k < list.count && k < json_array_size(ids); k++) {
        if (list.ids[k] != json_integer_value(json_array_get(ids, k))) {
            fail_msg("\"%.60s\": id %zu is %d, not %d", text, k, (int)list.ids[k],
                     (int)json_integer_value(json_array_get(ids, k)));
        }
    }
    assert_int_equal(list.count, json_array_size(ids));
    free(list.ids);
}

static void strings_have_the_ids_of_tiktoken(void **state) {
    const fixture *f = *state;
    const json_t *strings = json_object_get(f->root, "strings");
    assert_true(json_array_size(strings) >= 199);
    for (size_t i = 0; i < json_array_size(strings); i++) {
        const json_t *record = json_array_get(strings, i), *text = json_object_get(record, "text");
        check(f, json_string_value(text), json_string_length(text), json_object_get(record, "ids"));
    }
}

/* The chat forms in which the models' pipelines put a prompt. */
static void chats_have_the_ids_of_the_pipelines(void **state) {
    static const char *const forms[] = {"z_image", "flux2_klein"};
    const fixture *f = *state;
    const json_t *chat = json_object_get(f->root, "chat"), *prompts = json_object_get(chat, "prompts");
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *record = json_array_get(prompts, i);
        const char *prompt = json_string_value(json_object_get(record, "prompt"));
        for (int k = 0; k < 2; k++) {
            const char *form = json_string_value(json_object_get(chat, forms[k])),
                       *place = strstr(form, "{}");
            char text[1024];
            assert_non_null(place);
            snprintf(text, sizeof text, "%.*s%s%s", (int)(place - form), form, prompt, place + 2);
            check(f, text, strlen(text), json_object_get(record, forms[k]));
        }
    }
}

/* The slowest: one piece as long as a prompt may be. Every byte is in one of the tokens. */
static void the_longest_word_is_encoded(void **state) {
    const fixture *f = *state;
    char *text = malloc(BL_PROMPT_MAX_BYTES);
    assert_non_null(text);
    for (int i = 0; i < BL_PROMPT_MAX_BYTES; i++) {
        text[i] = "qzjxkvwbq"[i * i % 9];
    }
    bl_token_list list = {0};
    assert_int_equal(bl_byte_bpe_encode(&list, f->t, text, BL_PROMPT_MAX_BYTES, NULL), 0);
    assert_true(list.count > BL_PROMPT_MAX_BYTES / 8 && list.count <= BL_PROMPT_MAX_BYTES);
    free(list.ids);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_have_the_ids_of_tiktoken),
        cmocka_unit_test(chats_have_the_ids_of_the_pipelines),
        cmocka_unit_test(the_longest_word_is_encoded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
