/* CLIP's tokenizer, with the ids that transformers' CLIPTokenizer gives: "<|startoftext|>" and
 * "<|endoftext|>" in a text are special tokens, the rest is brought to NFC and to lower case, cut into
 * contractions, runs of letters, single digits and runs of anything else, and each piece is byte-pair
 * encoded. */
#ifndef BALLAST_TEXT_TOKENIZER_H
#define BALLAST_TEXT_TOKENIZER_H

#include "core/added_token.h"
#include "core/error.h"
#include "text/bpe.h"

#include <stddef.h>

/* Never changes once made: any number of threads may use one. */
typedef struct bl_tokenizer bl_tokenizer;

/* Takes some milliseconds. The owner closes it with bl_tokenizer_free. BL_E_MEMORY. */
int bl_tokenizer_new(bl_tokenizer **out, bl_error *err);
void bl_tokenizer_free(bl_tokenizer **tokenizer);

/* The same with more words, which are copied, as those that it has already are. `base` must outlive it.
 * BL_E_ARGUMENT: a word that is not UTF-8; BL_E_MEMORY. */
int bl_tokenizer_extend(bl_tokenizer **out, const bl_tokenizer *base, const bl_added_token *tokens, int count,
                        bl_error *err);

/* Appends the ids of `text` (`bytes` bytes of UTF-8, which may hold NULs) to the list, without start and end
 * tokens. Of the words beside the vocabulary those are found whose id is `least_id` or more. On an error the
 * list is as it was. BL_E_ARGUMENT: not UTF-8, or more than BL_PROMPT_MAX_BYTES; BL_E_MEMORY. */
int bl_tokenize(bl_token_list *list, const bl_tokenizer *tokenizer, int32_t least_id, const char *text,
                size_t bytes, bl_error *err);

#endif
