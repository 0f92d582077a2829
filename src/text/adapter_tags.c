#include "text/adapter_tags.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const kinds[] = {"lora:", "lyco:", "hypernet:"};

/* Length of the tag at p, which is a '<'; 0: it is none. */
static size_t tag_length(const char *p) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = strlen(kinds[i]);
        const char *end = strncasecmp(p + 1, kinds[i], n) ? NULL : strchr(p + 1 + n, '>');
        if (end && end > p + 1 + n) {
            return (size_t)(end + 1 - p);
        }
    }
    return 0;
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
