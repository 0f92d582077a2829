#include "image/parameters.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct span {
    const char *at;
    size_t n;
} span;

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static span strip(span s) {
    while (s.n && is_space(s.at[0])) {
        s.at++;
        s.n--;
    }
    while (s.n && is_space(s.at[s.n - 1])) {
        s.n--;
    }
    return s;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_word(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool is_key(char c) {
    return is_word(c) || c == ' ' || c == '-' || c == '/';
}

/* Length of the JSON string at s that a comma or the end follows; 0: there is none. */
static size_t quoted_length(span s) {
    size_t i = 1;
    if (!s.n || s.at[0] != '"') {
        return 0;
    }
    while (i < s.n && s.at[i] != '"') {
        i += s.at[i] == '\\' ? 2 : 1;
    }
    return i > 1 && i < s.n && (i + 1 == s.n || s.at[i + 1] == ',') ? i + 1 : 0;
}

/* Takes the next "key: value" off the line, by A1111's pattern
 * \s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$) ; false when there is none left. */
static bool next_entry(span *line, span *key, span *value) {
    while (line->n) {
        if (!is_word(line->at[0])) {
            line->at++;
            line->n--;
            continue;
        }
        size_t n = 0;
        while (n < line->n && is_key(line->at[n])) {
            n++;
        }
        *key = (span){line->at, n};
        line->at += n;
        line->n -= n;
        if (n < 2 || !line->n || line->at[0] != ':') {
            continue;
        }
        line->at++;
        line->n--;
        while (line->n && is_space(line->at[0])) {
            line->at++;
            line->n--;
        }
        size_t length = quoted_length(*line);
        if (!length) {
            const char *comma = line->n ? memchr(line->at, ',', line->n) : NULL;
            length = comma ? (size_t)(comma - line->at) : line->n;
        }
        *value = (span){line->at, length};
        size_t taken = length < line->n ? length + 1 : length;
        line->at += taken;
        line->n -= taken;
        return true;
    }
    return false;
}

/* Where parsed texts go: a buffer of the input's length is enough, because each comes from another part of
 * it. */
typedef struct store {
    char *at;
} store;

static char *keep(store *s, span text) {
    char *start = s->at;
    memcpy(start, text.at, text.n);
    start[text.n] = 0;
    s->at += text.n + 1;
    return start;
}

/* Four hexadecimal digits; -1: they are not. */
static long hex4(const char *p, const char *end) {
    long value = 0;
    for (int i = 0; i < 4; i++, p++) {
        const char *digits = "0123456789abcdef";
        const char *found = p < end ? strchr(digits, *p >= 'A' && *p <= 'F' ? *p + 32 : *p) : NULL;
        if (!found || !*found) {
            return -1;
        }
        value = value * 16 + (found - digits);
    }
    return value;
}

static char *put_utf8(char *out, long c) {
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    } else {
        if (c < 0x10000) {
            *out++ = (char)(0xe0 | c >> 12);
        } else {
            *out++ = (char)(0xf0 | c >> 18);
            *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        }
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    return out;
}

/* The character that "\u...." at *p stands for, both halves of a surrogate pair taken; -1: damaged, or a NUL.
 */
static long escaped_character(const char **p, const char *end) {
    long c = hex4(*p, end);
    if (c < 0) {
        return -1;
    }
    *p += 4;
    if (c >= 0xd800 && c < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        long low = hex4(*p + 2, end);
        *p += 6;
        return low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00) : -1;
    }
    return c > 0 && (c < 0xd800 || c >= 0xe000) ? c : -1;
}

/* The text of a value: a JSON string is taken apart, what is none stays as it is. */
static char *keep_value(store *s, span value) {
    if (value.n < 2 || value.at[0] != '"' || value.at[value.n - 1] != '"') {
        return keep(s, value);
    }
    char *start = s->at, *out = start;
    const char *end = value.at + value.n - 1;
    for (const char *p = value.at + 1; p < end;) {
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        static const char letters[] = "\"\\/nrtbf", meanings[] = "\"\\/\n\r\t\b\f";
        const char *found = p + 1 < end ? strchr(letters, p[1]) : NULL;
        if (found && *found) {
            *out++ = meanings[found - letters];
            p += 2;
            continue;
        }
        long c = -1;
        if (p + 1 < end && p[1] == 'u') {
            p += 2;
            c = escaped_character(&p, end);
        }
        if (c < 0) {
            return keep(s, value);
        }
        out = put_utf8(out, c);
    }
    *out = 0;
    s->at = out + 1;
    return start;
}

/* Digits that fit; false: something else. */
static bool read_natural(uint64_t *out, span s) {
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.at[i]) || __builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.at[i] - '0'), &v)) {
            return false;
        }
    }
    *out = v;
    return s.n > 0;
}

static void set_natural(uint64_t *out, span s) {
    uint64_t v;
    *out = read_natural(&v, s) ? v : 0;
}

static void set_integer(int64_t *out, span s) {
    uint64_t v;
    *out = read_natural(&v, s) && v <= INT64_MAX ? (int64_t)v : 0;
}

/* "-12.5"; at most 15 digits behind the point count. Not strtod, which follows the locale. */
static void set_number(double *out, span s) {
    *out = 0.0;
    bool negative = s.n && s.at[0] == '-', point = false;
    double value = 0.0, scale = 1.0;
    size_t digits = 0;
    for (size_t i = negative; i < s.n; i++) {
        if (s.at[i] == '.' && !point) {
            point = true;
            continue;
        }
        if (!is_digit(s.at[i]) || digits > 15) {
            return;
        }
        value = value * 10.0 + (s.at[i] - '0');
        scale *= point ? 10.0 : 1.0;
        digits++;
    }
    if (digits) {
        *out = (negative ? -value : value) / scale;
    }
}

static void set_size(bl_parameters *p, span s) {
    const char *x = memchr(s.at, 'x', s.n);
    if (x) {
        span width = {s.at, (size_t)(x - s.at)};
        set_integer(&p->width, width);
        set_integer(&p->height, (span){x + 1, s.n - width.n - 1});
    }
}

static void set_entry(bl_parameters *p, store *s, span key, span value) {
    const struct {
        const char *key;
        const char **text;
        int64_t *integer;
        uint64_t *natural;
        double *number;
    } fields[] = {
        {.key = "Steps", .integer = &p->steps},
        {.key = "Sampler", .text = &p->sampler},
        {.key = "Schedule type", .text = &p->schedule},
        {.key = "CFG scale", .number = &p->cfg},
        {.key = "Distilled CFG Scale", .text = &p->guidance},
        {.key = "Seed", .natural = &p->seed},
        {.key = "Model hash", .text = &p->model_hash},
        {.key = "Model", .text = &p->model},
        {.key = "VAE", .text = &p->vae},
        {.key = "VAE Decoder", .text = &p->decoder},
        {.key = "Variation seed", .natural = &p->variation_seed},
        {.key = "Variation seed strength", .number = &p->variation_strength},
        {.key = "Denoising strength", .number = &p->denoising_strength},
        {.key = "Clip skip", .integer = &p->clip_skip},
        {.key = "Pad conds", .text = &p->pad_conds},
        {.key = "ENSD", .integer = &p->ensd},
        {.key = "RNG", .text = &p->rng},
        {.key = "Noise Schedule", .text = &p->noise_schedule},
        {.key = "Hires upscale", .number = &p->hires_upscale},
        {.key = "Hires steps", .integer = &p->hires_steps},
        {.key = "Hires upscaler", .text = &p->hires_upscaler},
        {.key = "Version", .text = &p->version},
    };
    if (key.n == 4 && !memcmp(key.at, "Size", 4)) {
        set_size(p, value);
        return;
    }
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (strlen(fields[i].key) != key.n || memcmp(fields[i].key, key.at, key.n) != 0) {
            continue;
        }
        if (fields[i].text) {
            *fields[i].text = keep_value(s, value);
        } else if (fields[i].integer) {
            set_integer(fields[i].integer, value);
        } else if (fields[i].natural) {
            set_natural(fields[i].natural, value);
        } else {
            set_number(fields[i].number, value);
        }
    }
}

/* Prompt and negative prompt: lines, each without the white space around it. */
static void parse_prompts(bl_parameters *p, store *s, span text) {
    static const char mark[] = "Negative prompt:";
    const size_t mark_length = sizeof mark - 1;
    char *out = s->at;
    const char **current = &p->prompt;
    for (bool any = false; text.at;) {
        const char *newline = text.n ? memchr(text.at, '\n', text.n) : NULL;
        span line = {text.at, newline ? (size_t)(newline - text.at) : text.n};
        text = (span){newline ? newline + 1 : NULL, newline ? text.n - line.n - 1 : 0};
        line = strip(line);
        if (line.n >= mark_length && !memcmp(line.at, mark, mark_length)) {
            line = strip((span){line.at + mark_length, line.n - mark_length});
            if (current == &p->prompt) {
                *out++ = 0;
                current = &p->negative;
                any = false;
            }
        }
        if (any) {
            *out++ = '\n';
        }
        if (!any) {
            *current = out;
        }
        memcpy(out, line.at, line.n);
        out += line.n;
        any = any || line.n;
    }
    *out++ = 0;
    s->at = out;
}

/* The text's prompts, and *last its line of parameters; empty: there is none, and all of it is prompt. */
static void split(bl_parameters *p, store *s, span *last, const char *text) {
    span all = strip((span){text, strlen(text)}), key, value;
    const char *newline = all.n ? memrchr(all.at, '\n', all.n) : NULL;
    size_t head = newline ? (size_t)(newline - all.at) : 0;
    *last = newline ? (span){newline + 1, all.n - head - 1} : all;
    span line = *last;
    int entries = 0;
    while (next_entry(&line, &key, &value)) {
        entries++;
    }
    p->prompt = p->negative = "";
    if (entries < 3) {
        *last = (span){all.at, 0};
        parse_prompts(p, s, all);
    } else if (newline) {
        parse_prompts(p, s, (span){all.at, head});
    }
}

int bl_parameters_parse(bl_parameters *out, const char *text, bl_error *err) {
    size_t bytes = strlen(text);
    bl_parameters p = {.storage = malloc(bytes + 4)};
    if (!p.storage) {
        return bl_fail_memory(err, "the parameters of a picture", bytes);
    }
    store s = {p.storage};
    span last, key, value;
    split(&p, &s, &last, text);
    while (next_entry(&last, &key, &value)) {
        set_entry(&p, &s, key, value);
    }
    *out = p;
    return BL_OK;
}

int bl_parameters_each(const char *text, int (*entry)(void *payload, const char *key, const char *value),
                       void *payload, bl_error *err) {
    size_t bytes = strlen(text);
    char *storage = malloc(2 * bytes + 8);
    if (!storage) {
        return bl_fail_memory(err, "the parameters of a picture", bytes);
    }
    bl_parameters p = {0};
    store s = {storage};
    span last, key, value;
    split(&p, &s, &last, text);
    int stop = entry(payload, "Prompt", p.prompt);
    stop = stop ? stop : entry(payload, "Negative prompt", p.negative);
    while (!stop && next_entry(&last, &key, &value)) {
        store at = s; /* one entry at a time */
        const char *name = keep(&at, strip(key));
        stop = entry(payload, name, keep_value(&at, strip(value)));
    }
    free(storage);
    return stop ? bl_fail(err, BL_E_CANCELLED, "stopped at an entry of the parameters") : BL_OK;
}
