/* SHA-256 of a whole file: pictures carry the first ten digits as "Model hash". */
#ifndef BALLAST_CHECKPOINT_HASH_H
#define BALLAST_CHECKPOINT_HASH_H

#include "core/error.h"

#include <stdatomic.h>
#include <stdint.h>

#define BL_HASH_TEXT 65 /* 64 hexadecimal digits and a zero */

/* Reads the whole file once, at the disk's speed or at most about 1.8 GB/s: work for a thread of its own.
 * `cancel` may be NULL; once another thread sets it to true, BL_E_CANCELLED follows within a few
 * milliseconds. Errors: BL_E_NOT_FOUND, BL_E_IO, BL_E_MEMORY. */
int bl_file_hash(char out[BL_HASH_TEXT], const char *path, const atomic_bool *cancel, bl_error *err);

typedef struct bl_hash_cache bl_hash_cache;

/* Remembers hashes by path, size and time of last change, so that a server hashes a model once. May be used
 * from several threads; the lock is not held while hashing. Owner: the caller; bl_hash_cache_free. */
int bl_hash_cache_new(bl_hash_cache **out, bl_error *err);
void bl_hash_cache_free(bl_hash_cache **cache);

/* As bl_file_hash, but looked up first. A file that changes while it is hashed is not remembered. */
int bl_hash_cache_get(char out[BL_HASH_TEXT], bl_hash_cache *cache, const char *path,
                      const atomic_bool *cancel, bl_error *err);

#endif
