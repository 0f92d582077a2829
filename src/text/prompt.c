#include "text/prompt.h"

#include "text/emphasis.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_TOKENS (BL_CHUNK_TOKENS - 2)
#define COMMA 267 /* ",</w>" */
#define COMMA_BACKTRACK 20
#define LARGE_SPAN 8 /* tokens from which on ComfyUI cuts a span where the chunk is full */

/* The chunk at work, before the start and end tokens are put around it. */
typedef struct builder {
    bl_chunks out;
    int capacity; /* chunks that `out` has room for */
    bl_prompt_syntax syntax;
    int32_t pad_token;
    int32_t ids[TEXT_TOKENS];
    float weights[TEXT_TOKENS];
    int count;
    int last_comma; /* its place in ids, -1: none */
} builder;

static int reserve(bl_chunks *c, int *capacity, int count, bl_error *err) {
    if (count <= *capacity) {
        return BL_OK;
    }
    size_t n = (size_t)count + (size_t)*capacity;
    int32_t *ids = realloc(c->ids, n * BL_CHUNK_TOKENS * sizeof *ids);
    c->ids = ids ? ids : c->ids;
    float *weights = realloc(c->weights, n * BL_CHUNK_TOKENS * sizeof *weights);
    c->weights = weights ? weights : c->weights;
    int32_t *eos_index = realloc(c->eos_index, n * sizeof *eos_index);
    c->eos_index = eos_index ? eos_index : c->eos_index;
    if (!ids || !weights || !eos_index) {
        return bl_fail_memory(err, "the prompt's chunks", n * BL_CHUNK_TOKENS * 8);
    }
    *capacity = (int)n;
    return BL_OK;
}

/* Writes chunk number c->count, for which there is room. `ends`: see below. */
static void put_chunk(bl_chunks *c, const int32_t *ids, const float *weights, int count, int32_t pad_token,
                      bool ends) {
    int32_t *row = c->ids + (size_t)c->count * BL_CHUNK_TOKENS;
    float *w = c->weights + (size_t)c->count * BL_CHUNK_TOKENS;
    row[0] = BL_TOKEN_BOS;
    w[0] = 1.0f;
    int32_t eos = 0;
    for (int i = 0; i < BL_CHUNK_TOKENS - 1; i++) {
        bool text = i < count;
        int32_t id = text ? ids[i] : BL_TOKEN_EOS;
        /* A prompt can hold an end token itself. In A1111 the text ends there for good where padding is
         * another token; elsewhere only what is behind the text is padding. */
        row[i + 1] = eos && (ends || i > count) ? pad_token : id;
        w[i + 1] = text ? weights[i] : 1.0f;
        if (!eos && id == BL_TOKEN_EOS) {
            eos = i + 1;
        }
    }
    c->eos_index[c->count++] = eos;
}

static int end_chunk(builder *b, bl_error *err) {
    int rc = reserve(&b->out, &b->capacity, b->out.count + 1, err);
    if (rc) {
        return rc;
    }
    bool ends = b->syntax == BL_PROMPT_A1111 && b->pad_token != BL_TOKEN_EOS;
    put_chunk(&b->out, b->ids, b->weights, b->count, b->pad_token, ends);
    b->count = 0;
    b->last_comma = -1;
    return BL_OK;
}

/* The chunk is full: ends it, behind its last comma if that is near. */
static int break_chunk(builder *b, bool at_comma, bl_error *err) {
    int keep = b->count;
    if (at_comma && b->last_comma >= 0 && b->count - b->last_comma <= COMMA_BACKTRACK) {
        keep = b->last_comma + 1;
    }
    int moved = b->count - keep;
    b->count = keep;
    int rc = end_chunk(b, err);
    if (rc) {
        return rc;
    }
    memmove(b->ids, b->ids + keep, (size_t)moved * sizeof *b->ids);
    memmove(b->weights, b->weights + keep, (size_t)moved * sizeof *b->weights);
    b->count = moved;
    return BL_OK;
}

/* How many of the tokens from `at` on are the vectors of one embedding; 0: none begins there. */
static size_t embedding_at(const bl_token_list *tokens, size_t at) {
    const int32_t *ids = tokens->ids + at;
    size_t n = 1;
    if (ids[0] < BL_VECTOR_ID || (at && ids[-1] == ids[0] - 1)) {
        return 0;
    }
    while (at + n < tokens->count && ids[n] == ids[0] + (int32_t)n) {
        n++;
    }
    return n;
}

static int add_tokens(builder *b, const bl_token_list *tokens, float weight, bl_error *err) {
    for (size_t i = 0; i < tokens->count; i++) {
        bool comma = tokens->ids[i] == COMMA;
        if (b->count == TEXT_TOKENS) {
            int rc = break_chunk(b, !comma, err);
            if (rc) {
                return rc;
            }
        } else if (comma) {
            b->last_comma = b->count;
        }
        if (b->count && (size_t)b->count + embedding_at(tokens, i) > TEXT_TOKENS) {
            int rc = end_chunk(b, err);
            if (rc) {
                return rc;
            }
        }
        b->ids[b->count] = tokens->ids[i];
        b->weights[b->count++] = weight;
    }
    return BL_OK;
}

/* ComfyUI keeps a short span in one chunk and cuts a long one where the chunk is full. */
static int add_span(builder *b, const bl_token_list *tokens, float weight, bl_error *err) {
    bool large = tokens->count >= LARGE_SPAN;
    for (size_t done = 0; done < tokens->count;) {
        size_t left = tokens->count - done, room = (size_t)(TEXT_TOKENS - b->count);
        size_t n = left <= room ? left : large ? room : 0;
        for (size_t i = 0; i < n; i++) {
            b->ids[b->count] = tokens->ids[done + i];
            b->weights[b->count++] = weight;
        }
        done += n;
        if (done < tokens->count) {
            int rc = end_chunk(b, err);
            if (rc) {
                return rc;
            }
        }
    }
    return BL_OK;
}

/* All that diffusers takes of a prompt: one chunk. */
static void add_first(builder *b, const bl_token_list *tokens) {
    size_t n = tokens->count < TEXT_TOKENS ? tokens->count : TEXT_TOKENS;
    for (size_t i = 0; i < n; i++) {
        b->ids[b->count] = tokens->ids[i];
        b->weights[b->count++] = 1.0f;
    }
    b->out.left_out = (int)(tokens->count - n);
}

static int parse_emphasis(builder *b, const bl_tokenizer *tokenizer, const char *text, size_t bytes,
                          bl_error *err) {
    bl_emphasis a;
    bool comfyui = b->syntax == BL_PROMPT_COMFYUI;
    int rc =
        comfyui ? bl_emphasis_parse_comfyui(&a, text, bytes, err) : bl_emphasis_parse(&a, text, bytes, err);
    if (rc) {
        return rc;
    }
    bl_token_list tokens = {0};
    for (size_t i = 0; !rc && i < a.count; i++) {
        if (a.spans[i].is_break) {
            rc = end_chunk(b, err);
            continue;
        }
        tokens.count = 0;
        rc = bl_tokenize(&tokens, tokenizer, BL_TOKEN_EOS + 1, a.text + a.spans[i].start, a.spans[i].length,
                         err);
        if (!rc) {
            float weight = (float)a.spans[i].weight;
            rc = comfyui ? add_span(b, &tokens, weight, err) : add_tokens(b, &tokens, weight, err);
        }
    }
    free(tokens.ids);
    bl_emphasis_clear(&a);
    return rc;
}

int bl_prompt_parse(bl_chunks *out, const bl_tokenizer *tokenizer, const char *text, size_t bytes,
                    bl_prompt_syntax syntax, int32_t pad_token, bl_error *err) {
    builder b = {.syntax = syntax, .pad_token = pad_token, .last_comma = -1};
    int rc;
    if (syntax != BL_PROMPT_PLAIN) {
        rc = parse_emphasis(&b, tokenizer, text, bytes, err);
    } else {
        bl_token_list tokens = {0};
        rc = bl_tokenize(&tokens, tokenizer, 0, text, bytes, err);
        if (!rc) {
            add_first(&b, &tokens);
        }
        free(tokens.ids);
    }
    if (!rc && (b.count || !b.out.count)) {
        rc = end_chunk(&b, err);
    }
    if (rc) {
        bl_chunks_clear(&b.out);
        return rc;
    }
    *out = b.out;
    return BL_OK;
}

int bl_chunks_extend(bl_chunks *chunks, int count, int32_t pad_token, bl_error *err) {
    int capacity = chunks->count;
    int rc = reserve(chunks, &capacity, count, err);
    while (!rc && chunks->count < count) {
        put_chunk(chunks, NULL, NULL, 0, pad_token, false);
    }
    return rc;
}

void bl_chunks_clear(bl_chunks *chunks) {
    free(chunks->ids);
    free(chunks->weights);
    free(chunks->eos_index);
    *chunks = (bl_chunks){0};
}

static double mean(const float *x, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i];
    }
    return sum / (double)n;
}

void bl_emphasis_apply(float *hidden, const float *weights, int64_t tokens, int64_t channels) {
    bool plain = true;
    for (int64_t t = 0; t < tokens; t++) {
        plain = plain && weights[t] == 1.0f;
    }
    if (plain) {
        return;
    }
    double before = mean(hidden, tokens * channels);
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t c = 0; c < channels; c++) {
            hidden[t * channels + c] *= weights[t];
        }
    }
    double after = mean(hidden, tokens * channels);
    if (after == 0.0 || !isfinite(before / after)) {
        return;
    }
    float factor = (float)(before / after);
    for (int64_t i = 0; i < tokens * channels; i++) {
        hidden[i] *= factor;
    }
}

void bl_emphasis_apply_comfyui(float *hidden, const float *weights, const float *empty, int64_t tokens,
                               int64_t channels) {
    for (int64_t i = 0; i < tokens * channels; i++) {
        float weight = weights[i / channels];
        hidden[i] = weight == 1.0f ? hidden[i] : (hidden[i] - empty[i]) * weight + empty[i];
    }
}

bool bl_emphasis_any(const bl_chunks *chunks) {
    bool any = false;
    for (int i = 0; i < chunks->count * BL_CHUNK_TOKENS; i++) {
        any = any || chunks->weights[i] != 1.0f;
    }
    return any;
}
