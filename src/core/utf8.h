/* Text that need not be what it should be: names of files, prompts, what other programs wrote. */
#ifndef BALLAST_CORE_UTF8_H
#define BALLAST_CORE_UTF8_H

#include <stdbool.h>
#include <stdint.h>

/* The character at `p`, which is not the end; returns what is behind it, NULL where it is not UTF-8. */
const char *bl_utf8_next(const char *p, uint32_t *character);

bool bl_utf8_valid(const char *text);

/* A copy that is UTF-8 whatever the text is: where it is not, '?' stands for each byte that is not ASCII.
 * NULL: no memory. Caller frees. */
char *bl_utf8_copy(const char *text);

#endif
