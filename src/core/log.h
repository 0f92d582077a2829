/* Messages for people: one line each, to a sink that the owner of the process sets (default: nowhere). */
#ifndef BALLAST_CORE_LOG_H
#define BALLAST_CORE_LOG_H

typedef enum bl_log_level { BL_LOG_WARNING, BL_LOG_INFO, BL_LOG_DEBUG } bl_log_level;

typedef void bl_log_fn(void *payload, bl_log_level level, const char *line);

typedef struct bl_log {
    bl_log_fn *fn; /* may be NULL */
    void *payload;
} bl_log;

/* `log` may be NULL. The line is made without a newline, and tamed as messages of errors are. */
void bl_log_line(const bl_log *log, bl_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
