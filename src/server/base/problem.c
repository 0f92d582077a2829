#include "server/base/problem.h"

#include <stdarg.h>
#include <stdio.h>

/* Bytes of the character that begins here, as RFC 3629 has it; 0: none does. */
static int character(const unsigned char *s) {
    int more = s[0] < 0x80 ? 0 : s[0] >= 0xc2 && s[0] < 0xe0 ? 1 : (s[0] & 0xf0) == 0xe0 ? 2 : 3;
    if (s[0] < 0x80) {
        return 1;
    }
    if (s[0] < 0xc2 || s[0] > 0xf4 || (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) {
        return 0;
    }
    for (int i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return more + 1;
}

void text_mend(char *text) {
    for (unsigned char *s = (unsigned char *)text; *s;) {
        int n = character(s);
        if (!n) {
            *s = '?';
        }
        s += n ? n : 1;
    }
}

int problem_set(struct problem *p, int status, const char *field, const char *format, ...) {
    if (p) {
        va_list list;
        p->status = status;
        p->retry_after = 0;
        snprintf(p->field, sizeof p->field, "%s", field ? field : "");
        va_start(list, format);
        vsnprintf(p->text, sizeof p->text, format, list);
        va_end(list);
        text_mend(p->field);
        text_mend(p->text); /* what was cut off may have been within a character */
    }
    return status;
}
