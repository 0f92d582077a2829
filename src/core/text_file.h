/* Whole small files. */
#ifndef BALLAST_CORE_TEXT_FILE_H
#define BALLAST_CORE_TEXT_FILE_H

#include "core/error.h"

#include <stddef.h>

/* Reads a file of at most `most` bytes. No such file: *out is NULL and all is well. *out: [*n] and a zero,
 * freed by the caller. Errors: BL_E_FORMAT for what is no file or larger, BL_E_IO, BL_E_MEMORY. */
int bl_text_file_read(char **out, size_t *n, const char *path, size_t most, bl_error *err);

#endif
