#include "server/base/base64.h"

#include <stdint.h>
#include <stdlib.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t bytes) {
    const uint8_t *in = data;
    char *text = malloc((bytes + 2) / 3 * 4 + 1);
    size_t n = 0;
    if (!text) {
        return NULL;
    }
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t three =
            (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0);
        text[n++] = letters[three >> 18];
        text[n++] = letters[three >> 12 & 63];
        text[n++] = left > 1 ? letters[three >> 6 & 63] : '=';
        text[n++] = left > 2 ? letters[three & 63] : '=';
    }
    text[n] = 0;
    return text;
}

static int value_of(char c) {
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

char *base64_decode(const char *text, size_t length, size_t *bytes) {
    uint8_t *out = malloc(length / 4 * 3 + 4);
    size_t n = 0, digits = 0, pads = 0;
    uint32_t bits = 0;
    *bytes = 0;
    if (!out) {
        return NULL;
    }
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        int v = value_of(c);
        if (c == '\n' || c == '\r' || c == ' ' || c == '\t') {
            continue;
        }
        if (c == '=' && digits % 4 + pads >= 2 && pads < 2) {
            pads++;
            continue;
        }
        if (v < 0 || pads) {
            free(out);
            return NULL;
        }
        bits = bits << 6 | (uint32_t)v;
        if (++digits % 4 == 0) {
            out[n++] = (uint8_t)(bits >> 16);
            out[n++] = (uint8_t)(bits >> 8);
            out[n++] = (uint8_t)bits;
        }
    }
    size_t rest = digits % 4;
    if (rest == 1 || (pads && rest + pads != 4)) {
        free(out);
        return NULL;
    }
    if (rest) {
        bits <<= 6 * (4 - rest);
        out[n++] = (uint8_t)(bits >> 16);
        if (rest == 3) {
            out[n++] = (uint8_t)(bits >> 8);
        }
    }
    out[n] = 0;
    *bytes = n;
    return (char *)out;
}
