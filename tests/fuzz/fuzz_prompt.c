/* Any bytes as a prompt, in every syntax: chunks of 77 tokens with finite weights, or one line that says why
 * not. */
#include "fuzz.h"

#include "text/prompt.h"

#include <math.h>

static void parse(const bl_tokenizer *tokenizer, const char *text, size_t size, bl_prompt_syntax syntax) {
    bl_error err = {.code = 0};
    bl_chunks c = {0};
    int rc = bl_prompt_parse(&c, tokenizer, text, size, syntax, BL_TOKEN_EOS, &err);
    MUST(rc ? rc == BL_E_ARGUMENT && err.message[0] && !c.ids : c.count >= 1);
    for (int i = 0; !rc && i < c.count; i++) {
        const int32_t *ids = c.ids + i * BL_CHUNK_TOKENS;
        MUST(ids[0] == BL_TOKEN_BOS && c.eos_index[i] > 0 && c.eos_index[i] < BL_CHUNK_TOKENS);
        MUST(ids[c.eos_index[i]] == BL_TOKEN_EOS);
        for (int k = 0; k < BL_CHUNK_TOKENS; k++) {
            MUST(ids[k] >= 0 && ids[k] <= BL_TOKEN_EOS && isfinite(c.weights[i * BL_CHUNK_TOKENS + k]));
        }
    }
    bl_chunks_clear(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bl_tokenizer *tokenizer;
    bl_error err = {.code = 0};
    MUST(tokenizer || !bl_tokenizer_new(&tokenizer, &err));
    char *text = text_of(data, size);
    for (int syntax = BL_PROMPT_A1111; syntax <= BL_PROMPT_PLAIN; syntax++) {
        parse(tokenizer, text, size, (bl_prompt_syntax)syntax);
    }
    free(text);
    return 0;
}
