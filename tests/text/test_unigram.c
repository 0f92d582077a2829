/* Unigram against the ids of SentencePiece and of the tokenizers library for strings in many scripts
 * (tools/unigram_goldens.py). Where these two differ, in marks upon marks and between cuts of one score, it
 * is one of them. And files that make no tokenizer, refused. */
#include "text/unigram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

static bl_unigram *t;

static void data_path(char path[4096], const char *name) {
    const char *data = getenv("BALLAST_TEST_DATA");
    snprintf(path, 4096, "%s/common/unigram/%s", data ? data : "tests/data", name);
}

static int open_tokenizer(void **state) {
    char path[4096];
    bl_error err = {0};
    (void)state;
    data_path(path, "tokenizer.json");
    if (bl_unigram_open(&t, path, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    return 0;
}

static int close_tokenizer(void **state) {
    (void)state;
    bl_unigram_free(&t);
    return t != NULL;
}

static bool are(const bl_token_list *list, const json_t *ids) {
    bool same = json_is_array(ids) && list->count == json_array_size(ids);
    for (size_t i = 0; same && i < list->count; i++) {
        same = list->ids[i] == json_integer_value(json_array_get(ids, i));
    }
    return same;
}

static void strings_have_the_ids_of_sentencepiece(void **state) {
    char path[4096];
    json_error_t error;
    (void)state;
    data_path(path, "strings.json");
    json_t *records = json_load_file(path, JSON_ALLOW_NUL, &error);
    assert_true(json_array_size(records) >= 200);
    for (size_t i = 0; i < json_array_size(records); i++) {
        const json_t *record = json_array_get(records, i), *text = json_object_get(record, "text");
        bl_token_list list = {0};
        assert_int_equal(bl_unigram_encode(&list, t, json_string_value(text), json_string_length(text), NULL),
                         0);
        if (!are(&list, json_object_get(record, "ids")) &&
            !are(&list, json_object_get(record, "tokenizers"))) {
            fail_msg("\"%.60s\" has other ids (%zu of them, %zu wanted; the first %d)",
                     json_string_value(text), list.count, json_array_size(json_object_get(record, "ids")),
                     list.count ? (int)list.ids[0] : -1);
        }
        free(list.ids);
    }
    json_decref(records);
}

/* What a file with this text says; it is written, opened and taken away. */
static int open_text(bl_unigram **out, const char *text, bl_error *err) {
    char path[] = "/tmp/ballast-unigram-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && !close(fd));
    *err = (bl_error){0};
    const int rc = bl_unigram_open(out, path, err);
    unlink(path);
    return rc;
}

#define PIECES "\"vocab\":[[\"<unk>\",0],[\"\\u2581\",-2],[\"a\",-1.5],[\"\\u2581a\",-3]]"
#define MODEL "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0," PIECES "},"
#define METASPACE "\"pre_tokenizer\":{\"type\":\"Metaspace\"}"
#define MAP(base64) "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"" base64 "\"}"
#define A9 "YWFhYWFhYWFh" /* nine letters */

static void what_makes_no_tokenizer_is_refused(void **state) {
    static const struct {
        const char *text;
        int code;
        const char *says;
    } cases[] = {
        {"{}", BL_E_UNSUPPORTED, "model is \"none\""},
        {"{\"model\":{\"type\":\"BPE\"}}", BL_E_UNSUPPORTED, "\"BPE\""},
        {"{\"model\":{\"type\":\"Unigram\",\"byte_fallback\":true,\"unk_id\":0," PIECES "}}",
         BL_E_UNSUPPORTED, "with bytes"},
        {"{\"model\":{\"type\":\"Unigram\"}}", BL_E_FORMAT, "without pieces"},
        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":4," PIECES "}}", BL_E_FORMAT, "what is unknown"},
        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":null," PIECES "}}", BL_E_FORMAT, "what is unknown"},
        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\",0],[\"a\",-1]]}," METASPACE "}",
         BL_E_FORMAT, "the same"},
        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\",NaN]]}}", BL_E_FORMAT, "piece 0"},
        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\"]]}}", BL_E_FORMAT, "piece 0"},
        {MODEL "\"normalizer\":{\"type\":\"Lowercase\"}}", BL_E_UNSUPPORTED, "Lowercase"},
        {MODEL "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"b\"}}",
         BL_E_UNSUPPORTED, "Replace"},
        {MODEL METASPACE "," MAP("/////w==") "}", BL_E_FORMAT, "damaged"},
        {MODEL METASPACE "," MAP("BAAAAAAAAABh" A9 A9 A9 A9 A9 A9 A9 "YWEA") "}", BL_E_FORMAT,
         "more than 64 bytes"},
        {MODEL MAP("?") "}", BL_E_FORMAT, "base64"},
        {MODEL "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"never\"}}", BL_E_UNSUPPORTED,
         "Metaspace"},
        {MODEL "\"pre_tokenizer\":null}", BL_E_UNSUPPORTED, "no \"Metaspace\""},
        {MODEL METASPACE ",\"added_tokens\":[{\"id\":-1,\"content\":\"x\"}]}", BL_E_FORMAT, "added token 0"},
        {MODEL METASPACE ",\"added_tokens\":[{\"id\":16777217,\"content\":\"x\"}]}", BL_E_FORMAT,
         "from 0 to 16777216"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_unigram *none;
        bl_error err;
        assert_int_equal(open_text(&none, cases[i].text, &err), cases[i].code);
        assert_null(none);
        if (!strstr(err.message, cases[i].says)) {
            fail_msg("case %zu: no \"%s\" in: %s", i, cases[i].says, err.message);
        }
    }
    bl_unigram *none;
    bl_error err;
    assert_int_equal(bl_unigram_open(&none, "/nonexistent/tokenizer.json", &err), BL_E_IO);
}

/* Without a table texts stay as they are; what no piece covers is one id, however long. */
static void small_ones_work(void **state) {
    static const struct {
        const char *text;
        int32_t ids[4];
        size_t count;
    } cases[] = {{"a", {3}, 1},
                 {"aa", {3, 2}, 2},
                 {" bcd  a ", {1, 0, 3}, 3},
                 {"", {0}, 0},
                 {"b<x>a", {1, 0, 7, 3}, 4}};
    bl_unigram *small;
    bl_error err;
    (void)state;
    assert_int_equal(open_text(&small,
                               "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0," PIECES
                               "},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
                               "\"WhitespaceSplit\"},{\"type\":\"Metaspace\",\"add_prefix_space\":true}]},"
                               "\"added_tokens\":[{\"id\":7,\"content\":\"<x>\"}]}",
                               &err),
                     0);
    assert_int_equal(bl_unigram_ids(small), 8);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_token_list list = {0};
        assert_int_equal(bl_unigram_encode(&list, small, cases[i].text, strlen(cases[i].text), NULL), 0);
        assert_int_equal(list.count, cases[i].count);
        for (size_t k = 0; k < list.count; k++) {
            assert_int_equal(list.ids[k], cases[i].ids[k]);
        }
        free(list.ids);
    }
    bl_unigram_free(&small);
}

/* ---- spiece.model */

static void put_varint(FILE *f, uint64_t v) {
    for (; v >= 0x80; v >>= 7) {
        fputc((int)(v & 0x7f) | 0x80, f);
    }
    fputc((int)v, f);
}

static void put_bytes(FILE *f, int number, const void *data, size_t bytes) {
    put_varint(f, (uint64_t)number << 3 | 2);
    put_varint(f, bytes);
    fwrite(data, 1, bytes, f);
}

/* A piece of a model, type 1 left out as SentencePiece does. */
static void put_piece(FILE *f, const char *text, double score, int type) {
    char *piece = NULL;
    size_t n = 0;
    FILE *p = open_memstream(&piece, &n);
    const float value = (float)score;
    put_bytes(p, 1, text, strlen(text));
    fputc(2 << 3 | 5, p);
    fwrite(&value, 1, sizeof value, p);
    if (type != 1) {
        put_varint(p, 3 << 3);
        put_varint(p, (uint64_t)type);
    }
    fclose(p);
    put_bytes(f, 1, piece, n);
    free(piece);
}

static int open_bytes(bl_unigram **out, const char *data, size_t bytes, bl_error *err) {
    char path[] = "/tmp/ballast-spiece-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes && !close(fd));
    *err = (bl_error){0};
    const int rc = bl_unigram_open_model(out, path, err);
    unlink(path);
    return rc;
}

/* The pieces of the other file, without its table: what needs none has the same ids. */
static void models_have_the_ids_of_their_json(void **state) {
    static const char *const texts[] = {"a photo of a cat", "  two   blanks ", "the</s>end", "<pad><unk>",
                                        ""};
    char path[4096], *data = NULL;
    size_t bytes = 0;
    bl_unigram *model, *cut;
    bl_error err;
    json_error_t error;
    (void)state;
    data_path(path, "tokenizer.json");
    json_t *root = json_load_file(path, 0, &error);
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    FILE *f = open_memstream(&data, &bytes);
    for (size_t i = 0; i < json_array_size(vocab); i++) {
        const json_t *piece = json_array_get(vocab, i);
        const char *text = json_string_value(json_array_get(piece, 0));
        const int type = !strcmp(text, "<unk>") ? 2 : !strcmp(text, "<pad>") || !strcmp(text, "</s>") ? 3 : 1;
        put_piece(f, text, json_number_value(json_array_get(piece, 1)), type);
    }
    fclose(f);
    assert_int_equal(open_bytes(&model, data, bytes, &err), 0);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bl_token_list got = {0}, wanted = {0};
        assert_int_equal(bl_unigram_encode(&got, model, texts[i], strlen(texts[i]), NULL), 0);
        assert_int_equal(bl_unigram_encode(&wanted, t, texts[i], strlen(texts[i]), NULL), 0);
        assert_int_equal(got.count, wanted.count);
        assert_true(!got.count || !memcmp(got.ids, wanted.ids, got.count * sizeof *got.ids));
        free(got.ids);
        free(wanted.ids);
    }
    bl_token_list list = {0};
    assert_int_equal(bl_unigram_encode(&list, model, "<extra_id_0>", 12, NULL), 0);
    assert_int_equal(list.ids[list.count - 1], json_array_size(vocab) + 99);
    free(list.ids);
    bl_unigram_free(&model);
    for (size_t n = 0; n < bytes; n += n < 64 ? 1 : 997) { /* cut off it has fewer pieces, or is refused */
        if (!open_bytes(&cut, data, n, &err)) {
            bl_unigram_free(&cut);
        }
    }
    json_decref(root);
    free(data);
}

static void models_that_do_something_else_are_refused(void **state) {
#define UNKNOWN_PIECE "\x0a\x07\x0a\x03<x>\x18\x02"
    static const struct {
        const char *data;
        size_t bytes;
        int code;
        const char *says;
    } cases[] = {{"", 0, BL_E_FORMAT, "damaged"},
                 {"{\"model\": 1}", 12, BL_E_FORMAT, "damaged"},
                 {"\x0a\x7f", 2, BL_E_FORMAT, "damaged"},
                 {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, BL_E_FORMAT, "damaged"},
                 {"\x0a\x05\x0a\x03<x>", 7, BL_E_FORMAT, "damaged"}, /* none for what is unknown */
                 {"\x0a\x07\x0a\x03<x>\x18\x06", 9, BL_E_UNSUPPORTED, "pieces that are bytes"},
                 {UNKNOWN_PIECE "\x12\x02\x18\x02", 13, BL_E_UNSUPPORTED, "no Unigram"},
                 {UNKNOWN_PIECE "\x12\x03\x98\x02\x01", 14, BL_E_UNSUPPORTED, "bytes for what is unknown"},
                 {UNKNOWN_PIECE "\x1a\x02\x18\x00", 13, BL_E_UNSUPPORTED, "blanks are kept"},
                 {UNKNOWN_PIECE "\x0a\x04\x0a\x02\xc3(", 15, BL_E_FORMAT, "damaged"}, /* no UTF-8 */
                 {UNKNOWN_PIECE UNKNOWN_PIECE, 18, BL_E_FORMAT, "the same"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_unigram *none;
        bl_error err;
        assert_int_equal(open_bytes(&none, cases[i].data, cases[i].bytes, &err), cases[i].code);
        assert_null(none);
        if (!strstr(err.message, cases[i].says)) {
            fail_msg("case %zu: no \"%s\" in: %s", i, cases[i].says, err.message);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_have_the_ids_of_sentencepiece),
        cmocka_unit_test(what_makes_no_tokenizer_is_refused),
        cmocka_unit_test(small_ones_work),
        cmocka_unit_test(models_have_the_ids_of_their_json),
        cmocka_unit_test(models_that_do_something_else_are_refused),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
