#include "core/log.h"

#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>

void bl_log_line(const bl_log *log, bl_log_level level, const char *format, ...) {
    if (!log || !log->fn) {
        return;
    }
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    bl_tame(line);
    log->fn(log->payload, level, line);
}
