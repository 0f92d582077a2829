#include "pipeline/condition.h"

#include "pipeline/finite.h"

#include <stdlib.h>
#include <string.h>

int bl_condition_parse(bl_condition *out, const bl_request *r, const bl_architecture *arch,
                       const bl_tokenizer *tokenizer, bl_error *err) {
    bl_condition c = {.rows = r->guided ? 2 : 1, .chunks = 1};
    const char *negative = r->o->negative_prompt;
    const char *texts[2] = {negative ? negative : "", r->o->prompt};
    bl_prompt_syntax syntax = r->compat == BL_COMPAT_DIFFUSERS ? BL_PROMPT_PLAIN : BL_PROMPT_A1111;
    c.zero_row = r->guided && !negative && r->compat == BL_COMPAT_DIFFUSERS && arch->family->zero_negative;
    int result = 0;
    for (int e = 0; e < arch->family->encoders; e++) {
        for (int row = 0; row < c.rows && !result; row++) {
            const char *text = texts[row + 2 - c.rows];
            result = bl_prompt_parse(&c.text[e][row], tokenizer, text, strlen(text), syntax,
                                     arch->text[e].pad_token, err);
            c.chunks = c.text[e][row].count > c.chunks ? c.text[e][row].count : c.chunks;
        }
    }
    for (int e = 0; e < arch->family->encoders; e++) {
        for (int row = 0; row < c.rows && !result; row++) {
            result = bl_chunks_extend(&c.text[e][row], c.chunks, arch->text[e].pad_token, err);
        }
    }
    if (result) {
        bl_condition_clear(&c);
        return result;
    }
    c.context_dim = arch->unet.context_dim;
    c.pooled_dim = arch->family->pooled < 0 ? 0 : arch->text[arch->family->pooled].projection;
    *out = c;
    return 0;
}

void bl_condition_clear(bl_condition *c) {
    for (int e = 0; e < 2; e++) {
        for (int row = 0; row < 2; row++) {
            bl_chunks_clear(&c->text[e][row]);
        }
    }
    free(c->context);
    free(c->pooled);
    memset(c, 0, sizeof *c);
}

int bl_condition_phases(bl_condition *c, bl_generation *generation, const bl_request *r,
                        const bl_architecture *arch, bl_error *err) {
    static const char *const names[] = {"encode prompt", "encode prompt 2"};
    /* 1 is the last layer, as 0 */
    int clip_skip = !arch->family->clip_skip || r->o->clip_skip == 1 ? 0 : r->o->clip_skip;
    for (int e = 0; e < arch->family->encoders; e++) {
        bl_shape_key key = {.batch = c->rows * c->chunks, .clip_skip = clip_skip};
        c->phase[e] = bl_generation_phase(generation, names[e], "prompt",
                                          e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, key, 1, err);
        if (c->phase[e] < 0) {
            return c->phase[e];
        }
    }
    return 0;
}

/* Runs one encoder on all chunks of both rows and puts its share of the channels into the context. */
static int encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch, int e, int channel,
                  bl_error *err) {
    const bl_text_architecture *t = &arch->text[e];
    size_t chunks = (size_t)c->rows * (size_t)c->chunks, tokens = chunks * BL_CHUNK_TOKENS,
           width = (size_t)t->width;
    int32_t *ids = malloc(tokens * sizeof *ids), *eos = malloc(chunks * sizeof *eos);
    float *hidden = malloc(tokens * width * sizeof *hidden);
    float *pooled = malloc(chunks * (size_t)(t->projection + 1) * sizeof *pooled);
    int result = 0;
    if (!ids || !eos || !hidden || !pooled) {
        result = bl_fail_memory(err, "the encoded prompt", tokens * width * sizeof *hidden);
        goto done;
    }
    for (int row = 0; row < c->rows; row++) {
        size_t n = (size_t)c->chunks;
        memcpy(ids + (size_t)row * n * BL_CHUNK_TOKENS, c->text[e][row].ids,
               n * BL_CHUNK_TOKENS * sizeof *ids);
        memcpy(eos + (size_t)row * n, c->text[e][row].eos_index, n * sizeof *eos);
    }
    bool wants_pooled = e == arch->family->pooled;
    bl_port inputs[] = {{"ids", ids}, {wants_pooled ? "eos" : NULL, eos}, {NULL, NULL}};
    bl_port outputs[] = {{"context", hidden}, {wants_pooled ? "text_embeds" : NULL, pooled}, {NULL, NULL}};
    result = bl_generation_pass(generation, c->phase[e], inputs, outputs, err);
    size_t pooled_floats = wants_pooled ? chunks * (size_t)t->projection : 0;
    if (!result && !(bl_all_finite(hidden, tokens * width) && bl_all_finite(pooled, pooled_floats))) {
        result =
            bl_fail_nan(generation, e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, "in the encoded prompt", err);
    }
    for (size_t k = 0; k < chunks && !result; k++) {
        int row = (int)(k / (size_t)c->chunks);
        size_t chunk = k % (size_t)c->chunks;
        float *h = hidden + k * BL_CHUNK_TOKENS * width;
        bl_emphasis_apply(h, c->text[e][row].weights + chunk * BL_CHUNK_TOKENS, BL_CHUNK_TOKENS, t->width);
        for (size_t i = 0; i < BL_CHUNK_TOKENS; i++) {
            memcpy(c->context + (k * BL_CHUNK_TOKENS + i) * (size_t)c->context_dim + channel, h + i * width,
                   width * sizeof *h);
        }
        if (wants_pooled && chunk == 0) { /* the pooled text is that of the first chunk, as everywhere */
            memcpy(c->pooled + (size_t)row * (size_t)c->pooled_dim, pooled + k * (size_t)c->pooled_dim,
                   (size_t)c->pooled_dim * sizeof *pooled);
        }
    }
done:
    free(ids);
    free(eos);
    free(hidden);
    free(pooled);
    return result;
}

int bl_condition_encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err) {
    size_t row = (size_t)c->chunks * BL_CHUNK_TOKENS * (size_t)c->context_dim;
    c->context = calloc((size_t)c->rows * row, sizeof *c->context);
    c->pooled = calloc((size_t)c->rows * (size_t)c->pooled_dim + 1, sizeof *c->pooled);
    if (!c->context || !c->pooled) {
        return bl_fail_memory(err, "the context", (size_t)c->rows * row * sizeof *c->context);
    }
    int result = 0;
    for (int e = 0, channel = 0; e < arch->family->encoders && !result; e++) {
        result = encode(c, generation, arch, e, channel, err);
        channel += arch->text[e].width;
    }
    if (!result && c->zero_row) {
        memset(c->context, 0, row * sizeof *c->context);
        memset(c->pooled, 0, (size_t)c->pooled_dim * sizeof *c->pooled);
    }
    return result;
}
