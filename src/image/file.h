/* Small files, read or written as a whole. */
#ifndef BALLAST_IMAGE_FILE_H
#define BALLAST_IMAGE_FILE_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes `path` so that it appears complete or not at all: to a temporary name in the same folder, then
 * renamed. Without `overwrite` a file that is there, or that appears meanwhile, stays as it is. Errors:
 * BL_E_ARGUMENT (exists already), BL_E_IO. */
int bl_file_write(const char *path, const uint8_t *data, size_t bytes, bool overwrite, bl_error *err);

/* Reads a regular file of at most `most` bytes into *data, which the caller frees.
 * Errors: BL_E_NOT_FOUND, BL_E_ARGUMENT (too long, or no regular file), BL_E_IO, BL_E_MEMORY. */
int bl_file_read(uint8_t **data, size_t *bytes, const char *path, size_t most, bl_error *err);

#endif
