/* Qwen's vocabulary as models' files have it, compared with the one that is embedded: with another one every
 * prompt would be read as other words, without a sign. Token by token, which takes less than opening. */
#ifndef BALLAST_TEXT_QWEN_FILES_H
#define BALLAST_TEXT_QWEN_FILES_H

#include "text/byte_bpe.h"

/* The tokens of a GGUF file, by their ids, a NUL behind each. What is behind BL_QWEN_TOKENS is not looked at:
 * rows of embeddings that no text has. BL_E_UNSUPPORTED, with the first id that differs. `path`: for
 * messages. */
int bl_qwen_check_words(const bl_byte_bpe *t, const char *words, uint64_t count, const char *path,
                        bl_error *err);

/* tokenizer.json as the tokenizers library writes it, or vocab.json. BL_E_UNSUPPORTED as above, and for words
 * that were added to it; BL_E_FORMAT, BL_E_IO, BL_E_MEMORY. */
int bl_qwen_check_file(const bl_byte_bpe *t, const char *path, bl_error *err);

#endif
