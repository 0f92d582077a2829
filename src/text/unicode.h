/* The few questions about characters that the tokenizer and the prompt syntax ask. */
#ifndef BALLAST_TEXT_UNICODE_H
#define BALLAST_TEXT_UNICODE_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More than anybody types: some 50 chunks of 75 tokens. */
#define BL_PROMPT_MAX_BYTES 16384

/* BL_E_ARGUMENT where the text is not UTF-8 (the message says at which byte) or longer than
 * BL_PROMPT_MAX_BYTES. */
int bl_text_check(const char *text, size_t bytes, bl_error *err);

/* A text as CLIP's tokenizer sees it: NFC, each run of white space one blank, and lower case. *out: [*count]
 * code points, freed by the caller. The text is UTF-8 (bl_text_check). BL_E_MEMORY. */
int bl_normalize(int32_t **out, size_t *count, const char *text, size_t bytes, bl_error *err);

bool bl_is_letter(int32_t c); /* \p{L} */
bool bl_is_number(int32_t c); /* \p{N} */
bool bl_is_space(int32_t c);  /* the property White_Space */

#endif
