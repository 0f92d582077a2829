/* SHA-256 of a whole file: pictures carry the first ten digits as "Model hash". */
#ifndef BALLAST_CHECKPOINT_HASH_H
#define BALLAST_CHECKPOINT_HASH_H

#include "core/error.h"

#define BL_HASH_TEXT 65 /* 64 hexadecimal digits and a zero */

/* A file that is being hashed. It knows how far it has come, so that what was stopped goes on from there, in
 * another thread too; one thread at a time. */
typedef struct bl_hash bl_hash;

/* Asked every few milliseconds; non-zero stops. */
typedef int bl_hash_stop(void *payload);

/* BL_E_NOT_FOUND, BL_E_IO: there is no such file. Caller owns *out. */
int bl_hash_open(bl_hash **out, const char *path, bl_error *err);
/* Reads on, at the disk's speed or at most about 1.8 GB/s, up to the end or until `stop` (may be NULL) says
 * so: BL_E_CANCELLED, and another call goes on from there. At the end `text` is the hash; after that, and
 * after any other error, there is nothing to go on with. */
int bl_hash_go_on(char text[BL_HASH_TEXT], bl_hash *h, bl_hash_stop *stop, void *payload, bl_error *err);
/* Sets to NULL; NULL inside is fine. */
void bl_hash_close(bl_hash **h);

#endif
