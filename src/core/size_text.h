/* Bytes for people, everywhere in the same form. */
#ifndef BALLAST_CORE_SIZE_TEXT_H
#define BALLAST_CORE_SIZE_TEXT_H

#include <stdint.h>

typedef struct bl_size_text {
    char text[16];
} bl_size_text;

/* "9.34 GB", "35.1 MB", "812 kB", "0 B": three digits, in the powers of 1000 that settings take, too. */
bl_size_text bl_size_of(uint64_t bytes);

#endif
