#include "text/emphasis.h"

#include "text/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define ROUND_WEIGHT 1.1
#define SQUARE_WEIGHT (1.0 / 1.1)
#define SPANS_AT_ONCE 64

/* Open brackets of one kind: for each, the span that comes after it. */
typedef struct brackets {
    size_t *after; /* one place for every byte of the prompt: enough, whatever it holds */
    size_t count;
} brackets;

typedef struct parser {
    bl_emphasis out;
    brackets round, square;
} parser;

bool bl_emphasis_add(bl_emphasis *e, const char *text, size_t length, double weight, bool is_break) {
    if (e->count % SPANS_AT_ONCE == 0) {
        bl_span *spans = realloc(e->spans, (e->count + SPANS_AT_ONCE) * sizeof *spans);
        if (!spans) {
            return false;
        }
        e->spans = spans;
    }
    size_t start = e->count ? e->spans[e->count - 1].start + e->spans[e->count - 1].length : 0;
    memcpy(e->text + start, text, length);
    e->spans[e->count++] =
        (bl_span){.start = start, .length = length, .weight = weight, .is_break = is_break};
    return true;
}

static bool add_span(parser *p, const char *text, size_t length, bool is_break) {
    return bl_emphasis_add(&p->out, text, length, 1.0, is_break);
}

static void multiply_from(parser *p, size_t first, double weight) {
    for (size_t i = first; i < p->out.count; i++) {
        p->out.spans[i].weight *= weight;
    }
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static size_t skip_spaces(const char *text, size_t n, size_t i) {
    while (i < n && (text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r'))) {
        i++;
    }
    return i;
}

/* ":1.25)" at text, with white space around the number: its length and value; 0 if it is something else.
 * Not strtod: that follows the locale and takes "inf" and "0x1p9". */
static size_t closing_weight(const char *text, size_t n, double *value) {
    size_t i = skip_spaces(text, n, 1);
    bool negative = i < n && text[i] == '-';
    i += i < n && (text[i] == '-' || text[i] == '+');
    double mantissa = 0.0, scale = 1.0;
    int digits = 0, dots = 0;
    for (; i < n && (is_digit(text[i]) || text[i] == '.'); i++) {
        if (text[i] == '.') {
            dots++;
            continue;
        }
        digits++;
        /* 15 digits and 10^22 are exact in a double, so that the one division rounds correctly; fractional
         * digits beyond them change nothing that matters. */
        if (!dots || (mantissa < 1e14 && scale < 1e22)) {
            mantissa = mantissa * 10.0 + (text[i] - '0');
            scale *= dots ? 10.0 : 1.0;
        }
    }
    i = skip_spaces(text, n, i);
    if (!digits || dots > 1 || i >= n || text[i] != ')') {
        return 0;
    }
    *value = (negative ? -mantissa : mantissa) / scale;
    return i + 1;
}

bool bl_word_beside(const char *text, size_t n, size_t at, bool backwards) {
    if (backwards) {
        if (!at) {
            return false;
        }
        do {
            at--;
        } while (at && ((unsigned char)text[at] & 0xc0) == 0x80);
    } else if (at == n) {
        return false;
    }
    utf8proc_int32_t c;
    utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(n - at), &c);
    return c == '_' || bl_is_letter(c) || bl_is_number(c);
}

/* Text between two bits of syntax, cut at every BREAK. The white space around one stays: no token comes of
 * it. */
static bool add_text(parser *p, const char *text, size_t n) {
    static const char word[] = "BREAK";
    const size_t length = sizeof word - 1;
    size_t begin = 0;
    for (size_t i = 0; i + length <= n; i++) {
        if (memcmp(text + i, word, length) != 0 || bl_word_beside(text, n, i, true) ||
            bl_word_beside(text, n, i + length, false)) {
            continue;
        }
        if (!add_span(p, text + begin, i - begin, false) || !add_span(p, "", 0, true)) {
            return false;
        }
        begin = i + length;
        i = begin - 1;
    }
    return add_span(p, text + begin, n - begin, false);
}

/* Bytes up to the next character that means something. */
static size_t plain_length(const char *text, size_t n) {
    size_t i = 0;
    while (i < n && !memchr("\\()[]:", text[i], 6)) {
        i++;
    }
    return i;
}

/* One step of A1111's scanner; 0 if memory is out. */
static size_t step(parser *p, const char *text, size_t n) {
    double weight;
    size_t length;
    switch (*text) {
    case '\\':
        length = n > 1 && memchr("()[]\\", text[1], 5) ? 2 : 1;
        return add_span(p, text + 1, length - 1, false) ? length : 0;
    case '(':
        p->round.after[p->round.count++] = p->out.count;
        return 1;
    case '[':
        p->square.after[p->square.count++] = p->out.count;
        return 1;
    case ':':
        length = closing_weight(text, n, &weight);
        if (length && p->round.count) {
            multiply_from(p, p->round.after[--p->round.count], weight);
            return length;
        }
        length = length ? length : 1;
        break;
    case ')':
        if (p->round.count) {
            multiply_from(p, p->round.after[--p->round.count], ROUND_WEIGHT);
            return 1;
        }
        length = 1;
        break;
    case ']':
        if (p->square.count) {
            multiply_from(p, p->square.after[--p->square.count], SQUARE_WEIGHT);
            return 1;
        }
        length = 1;
        break;
    default:
        length = plain_length(text, n);
        break;
    }
    return add_text(p, text, length) ? length : 0;
}

/* Neighbours of one weight become one span: a word must not be cut by an escape in it. */
static void join_spans(bl_emphasis *a) {
    size_t n = 1;
    for (size_t i = 1; i < a->count; i++) {
        bl_span *last = &a->spans[n - 1], span = a->spans[i];
        if (!last->is_break && !span.is_break && last->weight == span.weight) {
            last->length += span.length;
        } else {
            a->spans[n++] = span;
        }
    }
    a->count = n;
}

int bl_emphasis_check(const bl_emphasis *a, bl_error *err) {
    for (size_t i = 0; i < a->count; i++) {
        const bl_span *span = &a->spans[i];
        if (!(fabs(span->weight) <= BL_EMPHASIS_MAX)) { /* NaN too */
            return bl_fail(err, BL_E_ARGUMENT,
                           "the emphasis of \"%.*s\" is %g: it must lie between -%g and %g",
                           (int)(span->length < 40 ? span->length : 40), a->text + span->start, span->weight,
                           BL_EMPHASIS_MAX, BL_EMPHASIS_MAX);
        }
    }
    return BL_OK;
}

size_t bl_leave_out_comments(char *to, const char *text, size_t bytes) {
    size_t n = 0;
    bool comment = false;
    for (size_t i = 0; i < bytes; i++) {
        comment = text[i] != '\n' && (comment || text[i] == '#');
        if (!comment) {
            to[n++] = text[i];
        }
    }
    return n;
}

int bl_emphasis_parse(bl_emphasis *out, const char *text, size_t bytes, bl_error *err) {
    int rc = bl_text_check(text, bytes, err);
    if (rc) {
        return rc;
    }
    char *read = malloc(bytes + 1); /* what is left to read */
    parser p = {.out = {.text = malloc(bytes + 1)},
                .round = {.after = malloc((bytes + 1) * sizeof(size_t))},
                .square = {.after = malloc((bytes + 1) * sizeof(size_t))}};
    bool ok = read && p.out.text && p.round.after && p.square.after;
    size_t n = ok ? bl_leave_out_comments(read, text, bytes) : 0;
    for (size_t i = 0; ok && i < n;) {
        size_t length = step(&p, read + i, n - i);
        i += length;
        ok = length > 0;
    }
    ok = ok && (p.out.count || add_span(&p, "", 0, false));
    if (!ok) {
        rc = bl_fail_memory(err, "the parsed prompt", bytes);
        goto done;
    }
    for (size_t i = 0; i < p.round.count; i++) {
        multiply_from(&p, p.round.after[i], ROUND_WEIGHT);
    }
    for (size_t i = 0; i < p.square.count; i++) {
        multiply_from(&p, p.square.after[i], SQUARE_WEIGHT);
    }
    join_spans(&p.out);
    rc = bl_emphasis_check(&p.out, err);
    if (!rc) {
        *out = p.out;
        p.out = (bl_emphasis){0};
    }
done:
    bl_emphasis_clear(&p.out);
    free(p.square.after);
    free(p.round.after);
    free(read);
    return rc;
}

void bl_emphasis_clear(bl_emphasis *emphasis) {
    free(emphasis->text);
    free(emphasis->spans);
    *emphasis = (bl_emphasis){0};
}
