/* A Unigram model out of tokenizer.json. Whoever does something else than what unigram.h says is refused: its
 * tokens would be others. */
#include "text/unigram.h"

#include "checkpoint/json.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MOST_WORD 1024 /* bytes; of a piece, too */
#define MOST_WORDS 4096

static const char *type_of(const json_t *what) {
    const char *type = json_string_value(json_object_get(what, "type"));
    return type ? type : "none";
}

static int sextet(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Base64. Owner: the caller; free(). */
static int unpack(uint8_t **out, size_t *count, const char *text, const char *path, bl_error *err) {
    *out = NULL;
    uint32_t bits = 0, have = 0;
    uint8_t *bytes = malloc(strlen(text) + 1), *to = bytes;
    if (!bytes) {
        return bl_fail_memory(err, "a normaliser's table", strlen(text));
    }
    for (; *text && *text != '='; text++) {
        const int v = sextet(*text);
        if (v < 0) {
            free(bytes);
            return bl_fail(err, BL_E_FORMAT, "%.400s: the normaliser's table is not base64", path);
        }
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            *to++ = (uint8_t)(bits >> have);
        }
    }
    *out = bytes;
    *count = (size_t)(to - bytes);
    return 0;
}

/* What is collected from the file. */
typedef struct reading {
    const char *path;
    bl_unigram_piece *pieces;
    bl_unigram_word *words;
    uint8_t *charsmap;
    bool blanks; /* are written as pieces have them */
    bl_unigram_parts parts;
} reading;

/* Calls `one` with a part of the pipeline, or with each of a sequence of them. */
static int each(reading *r, const json_t *what, const char *list,
                int (*one)(reading *r, const json_t *what, bl_error *err), bl_error *err) {
    if (!what || json_is_null(what)) {
        return 0;
    }
    if (strcmp(type_of(what), "Sequence") != 0) {
        return one(r, what, err);
    }
    size_t i;
    const json_t *item;
    int rc = 0;
    json_array_foreach(json_object_get(what, list), i, item) {
        rc = rc ? rc : one(r, item, err);
    }
    return rc;
}

/* Does it make one of several blanks? */
static bool joins_blanks(const json_t *what) {
    const char *pattern = json_string_value(json_object_get(json_object_get(what, "pattern"), "Regex")),
               *content = json_string_value(json_object_get(what, "content"));
    return pattern && content && !strcmp(pattern, " {2,}") &&
           (!strcmp(content, BL_UNIGRAM_BLANK) || !strcmp(content, " "));
}

/* Blanks at the ends and several blanks are what SentencePiece leaves out anyway. */
static int read_normalizer(reading *r, const json_t *what, bl_error *err) {
    const char *type = type_of(what), *map = json_string_value(json_object_get(what, "precompiled_charsmap"));
    if (!strcmp(type, "Precompiled") && map && !r->charsmap) {
        int rc = unpack(&r->charsmap, &r->parts.charsmap_bytes, map, r->path, err);
        r->parts.charsmap = r->charsmap;
        return rc;
    }
    const bool known = !strcmp(type, "Strip") || (!strcmp(type, "Replace") && joins_blanks(what));
    return known ? 0
                 : bl_fail(err, BL_E_UNSUPPORTED, "%.400s: normaliser \"%.40s\" is not supported", r->path,
                           type);
}

static int read_cutter(reading *r, const json_t *what, bl_error *err) {
    const char *type = type_of(what), *scheme = json_string_value(json_object_get(what, "prepend_scheme"));
    const json_t *prefix = json_object_get(what, "add_prefix_space");
    const char *blank = json_string_value(json_object_get(what, "replacement"));
    if (!strcmp(type, "WhitespaceSplit")) {
        return 0;
    }
    const bool plain = !strcmp(type, "Metaspace") && !json_is_false(prefix) &&
                       (!scheme || !strcmp(scheme, "always")) && (!blank || !strcmp(blank, BL_UNIGRAM_BLANK));
    r->blanks = r->blanks || plain;
    return plain
               ? 0
               : bl_fail(err, BL_E_UNSUPPORTED,
                         "%.400s: words are cut by \"%.40s\" in a way that is not supported", r->path, type);
}

static int read_pieces(reading *r, const json_t *model, bl_error *err) {
    const json_t *vocab = json_object_get(model, "vocab"), *unknown = json_object_get(model, "unk_id");
    const size_t n = json_array_size(vocab);
    if (strcmp(type_of(model), "Unigram") != 0 || json_is_true(json_object_get(model, "byte_fallback"))) {
        return bl_fail(err, BL_E_UNSUPPORTED, "%.400s: the model is \"%.40s\"%s, not a plain Unigram",
                       r->path, type_of(model), strcmp(type_of(model), "Unigram") ? "" : " with bytes");
    }
    if (!n || n > INT32_MAX || !json_is_integer(unknown) || json_integer_value(unknown) < 0 ||
        json_integer_value(unknown) >= (json_int_t)n) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: a vocabulary without pieces, or without one for what is unknown", r->path);
    }
    r->pieces = calloc(n, sizeof *r->pieces);
    if (!r->pieces) {
        return bl_fail_memory(err, "a vocabulary", n * sizeof *r->pieces);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *piece = json_array_get(vocab, i), *score = json_array_get(piece, 1);
        const char *text = json_string_value(json_array_get(piece, 0));
        if (!text || strlen(text) > MOST_WORD || !json_is_number(score) ||
            !isfinite(json_number_value(score)) || fabs(json_number_value(score)) > 1e9) {
            return bl_fail(err, BL_E_FORMAT,
                           "%.400s: piece %zu is none: a text of at most %d bytes and its score are wanted",
                           r->path, i, MOST_WORD);
        }
        r->pieces[i] = (bl_unigram_piece){text, json_number_value(score)};
    }
    r->parts.pieces = r->pieces;
    r->parts.piece_count = (int32_t)n;
    r->parts.unknown = (int32_t)json_integer_value(unknown);
    return 0;
}

static int read_words(reading *r, const json_t *added, bl_error *err) {
    const size_t n = json_array_size(added);
    if (n > MOST_WORDS) {
        return bl_fail(err, BL_E_FORMAT, "%.400s: %zu added tokens, more than %d", r->path, n, MOST_WORDS);
    }
    r->words = calloc(n + 1, sizeof *r->words);
    if (!r->words) {
        return bl_fail_memory(err, "a vocabulary", n * sizeof *r->words);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *token = json_array_get(added, i), *id = json_object_get(token, "id");
        const char *text = json_string_value(json_object_get(token, "content"));
        const bool whole = text && strlen(text) <= MOST_WORD && json_is_integer(id) &&
                           json_integer_value(id) >= 0 && json_integer_value(id) < INT32_MAX;
        if (!whole) {
            return bl_fail(err, BL_E_FORMAT,
                           "%.400s: added token %zu is none: a text of at most %d bytes and a number from 0 "
                           "up are wanted",
                           r->path, i, MOST_WORD);
        }
        r->words[i] = (bl_unigram_word){text, (int32_t)json_integer_value(id)};
    }
    r->parts.words = r->words;
    r->parts.word_count = (int)n;
    return 0;
}

int bl_unigram_open(bl_unigram **out, const char *path, bl_error *err) {
    reading r = {.path = path};
    json_t *root;
    *out = NULL;
    int rc = bl_json_load(&root, path, err);
    if (!rc && !root) {
        return bl_fail(err, BL_E_IO, "%.400s: there is no such file", path);
    }
    rc = rc ? rc : read_pieces(&r, json_object_get(root, "model"), err);
    rc = rc ? rc : each(&r, json_object_get(root, "normalizer"), "normalizers", read_normalizer, err);
    rc = rc ? rc : each(&r, json_object_get(root, "pre_tokenizer"), "pretokenizers", read_cutter, err);
    if (!rc && !r.blanks) {
        rc = bl_fail(err, BL_E_UNSUPPORTED, "%.400s: no \"Metaspace\" writes blanks as U+2581", path);
    }
    rc = rc ? rc : read_words(&r, json_object_get(root, "added_tokens"), err);
    rc = rc ? rc : bl_unigram_new(out, &r.parts, path, err);
    free(r.pieces);
    free(r.words);
    free(r.charsmap);
    json_decref(root);
    return rc;
}
