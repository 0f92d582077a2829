#include "text/tokenizer.h"

#include "text/added.h"
#include "text/unicode.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

struct bl_tokenizer {
    const bl_bpe *bpe;
    bl_bpe *own;     /* the same, or NULL where another tokenizer's is used */
    bl_added *added; /* NULL: none */
};

int bl_tokenizer_new(bl_tokenizer **out, bl_error *err) {
    *out = NULL;
    bl_tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        return bl_fail_memory(err, "the tokenizer", sizeof *t);
    }
    int rc = bl_bpe_new(&t->own, err);
    if (rc) {
        free(t);
        return rc;
    }
    t->bpe = t->own;
    *out = t;
    return BL_OK;
}

int bl_tokenizer_extend(bl_tokenizer **out, const bl_tokenizer *base, const bl_added_token *tokens, int count,
                        bl_error *err) {
    *out = NULL;
    bl_tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        return bl_fail_memory(err, "the tokenizer", sizeof *t);
    }
    t->bpe = base->bpe;
    int before = bl_added_count(base->added);
    bl_added_token *all = calloc((size_t)(before + count) + 1, sizeof *all);
    int rc = all ? 0 : bl_fail_memory(err, "the tokenizer's words", (size_t)(before + count) * sizeof *all);
    for (int i = 0; i < before && !rc; i++) {
        all[i] = bl_added_at(base->added, i);
    }
    for (int i = 0; i < count && !rc; i++) {
        all[before + i] = tokens[i];
    }
    rc = rc ? rc : bl_added_new(&t->added, all, before + count, err);
    free(all);
    if (rc) {
        free(t);
        return rc;
    }
    *out = t;
    return BL_OK;
}

void bl_tokenizer_free(bl_tokenizer **tokenizer) {
    if (*tokenizer) {
        bl_bpe_free(&(*tokenizer)->own);
        bl_added_free(&(*tokenizer)->added);
        free(*tokenizer);
        *tokenizer = NULL;
    }
}

/* What one call needs: nothing of it outlives the call. */
typedef struct work {
    const bl_tokenizer *tokenizer;
    int32_t least_id; /* of added tokens */
    bl_token_list *list;
    bl_bpe_scratch scratch;
    int32_t *points; /* the code points of the part at hand, normalized */
    size_t count;
    uint8_t *word; /* UTF-8 of one piece */
} work;

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

/* Tokens of the points [begin, end), which hold no added token. */
static int tokenize_points(work *w, size_t begin, size_t end, bl_error *err) {
    int rc = BL_OK;
    for (size_t i = begin; !rc && i < end;) {
        if (bl_is_space(w->points[i])) {
            i++;
            continue;
        }
        size_t length = piece_length(w->points + i, end - i), n = 0;
        for (size_t k = 0; k < length; k++) {
            n += (size_t)utf8proc_encode_char(w->points[i + k], w->word + n);
        }
        rc = bl_bpe_encode(w->list, w->tokenizer->bpe, &w->scratch, w->word, n, err);
        i += length;
    }
    return rc;
}

/* Tokens of a part of the text in which no token stands as it is. */
static int tokenize_part(work *w, const char *text, size_t bytes, bl_error *err) {
    const bl_added *added = w->tokenizer->added;
    int rc = bl_normalize(&w->points, &w->count, text, bytes, err);
    if (!rc && !(w->word = malloc(4 * w->count + 1))) {
        rc = bl_fail_memory(err, "the prompt's characters", 4 * w->count);
    }
    size_t begin = 0, i = 0;
    while (!rc && i < w->count) {
        bl_added_match m = bl_added_in_points(added, w->least_id, w->points, w->count, i);
        if (m.length && m.index >= 0) {
            rc = tokenize_points(w, begin, i, err);
            rc = rc ? rc : bl_added_put(w->list, added, m.index, err);
            begin = i + m.length;
        }
        i += m.length ? m.length : 1;
    }
    rc = rc ? rc : tokenize_points(w, begin, w->count, err);
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

int bl_tokenize(bl_token_list *list, const bl_tokenizer *tokenizer, int32_t least_id, const char *text,
                size_t bytes, bl_error *err) {
    int rc = bl_text_check(text, bytes, err);
    if (rc) {
        return rc;
    }
    size_t count = list->count, begin = 0, i = 0;
    work w = {.tokenizer = tokenizer, .least_id = least_id, .list = list};
    while (!rc && i < bytes) {
        const struct special *special = special_at(text + i, bytes - i);
        bl_added_match m = bl_added_in_text(tokenizer->added, least_id, text, bytes, i);
        size_t length = special ? strlen(special->text) : 0;
        bool added = m.length > length;
        if (special || (added && m.index >= 0)) {
            rc = i > begin ? tokenize_part(&w, text + begin, i - begin, err) : BL_OK;
            if (!rc) {
                rc = added ? bl_added_put(list, tokenizer->added, m.index, err)
                           : bl_token_list_add(list, special->id, err);
            }
            begin = i + (added ? m.length : length);
        }
        i += added ? m.length : length ? length : 1;
    }
    if (!rc && bytes > begin) {
        rc = tokenize_part(&w, text + begin, bytes - begin, err);
    }
    free(w.scratch.memory);
    if (rc) {
        list->count = count;
    }
    return rc;
}
