/* SHA-256 of a whole file: pictures carry the first ten digits as "Model hash". */
#ifndef BALLAST_CHECKPOINT_HASH_H
#define BALLAST_CHECKPOINT_HASH_H

#include "core/error.h"

#include <stdatomic.h>

#define BL_HASH_TEXT 65 /* 64 hexadecimal digits and a zero */

/* Reads the whole file once, at the disk's speed or at most about 1.8 GB/s: work for a thread of its own.
 * `cancel` may be NULL; once another thread sets it to true, BL_E_CANCELLED follows within a few
 * milliseconds. Errors: BL_E_NOT_FOUND, BL_E_IO, BL_E_MEMORY. */
int bl_file_hash(char out[BL_HASH_TEXT], const char *path, const atomic_bool *cancel, bl_error *err);

#endif
