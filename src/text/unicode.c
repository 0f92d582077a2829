#include "text/unicode.h"

#include <utf8proc.h>

int bl_text_check(const char *text, size_t bytes, bl_error *err) {
    if (bytes > BL_PROMPT_MAX_BYTES) {
        return bl_fail(err, BL_E_ARGUMENT, "%zu bytes, of which at most %d can be used", bytes,
                       BL_PROMPT_MAX_BYTES);
    }
    for (size_t i = 0; i < bytes;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(bytes - i), &c);
        if (n <= 0) {
            return bl_fail(err, BL_E_ARGUMENT, "not UTF-8: byte %zu is 0x%02x", i,
                           (unsigned)(unsigned char)text[i]);
        }
        i += (size_t)n;
    }
    return BL_OK;
}

bool bl_is_letter(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return true;
    default:
        return false;
    }
}

bool bl_is_number(int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
           category == UTF8PROC_CATEGORY_NO;
}

bool bl_is_space(int32_t c) {
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

/* Lower case one code point at a time, without context (a final sigma is a sigma): U+0130, the only one that
 * has two in lower case, is done by the caller. */
static int32_t lower(int32_t c) {
    return c < 0x80 ? (c >= 'A' && c <= 'Z' ? c + 32 : c) : utf8proc_tolower(c);
}

int bl_normalize(int32_t **out, size_t *count, const char *text, size_t bytes, bl_error *err) {
    *out = NULL;
    *count = 0;
    const utf8proc_uint8_t *u = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t length = (utf8proc_ssize_t)bytes;
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    utf8proc_ssize_t n = utf8proc_decompose(u, length, NULL, 0, options);
    if (n < 0) {
        return bl_fail(err, BL_E_INTERNAL, "the prompt cannot be normalised: %s", utf8proc_errmsg(n));
    }
    /* Twice: lower case may need a second place for every U+0130. Once more: the end must be addressable. */
    size_t capacity = 2 * (size_t)n + 1, kept = 0;
    int32_t *points = malloc(capacity * sizeof *points);
    if (!points) {
        return bl_fail_memory(err, "the prompt's characters", capacity * sizeof *points);
    }
    int32_t *composed = points + n;
    utf8proc_decompose(u, length, composed, n, options);
    n = utf8proc_normalize_utf32(composed, n, options);
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        int32_t c = composed[i];
        if (bl_is_space(c)) {
            if (!kept || points[kept - 1] != ' ') {
                points[kept++] = ' ';
            }
        } else if (c == 0x130) {
            points[kept++] = 'i';
            points[kept++] = 0x307;
        } else {
            points[kept++] = lower(c);
        }
    }
    *out = points;
    *count = kept;
    return BL_OK;
}
