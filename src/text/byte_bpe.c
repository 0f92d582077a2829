#include "text/byte_bpe.h"

#include "text/qwen_vocabulary.h"
#include "text/unicode.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

#define SLOTS (1u << 19) /* of the table: a power of two above three times the ranks */
#define NO_RANK INT32_MAX

/* Words that stand for themselves, of ids BL_QWEN_RANKS and on. */
static const char *const special_words[] = {
    "<|endoftext|>",  "<|im_start|>",   "<|im_end|>",      "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>",  "<|box_end|>",    "<|quad_start|>",  "<|quad_end|>",         "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",   "<|video_pad|>",        "<tool_call>",
    "</tool_call>",   "<|fim_prefix|>", "<|fim_middle|>",  "<|fim_suffix|>",       "<|fim_pad|>",
    "<|repo_name|>",  "<|file_sep|>",   "<tool_response>", "</tool_response>",     "<think>",
    "</think>"};
#define SPECIAL_WORDS ((int)(sizeof special_words / sizeof *special_words))

_Static_assert(BL_QWEN_RANKS + SPECIAL_WORDS == BL_QWEN_TOKENS, "special words follow the ranks");

struct bl_byte_bpe {
    uint8_t *bytes;  /* of all tokens, one behind the other */
    uint32_t *begin; /* [BL_QWEN_RANKS + 1] in bytes */
    int32_t *slots;  /* [SLOTS] ranks by hash; -1: free */
};

/* ---- the vocabulary */

static uint32_t hash_of(const uint8_t *p, size_t n) {
    uint64_t h = 14695981039346656037u; /* FNV-1a, its halves folded */
    for (size_t i = 0; i < n; i++) {
        h = (h ^ p[i]) * 1099511628211u;
    }
    return (uint32_t)(h ^ h >> 32) & (SLOTS - 1);
}

static int32_t rank_of(const bl_byte_bpe *t, const uint8_t *p, size_t n) {
    for (uint32_t i = hash_of(p, n);; i = (i + 1) & (SLOTS - 1)) {
        const int32_t r = t->slots[i];
        if (r < 0) {
            return NO_RANK;
        }
        if (t->begin[r + 1] - t->begin[r] == n && !memcmp(t->bytes + t->begin[r], p, n)) {
            return r;
        }
    }
}

static void keep(bl_byte_bpe *t, int32_t rank) {
    uint32_t i = hash_of(t->bytes + t->begin[rank], t->begin[rank + 1] - t->begin[rank]);
    while (t->slots[i] >= 0) {
        i = (i + 1) & (SLOTS - 1);
    }
    t->slots[i] = rank;
}

static int sextet(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Lines of "BASE64 RANK". False if it is another file than the one that was embedded. */
static bool read_lines(bl_byte_bpe *t, const char *text, const char *end) {
    uint8_t *to = t->bytes;
    int32_t rank = 0;
    for (const char *p = text; p < end && rank < BL_QWEN_RANKS; rank++) {
        uint32_t bits = 0, count = 0;
        t->begin[rank] = (uint32_t)(to - t->bytes);
        for (; p < end && *p != ' '; p++) {
            const int v = sextet(*p);
            if (v >= 0) {
                bits = bits << 6 | (uint32_t)v;
                count += 6;
            }
            if (count >= 8) {
                count -= 8;
                *to++ = (uint8_t)(bits >> count);
            }
        }
        while (p < end && *p != '\n') {
            p++;
        }
        p += p < end;
    }
    t->begin[rank] = (uint32_t)(to - t->bytes);
    return rank == BL_QWEN_RANKS;
}

static int unpack(char *text, bl_error *err) {
    z_stream z = {0};
    z.next_in = (Bytef *)(uintptr_t)bl_qwen_vocabulary;
    z.avail_in = (uInt)(bl_qwen_vocabulary_end - bl_qwen_vocabulary);
    z.next_out = (Bytef *)text;
    z.avail_out = BL_QWEN_UNPACKED;
    int rc = inflateInit2(&z, 16 + MAX_WBITS);
    if (rc == Z_OK) {
        rc = inflate(&z, Z_FINISH);
        inflateEnd(&z);
    }
    return rc == Z_STREAM_END && !z.avail_out ? 0
           : rc == Z_MEM_ERROR                ? bl_fail_memory(err, "a vocabulary", BL_QWEN_UNPACKED)
                               : bl_fail(err, BL_E_INTERNAL, "the embedded vocabulary does not unpack");
}

int bl_byte_bpe_new(bl_byte_bpe **out, bl_error *err) {
    *out = NULL;
    bl_byte_bpe *t = calloc(1, sizeof *t);
    char *text = malloc(BL_QWEN_UNPACKED);
    if (t) {
        t->bytes = malloc(BL_QWEN_UNPACKED); /* base64 is longer than what it holds */
        t->begin = malloc((BL_QWEN_RANKS + 1) * sizeof *t->begin);
        t->slots = malloc(SLOTS * sizeof *t->slots);
    }
    int rc = t && text && t->bytes && t->begin && t->slots
                 ? unpack(text, err)
                 : bl_fail_memory(err, "a vocabulary", BL_QWEN_UNPACKED);
    if (!rc && !read_lines(t, text, text + BL_QWEN_UNPACKED)) {
        rc = bl_fail(err, BL_E_INTERNAL, "the embedded vocabulary is not whole");
    }
    free(text);
    if (rc) {
        bl_byte_bpe_free(&t);
        return rc;
    }
    memset(t->slots, 0xff, SLOTS * sizeof *t->slots);
    for (int32_t i = 0; i < BL_QWEN_RANKS; i++) {
        keep(t, i);
    }
    *out = t;
    return 0;
}

void bl_byte_bpe_free(bl_byte_bpe **t) {
    if (*t) {
        free((*t)->bytes);
        free((*t)->begin);
        free((*t)->slots);
        free(*t);
        *t = NULL;
    }
}

/* ---- as vocabularies are written */

/* GPT-2's letters: printable bytes of Latin-1 are themselves, the others those from U+0100 on. */
static unsigned letter_of(uint8_t b) {
    const bool printable = (b > 32 && b < 127) || (b > 160 && b != 173);
    return printable ? b : 256u + (b < 127 ? b : b < 173 ? b - 127 + 33 : 67);
}

bool bl_byte_bpe_is(const bl_byte_bpe *t, int64_t id, const char *word) {
    if (id < 0 || id >= BL_QWEN_RANKS) {
        return id >= BL_QWEN_RANKS && id < BL_QWEN_TOKENS && !strcmp(special_words[id - BL_QWEN_RANKS], word);
    }
    const uint8_t *at = (const uint8_t *)word;
    for (uint32_t i = t->begin[id]; i < t->begin[id + 1]; i++) {
        const unsigned c = letter_of(t->bytes[i]);
        if (c >= 128 && *at++ != (0xc0 | c >> 6)) {
            return false;
        }
        if (*at++ != (c < 128 ? c : 0x80 | (c & 63))) {
            return false;
        }
    }
    return !*at;
}

/* ---- pieces: each function says how many of the characters at p[0 .. n) its part of the pattern takes */

static bool is_line_end(int32_t c) {
    return c == '\r' || c == '\n';
}

/* Without case, as Unicode folds: U+017F is an s. */
static int32_t folded(int32_t c) {
    return c >= 'A' && c <= 'Z' ? c + 32 : c == 0x17f ? 's' : c;
}

static size_t contraction(const int32_t *p, size_t n) {
    static const char *const ends[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    for (size_t i = 0; n > 1 && p[0] == '\'' && i < sizeof ends / sizeof *ends; i++) {
        const size_t m = strlen(ends[i]);
        if (n > m && folded(p[1]) == ends[i][0] && (m == 1 || folded(p[2]) == ends[i][1])) {
            return 1 + m;
        }
    }
    return 0;
}

static size_t word(const int32_t *p, size_t n) {
    const size_t first = !is_line_end(p[0]) && !bl_is_letter(p[0]) && !bl_is_number(p[0]);
    size_t i = first;
    while (i < n && bl_is_letter(p[i])) {
        i++;
    }
    return i > first ? i : 0;
}

static size_t signs(const int32_t *p, size_t n) {
    const size_t first = p[0] == ' ';
    size_t i = first;
    while (i < n && !bl_is_space(p[i]) && !bl_is_letter(p[i]) && !bl_is_number(p[i])) {
        i++;
    }
    if (i == first) {
        return 0;
    }
    while (i < n && is_line_end(p[i])) {
        i++;
    }
    return i;
}

/* White space: to its last line end; else all but the last, which goes with what follows; else all. */
static size_t blanks(const int32_t *p, size_t n) {
    size_t i = 0, line_end = 0;
    for (; i < n && bl_is_space(p[i]); i++) {
        line_end = is_line_end(p[i]) ? i + 1 : line_end;
    }
    return line_end ? line_end : i > 1 && i < n ? i - 1 : i;
}

static size_t piece(const int32_t *p, size_t n) {
    size_t m = contraction(p, n);
    m = m ? m : word(p, n);
    m = m ? m : bl_is_number(p[0]);
    m = m ? m : signs(p, n);
    m = m ? m : blanks(p, n);
    return m ? m : 1; /* every character has a part that takes it */
}

/* ---- joining */

/* Parts of a piece: part i has bytes [at[i], at[i + 1]); joined[i]: the rank of it with the next. */
typedef struct parts {
    const bl_byte_bpe *t;
    const uint8_t *bytes;
    uint32_t *at;
    int32_t *joined;
    size_t count;
} parts;

static void look(parts *w, size_t i) {
    w->joined[i] = i + 1 < w->count ? rank_of(w->t, w->bytes + w->at[i], w->at[i + 2] - w->at[i]) : NO_RANK;
}

static int encode_piece(bl_token_list *list, const bl_byte_bpe *t, const uint8_t *bytes, size_t n,
                        uint32_t *memory, bl_error *err) {
    const int32_t whole = rank_of(t, bytes, n);
    if (whole != NO_RANK) {
        return bl_token_list_add(list, whole, err);
    }
    parts w = {.t = t, .bytes = bytes, .at = memory, .joined = (int32_t *)(memory + n + 1), .count = n};
    for (size_t i = 0; i <= n; i++) {
        w.at[i] = (uint32_t)i;
    }
    for (size_t i = 0; i < n; i++) {
        look(&w, i);
    }
    for (;;) {
        size_t best = 0;
        for (size_t i = 1; i < w.count; i++) {
            best = w.joined[i] < w.joined[best] ? i : best;
        }
        if (w.joined[best] == NO_RANK) {
            break;
        }
        w.count--;
        memmove(w.at + best + 1, w.at + best + 2, (w.count - best) * sizeof *w.at);
        memmove(w.joined + best + 1, w.joined + best + 2, (w.count - best - 1) * sizeof *w.joined);
        look(&w, best);
        if (best) {
            look(&w, best - 1);
        }
    }
    int rc = 0;
    for (size_t i = 0; i < w.count && !rc; i++) {
        rc = bl_token_list_add(list, rank_of(t, bytes + w.at[i], w.at[i + 1] - w.at[i]), err);
    }
    return rc;
}

/* ---- a text */

/* Characters [0, n) in NFC, without special words. */
static int encode_plain(bl_token_list *list, const bl_byte_bpe *t, const char *text, size_t bytes,
                        bl_error *err) {
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    const utf8proc_uint8_t *u = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t n = bytes ? utf8proc_decompose(u, (utf8proc_ssize_t)bytes, NULL, 0, options) : 0;
    if (n <= 0) {
        return n ? bl_fail(err, BL_E_INTERNAL, "the prompt cannot be normalised: %s", utf8proc_errmsg(n)) : 0;
    }
    const size_t room = (size_t)n + 1, utf8 = 4 * (size_t)n;
    int32_t *points = malloc(room * sizeof *points);
    uint8_t *encoded = malloc(utf8);
    uint32_t *memory = malloc((2 * utf8 + 1) * sizeof *memory);
    int rc = points && encoded && memory ? 0 : bl_fail_memory(err, "a prompt's characters", room * 40);
    if (!rc) {
        utf8proc_decompose(u, (utf8proc_ssize_t)bytes, points, n, options);
        n = utf8proc_normalize_utf32(points, n, options);
    }
    for (size_t i = 0, m; !rc && i < (size_t)n; i += m) {
        size_t length = 0;
        m = piece(points + i, (size_t)n - i);
        for (size_t k = i; k < i + m; k++) {
            length += (size_t)utf8proc_encode_char(points[k], encoded + length);
        }
        rc = encode_piece(list, t, encoded, length, memory, err);
    }
    free(points);
    free(encoded);
    free(memory);
    return rc;
}

/* The special word that text begins with, or -1. None begins with another. */
static int special_at(const char *text, size_t bytes) {
    for (int i = 0; i < SPECIAL_WORDS; i++) {
        const size_t n = strlen(special_words[i]);
        if (n <= bytes && !memcmp(text, special_words[i], n)) {
            return i;
        }
    }
    return -1;
}

int bl_byte_bpe_encode(bl_token_list *list, const bl_byte_bpe *t, const char *text, size_t bytes,
                       bl_error *err) {
    size_t begin = 0;
    int rc = 0;
    for (size_t i = 0; i < bytes && !rc;) {
        const int special = text[i] == '<' ? special_at(text + i, bytes - i) : -1;
        if (special < 0) {
            i++;
            continue;
        }
        rc = encode_plain(list, t, text + begin, i - begin, err);
        rc = rc ? rc : bl_token_list_add(list, BL_QWEN_RANKS + special, err);
        i += strlen(special_words[special]);
        begin = i;
    }
    return rc ? rc : encode_plain(list, t, text + begin, bytes - begin, err);
}
