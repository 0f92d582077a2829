#include "text/unigram.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BLANK_BYTES 3
#define UNKNOWN_PENALTY 10.0 /* below the worst piece: what the original takes off */
#define MOST_PIECES (1 << 24)
#define MOST_MAP (1u << 26) /* bytes of a table */
#define MOST_REPLACED 64    /* of what stands for a few characters: the longest of NFKC's has 33 */

struct bl_unigram {
    char *bytes;    /* of all pieces, each with a NUL behind it */
    char **sorted;  /* [count] pieces by their bytes */
    int32_t *ids;   /* [count] of these */
    double *scores; /* [count] by id */
    int32_t count, unknown, ids_end;
    double worst;    /* of all scores */
    uint32_t *units; /* [unit_count] of the trie; NULL: nothing is replaced */
    size_t unit_count;
    char *replaced; /* [replaced_bytes] texts, each with a NUL behind it */
    size_t replaced_bytes;
    bl_unigram_word *words; /* [word_count] the texts are ours */
    int word_count;
};

/* ---- what it is made of */

typedef struct sortable {
    char *text;
    int32_t id;
} sortable;

static int by_bytes(const void *a, const void *b) {
    const sortable *x = a, *y = b;
    const int c = strcmp(x->text, y->text);
    return c ? c : (x->id > y->id) - (x->id < y->id);
}

static int keep_pieces(bl_unigram *t, const bl_unigram_parts *p, const char *path, bl_error *err) {
    size_t bytes = 0;
    for (int32_t i = 0; i < p->piece_count; i++) {
        bytes += strlen(p->pieces[i].text) + 1;
    }
    const size_t n = (size_t)p->piece_count;
    sortable *list = malloc(n * sizeof *list);
    t->bytes = malloc(bytes);
    t->sorted = malloc(n * sizeof *t->sorted);
    t->ids = malloc(n * sizeof *t->ids);
    t->scores = malloc(n * sizeof *t->scores);
    if (!list || !t->bytes || !t->sorted || !t->ids || !t->scores) {
        free(list);
        return bl_fail_memory(err, "a vocabulary", bytes + n * sizeof *list);
    }
    char *to = t->bytes;
    for (int32_t i = 0; i < p->piece_count; i++) {
        const size_t length = strlen(p->pieces[i].text) + 1;
        list[i] = (sortable){memcpy(to, p->pieces[i].text, length), i};
        to += length;
        t->scores[i] = p->pieces[i].score;
        t->worst = i && t->worst < t->scores[i] ? t->worst : t->scores[i];
    }
    qsort(list, n, sizeof *list, by_bytes);
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        if (i && *list[i].text && !strcmp(list[i].text, list[i - 1].text)) {
            rc = rc ? rc
                    : bl_fail(err, BL_E_FORMAT, "%.400s: pieces %d and %d are the same", path,
                              (int)list[i - 1].id, (int)list[i].id);
        }
        t->sorted[i] = list[i].text;
        t->ids[i] = list[i].id;
    }
    free(list);
    t->count = p->piece_count;
    t->unknown = p->unknown;
    t->ids_end = p->piece_count;
    return rc;
}

static uint32_t little(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* A long one would make a prompt as much longer. The last of them ends with a NUL. */
static bool has_long_text(const char *texts, size_t bytes) {
    size_t length;
    for (size_t i = 0; i < bytes; i += length + 1) {
        length = strlen(texts + i);
        if (length > MOST_REPLACED) {
            return true;
        }
    }
    return false;
}

/* u32 bytes of the trie, the trie, the texts. */
static int keep_map(bl_unigram *t, const bl_unigram_parts *p, const char *path, bl_error *err) {
    const size_t n = p->charsmap_bytes;
    if (!p->charsmap || !n) {
        return 0;
    }
    const size_t trie = n > 4 ? little(p->charsmap) : 0;
    if (n > MOST_MAP || trie < 4 || trie % 4 || trie > n - 5 || p->charsmap[n - 1]) {
        return bl_fail(err, BL_E_FORMAT, "%.400s: the normaliser's table is damaged", path);
    }
    t->unit_count = trie / 4;
    t->replaced_bytes = n - 4 - trie;
    t->units = malloc(trie);
    t->replaced = malloc(t->replaced_bytes);
    if (!t->units || !t->replaced) {
        return bl_fail_memory(err, "a normaliser's table", n);
    }
    for (size_t i = 0; i < t->unit_count; i++) {
        t->units[i] = little(p->charsmap + 4 + 4 * i);
    }
    memcpy(t->replaced, p->charsmap + 4 + trie, t->replaced_bytes);
    return has_long_text(t->replaced, t->replaced_bytes)
               ? bl_fail(err, BL_E_FORMAT,
                         "%.400s: the normaliser's table has a text of more than %d bytes, as none of "
                         "NFKC is",
                         path, MOST_REPLACED)
               : 0;
}

static int keep_words(bl_unigram *t, const bl_unigram_parts *p, const char *path, bl_error *err) {
    t->words = calloc((size_t)p->word_count + 1, sizeof *t->words);
    if (!t->words) {
        return bl_fail_memory(err, "a vocabulary", (size_t)p->word_count * sizeof *t->words);
    }
    for (int i = 0; i < p->word_count; i++) {
        const bl_unigram_word *w = &p->words[i];
        if (!*w->text || w->id < 0 || w->id > MOST_PIECES) {
            return bl_fail(err, BL_E_FORMAT,
                           "%.400s: added token %d is none: a text and a number from 0 to %d are wanted",
                           path, i, MOST_PIECES);
        }
        t->words[i] = (bl_unigram_word){strdup(w->text), w->id};
        if (!t->words[i].text) {
            return bl_fail_memory(err, "a vocabulary", strlen(w->text));
        }
        t->word_count = i + 1;
        t->ids_end = w->id >= t->ids_end ? w->id + 1 : t->ids_end;
    }
    return 0;
}

int bl_unigram_new(bl_unigram **out, const bl_unigram_parts *p, const char *path, bl_error *err) {
    *out = NULL;
    if (p->piece_count < 1 || p->piece_count > MOST_PIECES || p->unknown < 0 ||
        p->unknown >= p->piece_count) {
        return bl_fail(err, BL_E_FORMAT, "%.400s: a vocabulary of %d pieces without one for what is unknown",
                       path, (int)p->piece_count);
    }
    bl_unigram *t = calloc(1, sizeof *t);
    if (!t) {
        return bl_fail_memory(err, "a vocabulary", sizeof *t);
    }
    int rc = keep_pieces(t, p, path, err);
    rc = rc ? rc : keep_map(t, p, path, err);
    rc = rc ? rc : keep_words(t, p, path, err);
    if (rc) {
        bl_unigram_free(&t);
        return rc;
    }
    *out = t;
    return 0;
}

void bl_unigram_free(bl_unigram **t) {
    if (!*t) {
        return;
    }
    for (int i = 0; i < (*t)->word_count; i++) {
        free((char *)(uintptr_t)(*t)->words[i].text);
    }
    free((*t)->bytes);
    free((*t)->sorted);
    free((*t)->ids);
    free((*t)->scores);
    free((*t)->units);
    free((*t)->replaced);
    free((*t)->words);
    free(*t);
    *t = NULL;
}

int32_t bl_unigram_ids(const bl_unigram *t) {
    return t->ids_end;
}

/* ---- normalising */

typedef struct buffer {
    char *data;
    size_t count, room;
} buffer;

static int put(buffer *b, const char *text, size_t bytes, bl_error *err) {
    if (b->count + bytes > b->room) {
        const size_t room = 2 * (b->count + bytes) + 64;
        char *data = realloc(b->data, room);
        if (!data) {
            return bl_fail_memory(err, "the prompt", room);
        }
        b->data = data;
        b->room = room;
    }
    memcpy(b->data + b->count, text, bytes);
    b->count += bytes;
    return 0;
}

/* Bytes of the character at p, of at most `left`: what a table makes of a text need not be UTF-8. */
static size_t character(const char *p, size_t left) {
    const unsigned char c = (unsigned char)*p;
    const size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return n < left ? n : left;
}

/* A unit of the trie: bits 0 to 7 and 31 the byte that leads to it, bit 8 whether an entry ends here, bits 10
 * and on, shifted by 8 more where bit 9 is set, where its followers lie. Of an end: bits 0 to 30 its value.
 */
static size_t followers(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The longest entry that the n bytes at p begin with: how many bytes it has, and what stands for it. 0: none.
 */
static size_t look_up(const bl_unigram *t, const char *p, size_t n, const char **text) {
    size_t found = 0, at = t->units ? followers(t->units[0]) : 0;
    for (size_t i = 0; i < n && t->units; i++) {
        const uint8_t c = (uint8_t)p[i];
        at ^= c;
        if (!c || at >= t->unit_count || (t->units[at] & (1u << 31 | 0xff)) != c) {
            break;
        }
        const uint32_t unit = t->units[at];
        at ^= followers(unit);
        if (unit & 1u << 8) {
            const size_t value = at < t->unit_count ? t->units[at] & 0x7fffffff : SIZE_MAX;
            if (value >= t->replaced_bytes) {
                break; /* no text is there: damaged */
            }
            found = i + 1;
            *text = t->replaced + value;
        }
    }
    return found;
}

/* The text, or the part of it between two words, with blanks as pieces write them. */
static int normalize(buffer *out, const bl_unigram *t, const char *p, size_t bytes, bl_error *err) {
    const char *const end = p + bytes;
    bool after_blank = true; /* those at the begin go */
    int rc = put(out, BL_UNIGRAM_BLANK, BLANK_BYTES, err);
    while (p < end && !rc) {
        const char *text = p;
        const size_t taken = look_up(t, p, (size_t)(end - p), &text);
        size_t length = taken ? strlen(text) : character(p, (size_t)(end - p));
        p += taken ? taken : length;
        for (; length && after_blank && *text == ' '; length--) {
            text++;
        }
        if (length) {
            after_blank = text[length - 1] == ' ';
        }
        for (; length && !rc; text++, length--) {
            rc = *text == ' ' ? put(out, BL_UNIGRAM_BLANK, BLANK_BYTES, err) : put(out, text, 1, err);
        }
    }
    while (!rc && out->count >= BLANK_BYTES &&
           !memcmp(out->data + out->count - BLANK_BYTES, BL_UNIGRAM_BLANK, BLANK_BYTES)) {
        out->count -= BLANK_BYTES;
    }
    return rc;
}

/* ---- the best cut */

/* What is the best way to a place of the text. */
typedef struct node {
    double score;
    int32_t id; /* of the piece that ends here; -1: none does */
    uint32_t from;
} node;

/* Narrows pieces [*low, *high), which share their first `depth` bytes, to those that go on with c. */
static void narrow(const bl_unigram *t, int32_t *low, int32_t *high, size_t depth, char c) {
    for (int side = 0; side < 2; side++) {
        int32_t a = *low, b = *high;
        while (a < b) {
            const int32_t middle = a + (b - a) / 2;
            const unsigned char mine = (unsigned char)t->sorted[middle][depth];
            if (mine < (unsigned char)c || (side && mine == (unsigned char)c)) {
                a = middle + 1;
            } else {
                b = middle;
            }
        }
        *(side ? high : low) = a;
    }
}

static void offer(node *to, double score, int32_t id, size_t from) {
    if (to->id < 0 || score > to->score) {
        *to = (node){score, id, (uint32_t)from};
    }
}

/* All pieces that begin at a place. */
static void go_on(node *best, const bl_unigram *t, const char *text, size_t bytes, size_t at) {
    const size_t one = character(text + at, bytes - at);
    int32_t low = 0, high = t->count;
    bool covered = false; /* the character alone is a piece */
    for (size_t i = 0; at + i < bytes && text[at + i]; i++) {
        narrow(t, &low, &high, i, text[at + i]);
        if (low >= high) {
            break;
        }
        if (!t->sorted[low][i + 1]) {
            offer(&best[at + i + 1], best[at].score + t->scores[t->ids[low]], t->ids[low], at);
            covered = covered || i + 1 == one;
        }
    }
    if (!covered) {
        offer(&best[at + one], best[at].score + t->worst - UNKNOWN_PENALTY, t->unknown, at);
    }
}

/* From the end back to the begin; what is unknown side by side is one. */
static int read_back(bl_token_list *list, const node *best, size_t bytes, int32_t unknown, bl_error *err) {
    size_t first = list->count;
    int rc = 0;
    for (size_t at = bytes; at && !rc; at = best[at].from) {
        const bool more =
            best[at].id == unknown && list->count > first && list->ids[list->count - 1] == unknown;
        rc = more ? 0 : bl_token_list_add(list, best[at].id, err);
    }
    for (size_t last = list->count; last > first + 1; first++) {
        const int32_t id = list->ids[first];
        list->ids[first] = list->ids[--last];
        list->ids[last] = id;
    }
    return rc;
}

static int encode_part(bl_token_list *list, const bl_unigram *t, const char *text, size_t bytes,
                       bl_error *err) {
    buffer b = {0};
    int rc = normalize(&b, t, text, bytes, err);
    node *best = rc ? NULL : malloc((b.count + 1) * sizeof *best);
    if (!rc && !best) {
        rc = bl_fail_memory(err, "the prompt", b.count * sizeof *best);
    }
    for (size_t i = 0; !rc && i <= b.count; i++) {
        best[i] = (node){.id = -1};
    }
    for (size_t at = 0; !rc && at < b.count; at++) {
        if (!at || best[at].id >= 0) {
            go_on(best, t, b.data, b.count, at);
        }
    }
    rc = rc ? rc : read_back(list, best, b.count, t->unknown, err);
    free(best);
    free(b.data);
    return rc;
}

/* The longest of the words that the text begins with. */
static const bl_unigram_word *word_at(const bl_unigram *t, const char *text, size_t bytes, size_t *length) {
    const bl_unigram_word *found = NULL;
    *length = 0;
    for (int i = 0; i < t->word_count; i++) {
        const size_t n = strlen(t->words[i].text);
        if (n > *length && n <= bytes && !memcmp(t->words[i].text, text, n)) {
            found = &t->words[i];
            *length = n;
        }
    }
    return found;
}

int bl_unigram_encode(bl_token_list *list, const bl_unigram *t, const char *text, size_t bytes,
                      bl_error *err) {
    size_t begin = 0;
    int rc = 0;
    for (size_t at = 0; at <= bytes && !rc; at++) {
        size_t length = 0;
        const bl_unigram_word *w = at < bytes ? word_at(t, text + at, bytes - at, &length) : NULL;
        if (w || at == bytes) {
            rc = at > begin ? encode_part(list, t, text + begin, at - begin, err) : 0;
            rc = rc || !w ? rc : bl_token_list_add(list, w->id, err);
            begin = at + length;
            at += length ? length - 1 : 0;
        }
    }
    return rc;
}
