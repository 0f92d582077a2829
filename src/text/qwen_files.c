#include "text/qwen_files.h"

#include "checkpoint/json.h"
#include "text/qwen_vocabulary.h"

#include <inttypes.h>
#include <string.h>

#define WANTED "Ballast reads prompts in Qwen3's tokens: give the text encoder that the model was made with"

static int other(const char *path, int64_t id, bl_error *err) {
    return bl_fail(err, BL_E_UNSUPPORTED, "%.400s: token %" PRId64 " is another than Qwen3's; " WANTED, path,
                   id);
}

static int too_few(const char *path, uint64_t count, uint64_t wanted, bl_error *err) {
    return bl_fail(err, BL_E_UNSUPPORTED,
                   "%.400s: its vocabulary has %" PRIu64 " tokens, Qwen3's %" PRIu64 "; " WANTED, path, count,
                   wanted);
}

int bl_qwen_check_words(const bl_byte_bpe *t, const char *words, uint64_t count, const char *path,
                        bl_error *err) {
    for (int64_t id = 0; id < BL_QWEN_TOKENS && (uint64_t)id < count; id++) {
        if (!bl_byte_bpe_is(t, id, words)) {
            return other(path, id, err);
        }
        words += strlen(words) + 1;
    }
    return count < BL_QWEN_TOKENS ? too_few(path, count, BL_QWEN_TOKENS, err) : 0;
}

/* {TOKEN: ID}. *ranks counts those that are no special words. */
static int check_vocabulary(const bl_byte_bpe *t, const json_t *vocabulary, uint64_t *ranks, const char *path,
                            bl_error *err) {
    const char *word;
    json_t *id;
    json_object_foreach((json_t *)(uintptr_t)vocabulary, word, id) {
        const int64_t number = json_is_integer(id) ? (int64_t)json_integer_value(id) : -1;
        if (!bl_byte_bpe_is(t, number, word)) {
            return other(path, number, err);
        }
        *ranks += number < BL_QWEN_RANKS;
    }
    return 0;
}

static int check_added(const bl_byte_bpe *t, const json_t *added, const char *path, bl_error *err) {
    size_t i;
    const json_t *word;
    json_array_foreach(added, i, word) {
        const json_t *id = json_object_get(word, "id");
        const int64_t number = json_is_integer(id) ? (int64_t)json_integer_value(id) : -1;
        const char *text = json_string_value(json_object_get(word, "content"));
        if (number >= BL_QWEN_TOKENS) {
            return bl_fail(err, BL_E_UNSUPPORTED,
                           "%.400s: token %" PRId64 " was added to Qwen3's; such words are not supported",
                           path, number);
        }
        if (!text || !bl_byte_bpe_is(t, number, text)) {
            return other(path, number, err);
        }
    }
    return 0;
}

int bl_qwen_check_file(const bl_byte_bpe *t, const char *path, bl_error *err) {
    json_t *root = NULL;
    uint64_t ranks = 0;
    int rc = bl_json_load(&root, path, err);
    const json_t *model = json_object_get(root, "model"), *type = json_object_get(model, "type");
    const bool whole = json_is_object(model); /* else it is vocab.json, where "model" is a token */
    const json_t *vocabulary = whole ? json_object_get(model, "vocab") : root;
    if (!rc && whole && type && strcmp(json_string_value(type) ? json_string_value(type) : "", "BPE") != 0) {
        rc = bl_fail(err, BL_E_UNSUPPORTED, "%.400s: its model is no byte-pair encoding; " WANTED, path);
    }
    rc = rc ? rc : check_vocabulary(t, vocabulary, &ranks, path, err);
    if (!rc && ranks != BL_QWEN_RANKS) {
        rc = too_few(path, ranks, BL_QWEN_RANKS, err);
    }
    rc = rc || !whole ? rc : check_added(t, json_object_get(root, "added_tokens"), path, err);
    json_decref(root);
    return rc;
}
