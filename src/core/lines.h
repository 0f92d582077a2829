/* Lines of the small files by which the system tells of itself, read without taking memory: they are asked
 * just when memory may be short. */
#ifndef BALLAST_CORE_LINES_H
#define BALLAST_CORE_LINES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct bl_lines {
    int fd;
    size_t at, end; /* of what is in the buffer and not given out yet */
    char buffer[4096];
} bl_lines;

/* False where there is no such file; then nothing is to be closed. */
bool bl_lines_open(bl_lines *l, const char *path);
/* The next line without its end; what does not fit `room` is cut off. False at the end of the file. */
bool bl_lines_next(bl_lines *l, char *line, size_t room);
void bl_lines_close(bl_lines *l);

/* The file's first line; false where there is none. */
bool bl_first_line(const char *path, char *line, size_t room);

#endif
