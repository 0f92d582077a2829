/* PNG's tEXt is Latin-1, its iTXt is UTF-8. */
#ifndef BALLAST_IMAGE_LATIN1_H
#define BALLAST_IMAGE_LATIN1_H

#include <stddef.h>

typedef enum bl_charset {
    BL_CHARSET_LATIN1, /* UTF-8 whose characters all exist in Latin-1; ASCII too */
    BL_CHARSET_UTF8,   /* other UTF-8 */
    BL_CHARSET_NEITHER /* not UTF-8 */
} bl_charset;

bl_charset bl_charset_of(const char *text);

/* Rewrites UTF-8 that is BL_CHARSET_LATIN1 as Latin-1, in place. */
void bl_to_latin1(char *text);

/* UTF-8 of `bytes` bytes of Latin-1, NUL-terminated, for the caller to free; NULL if there is no memory. */
char *bl_from_latin1(const char *text, size_t bytes);

#endif
