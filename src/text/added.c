#include "text/added.h"

#include "text/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct word {
    char *text;
    size_t bytes;
    int32_t *points; /* [count] of normalized words */
    size_t count;
    int32_t id;
    bool normalized, whole_word;
    int vectors;
} word;

struct bl_added {
    word *words;
    int count;
};

static int take_word(word *out, const bl_added_token *t, bl_error *err) {
    size_t bytes = strlen(t->text);
    *out = (word){.bytes = bytes,
                  .id = t->id,
                  .normalized = t->normalized,
                  .whole_word = t->whole_word,
                  .vectors = t->vectors};
    int rc = bl_text_check(t->text, bytes, err);
    if (rc) {
        return rc;
    }
    out->text = strdup(t->text);
    if (!out->text) {
        return bl_fail_memory(err, "an added token", bytes);
    }
    return t->normalized ? bl_normalize(&out->points, &out->count, t->text, bytes, err) : 0;
}

int bl_added_new(bl_added **out, const bl_added_token *tokens, int count, bl_error *err) {
    *out = NULL;
    bl_added *a = calloc(1, sizeof *a);
    word *words = calloc((size_t)count + 1, sizeof *words);
    if (!a || !words) {
        free(a);
        free(words);
        return bl_fail_memory(err, "the added tokens", (size_t)count * sizeof *words);
    }
    a->words = words;
    for (int i = 0; i < count; i++) {
        int rc = take_word(&words[a->count++], &tokens[i], err);
        if (rc) {
            bl_added_free(&a);
            return rc;
        }
    }
    *out = a;
    return BL_OK;
}

void bl_added_free(bl_added **added) {
    bl_added *a = *added;
    if (!a) {
        return;
    }
    for (int i = 0; i < a->count; i++) {
        free(a->words[i].text);
        free(a->words[i].points);
    }
    free(a->words);
    free(a);
    *added = NULL;
}

/* The regular expression \w. */
static bool is_word_character(int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return bl_is_letter(c) || bl_is_number(c) || category == UTF8PROC_CATEGORY_MN ||
           category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME ||
           category == UTF8PROC_CATEGORY_PC;
}

/* The character that begins at text[at], or the one that ends before it. */
static int32_t character_at(const char *text, size_t bytes, size_t at) {
    utf8proc_int32_t c = 0;
    utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(bytes - at), &c);
    return c;
}

static int32_t character_before(const char *text, size_t bytes, size_t at) {
    do {
        at--;
    } while (at && ((unsigned char)text[at] & 0xc0) == 0x80);
    return character_at(text, bytes, at);
}

bl_added_match bl_added_in_text(const bl_added *added, int32_t least_id, const char *text, size_t bytes,
                                size_t at) {
    bl_added_match m = {0, -1};
    for (int i = 0; added && i < added->count; i++) {
        const word *w = &added->words[i];
        if (!w->normalized && w->id >= least_id && w->bytes > m.length && w->bytes <= bytes - at &&
            memcmp(text + at, w->text, w->bytes) == 0) {
            m = (bl_added_match){w->bytes, i};
        }
    }
    size_t end = at + m.length;
    if (m.length && added->words[m.index].whole_word &&
        ((at && is_word_character(character_before(text, bytes, at))) ||
         (end < bytes && is_word_character(character_at(text, bytes, end))))) {
        m.index = -1;
    }
    return m;
}

bl_added_match bl_added_in_points(const bl_added *added, int32_t least_id, const int32_t *points,
                                  size_t count, size_t at) {
    bl_added_match m = {0, -1};
    for (int i = 0; added && i < added->count; i++) {
        const word *w = &added->words[i];
        if (w->normalized && w->id >= least_id && w->count > m.length && w->count <= count - at &&
            memcmp(points + at, w->points, w->count * sizeof *points) == 0) {
            m = (bl_added_match){w->count, i};
        }
    }
    size_t end = at + m.length;
    if (m.length && added->words[m.index].whole_word &&
        ((at && is_word_character(points[at - 1])) || (end < count && is_word_character(points[end])))) {
        m.index = -1;
    }
    return m;
}

/* The word "TEXT_number" of `first`'s text, or NULL. */
static const word *further(const bl_added *added, const word *first, int number) {
    char tail[16];
    size_t length = (size_t)snprintf(tail, sizeof tail, "_%d", number);
    for (int i = 0; i < added->count; i++) {
        const word *w = &added->words[i];
        if (w->bytes == first->bytes + length && memcmp(w->text, first->text, first->bytes) == 0 &&
            memcmp(w->text + first->bytes, tail, length) == 0) {
            return w;
        }
    }
    return NULL;
}

int bl_added_put(bl_token_list *list, const bl_added *added, int index, bl_error *err) {
    const word *first = &added->words[index], *w = first;
    int rc = BL_OK;
    for (int i = 0; i < first->vectors && !rc; i++) {
        rc = bl_token_list_add(list, first->id + i, err);
    }
    for (int number = 1; w && !rc && !first->vectors; number++) {
        rc = bl_token_list_add(list, w->id, err);
        w = further(added, first, number);
    }
    return rc;
}

int bl_added_count(const bl_added *added) {
    return added ? added->count : 0;
}

bl_added_token bl_added_at(const bl_added *added, int index) {
    const word *w = &added->words[index];
    return (bl_added_token){.text = w->text,
                            .id = w->id,
                            .normalized = w->normalized,
                            .whole_word = w->whole_word,
                            .vectors = w->vectors};
}
