/* What fuzz targets share. A target ends the process where a promise is broken: that is what is looked for.
 */
#ifndef BALLAST_TESTS_FUZZ_FUZZ_H
#define BALLAST_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(holds)                                                         \
    do {                                                                    \
        if (!(holds)) {                                                     \
            fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #holds); \
            abort();                                                        \
        }                                                                   \
    } while (0)

/* The input as a text of its own, so that what reads past its end is seen. Cut at the first NUL for those who
 * read it so. */
static inline char *text_of(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    MUST(text);
    if (size) {
        memcpy(text, data, size);
    }
    text[size] = 0;
    return text;
}

/* The input as a file in memory, which `path` names until the descriptor that is returned is closed. */
static inline int file_of(char path[64], const uint8_t *data, size_t size) {
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

#endif
