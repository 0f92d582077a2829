/* A word that a model's tokenizer has beside CLIP's vocabulary: one that was trained for it. */
#ifndef BALLAST_CORE_ADDED_TOKEN_H
#define BALLAST_CORE_ADDED_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct bl_added_token {
    const char *text; /* UTF-8 */
    int32_t id;
    bool normalized; /* found in the prompt brought to lower case, and in lower case itself */
    bool whole_word; /* not found where a letter or a digit touches it */
    int vectors;     /* 0; or how many numbers, from `id` on, stand for it */
} bl_added_token;

#endif
