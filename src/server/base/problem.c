#include "server/base/problem.h"

#include <stdarg.h>
#include <stdio.h>

int problem_set(struct problem *p, int status, const char *field, const char *format, ...) {
    if (p) {
        va_list list;
        p->status = status;
        p->retry_after = 0;
        snprintf(p->field, sizeof p->field, "%s", field ? field : "");
        va_start(list, format);
        vsnprintf(p->text, sizeof p->text, format, list);
        va_end(list);
    }
    return status;
}
