/* Byte-pair encoding of one word, with CLIP's merges. Ids follow CLIP's vocabulary: 256 bytes, 256 bytes that
 * end a word, one id a merge, then the start and the end token. */
#ifndef BALLAST_TEXT_BPE_H
#define BALLAST_TEXT_BPE_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

#define BL_CLIP_MERGES 48894
#define BL_TOKEN_BOS 49406
#define BL_TOKEN_EOS 49407

/* A growing list of token ids. Begin with {0}; the owner frees `ids`. */
typedef struct bl_token_list {
    int32_t *ids; /* [count] */
    size_t count, capacity;
} bl_token_list;

/* Appends one id. On BL_E_MEMORY the list is as it was. */
int bl_token_list_add(bl_token_list *list, int32_t id, bl_error *err);

typedef struct bl_bpe bl_bpe; /* never changes once made: any number of threads may encode with one */

/* Reads the embedded merges. The owner closes it with bl_bpe_free. */
int bl_bpe_new(bl_bpe **out, bl_error *err);
void bl_bpe_free(bl_bpe **bpe);

/* Working memory of bl_bpe_encode, so that a text does not allocate for every word. Begin with {0}. */
typedef struct bl_bpe_scratch {
    void *memory;
    size_t bytes;
} bl_bpe_scratch;

/* Appends the ids of one word of n >= 1 bytes (a piece that CLIP's pattern found, without white space).
 * The lowest-ranked pair is merged first, the leftmost one of equals, until no pair can be; O(n log n),
 * because a word may be a whole hostile prompt. */
int bl_bpe_encode(bl_token_list *list, const bl_bpe *bpe, bl_bpe_scratch *scratch, const uint8_t *word,
                  size_t n, bl_error *err);

#endif
