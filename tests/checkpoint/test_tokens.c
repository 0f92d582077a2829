/* Which words a folder's tokenizer has beside CLIP's vocabulary, and what it pads with, as transformers reads
 * its files. */
#include "checkpoint/architecture.h"
#include "scratch.h"
#include "support/synth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CONFIG "tokenizer_config.json"
#define ADDED "added_tokens.json"
#define SPECIAL "special_tokens_map.json"
#define WHOLE "tokenizer.json"

static const char *const files[] = {CONFIG, ADDED, SPECIAL, WHOLE};

static bool one_row_more(void *context, char *name, bl_tensor_data *t) {
    (void)context;
    t->dtype = BL_U8;
    if (strstr(name, "token_embedding.weight")) {
        t->shape[0] = 49410;
    }
    return true;
}

/* `folder` becomes sd15 with two rows more of embeddings and no tokenizer. */
static int make_model(void **state) {
    static const char *const parts[] = {"unet", "vae"};
    char from[BL_TEST_PATH], file[BL_TEST_PATH], to[BL_TEST_PATH];
    make_folder(state);
    bl_synth_checkpoint(from, "sd15", BL_SYNTH_FOLDER);
    for (int i = 0; i < 2; i++) {
        bl_test_join(file, from, parts[i]);
        bl_test_join(to, folder, parts[i]);
        char *real = realpath(file, NULL);
        assert_true(real && symlink(real, to) == 0);
        free(real);
    }
    bl_test_join(file, from, "text_encoder/model.safetensors");
    bl_test_join(to, folder, "text_encoder/model.safetensors");
    bl_test_rewrite(to, file, one_row_more, NULL, NULL, 0);
    return 0;
}

/* Puts these texts, one for each of `files` or NULL, into tokenizer/, and opens. */
static int detect(bl_checkpoint **c, bl_architecture *a, const char *const texts[4], bl_error *err) {
    for (int i = 0; i < 4; i++) {
        char name[64], file[BL_TEST_PATH];
        snprintf(name, sizeof name, "tokenizer/%s", files[i]);
        bl_test_join(file, folder, name);
        unlink(file);
        if (texts[i]) {
            bl_test_write(file, texts[i], strlen(texts[i]));
        }
    }
    int rc = bl_checkpoint_open(c, folder, NULL, err);
    return rc ? rc : bl_architecture_detect(a, *c, err);
}

/* The words as "text=id", normalized ones with a "~", whole words with a "'" behind; and the pad token. */
static void expect(const char *config, const char *added, const char *special, const char *whole,
                   const char *words, int pad) {
    const char *const texts[4] = {config, added, special, whole};
    char found[256] = "";
    bl_checkpoint *c;
    bl_architecture a;
    bl_error err;
    if (detect(&c, &a, texts, &err)) {
        fail_msg("%s", err.message);
    }
    for (int i = 0; i < bl_checkpoint_added_tokens(c, 0); i++) {
        bl_added_token w = bl_checkpoint_added_token(c, 0, i);
        size_t n = strlen(found);
        snprintf(found + n, sizeof found - n, "%s%s=%d%s%s", n ? " " : "", w.text, (int)w.id,
                 w.normalized ? "~" : "", w.whole_word ? "'" : "");
    }
    assert_string_equal(found, words);
    assert_int_equal(a.text[0].pad_token, pad);
    assert_string_equal(a.unknown_keys, "");
    bl_checkpoint_close(&c);
}

#define END 49407
#define ENDS "\"49406\":{\"content\":\"<|startoftext|>\",\"normalized\":true,\"special\":true}"

static void words_come_from_any_of_the_files(void **state) {
    (void)state;
    expect(NULL, NULL, NULL, NULL, "", END);
    expect("{}", "{\"<cat-toy>\":49408}", NULL, NULL, "<cat-toy>=49408~", END);
    expect(NULL, "{\"<a>\":49408,\"<b>\":49409}", "{\"extra_special_tokens\":[\"<b>\"]}", NULL,
           "<a>=49408~ <b>=49409", END);
    expect("{\"added_tokens_decoder\":{" ENDS ",\"49408\":{\"content\":\"<a>\",\"normalized\":false,"
           "\"single_word\":true}}}",
           NULL, NULL, NULL, "<|startoftext|>=49406~ <a>=49408'", END);
    /* what transformers 5 saves */
    expect("{\"pad_token\":\"<|endoftext|>\"}", NULL, NULL,
           "{\"added_tokens\":[{\"id\":49408,\"content\":\"<Dog>\",\"normalized\":true,\"special\":false}],"
           "\"model\":{}}",
           "<Dog>=49408~", END);
}

/* The configuration's own list is all there is; else tokenizer.json has the last word. */
static void files_have_their_order(void **state) {
    (void)state;
    expect("{\"added_tokens_decoder\":{\"49408\":{\"content\":\"<a>\"}}}", "{\"<b>\":49409}",
           "{\"pad_token\":\"!\"}", "{\"added_tokens\":[{\"id\":49409,\"content\":\"<c>\"}]}", "<a>=49408~",
           END);
    expect(NULL, "{\"<b>\":49409}", NULL,
           "{\"added_tokens\":[{\"id\":49409,\"content\":\"<c>\",\"normalized\":false}]}", "<c>=49409", END);
}

static void what_is_padded_with_is_read(void **state) {
    (void)state;
    expect("{\"pad_token\":\"!\"}", NULL, NULL, NULL, "", 0);
    expect("{\"pad_token\":\"<|endoftext|>\"}", NULL, "{\"pad_token\":\"!\"}", NULL, "", 0);
    expect("{\"pad_token\":\"!\"}", NULL, "{\"pad_token\":{\"content\":\"<|endoftext|>\"}}", NULL, "", END);
    expect("{\"pad_token\":null}", NULL, NULL, NULL, "", END);
    expect("{\"pad_token\":{\"__type\":\"AddedToken\",\"content\":\"<pad>\"}}", "{\"<pad>\":49408}", NULL,
           NULL, "<pad>=49408", 49408);
    expect("{\"model_max_length\":1000000000000000019884624838656,\"tokenizer_class\":\"CLIPTokenizerFast\"}",
           NULL, NULL, NULL, "", END);
}

static void what_is_not_run_is_refused(void **state) {
    static const struct {
        const char *texts[4];
        int code;
        const char *message;
    } cases[] = {
        {{NULL, "{\"<a>\":49410}"},
         BL_E_FORMAT,
         "\"<a>\" is token 49410, but the text encoder has only 49410 rows"},
        {{NULL, "{\"<a>\":-1}"}, BL_E_FORMAT, "added_tokens.json: token -1 is none"},
        {{NULL, "{\"<a>\":\"x\"}"}, BL_E_FORMAT, "is none"},
        {{NULL, "{\"<a>\":99999999999}"}, BL_E_FORMAT, "is none"},
        {{NULL, "[]"}, BL_E_FORMAT, "an object was expected"},
        {{"{\"added_tokens_decoder\":{\"x\":{\"content\":\"<a>\"}}}"}, BL_E_FORMAT, "is none"},
        {{"{\"added_tokens_decoder\":{\"49408\":{\"content\":7}}}"}, BL_E_FORMAT, "token 49408 is none"},
        {{"{\"pad_token\":\"<pad>\"}"}, BL_E_UNSUPPORTED, "\"pad_token\" is \"<pad>\""},
        {{"{\"bos_token\":\"<s>\"}"}, BL_E_UNSUPPORTED, "\"bos_token\" is \"<s>\""},
        {{"{\"eos_token\":{\"content\":\"</s>\"}}"}, BL_E_UNSUPPORTED, "\"eos_token\" is \"</s>\""},
        {{"{\"extra_special_tokens\":[\"<x>\"]}"}, BL_E_UNSUPPORTED, "\"extra_special_tokens\" is \"<x>\""},
        {{"{\"tokenizer_class\":\"T5Tokenizer\"}"},
         BL_E_UNSUPPORTED,
         "\"tokenizer_class\" is \"T5Tokenizer\""},
        {{"{\"padding_side\":\"left\"}"}, BL_E_UNSUPPORTED, "\"padding_side\" is \"left\""},
        {{"{\"model_max_length\":50}"}, BL_E_UNSUPPORTED, "\"model_max_length\" is 50"},
        {{"{\"split_special_tokens\":true}"}, BL_E_UNSUPPORTED, "\"split_special_tokens\" is true"},
        {{NULL, NULL, NULL, "{\"added_tokens\":[{\"content\":\"x\"}]}"}, BL_E_FORMAT, "is none"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_checkpoint *c = NULL;
        bl_architecture a;
        bl_error err = {.code = 0};
        int rc = detect(&c, &a, cases[i].texts, &err);
        if (rc != cases[i].code || !strstr(err.message, cases[i].message) ||
            !strstr(err.message, "/tokenizer")) {
            fail_msg("%zu: expected \"%s\", got %d: %s", i, cases[i].message, rc, err.message);
        }
        bl_checkpoint_close(&c);
    }
}

/* Another encoder has other rows. */
static void given_encoders_have_no_words(void **state) {
    (void)state;
    const char *const texts[4] = {"{\"pad_token\":\"!\"}", "{\"<a>\":49408}"};
    char encoder[BL_TEST_PATH];
    bl_checkpoint *c;
    bl_architecture a;
    bl_error err;
    assert_int_equal(detect(&c, &a, texts, &err), 0);
    assert_int_equal(bl_checkpoint_added_tokens(c, 0), 1);
    bl_synth_checkpoint(encoder, "sd15", BL_SYNTH_SINGLE);
    assert_int_equal(bl_checkpoint_take_text_encoders(c, encoder, &err), 0);
    assert_int_equal(bl_architecture_detect(&a, c, &err), 0);
    assert_int_equal(bl_checkpoint_added_tokens(c, 0), 0);
    assert_int_equal(a.text[0].pad_token, END);
    bl_checkpoint_close(&c);
}

#undef TEST
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_model, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(words_come_from_any_of_the_files), TEST(files_have_their_order),
        TEST(what_is_padded_with_is_read),      TEST(what_is_not_run_is_refused),
        TEST(given_encoders_have_no_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
