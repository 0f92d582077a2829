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
