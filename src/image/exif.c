#include "image/exif.h"

#include "core/utf8.h"
#include "image/latin1.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define TAG_ORIENTATION 0x0112
#define TAG_EXIF 0x8769 /* where the second directory is */
#define TAG_USER_COMMENT 0x9286
#define TYPE_SHORT 3
#define TYPE_LONG 4
#define TYPE_UNDEFINED 7
#define ENTRY 12  /* bytes of a directory's entry */
#define CHARSET 8 /* bytes in front of a comment that name its characters */
#define HEAD 44   /* bytes of the block that is written, in front of the comment */

typedef struct tiff {
    const uint8_t *at;
    size_t bytes;
    bool big; /* the high byte of a number comes first */
} tiff;

static uint32_t number(const uint8_t *p, int bytes, bool big) {
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++) {
        v = v << 8 | p[big ? i : bytes - 1 - i];
    }
    return v;
}

static bool open_tiff(tiff *t, const uint8_t *exif, size_t bytes) {
    if (bytes >= 6 && !memcmp(exif, "Exif\0\0", 6)) {
        exif += 6;
        bytes -= 6;
    }
    *t = (tiff){exif, bytes, bytes && exif[0] == 'M'};
    return bytes >= 8 && (!memcmp(exif, "MM\0*", 4) || !memcmp(exif, "II*\0", 4));
}

/* The entry of the directory at `at`; NULL: there is none. */
static const uint8_t *find_entry(const tiff *t, size_t at, uint32_t tag, uint32_t type) {
    if (at > t->bytes - 2) {
        return NULL;
    }
    uint32_t entries = number(t->at + at, 2, t->big);
    for (at += 2; entries && t->bytes - at >= ENTRY; entries--, at += ENTRY) {
        const uint8_t *e = t->at + at;
        if (number(e, 2, t->big) == tag && number(e + 2, 2, t->big) == type) {
            return e;
        }
    }
    return NULL;
}

int bl_exif_orientation(const uint8_t *exif, size_t bytes) {
    tiff t;
    if (!open_tiff(&t, exif, bytes)) {
        return 1;
    }
    const uint8_t *e = find_entry(&t, number(t.at + 4, 4, t.big), TAG_ORIENTATION, TYPE_SHORT);
    uint32_t orientation = e ? number(e + 8, 2, t.big) : 1;
    return orientation >= 1 && orientation <= 8 ? (int)orientation : 1;
}

/* ---- comments */

static size_t put_utf8(char *out, uint32_t c) {
    uint8_t *p = (uint8_t *)out;
    if (c < 0x80) {
        p[0] = (uint8_t)c;
        return 1;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    p[0] = (uint8_t)((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | c >> (6 * more));
    for (int i = 1; i <= more; i++) {
        p[i] = (uint8_t)(0x80 | (c >> (6 * (more - i)) & 0x3f));
    }
    return (size_t)more + 1;
}

/* Which byte comes first. Programs differ, whatever order the block's own numbers are in: a mark says it, or
 * the zeros of the Latin letters do. */
static bool comes_big(const uint8_t *text, size_t units, bool big) {
    size_t high = 0, low = 0;
    if (units && (number(text, 2, true) == 0xfeff || number(text, 2, true) == 0xfffe)) {
        return text[0] == 0xfe;
    }
    for (size_t i = 0; i < units; i++) {
        high += !text[2 * i];
        low += !text[2 * i + 1];
    }
    return high == low ? big : high > low;
}

/* UTF-16 as UTF-8; halves of pairs become U+FFFD. NULL: no memory. */
static char *from_utf16(const uint8_t *text, size_t units, bool big) {
    char *out = malloc(3 * units + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < units; i++) {
        uint32_t c = number(text + 2 * i, 2, big);
        uint32_t next = i + 1 < units ? number(text + 2 * i + 2, 2, big) : 0;
        if (!c) {
            break;
        }
        if (c == 0xfeff && !i) {
            continue;
        }
        if (c >= 0xd800 && c < 0xdc00 && next >= 0xdc00 && next < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + (next - 0xdc00);
            i++;
        } else if (c >= 0xd800 && c < 0xe000) {
            c = 0xfffd;
        }
        n += put_utf8(out + n, c);
    }
    if (out) {
        out[n] = 0;
    }
    return out;
}

/* Bytes that end at a NUL, as UTF-8, which they are, or else Latin-1. */
static char *from_bytes(const uint8_t *text, size_t bytes) {
    char *copy = strndup((const char *)text, bytes);
    if (!copy || bl_charset_of(copy) != BL_CHARSET_NEITHER) {
        return copy;
    }
    char *out = bl_from_latin1(copy, strlen(copy));
    free(copy);
    return out;
}

int bl_exif_comment(char **out, const uint8_t *exif, size_t bytes, bl_error *err) {
    static const uint8_t none[CHARSET];
    tiff t;
    *out = NULL;
    if (!open_tiff(&t, exif, bytes)) {
        return BL_OK;
    }
    const uint8_t *e = find_entry(&t, number(t.at + 4, 4, t.big), TAG_EXIF, TYPE_LONG);
    e = e ? find_entry(&t, number(e + 8, 4, t.big), TAG_USER_COMMENT, TYPE_UNDEFINED) : NULL;
    size_t n = e ? number(e + 4, 4, t.big) : 0, at = e ? number(e + 8, 4, t.big) : 0;
    if (n <= CHARSET || at > t.bytes || n > t.bytes - at) {
        return BL_OK;
    }
    const uint8_t *charset = t.at + at, *text = charset + CHARSET;
    if (!memcmp(charset, "UNICODE", CHARSET)) {
        size_t units = (n - CHARSET) / 2;
        *out = from_utf16(text, units, comes_big(text, units, t.big));
    } else if (!memcmp(charset, "ASCII\0\0", CHARSET) || !memcmp(charset, none, CHARSET)) {
        *out = from_bytes(text, n - CHARSET);
    } else if (!memcmp(charset, "JIS\0\0\0\0", CHARSET)) {
        return BL_OK;
    } else { /* some leave the name of the characters out */
        *out = from_bytes(charset, n);
    }
    if (!*out) {
        return bl_fail_memory(err, "the picture's parameters", n);
    }
    if (!**out) {
        free(*out);
        *out = NULL;
    }
    return BL_OK;
}

static void put_unit(uint8_t *out, uint32_t unit) {
    out[0] = (uint8_t)(unit >> 8);
    out[1] = (uint8_t)unit;
}

int bl_exif_encode(uint8_t **out, size_t *bytes, const char *comment, bl_error *err) {
    /* The header; a directory with the second one's place; the second one, with the comment's length in bytes
     * and place; "UNICODE". */
    static const uint8_t head[HEAD + CHARSET] =
        "MM\0*"
        "\0\0\0\10\0\1\207\151\0\4\0\0\0\1\0\0\0\32\0\0\0\0\0\1\222\206\0\7\0\0\0\0\0\0\0\54\0\0\0\0UNICODE";
    size_t room = sizeof head + 2 * strlen(comment), n = sizeof head; /* a unit for each byte at most */
    uint32_t c;
    uint8_t *block = malloc(room);
    *out = NULL;
    if (!block) {
        return bl_fail_memory(err, "the picture's parameters", room);
    }
    memcpy(block, head, sizeof head);
    for (const char *p = comment; *p;) {
        p = bl_utf8_next(p, &c);
        if (!p) {
            free(block);
            return bl_fail(err, BL_E_ARGUMENT, "the parameters to store in the picture are not UTF-8");
        }
        bool pair = c >= 0x10000;
        put_unit(block + n, pair ? 0xd800 + ((c - 0x10000) >> 10) : c);
        n += 2;
        if (pair) {
            put_unit(block + n, 0xdc00 + ((c - 0x10000) & 0x3ff));
            n += 2;
        }
    }
    if (n > BL_EXIF_MOST) {
        free(block);
        return bl_fail(err, BL_E_ARGUMENT,
                       "the parameters have %zu bytes, more than the %d that JPEG and WebP hold: write a PNG",
                       n - HEAD, BL_EXIF_MOST - HEAD);
    }
    put_unit(block + 34, (uint32_t)(n - HEAD)); /* its length in bytes, of which the high half is 0 */
    *out = block;
    *bytes = n;
    return BL_OK;
}
