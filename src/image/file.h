/* Small files, read or written as a whole. */
#ifndef BALLAST_IMAGE_FILE_H
#define BALLAST_IMAGE_FILE_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes `path` as bl_new_file does, with the same errors. */
int bl_file_write(const char *path, const uint8_t *data, size_t bytes, bool overwrite, bl_error *err);

/* Reads a regular file of at most `most` bytes into *data, which the caller frees.
 * Errors: BL_E_NOT_FOUND, BL_E_ARGUMENT (too long, or no regular file), BL_E_IO, BL_E_MEMORY. */
int bl_file_read(uint8_t **data, size_t *bytes, const char *path, size_t most, bl_error *err);

#endif
