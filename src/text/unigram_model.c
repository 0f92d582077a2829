/* A Unigram model out of spiece.model: SentencePiece's ModelProto, a protocol buffer. */
#include "text/unicode.h"
#include "text/unigram.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES (64u << 20)
#define MOST_PIECE 1024 /* bytes */
#define MOST_PIECES 1000000
#define MOST_WORDS 4096
#define SENTINELS 100 /* "<extra_id_99>" to "<extra_id_0>", which T5 has behind its pieces */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };                        /* kinds of a field */
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, LAST_KNOWN = 4 }; /* types of a piece */

typedef struct span {
    const uint8_t *at, *end;
} span;

typedef struct field {
    int number, kind;
    uint64_t value; /* VARINT, FIXED32 */
    span bytes;     /* BYTES */
} field;

static bool take_varint(uint64_t *out, span *s) {
    *out = 0;
    for (int shift = 0; shift < 64 && s->at < s->end; shift += 7) {
        const uint8_t b = *s->at++;
        *out |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            return true;
        }
    }
    return false;
}

/* The next field of a message that is not at its end. False: it is damaged. */
static bool take_field(field *f, span *s) {
    uint64_t key, n = 0;
    *f = (field){0};
    if (!take_varint(&key, s) || key >> 3 == 0 || key >> 3 > INT32_MAX) {
        return false;
    }
    f->number = (int)(key >> 3);
    f->kind = (int)(key & 7);
    switch (f->kind) {
    case VARINT:
        return take_varint(&f->value, s);
    case BYTES:
        if (!take_varint(&n, s)) {
            return false;
        }
        break;
    case FIXED32:
        n = 4;
        break;
    case FIXED64:
        n = 8;
        break;
    default:
        return false;
    }
    if (n > (uint64_t)(s->end - s->at)) {
        return false;
    }
    f->bytes = (span){s->at, s->at + n};
    for (uint64_t i = 0; f->kind == FIXED32 && i < n; i++) {
        f->value |= (uint64_t)s->at[i] << 8 * i;
    }
    s->at += n;
    return true;
}

/* What is collected from the file. */
typedef struct reading {
    const char *path;
    char **texts; /* [piece_count + SENTINELS] */
    bl_unigram_piece *pieces;
    bl_unigram_word *words;
    int room;
    bl_unigram_parts parts;
} reading;

static int damaged(const reading *r, bl_error *err) {
    return bl_fail(err, BL_E_FORMAT, "%.400s is damaged, or no model of SentencePiece's", r->path);
}

static int unsupported(const reading *r, const char *what, bl_error *err) {
    return bl_fail(err, BL_E_UNSUPPORTED, "%.400s: %s, which is not supported", r->path, what);
}

static int grow(reading *r, bl_error *err) {
    if (r->parts.piece_count < r->room) {
        return 0;
    }
    const size_t room = r->room ? 2 * (size_t)r->room : 1024;
    char **texts = realloc(r->texts, (room + SENTINELS) * sizeof *texts);
    r->texts = texts ? texts : r->texts;
    bl_unigram_piece *pieces = realloc(r->pieces, room * sizeof *pieces);
    r->pieces = pieces ? pieces : r->pieces;
    if (!texts || !pieces) {
        return bl_fail_memory(err, "a vocabulary", room * sizeof *pieces);
    }
    r->room = (int)room;
    return 0;
}

/* What is found in a text as it is. */
static int add_word(reading *r, const char *text, int32_t id, bl_error *err) {
    if (r->parts.word_count == MOST_WORDS) {
        return unsupported(r, "more than 4096 words of a meaning of their own", err);
    }
    r->words[r->parts.word_count++] = (bl_unigram_word){text, id};
    return 0;
}

static int read_piece(reading *r, span s, bl_error *err) {
    const int32_t id = r->parts.piece_count;
    span text = {NULL, NULL};
    uint32_t bits = 0;
    uint64_t type = NORMAL;
    float score;
    field f;
    while (s.at < s.end) {
        if (!take_field(&f, &s)) {
            return damaged(r, err);
        }
        text = f.number == 1 && f.kind == BYTES ? f.bytes : text;
        bits = f.number == 2 && f.kind == FIXED32 ? (uint32_t)f.value : bits;
        type = f.number == 3 && f.kind == VARINT ? f.value : type;
    }
    memcpy(&score, &bits, sizeof score);
    const size_t n = (size_t)(text.end - text.at);
    if (!n || n > MOST_PIECE || memchr(text.at, 0, n) || bl_text_check((const char *)text.at, n, NULL) ||
        !isfinite(score) || fabsf(score) > 1e9f || id == MOST_PIECES) {
        return damaged(r, err);
    }
    if (type < NORMAL || type > LAST_KNOWN) {
        return unsupported(r, "it has pieces that are bytes, or are not used", err);
    }
    int rc = grow(r, err);
    char *copy = rc ? NULL : strndup((const char *)text.at, n);
    if (!copy) {
        return rc ? rc : bl_fail_memory(err, "a vocabulary", n);
    }
    r->texts[id] = copy;
    r->pieces[id] = (bl_unigram_piece){copy, (double)score};
    r->parts.piece_count++;
    r->parts.unknown = type == UNKNOWN ? id : r->parts.unknown;
    return type == NORMAL ? 0 : add_word(r, copy, id, err);
}

/* TrainerSpec. */
static int read_trainer(const reading *r, span s, bl_error *err) {
    enum { MODEL_TYPE = 3, WHITESPACE_AS_SUFFIX = 24, BYTE_FALLBACK = 35, UNIGRAM = 1 };
    field f;
    while (s.at < s.end) {
        if (!take_field(&f, &s)) {
            return damaged(r, err);
        }
        if (f.number == MODEL_TYPE && f.kind == VARINT && f.value != UNIGRAM) {
            return unsupported(r, "its model is no Unigram", err);
        }
        if ((f.number == WHITESPACE_AS_SUFFIX || f.number == BYTE_FALLBACK) && f.kind == VARINT && f.value) {
            return unsupported(r, "blanks behind words, or bytes for what is unknown", err);
        }
    }
    return 0;
}

/* NormalizerSpec. */
static int read_normalizer(reading *r, span s, bl_error *err) {
    enum { CHARSMAP = 2, DUMMY_PREFIX = 3, REMOVE_BLANKS = 4, ESCAPE_BLANKS = 5 };
    field f;
    while (s.at < s.end) {
        if (!take_field(&f, &s)) {
            return damaged(r, err);
        }
        if (f.number == CHARSMAP && f.kind == BYTES && f.bytes.at < f.bytes.end) {
            r->parts.charsmap = f.bytes.at;
            r->parts.charsmap_bytes = (size_t)(f.bytes.end - f.bytes.at);
        }
        if (f.number >= DUMMY_PREFIX && f.number <= ESCAPE_BLANKS && f.kind == VARINT && !f.value) {
            return unsupported(r, "blanks are kept in another way", err);
        }
    }
    return 0;
}

static int read_model(reading *r, span s, bl_error *err) {
    field f;
    int rc = 0;
    while (s.at < s.end && !rc) {
        if (!take_field(&f, &s)) {
            return damaged(r, err);
        }
        if (f.kind == BYTES) {
            rc = f.number == 1   ? read_piece(r, f.bytes, err)
                 : f.number == 2 ? read_trainer(r, f.bytes, err)
                 : f.number == 3 ? read_normalizer(r, f.bytes, err)
                                 : 0;
        }
    }
    return rc || (r->parts.piece_count && r->parts.unknown >= 0) ? rc : damaged(r, err);
}

/* As transformers adds them. */
static int add_sentinels(reading *r, bl_error *err) {
    const int32_t pieces = r->parts.piece_count;
    int rc = 0;
    for (int i = 0; i < SENTINELS && !rc; i++) {
        if (asprintf(&r->texts[pieces + i], "<extra_id_%d>", i) < 0) {
            r->texts[pieces + i] = NULL;
            return bl_fail_memory(err, "a vocabulary", 16);
        }
        rc = add_word(r, r->texts[pieces + i], pieces + SENTINELS - 1 - i, err);
    }
    return rc;
}

static int load(uint8_t **out, size_t *bytes, const char *path, bl_error *err) {
    *out = NULL;
    FILE *f = fopen(path, "rbe");
    if (!f) {
        return bl_fail_open(err, path, errno);
    }
    uint8_t *data = malloc(MOST_BYTES); /* of which no more is touched than the file has */
    *bytes = data ? fread(data, 1, MOST_BYTES, f) : 0;
    const bool failed = ferror(f) != 0;
    fclose(f);
    if (!data || failed || *bytes == MOST_BYTES) {
        free(data);
        return !data    ? bl_fail_memory(err, "a vocabulary", MOST_BYTES)
               : failed ? bl_fail(err, BL_E_IO, "%.400s cannot be read", path)
                        : bl_fail(err, BL_E_FORMAT, "%.400s is larger than any vocabulary", path);
    }
    *out = data;
    return 0;
}

int bl_unigram_open_model(bl_unigram **out, const char *path, bl_error *err) {
    reading r = {.path = path, .parts = {.unknown = -1}};
    uint8_t *data;
    size_t bytes = 0;
    *out = NULL;
    int rc = load(&data, &bytes, path, err);
    r.words = rc ? NULL : calloc(MOST_WORDS, sizeof *r.words);
    rc = rc || r.words ? rc : bl_fail_memory(err, "a vocabulary", MOST_WORDS * sizeof *r.words);
    rc = rc ? rc : read_model(&r, (span){data, data + bytes}, err);
    for (int i = 0; i < SENTINELS && r.texts; i++) {
        r.texts[r.parts.piece_count + i] = NULL;
    }
    rc = rc ? rc : add_sentinels(&r, err);
    r.parts.pieces = r.pieces;
    r.parts.words = r.words;
    rc = rc ? rc : bl_unigram_new(out, &r.parts, path, err);
    for (int i = 0; r.texts && i < r.parts.piece_count + SENTINELS; i++) {
        free(r.texts[i]);
    }
    free(r.texts);
    free(r.pieces);
    free(r.words);
    free(data);
    return rc;
}
