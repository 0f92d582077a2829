/* A file of tensors while it is open: what safetensors.c and gguf.c fill in; internal to the room. */
#ifndef BALLAST_CHECKPOINT_TENSOR_FILE_H
#define BALLAST_CHECKPOINT_TENSOR_FILE_H

#include "checkpoint/safetensors.h"

#include <sys/stat.h>

typedef struct bl_text_pair {
    const char *key, *value;
} bl_text_pair;

struct bl_safetensors {
    char *path;
    int fd;
    struct stat opened;      /* size and time of last change when the header was read */
    bl_file_tensor *tensors; /* [tensor_count], sorted by name */
    int tensor_count;
    bl_text_pair *metadata; /* [metadata_count] */
    int metadata_count;
    const char *words; /* of a GGUF's vocabulary, a NUL behind each; or NULL */
    uint64_t word_count;
    char *strings; /* what the names, types and metadata above point into */
    float *scales; /* what the tensors' scales point into, or NULL */
};

/* bl_fail with BL_E_FORMAT: `what` is wrong with the tensor. */
int bl_fail_tensor(bl_error *err, const char *path, const char *name, const char *what);

/* Sorts by name, as finding needs it. */
void bl_tensor_file_sort(bl_safetensors *f);

/* Read the header of a file whose path, descriptor and size are there. What they leave after an error
 * bl_safetensors_close frees. */
int bl_safetensors_parse(bl_safetensors *f, bl_error *err);
int bl_gguf_parse(bl_safetensors *f, bl_error *err);

/* Finds the scales of tensors that are stored small, and checks them; safetensors alone has such. Reads the
 * scales, nothing where there are none. */
int bl_scales_resolve(bl_safetensors *f, bl_error *err);

#endif
