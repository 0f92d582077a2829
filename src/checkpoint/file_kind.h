/* What a file is that is not safetensors: people download many things, and deserve a better answer than "bad
 * header". */
#ifndef BALLAST_CHECKPOINT_FILE_KIND_H
#define BALLAST_CHECKPOINT_FILE_KIND_H

#include "core/error.h"

#include <stddef.h>

/* Looks at the first n bytes of a file and, if they are those of a known other format, writes the error and
 * returns its code; returns 0 where they are not. */
int bl_refuse_other_formats(const char *path, const unsigned char *start, size_t n, bl_error *err);

/* Length of the ending by which a file of weights is known, ".safetensors" or ".gguf"; 0 where `path` has
 * none. */
size_t bl_weights_suffix(const char *path);

#endif
