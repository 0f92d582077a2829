/* What takes long to make and hangs on known things alone, kept in the user's cache folder. */
#ifndef BALLAST_DEVICE_CUDA_KEEP_H
#define BALLAST_DEVICE_CUDA_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bl_cuda_kept {
    unsigned char *bytes; /* owner: the caller; free */
    size_t count;
} bl_cuda_kept;

/* FNV-1a of some more bytes; begin with BL_CUDA_HASH. Guards against files that were cut or mixed up, not
 * against an attacker in the user's own folder. */
#define BL_CUDA_HASH 14695981039346656037u
uint64_t bl_cuda_hash(uint64_t h, const void *bytes, size_t count);

/* cuda-KEY.KIND of the folder. False: it is not there, or not whole. */
bool bl_cuda_keep_read(bl_cuda_kept *out, uint64_t key, const char *kind);
/* What cannot be kept is made again next time. */
void bl_cuda_keep_write(const bl_cuda_kept *x, uint64_t key, const char *kind);

#endif
