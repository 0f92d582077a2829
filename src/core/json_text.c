#include "core/json_text.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH 2048 /* jansson's own limit */

typedef struct scan {
    const char *p, *end;
    char open[DEPTH]; /* '{' or '[' */
    int depth;
} scan;

static void skip_blanks(scan *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) {
        s->p++;
    }
}

static bool take(scan *s, char c) {
    bool there = s->p < s->end && *s->p == c;
    s->p += there;
    return there;
}

/* Value of the four hexadecimal digits behind "\u"; -1: there are none. */
static int take_unit(scan *s) {
    int value = 0;
    for (int i = 0; i < 4; i++, s->p++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *at = s->p < s->end && *s->p ? strchr(digits, *s->p) : NULL;
        if (!at) {
            return -1;
        }
        value = value * 16 + (int)(at - digits) % 16;
    }
    return value;
}

/* Behind the backslash. */
static bool take_escape(scan *s) {
    if (!take(s, 'u')) {
        bool known = s->p < s->end && *s->p && strchr("\"\\/bfnrt", *s->p);
        s->p += known;
        return known;
    }
    int unit = take_unit(s);
    if (unit >= 0xd800 && unit < 0xdc00) { /* the first half of a pair */
        unit = take(s, '\\') && take(s, 'u') ? take_unit(s) : -1;
        return unit >= 0xdc00 && unit < 0xe000;
    }
    return unit > 0 && !(unit >= 0xdc00 && unit < 0xe000);
}

static bool take_string(scan *s) {
    if (!take(s, '"')) {
        return false;
    }
    while (s->p < s->end && *s->p != '"') {
        if ((unsigned char)*s->p < 0x20) {
            return false;
        }
        if (*s->p++ == '\\' && !take_escape(s)) {
            return false;
        }
    }
    return take(s, '"');
}

static bool take_digits(scan *s) {
    const char *first = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9') {
        s->p++;
    }
    return s->p > first;
}

static bool take_number(scan *s) {
    take(s, '-');
    if (!take(s, '0') && !take_digits(s)) {
        return false;
    }
    if (take(s, '.') && !take_digits(s)) {
        return false;
    }
    if (take(s, 'e') || take(s, 'E')) {
        bool sign = take(s, '+') || take(s, '-');
        (void)sign;
        return take_digits(s);
    }
    return true;
}

static bool take_word(scan *s, const char *word) {
    size_t n = strlen(word);
    bool there = (size_t)(s->end - s->p) >= n && !memcmp(s->p, word, n);
    s->p += there ? n : 0;
    return there;
}

/* A value that holds no others. */
static bool take_leaf(scan *s) {
    return take_word(s, "true") || take_word(s, "false") || take_word(s, "null") ||
           (s->p < s->end && *s->p == '"' ? take_string(s) : take_number(s));
}

/* In an object, a value's name. */
static bool take_name(scan *s) {
    if (s->open[s->depth - 1] == '[') {
        return true;
    }
    skip_blanks(s);
    bool named = take_string(s);
    skip_blanks(s);
    return named && take(s, ':');
}

/* Ends what a value ended, and goes on to the next one; *more: there is one. */
static bool take_ends(scan *s, bool *more) {
    *more = false;
    while (s->depth) {
        skip_blanks(s);
        if (take(s, ',')) {
            *more = true;
            return take_name(s);
        }
        if (!take(s, s->open[s->depth - 1] == '{' ? '}' : ']')) {
            return false;
        }
        s->depth--;
    }
    return true;
}

bool bl_json_well_formed(const char *text, size_t n) {
    scan s = {.p = text, .end = text + n};
    bool more = true, fine = true;
    while (more && fine) {
        skip_blanks(&s);
        char c = s.p < s.end ? *s.p : 0;
        if (c == '{' || c == '[') {
            if (s.depth == DEPTH) {
                return false;
            }
            s.open[s.depth++] = c;
            s.p++;
            skip_blanks(&s);
            if (take(&s, c == '{' ? '}' : ']')) {
                s.depth--;
                fine = take_ends(&s, &more);
            } else {
                fine = take_name(&s);
            }
        } else {
            fine = s.depth && take_leaf(&s) && take_ends(&s, &more);
        }
    }
    skip_blanks(&s);
    return fine && s.p == s.end;
}

bool bl_json_lacked_memory(const json_error_t *why, const char *text, size_t n) {
    switch (json_error_code(why)) {
    case json_error_out_of_memory:
        return true;
    case json_error_duplicate_key:
    case json_error_numeric_overflow:
    case json_error_stack_overflow:
    case json_error_invalid_utf8:
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return false;
    default:
        return bl_json_well_formed(text, n);
    }
}

typedef struct buffer {
    char *text;
    size_t length, room;
    bool lost; /* a piece did not fit: jansson does not always ask */
} buffer;

static int append(const char *piece, size_t n, void *payload) {
    buffer *b = payload;
    if (!b->lost && b->length + n + 1 > b->room) {
        size_t room = 2 * (b->length + n) + 256;
        char *more = realloc(b->text, room);
        b->lost = !more;
        b->text = more ? more : b->text;
        b->room = more ? room : b->room;
    }
    if (b->lost) {
        return -1;
    }
    memcpy(b->text + b->length, piece, n);
    b->length += n;
    b->text[b->length] = 0;
    return 0;
}

char *bl_json_dump(const json_t *value, size_t flags) {
    buffer b = {0};
    if (json_dump_callback(value, append, &b, flags) || b.lost) {
        free(b.text);
        return NULL;
    }
    return b.text;
}
