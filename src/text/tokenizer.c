#include "text/tokenizer.h"

#include "text/unicode.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

struct bl_tokenizer {
    bl_bpe *bpe;
};

int bl_tokenizer_new(bl_tokenizer **out, bl_error *err) {
    *out = NULL;
    bl_tokenizer *t = malloc(sizeof *t);
    if (!t) {
        return bl_fail_memory(err, "the tokenizer", sizeof *t);
    }
    int rc = bl_bpe_new(&t->bpe, err);
    if (rc) {
        free(t);
        return rc;
    }
    *out = t;
    return BL_OK;
}

void bl_tokenizer_free(bl_tokenizer **tokenizer) {
    if (*tokenizer) {
        bl_bpe_free(&(*tokenizer)->bpe);
        free(*tokenizer);
        *tokenizer = NULL;
    }
}

/* What one call needs: nothing of it outlives the call. */
typedef struct work {
    const bl_bpe *bpe;
    bl_token_list *list;
    bl_bpe_scratch scratch;
    int32_t *points; /* the code points of the part at hand, normalised */
    size_t count;
    uint8_t *word; /* UTF-8 of one piece */
} work;

/* Lower case one code point at a time, without context (a final sigma is a sigma): U+0130, the only one that
 * has two in lower case, is done by the caller. */
static int32_t lower(int32_t c) {
    return c < 0x80 ? (c >= 'A' && c <= 'Z' ? c + 32 : c) : utf8proc_tolower(c);
}

/* NFC, then lower case, into w->points. */
static int normalise(work *w, const char *text, size_t bytes, bl_error *err) {
    const utf8proc_uint8_t *u = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t length = (utf8proc_ssize_t)bytes;
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    utf8proc_ssize_t n = utf8proc_decompose(u, length, NULL, 0, options);
    if (n < 0) {
        return bl_fail(err, BL_E_INTERNAL, "the prompt cannot be normalised: %s", utf8proc_errmsg(n));
    }
    /* Twice: lower case may need a second place for every U+0130. Once more: the end must be addressable. */
    size_t capacity = 2 * (size_t)n + 1;
    w->points = malloc(capacity * sizeof *w->points);
    w->word = malloc(4 * capacity);
    if (!w->points || !w->word) {
        return bl_fail_memory(err, "the prompt's characters", capacity * 8);
    }
    int32_t *composed = w->points + n;
    utf8proc_decompose(u, length, composed, n, options);
    n = utf8proc_normalize_utf32(composed, n, options);
    w->count = 0;
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        int32_t c = composed[i];
        if (c == 0x130) {
            w->points[w->count++] = 'i';
            w->points[w->count++] = 0x307;
        } else {
            w->points[w->count++] = lower(c);
        }
    }
    return BL_OK;
}

/* Characters of the contraction at p ('s 't 'm 'd 're 've 'll), 0 if there is none. */
static size_t contraction(const int32_t *p, size_t n) {
    if (n < 2 || p[0] != '\'') {
        return 0;
    }
    if (p[1] == 's' || p[1] == 't' || p[1] == 'm' || p[1] == 'd') {
        return 2;
    }
    if (n < 3) {
        return 0;
    }
    bool two = (p[1] == 'r' && p[2] == 'e') || (p[1] == 'v' && p[2] == 'e') || (p[1] == 'l' && p[2] == 'l');
    return two ? 3 : 0;
}

static bool is_other(int32_t c) {
    return !bl_is_letter(c) && !bl_is_number(c) && !bl_is_space(c);
}

/* Characters of the piece at p, which is no white space. The pattern is CLIP's:
 * 's|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+ */
static size_t piece_length(const int32_t *p, size_t n) {
    size_t length = contraction(p, n);
    if (length) {
        return length;
    }
    if (bl_is_number(*p)) {
        return 1;
    }
    bool letters = bl_is_letter(*p);
    for (length = 1; length < n && (letters ? bl_is_letter(p[length]) : is_other(p[length]));) {
        length++;
    }
    return length;
}

/* Tokens of a part of the text that holds no special token. */
static int tokenize_part(work *w, const char *text, size_t bytes, bl_error *err) {
    int rc = normalise(w, text, bytes, err);
    for (size_t i = 0; !rc && i < w->count;) {
        if (bl_is_space(w->points[i])) {
            i++;
            continue;
        }
        size_t length = piece_length(w->points + i, w->count - i), n = 0;
        for (size_t k = 0; k < length; k++) {
            n += (size_t)utf8proc_encode_char(w->points[i + k], w->word + n);
        }
        rc = bl_bpe_encode(w->list, w->bpe, &w->scratch, w->word, n, err);
        i += length;
    }
    free(w->points);
    free(w->word);
    w->points = NULL;
    w->word = NULL;
    return rc;
}

static const struct special {
    const char *text;
    int32_t id;
} specials[] = {{"<|startoftext|>", BL_TOKEN_BOS}, {"<|endoftext|>", BL_TOKEN_EOS}};

/* The special token at text, or NULL. */
static const struct special *special_at(const char *text, size_t bytes) {
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        size_t length = strlen(specials[i].text);
        if (bytes >= length && !memcmp(text, specials[i].text, length)) {
            return &specials[i];
        }
    }
    return NULL;
}

int bl_tokenize(bl_token_list *list, const bl_tokenizer *tokenizer, const char *text, size_t bytes,
                bl_error *err) {
    int rc = bl_text_check(text, bytes, err);
    if (rc) {
        return rc;
    }
    size_t count = list->count;
    work w = {.bpe = tokenizer->bpe, .list = list};
    for (size_t begin = 0, i = 0; !rc && begin < bytes; i++) {
        const struct special *special = i < bytes ? special_at(text + i, bytes - i) : NULL;
        if (i < bytes && !special) {
            continue;
        }
        if (i > begin) {
            rc = tokenize_part(&w, text + begin, i - begin, err);
        }
        if (!rc && special) {
            rc = bl_token_list_add(list, special->id, err);
            i += strlen(special->text) - 1;
        }
        begin = i + (special != NULL);
    }
    free(w.scratch.memory);
    if (rc) {
        list->count = count;
    }
    return rc;
}
