#include "text/adapter_tags.h"

#include "core/decimal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Length of the tag at p, which is a '<'; 0: it is none. A word of any kind makes one, as in A1111. */
static size_t tag_length(const char *p) {
    const char *colon = p + 1;
    while (isalnum((unsigned char)*colon) || *colon == '_') {
        colon++;
    }
    const char *end = colon > p + 1 && *colon == ':' ? strchr(colon, '>') : NULL;
    return end && end > colon + 1 ? (size_t)(end + 1 - p) : 0;
}

const char *bl_adapter_tag(const char *text, size_t *length) {
    for (const char *p = text; (p = strchr(p, '<')); p++) {
        *length = tag_length(p);
        if (*length) {
            return p;
        }
    }
    return NULL;
}

char *bl_without_adapter_tags(const char *text) {
    char *out = strdup(text);
    size_t length;
    for (char *p = out; p && (p = (char *)bl_adapter_tag(p, &length));) {
        memmove(p, p + length, strlen(p + length) + 1);
    }
    return out;
}

static int no_number(const char *tag, size_t length, const char *word, size_t n, bl_error *err) {
    return bl_fail(
        err, BL_E_ARGUMENT,
        "%.*s: \"%.*s\" is no strength; write <lora:NAME:0.8>, or <lora:NAME:TE:UNET> for text encoder "
        "and denoiser apart",
        (int)(length < 300 ? length : 300), tag, (int)(n < 60 ? n : 60), word);
}

/* One of the words behind the name: a strength by its place, or "te=", "unet=". */
static int read_word(bl_adapter_call *out, bool *has_denoiser, int *place, const char *tag, size_t length,
                     const char *word, size_t n, bl_error *err) {
    static const char te[] = "te=", unet[] = "unet=";
    double *to;
    size_t head = 0;
    if (n >= strlen(te) && !strncmp(word, te, strlen(te))) {
        head = strlen(te);
        to = &out->text;
    } else if (n >= strlen(unet) && !strncmp(word, unet, strlen(unet))) {
        head = strlen(unet);
        to = &out->denoiser;
    } else {
        to = ++*place == 1 ? &out->text : *place == 2 ? &out->denoiser : NULL;
    }
    if (!to || !bl_signed_decimal(to, word + head, n - head)) {
        return no_number(tag, length, word, n, err);
    }
    *has_denoiser = *has_denoiser || to == &out->denoiser;
    return 0;
}

int bl_adapter_tag_read(bl_adapter_call *out, const char *tag, size_t length, bl_error *err) {
    *out = (bl_adapter_call){.text = 1, .denoiser = 1};
    const char *end = tag + length - 1, *at = memchr(tag, ':', length);
    out->lora = !strncasecmp(tag + 1, "lora:", 5) || !strncasecmp(tag + 1, "lyco:", 5);
    if (!out->lora || !at) {
        return 0;
    }
    bool has_denoiser = false;
    int place = 0;
    for (int i = 0; at < end; i++) {
        const char *word = at + 1, *next = memchr(word, ':', (size_t)(end - word));
        size_t n = (size_t)((next ? next : end) - word);
        if (i == 0) {
            snprintf(out->name, sizeof out->name, "%.*s",
                     (int)(n < BL_ADAPTER_NAME ? n : BL_ADAPTER_NAME - 1), word);
        } else {
            int rc = read_word(out, &has_denoiser, &place, tag, length, word, n, err);
            if (rc) {
                return rc;
            }
        }
        at = word + n;
    }
    out->denoiser = has_denoiser ? out->denoiser : out->text;
    return 0;
}
