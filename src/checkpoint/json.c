#include "checkpoint/json.h"

#include "core/text_file.h"
#include "core/json_text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_JSON_BYTES (64 << 20)
#define ESCAPE_BYTES 6 /* \u0000 */

/* ---- strings */

/* The code unit that the escape at `p` writes, -1 if it is no \uXXXX. */
static int code_unit(const char *p, size_t n) {
    int value = 0;
    if (n < ESCAPE_BYTES || p[0] != '\\' || p[1] != 'u') {
        return -1;
    }
    for (int i = 2; i < ESCAPE_BYTES; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

static bool is_high(int unit) {
    return unit >= 0xd800 && unit < 0xdc00;
}

static bool is_low(int unit) {
    return unit >= 0xdc00 && unit < 0xe000;
}

/* Bytes of the string at `p`, both quotation marks included; all that is left if it does not end. Escapes
 * that our strings cannot hold are overwritten by others of the same length; half a surrogate pair only if
 * `surrogates`. */
static size_t mend_string(char *p, size_t n, bool surrogates) {
    size_t i = 1;
    while (i < n && p[i] != '"') {
        if (p[i] != '\\') {
            i++;
            continue;
        }
        int unit = code_unit(p + i, n - i);
        if (unit == 0) {
            memcpy(p + i, "\\u2400", ESCAPE_BYTES);
        } else if (is_high(unit) && n - i > ESCAPE_BYTES &&
                   is_low(code_unit(p + i + ESCAPE_BYTES, n - i - ESCAPE_BYTES))) {
            i += ESCAPE_BYTES; /* the pair's other half is skipped below */
        } else if (surrogates && (is_high(unit) || is_low(unit))) {
            memcpy(p + i, "\\ufffd", ESCAPE_BYTES);
        }
        i += unit < 0 ? 2 : ESCAPE_BYTES;
    }
    return i < n ? i + 1 : n;
}

void bl_json_show_nuls(char *text, size_t n) {
    for (size_t i = 0; i < n;) {
        i += text[i] == '"' ? mend_string(text + i, n - i, false) : 1;
    }
}

/* ---- numbers */

/* Bytes of the number or the word at `p`; 0 if there is none. */
static size_t token_bytes(const char *p, size_t n) {
    size_t i = 0;
    while (i < n && (p[i] == '-' || p[i] == '+' || p[i] == '.' || (p[i] >= '0' && p[i] <= '9') ||
                     (p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z'))) {
        i++;
    }
    return i;
}

/* Of a number in JSON's grammar; *lacking: there was no memory to find out. */
static bool overflows(const char *text, size_t n, bool *lacking) {
    json_error_t why = {0};
    json_t *number = json_loadb(text, n, JSON_DECODE_ANY, &why);
    bool too_large = !number && json_error_code(&why) == json_error_numeric_overflow;
    *lacking = *lacking || (!number && !too_large);
    json_decref(number);
    return too_large;
}

static size_t digits(const char *p, size_t n) {
    size_t i = 0;
    while (i < n && p[i] >= '0' && p[i] <= '9') {
        i++;
    }
    return i;
}

/* Is the whole of it a number in JSON's grammar? *whole: one without a point or an exponent. */
static bool is_number(const char *p, size_t n, bool *whole) {
    size_t i = p[0] == '-', first = i, more = digits(p + i, n - i);
    bool good = more > 0 && (more == 1 || p[first] != '0');
    i += more;
    *whole = i == n;
    if (i < n && p[i] == '.') {
        i++;
        more = digits(p + i, n - i);
        good = good && more;
        i += more;
    }
    if (i < n && (p[i] == 'e' || p[i] == 'E')) {
        i++;
        i += i < n && (p[i] == '+' || p[i] == '-');
        more = digits(p + i, n - i);
        good = good && more;
        i += more;
    }
    return good && i == n;
}

/* Writes the token [p, p + n) to `out`, which has room for 2 * n + 2 bytes, as jansson can read it. Returns
 * the bytes written. */
static size_t mend_token(char *out, const char *p, size_t n, bool *lacking) {
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    const char *word = NULL;
    for (int i = 0; i < 3; i++) {
        if (n == strlen(words[i]) && memcmp(p, words[i], n) == 0) {
            word = words[i];
        }
    }
    bool whole;
    memcpy(out, p, n);
    if (!word && is_number(p, n, &whole) && (!whole || n > 18) && overflows(out, n, lacking)) {
        memcpy(out + n, ".0", 2);
        if (whole && !overflows(out, n + 2, lacking)) {
            return n + 2;
        }
        word = words[p[0] == '-' ? 2 : 1];
    }
    if (!word) {
        return n;
    }
    size_t length = strlen(word);
    out[0] = '"';
    memcpy(out + 1, word, length);
    out[length + 1] = '"';
    return length + 2;
}

/* ---- a whole text */

int bl_json_parse(json_t **out, char *text, size_t n, const char *path, bl_error *err) {
    *out = NULL;
    char *mended = calloc(2 * n + 2, 1); /* "NaN" in quotation marks, "1e999" as "Infinity" */
    if (!mended) {
        return bl_fail_memory(err, "a configuration file", 2 * n);
    }
    size_t length = 0;
    bool lacking = false; /* memory */
    for (size_t i = 0; i < n;) {
        size_t step = token_bytes(text + i, n - i);
        if (step) {
            length += mend_token(mended + length, text + i, step, &lacking);
        } else {
            step = text[i] == '"' ? mend_string(text + i, n - i, true) : 1;
            memcpy(mended + length, text + i, step);
            length += step;
        }
        i += step;
    }
    json_error_t why = {0};
    json_t *root = json_loadb(mended, length, 0, &why);
    lacking = lacking || (!root && bl_json_lacked_memory(&why, mended, length));
    free(mended);
    if (lacking) {
        json_decref(root);
        return bl_fail_memory(err, "a configuration file", n);
    }
    if (json_is_object(root)) {
        *out = root;
        return 0;
    }
    int rc = bl_fail(err, BL_E_FORMAT, "%.400s is damaged: line %d: %s", path, root ? 1 : why.line,
                     root ? "an object was expected" : why.text);
    json_decref(root);
    return rc;
}

/* ---- files */

int bl_json_load(json_t **out, const char *path, bl_error *err) {
    char *text;
    size_t n;
    *out = NULL;
    int rc = bl_text_file_read(&text, &n, path, MAX_JSON_BYTES, err);
    if (!rc && text) {
        rc = bl_json_parse(out, text, n, path, err);
    }
    free(text);
    return rc;
}
