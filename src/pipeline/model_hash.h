/* The hash that pictures name their model by: the first ten digits of its file's SHA-256, as A1111 writes
 * them.
 *
 * A checkpoint of several gigabytes takes seconds to hash (1.8 GB/s at most), so it is done once for each
 * file, in the background with what the cores have left over, and remembered: by path, size and time of last
 * change, as lines of text in the cache folder. A picture that is finished before waits for the rest: whether
 * it names the hash must not be a race. */
#ifndef BALLAST_PIPELINE_MODEL_HASH_H
#define BALLAST_PIPELINE_MODEL_HASH_H

#include "checkpoint/hash.h"

#include <stdbool.h>

typedef struct bl_model_hash bl_model_hash;

/* Looks the file up, and starts hashing it if it is not known. `cache_dir`: an existing folder, copied; NULL:
 * nothing is remembered. NULL if there is no memory or no such file: pictures then have no hash, which is no
 * reason not to make them. Owner: the caller; bl_model_hash_close. */
bl_model_hash *bl_model_hash_start(const char *path, const char *cache_dir);

/* Whether there is nothing to wait for. `h` may be NULL. */
bool bl_model_hash_known(const bl_model_hash *h);

/* *digits: ten hexadecimal digits, borrowed until the close; NULL if `h` is, or the file cannot be read or
 * changes meanwhile. Waits until they are known, by going on with the hashing in this thread; `stop` as in
 * bl_hash_go_on: BL_E_CANCELLED, and the background goes on from there. */
int bl_model_hash_wait(const char **digits, bl_model_hash *h, bl_hash_stop *stop, void *payload,
                       bl_error *err);

/* Stops the hashing, within milliseconds. Sets *h to NULL; NULL inside is fine. */
void bl_model_hash_close(bl_model_hash **h);

#endif
