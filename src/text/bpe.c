#include "text/bpe.h"

#include "text/merges.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BYTES 256
#define FIRST_MERGE (2 * BYTES) /* id of the symbol that the first merge makes */
#define SLOTS (1u << 17)        /* of both hash tables: twice the symbols and more */
#define NO_PAIR UINT32_MAX      /* ids stay below 65535, so no pair has this key */
#define SYMBOL_BYTES 128        /* no symbol of the vocabulary is as long, "</w>" included */

typedef struct pair_slot {
    uint32_t pair;   /* left id << 16 | right id */
    uint32_t merged; /* the id of both together; smaller is merged earlier */
} pair_slot;

struct bl_bpe {
    uint16_t byte_id[BYTES]; /* byte -> id inside a word; + BYTES at its end */
    pair_slot pairs[SLOTS];
};

int bl_token_list_add(bl_token_list *list, int32_t id, bl_error *err) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 96;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids) {
            return bl_fail_memory(err, "the token list", capacity * sizeof *ids);
        }
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return BL_OK;
}

static uint32_t pair_hash(uint32_t pair) {
    return pair * 0x9e3779b1u >> 15;
}

/* The id that the two symbols merge to, or NO_PAIR. */
static uint32_t find_pair(const bl_bpe *bpe, uint32_t left, uint32_t right) {
    uint32_t pair = left << 16 | right;
    for (uint32_t i = pair_hash(pair);; i = (i + 1) & (SLOTS - 1)) {
        if (bpe->pairs[i].pair == pair) {
            return bpe->pairs[i].merged;
        }
        if (bpe->pairs[i].pair == NO_PAIR) {
            return NO_PAIR;
        }
    }
}

static void add_pair(bl_bpe *bpe, uint32_t left, uint32_t right, uint32_t merged) {
    uint32_t pair = left << 16 | right;
    uint32_t i = pair_hash(pair);
    while (bpe->pairs[i].pair != NO_PAIR) {
        i = (i + 1) & (SLOTS - 1);
    }
    bpe->pairs[i] = (pair_slot){.pair = pair, .merged = merged};
}

/* Symbols by their text: needed only while the merges are read. */
typedef struct symbol_table {
    uint32_t slot[SLOTS];                         /* id + 1, 0 is free */
    uint32_t start[FIRST_MERGE + BL_CLIP_MERGES]; /* id -> offset of its text */
    uint8_t length[FIRST_MERGE + BL_CLIP_MERGES];
    uint32_t count, used;
    char text[1 << 20]; /* of all symbols: the merges' file without its spaces, and the bytes */
} symbol_table;

static uint32_t *find_symbol(symbol_table *t, const char *text, size_t length) {
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < length; i++) {
        h = (h ^ (uint8_t)text[i]) * 16777619u;
    }
    uint32_t i = (h ^ h >> 15) & (SLOTS - 1);
    for (; t->slot[i]; i = (i + 1) & (SLOTS - 1)) {
        uint32_t id = t->slot[i] - 1;
        if (t->length[id] == length && !memcmp(t->text + t->start[id], text, length)) {
            break;
        }
    }
    return &t->slot[i];
}

/* Gives `text` the next id; false when the table is full or has it already. */
static bool add_symbol(symbol_table *t, const char *text, size_t length) {
    uint32_t *slot = find_symbol(t, text, length);
    if (*slot || t->count == FIRST_MERGE + BL_CLIP_MERGES || t->used + length > sizeof t->text) {
        return false;
    }
    memcpy(t->text + t->used, text, length);
    t->start[t->count] = t->used;
    t->length[t->count] = (uint8_t)length;
    t->used += (uint32_t)length;
    *slot = ++t->count;
    return true;
}

/* The alphabet: printable Latin-1 bytes stand for themselves and come first in the vocabulary; the others
 * follow, written as U+0100, U+0101, ... (GPT-2's bytes_to_unicode). */
static bool add_bytes(bl_bpe *bpe, symbol_table *t) {
    char text[BYTES][8];
    int n = 0;
    for (int printable = 1; printable >= 0; printable--) {
        for (int b = 0; b < BYTES; b++) {
            if (((b >= 33 && b <= 126) || (b >= 161 && b != 173)) != printable) {
                continue;
            }
            unsigned c = printable ? (unsigned)b : (unsigned)(BYTES + n - 188);
            bpe->byte_id[b] = (uint16_t)n;
            memset(text[n], 0, sizeof text[n]);
            text[n][0] = (char)(c < 0x80 ? c : 0xc0 | c >> 6);
            text[n][1] = (char)(c < 0x80 ? 0 : 0x80 | (c & 0x3f));
            n++;
        }
    }
    bool ok = true;
    for (int end = 0; end < 2; end++) {
        for (int i = 0; i < BYTES; i++) {
            if (end) {
                memcpy(text[i] + strlen(text[i]), "</w>", 5);
            }
            ok = ok && add_symbol(t, text[i], strlen(text[i]));
        }
    }
    return ok;
}

/* One line of the merges, "left right": both must be known, their concatenation new. */
static bool add_merge(bl_bpe *bpe, symbol_table *t, const char *line, size_t length) {
    const char *space = memchr(line, ' ', length);
    if (!space || length > SYMBOL_BYTES) {
        return false;
    }
    size_t left = (size_t)(space - line), right = length - left - 1;
    uint32_t left_id = *find_symbol(t, line, left), right_id = *find_symbol(t, space + 1, right);
    char both[SYMBOL_BYTES];
    memcpy(both, line, left);
    memcpy(both + left, space + 1, right);
    if (!left_id || !right_id || !add_symbol(t, both, left + right)) {
        return false;
    }
    add_pair(bpe, left_id - 1, right_id - 1, t->count - 1);
    return true;
}

static bool read_merges(bl_bpe *bpe, symbol_table *t) {
    const char *p = memchr(bl_clip_merges, '\n', (size_t)(bl_clip_merges_end - bl_clip_merges));
    while (p && ++p < bl_clip_merges_end) {
        const char *end = memchr(p, '\n', (size_t)(bl_clip_merges_end - p));
        if (!end || !add_merge(bpe, t, p, (size_t)(end - p))) {
            return false;
        }
        p = end;
    }
    return t->count == FIRST_MERGE + BL_CLIP_MERGES;
}

int bl_bpe_new(bl_bpe **out, bl_error *err) {
    *out = NULL;
    bl_bpe *bpe = malloc(sizeof *bpe);
    symbol_table *t = calloc(1, sizeof *t);
    int rc = BL_OK;
    if (!bpe || !t) {
        rc = bl_fail_memory(err, "the tokenizer", sizeof *bpe + sizeof *t);
        goto done;
    }
    memset(bpe->pairs, 0xff, sizeof bpe->pairs);
    if (!add_bytes(bpe, t) || !read_merges(bpe, t)) {
        rc = bl_fail(err, BL_E_INTERNAL,
                     "the tokenizer's merges are damaged at merge %u: build the library again",
                     t->count < FIRST_MERGE ? 0u : t->count - FIRST_MERGE);
        goto done;
    }
    *out = bpe;
    bpe = NULL;
done:
    free(t);
    free(bpe);
    return rc;
}

void bl_bpe_free(bl_bpe **bpe) {
    free(*bpe);
    *bpe = NULL;
}

/* A symbol of the word while it shrinks: a doubly linked list in an array, at the place of its first byte. */
typedef struct symbol {
    uint32_t id; /* NO_PAIR: merged into the one before */
    int32_t previous, next;
} symbol;

/* A merge that was possible when it was noted. Smallest first: by rank, then from the left. */
typedef struct candidate {
    uint32_t merged;
    int32_t at;
} candidate;

typedef struct heap {
    candidate *items;
    size_t count;
} heap;

static bool before(candidate a, candidate b) {
    return a.merged != b.merged ? a.merged < b.merged : a.at < b.at;
}

static void heap_push(heap *h, candidate c) {
    size_t i = h->count++;
    for (; i && before(c, h->items[(i - 1) / 2]); i = (i - 1) / 2) {
        h->items[i] = h->items[(i - 1) / 2];
    }
    h->items[i] = c;
}

static candidate heap_pop(heap *h) {
    candidate top = h->items[0], last = h->items[--h->count];
    size_t i = 0;
    for (size_t child = 1; child < h->count; child = 2 * i + 1) {
        if (child + 1 < h->count && before(h->items[child + 1], h->items[child])) {
            child++;
        }
        if (!before(h->items[child], last)) {
            break;
        }
        h->items[i] = h->items[child];
        i = child;
    }
    h->items[i] = last;
    return top;
}

static void note_candidate(heap *h, const bl_bpe *bpe, const symbol *s, int32_t at) {
    if (at >= 0 && s[at].next >= 0) {
        uint32_t merged = find_pair(bpe, s[at].id, s[s[at].next].id);
        if (merged != NO_PAIR) {
            heap_push(h, (candidate){.merged = merged, .at = at});
        }
    }
}

static void merge_all(const bl_bpe *bpe, symbol *s, heap *h) {
    while (h->count) {
        candidate c = heap_pop(h);
        symbol *left = &s[c.at];
        if (left->id == NO_PAIR || left->next < 0 || find_pair(bpe, left->id, s[left->next].id) != c.merged) {
            continue; /* a neighbour has merged otherwise since */
        }
        symbol *right = &s[left->next];
        left->id = c.merged;
        left->next = right->next;
        right->id = NO_PAIR;
        if (left->next >= 0) {
            s[left->next].previous = c.at;
        }
        note_candidate(h, bpe, s, left->previous);
        note_candidate(h, bpe, s, c.at);
    }
}

int bl_bpe_encode(bl_token_list *list, const bl_bpe *bpe, bl_bpe_scratch *scratch, const uint8_t *word,
                  size_t n, bl_error *err) {
    /* A merge notes two candidates and ends one symbol: never more than 3n in the heap. */
    size_t need = n * (sizeof(symbol) + 3 * sizeof(candidate));
    if (need > scratch->bytes) {
        void *memory = realloc(scratch->memory, 2 * need);
        if (!memory) {
            return bl_fail_memory(err, "the tokenizer's working memory", 2 * need);
        }
        scratch->memory = memory;
        scratch->bytes = 2 * need;
    }
    symbol *s = scratch->memory;
    heap h = {.items = (candidate *)(void *)(s + n)};
    for (size_t i = 0; i < n; i++) {
        s[i] = (symbol){.id = bpe->byte_id[word[i]] + (i + 1 == n ? BYTES : 0u),
                        .previous = (int32_t)i - 1,
                        .next = i + 1 == n ? -1 : (int32_t)i + 1};
    }
    for (size_t i = 0; i < n; i++) {
        note_candidate(&h, bpe, s, (int32_t)i);
    }
    merge_all(bpe, s, &h);
    size_t count = list->count;
    for (int32_t i = 0; i >= 0; i = s[i].next) {
        int rc = bl_token_list_add(list, (int32_t)s[i].id, err);
        if (rc) {
            list->count = count;
            return rc;
        }
    }
    return BL_OK;
}
