/* ComfyUI's emphasis: brackets are found from the outside inwards, each level by its own count of open ones.
 */
#include "text/emphasis.h"

#include "text/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BRACKET_WEIGHT 1.1

typedef struct parser {
    bl_emphasis out;
    char *text;         /* the prompt, with escaped brackets as the character alone */
    char *bracket;      /* the bracket at this place; 0: none, or an escaped one */
    bool memory, depth; /* what failed */
} parser;

/* The prompt into p->text and p->bracket; returns its length then. */
static size_t unescape(parser *p, const char *text, size_t bytes) {
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++, n++) {
        bool escaped = text[i] == '\\' && i + 1 < bytes && (text[i + 1] == '(' || text[i + 1] == ')');
        i += escaped;
        p->text[n] = text[i];
        p->bracket[n] = !escaped && (text[i] == '(' || text[i] == ')') ? text[i] : 0;
    }
    return n;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Digits, which may have single underscores between them, as Python reads them. */
static size_t take_digits(const char *s, size_t n, size_t i, double *value, int *count) {
    while (i < n &&
           (is_digit(s[i]) || (s[i] == '_' && i && is_digit(s[i - 1]) && i + 1 < n && is_digit(s[i + 1])))) {
        if (s[i] != '_') {
            *value = *value * 10.0 + (s[i] - '0');
            ++*count;
        }
        i++;
    }
    return i;
}

/* Python's float() of all n bytes, but for inf and nan. Not strtod, which follows the locale. */
static bool read_number(double *out, const char *s, size_t n) {
    size_t i = 0;
    while (i < n && is_space(s[i])) {
        i++;
    }
    while (n > i && is_space(s[n - 1])) {
        n--;
    }
    double sign = i < n && s[i] == '-' ? -1.0 : 1.0, mantissa = 0, exponent = 0;
    int digits = 0, behind = 0, ignored = 0;
    i += i < n && (s[i] == '-' || s[i] == '+');
    i = take_digits(s, n, i, &mantissa, &digits);
    if (i < n && s[i] == '.') {
        i = take_digits(s, n, i + 1, &mantissa, &behind);
    }
    if (!digits && !behind) {
        return false;
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        bool down = i + 1 < n && s[i + 1] == '-';
        i += 1 + (i + 1 < n && (s[i + 1] == '-' || s[i + 1] == '+'));
        i = take_digits(s, n, i, &exponent, &ignored);
        exponent = down ? -exponent : exponent;
        if (!ignored) {
            return false;
        }
    }
    double power = exponent - behind;
    *out = mantissa == 0 ? 0 : sign * (power < 0 ? mantissa / pow(10, -power) : mantissa * pow(10, power));
    return i == n;
}

static void parse(parser *p, size_t begin, size_t end, double weight, int depth);

/* One item of a level: all in brackets, or text. */
static void item(parser *p, size_t begin, size_t end, double weight, int depth) {
    if (end - begin < 2 || p->bracket[begin] != '(' || p->bracket[end - 1] != ')') {
        p->memory = p->memory || !bl_emphasis_add(&p->out, p->text + begin, end - begin, weight, false);
        return;
    }
    begin++;
    end--;
    weight *= BRACKET_WEIGHT;
    size_t colon = end;
    while (colon > begin && p->text[colon - 1] != ':') {
        colon--;
    }
    /* colon: one behind the last ':', or `begin`; a ':' with nothing before it gives no weight */
    double given;
    if (colon > begin + 1 && read_number(&given, p->text + colon, end - colon)) {
        weight = given;
        end = colon - 1;
    }
    parse(p, begin, end, weight, depth + 1);
}

static void parse(parser *p, size_t begin, size_t end, double weight, int depth) {
    size_t first = begin;
    long open = 0; /* below 0 behind a bracket that closes nothing */
    p->depth = p->depth || depth > BL_EMPHASIS_DEPTH;
    for (size_t i = begin; i < end && !p->memory && !p->depth; i++) {
        if (p->bracket[i] == '(') {
            if (open++ == 0 && i > first) {
                item(p, first, i, weight, depth);
                first = i;
            }
        } else if (p->bracket[i] == ')' && --open == 0) {
            item(p, first, i + 1, weight, depth);
            first = i + 1;
        }
    }
    if (first < end && !p->memory && !p->depth) {
        item(p, first, end, weight, depth);
    }
}

int bl_emphasis_parse_comfyui(bl_emphasis *out, const char *text, size_t bytes, bl_error *err) {
    int rc = bl_text_check(text, bytes, err);
    if (rc) {
        return rc;
    }
    parser p = {.out = {.text = malloc(bytes + 1)}, .text = malloc(bytes + 1), .bracket = malloc(bytes + 1)};
    p.memory = !p.out.text || !p.text || !p.bracket;
    if (!p.memory) {
        parse(&p, 0, unescape(&p, text, bytes), 1.0, 0);
    }
    if (p.memory) {
        rc = bl_fail_memory(err, "the parsed prompt", bytes);
    } else if (p.depth) {
        rc =
            bl_fail(err, BL_E_ARGUMENT, "the emphasis has brackets nested deeper than %d", BL_EMPHASIS_DEPTH);
    } else {
        rc = bl_emphasis_check(&p.out, err);
    }
    if (!rc) {
        *out = p.out;
        p.out = (bl_emphasis){0};
    }
    bl_emphasis_clear(&p.out);
    free(p.text);
    free(p.bracket);
    return rc;
}
