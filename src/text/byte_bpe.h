/* Byte-level byte-pair encoding as the Qwen2 and Qwen3 models have it (Qwen's tokenization_qwen.py; the rule
 * of tiktoken): special words first, then NFC, pieces by a pattern, and in each the neighbours are joined
 * whose union has the lowest rank, the leftmost of equals, until no union is in the vocabulary. Ranks are
 * ids.
 *
 * Pattern, with Unicode's classes: (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|
 * ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
#ifndef BALLAST_TEXT_BYTE_BPE_H
#define BALLAST_TEXT_BYTE_BPE_H

#include "text/bpe.h"

#include <stdbool.h>

#define BL_QWEN_TOKENS 151669 /* ids there are, special words' among them */
#define BL_QWEN_PAD 151643    /* <|endoftext|>: right padding */

typedef struct bl_byte_bpe
    bl_byte_bpe; /* never changes once made: any number of threads may encode with one */

/* Unpacks the embedded vocabulary of Qwen. The owner closes it with bl_byte_bpe_free. BL_E_MEMORY. */
int bl_byte_bpe_new(bl_byte_bpe **out, bl_error *err);
void bl_byte_bpe_free(bl_byte_bpe **t);

/* Is this word token `id`, as vocabularies are written: each byte as a letter, special words as they are? */
bool bl_byte_bpe_is(const bl_byte_bpe *t, int64_t id, const char *word);

/* Appends the ids of a text, which is UTF-8 (bl_text_check) and may hold NULs. BL_E_MEMORY: some may have
 * been added. */
int bl_byte_bpe_encode(bl_token_list *list, const bl_byte_bpe *t, const char *text, size_t bytes,
                       bl_error *err);

#endif
