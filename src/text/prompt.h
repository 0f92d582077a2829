/* From a prompt to what a CLIP text encoder is fed: chunks of 77 tokens with a weight each. */
#ifndef BALLAST_TEXT_PROMPT_H
#define BALLAST_TEXT_PROMPT_H

#include "core/error.h"
#include "text/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BL_CHUNK_TOKENS 77 /* start token, 75 of the prompt, end token */

#define BL_VECTOR_ID                                                                             \
    (1 << 24) /* ids from here on are vectors of embeddings: those that follow each other are of \
                 one, which A1111 does not part */

typedef enum bl_prompt_syntax {
    BL_PROMPT_A1111,   /* brackets, weights and BREAK mean something (emphasis.h); a chunk ends at a comma if
                          it can */
    BL_PROMPT_COMFYUI, /* round brackets and weights mean something (emphasis.h); a span of less than 8 tokens
                          stays in one chunk */
    BL_PROMPT_PLAIN    /* diffusers: every character is text, all weights are 1, one chunk is taken */
} bl_prompt_syntax;

typedef struct bl_chunks {
    int count;          /* at least 1 after a parse: an empty prompt is one empty chunk */
    int32_t *ids;       /* [count, 77]: start token, the text's tokens, end token, then the pad token */
    float *weights;     /* [count, 77]: 1 but for emphasised tokens of the text */
    int32_t *eos_index; /* [count]: the first end token of each chunk, at which encoders pool */
    int left_out;       /* tokens that diffusers does not take */
} bl_chunks;

/* Cuts a prompt into chunks. Nothing is dropped but in plain syntax: what does not fit one chunk goes on in
 * the next. A1111 syntax moves the text after the last comma to the next chunk too if that is at most 20
 * tokens (comma_padding_backtrack's default). The one chunk of plain syntax is what transformers makes of the
 * prompt with truncation and padding to 77; only there are words beside the vocabulary found that have a
 * number of the vocabulary, as "!" where that is padded with. pad_token: what follows the first end token:
 * BL_TOKEN_EOS for CLIP-L, 0 for OpenCLIP-H and -G. The caller frees *out with bl_chunks_clear.
 * BL_E_ARGUMENT: not UTF-8, too long, too much emphasis; BL_E_MEMORY. */
int bl_prompt_parse(bl_chunks *out, const bl_tokenizer *tokenizer, const char *text, size_t bytes,
                    bl_prompt_syntax syntax, int32_t pad_token, bl_error *err);

/* Appends empty chunks until there are `count`, so that prompt and negative prompt are equally long.
 * BL_E_MEMORY. */
int bl_chunks_extend(bl_chunks *chunks, int count, int32_t pad_token, bl_error *err);

void bl_chunks_clear(bl_chunks *chunks);

/* Applies the weights of one chunk to its encoded text, hidden [tokens, channels], in place: each token's
 * vector is multiplied by its weight, then everything by one factor that restores the mean over the chunk
 * (A1111's "Original" emphasis). All weights 1: nothing changes, not even by rounding. A mean of zero cannot
 * be restored and is left. */
void bl_emphasis_apply(float *hidden, const float *weights, int64_t tokens, int64_t channels);

/* The same as ComfyUI does it: each token's vector goes away from, or towards, the one at its place in the
 * encoded empty prompt, `empty` [tokens, channels]: (hidden - empty) weight + empty. A weight of 1 changes
 * nothing. */
void bl_emphasis_apply_comfyui(float *hidden, const float *weights, const float *empty, int64_t tokens,
                               int64_t channels);

/* Is any weight not 1? */
bool bl_emphasis_any(const bl_chunks *chunks);

#endif
