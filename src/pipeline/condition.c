#include "pipeline/condition.h"

#include "pipeline/finite.h"
#include "text/adapter_tags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A1111 and diffusers give SDXL zeros in place of a negative prompt: A1111 of one that is empty (exactly;
 * blanks are text), diffusers only of one that is not there. */
static bool zeros_for(const bl_request *r, const bl_architecture *arch, const char *negative) {
    if (!r->guided || !arch->family->zero_negative) {
        return false;
    }
    return r->compat == BL_COMPAT_DIFFUSERS ? !negative && !arch->encodes_empty_negative
                                            : r->compat == BL_COMPAT_A1111 && (!negative || !*negative);
}

/* The row gets `most` chunks, empty ones behind its text. */
static int extend(bl_condition *c, const bl_architecture *arch, int row, int most, bl_error *err) {
    int result = 0;
    c->chunks[row] = most;
    for (int e = 0; e < arch->family->encoders && !result; e++) {
        result = bl_chunks_extend(&c->text[e][row], most, arch->text[e].pad_token, err);
    }
    return result;
}

static int parse_plain_text(bl_condition *c, int row, const char *text, const bl_request *r,
                            const bl_architecture *arch,
                            const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS], bl_error *err) {
    static const bl_prompt_syntax syntaxes[BL_COMPAT_COUNT] = {[BL_COMPAT_A1111] = BL_PROMPT_A1111,
                                                               [BL_COMPAT_COMFYUI] = BL_PROMPT_COMFYUI,
                                                               [BL_COMPAT_DIFFUSERS] = BL_PROMPT_PLAIN};
    int most = 0;
    for (int e = 0; e < arch->family->encoders; e++) {
        bl_chunks *chunks = &c->text[e][row];
        int result = bl_prompt_parse(chunks, tokenizer[e], text, strlen(text), syntaxes[r->compat],
                                     arch->text[e].pad_token, err);
        if (result) {
            return result;
        }
        most = chunks->count > most ? chunks->count : most;
        c->from_empty = c->from_empty || (r->compat == BL_COMPAT_COMFYUI && bl_emphasis_any(chunks));
    }
    c->tokens = most * BL_CHUNK_TOKENS > c->tokens ? most * BL_CHUNK_TOKENS : c->tokens;
    return extend(c, arch, row, most, err); /* tokenizers with words of their own may differ */
}

static int parse_plain_texts(bl_condition *c, const char *const texts[2], const bl_request *r,
                             const bl_architecture *arch,
                             const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS], bl_error *err) {
    int result = 0;
    for (int row = 0; row < c->rows && !result; row++) {
        result = parse_plain_text(c, row, texts[row + 2 - c->rows], r, arch, tokenizer, err);
    }
    return result;
}

/* Adapters' tags are no words to draw: adapters.h reads them. */
static int parse_texts(bl_condition *c, const bl_request *r, const bl_architecture *arch,
                       const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS], bl_error *err) {
    char *negative = bl_without_adapter_tags(r->o->negative_prompt ? r->o->negative_prompt : "");
    char *prompt = bl_without_adapter_tags(r->o->prompt);
    int result = negative && prompt
                     ? parse_plain_texts(c, (const char *const[]){negative, prompt}, r, arch, tokenizer, err)
                     : bl_fail_memory(err, "the prompt", strlen(r->o->prompt));
    free(negative);
    free(prompt);
    return result;
}

/* A1111's "Pad conds": the shorter text gets empty chunks. */
static int pad_texts(bl_condition *c, const bl_architecture *arch, bl_error *err) {
    int most = c->tokens / BL_CHUNK_TOKENS, result = 0;
    for (int row = 0; row < c->rows && !result; row++) {
        c->padded = c->padded || c->chunks[row] < most;
        result = extend(c, arch, row, most, err);
    }
    return result;
}

int bl_condition_parse(bl_condition *out, bl_request *r, const bl_architecture *arch,
                       const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS], bl_error *err) {
    bl_condition c = {.rows = r->guided ? 2 : 1,
                      .zero_row = zeros_for(r, arch, r->o->negative_prompt),
                      .clip_skip = r->clip_skip,
                      .own_context = r->guided && r->negative_own_context,
                      .context_dim = arch->unet.context_dim,
                      .pooled_dim =
                          arch->family->pooled < 0 ? 0 : arch->text[arch->family->pooled].projection};
    int result = parse_texts(&c, r, arch, tokenizer, err);
    if (!result && r->o->pad_conds && r->compat == BL_COMPAT_A1111) {
        result = pad_texts(&c, arch, err);
    }
    for (int e = 0; e < arch->family->encoders && c.from_empty && !result; e++) {
        result = bl_chunks_extend(&c.empty[e], 1, arch->text[e].pad_token, err);
    }
    if (result) {
        bl_condition_clear(&c);
        return result;
    }
    *out = c;
    r->padded = c.padded;
    return 0;
}

void bl_condition_tell(const bl_condition *c, const bl_request *r, const bl_architecture *arch,
                       const bl_log *log) {
    for (int row = 0; row < c->rows; row++) {
        if (c->text[0][row].left_out) {
            bl_log_line(log, BL_LOG_WARNING, "diffusers takes 75 tokens of %s: the last %d are left out",
                        row + 1 < c->rows ? "the negative prompt" : "the prompt", c->text[0][row].left_out);
        }
    }
    if (r->o->clip_skip > 1 && !arch->family->a1111_clip_skip && r->compat == BL_COMPAT_A1111) {
        bl_log_line(log, BL_LOG_WARNING,
                    "clip-skip %d changes nothing: %s reads one layer of %s, whatever it is", r->o->clip_skip,
                    bl_compat_name(r->compat), arch->family->name);
    }
    if (r->compat != BL_COMPAT_A1111 && (r->o->pad_conds || r->o->ensd)) {
        bl_log_line(log, BL_LOG_WARNING, "%s changes nothing: %s has no such setting",
                    r->o->pad_conds ? "pad-conds" : "ensd", bl_compat_name(r->compat));
    }
}

bool bl_condition_own_lengths(const bl_condition *c) {
    return c->rows == 2 && c->chunks[0] != c->chunks[1];
}

void bl_condition_clear(bl_condition *c) {
    for (int e = 0; e < 2; e++) {
        for (int row = 0; row < 2; row++) {
            bl_chunks_clear(&c->text[e][row]);
        }
        bl_chunks_clear(&c->empty[e]);
    }
    free(c->context);
    free(c->pooled);
    memset(c, 0, sizeof *c);
}

/* Chunks that the encoders see: all but the one that is zeros, and an empty one if weights need it. */
static int encoded_chunks(const bl_condition *c) {
    return c->chunks[0] + (c->rows == 2 ? c->chunks[1] : 0) - c->zero_row + c->from_empty;
}

int bl_condition_phases(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err) {
    static const char *const names[] = {"encode prompt", "encode prompt 2"};
    for (int e = 0; e < arch->family->encoders; e++) {
        bl_shape_key key = {
            .batch = encoded_chunks(c), .clip_skip = c->clip_skip, .own_context = c->own_context};
        c->phase[e] = bl_generation_phase(generation, names[e], "prompt",
                                          e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, key, 1, err);
        if (c->phase[e] < 0) {
            return c->phase[e];
        }
    }
    return 0;
}

/* Puts one encoded chunk, hidden [77, width], into its place in the context. `empty`: the same of an empty
 * text, or NULL where weights work on the chunk alone. */
static void place(bl_condition *c, float *hidden, const float *empty, int e, int row, int chunk, int channel,
                  int width) {
    const float *weights = c->text[e][row].weights + (size_t)chunk * BL_CHUNK_TOKENS;
    size_t first = (size_t)row * (size_t)c->tokens + (size_t)chunk * BL_CHUNK_TOKENS;
    if (empty) {
        bl_emphasis_apply_comfyui(hidden, weights, empty, BL_CHUNK_TOKENS, width);
    } else {
        bl_emphasis_apply(hidden, weights, BL_CHUNK_TOKENS, width);
    }
    for (size_t i = 0; i < BL_CHUNK_TOKENS; i++) {
        memcpy(c->context + (first + i) * (size_t)c->context_dim + channel, hidden + i * (size_t)width,
               (size_t)width * sizeof *hidden);
    }
}

/* What one run of an encoder reads and writes. */
typedef struct run {
    size_t chunks;
    int32_t *ids;  /* [chunks, 77] */
    int32_t *eos;  /* [chunks] */
    float *hidden; /* [chunks, 77, width] */
    float *own;    /* [chunks, 77, width], without clip skip, if row 0 reads that; else NULL */
    float *pooled; /* [chunks, projection] */
} run;

static int open_run(run *x, const bl_condition *c, const bl_text_architecture *t, bl_error *err) {
    size_t chunks = (size_t)encoded_chunks(c), tokens = chunks * BL_CHUNK_TOKENS, width = (size_t)t->width;
    *x = (run){.chunks = chunks,
               .ids = malloc(tokens * sizeof *x->ids),
               .eos = malloc(chunks * sizeof *x->eos),
               .hidden = malloc(tokens * width * sizeof *x->hidden),
               .own = c->own_context ? malloc(tokens * width * sizeof *x->own) : NULL,
               .pooled = malloc(chunks * (size_t)(t->projection + 1) * sizeof *x->pooled)};
    return x->ids && x->eos && x->hidden && x->pooled && (x->own || !c->own_context)
               ? 0
               : bl_fail_memory(err, "the encoded prompt", tokens * width * sizeof *x->hidden);
}

static void close_run(run *x) {
    free(x->ids);
    free(x->eos);
    free(x->hidden);
    free(x->own);
    free(x->pooled);
}

/* The token at which a chunk is pooled. */
static int32_t pool_place(const bl_chunks *text, int chunk, bool at_largest) {
    const int32_t *ids = text->ids + (size_t)chunk * BL_CHUNK_TOKENS;
    int32_t place = 0;
    for (int32_t i = 1; at_largest && i < BL_CHUNK_TOKENS; i++) {
        place = ids[i] > ids[place] ? i : place;
    }
    return at_largest ? place : text->eos_index[chunk];
}

/* Runs one encoder on all chunks of both rows and puts its share of the channels into the context. */
static int encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch, int e, int channel,
                  bl_error *err) {
    const bl_text_architecture *t = &arch->text[e];
    run x;
    int result = open_run(&x, c, t, err);
    size_t n = 0;
    for (int row = 0; row < c->rows && !result; row++) {
        for (int chunk = row == 0 && c->zero_row ? 1 : 0; chunk < c->chunks[row]; chunk++, n++) {
            memcpy(x.ids + n * BL_CHUNK_TOKENS, c->text[e][row].ids + (size_t)chunk * BL_CHUNK_TOKENS,
                   BL_CHUNK_TOKENS * sizeof *x.ids);
            x.eos[n] = pool_place(&c->text[e][row], chunk, t->pools_largest);
        }
    }
    if (c->from_empty && !result) {
        memcpy(x.ids + n * BL_CHUNK_TOKENS, c->empty[e].ids, BL_CHUNK_TOKENS * sizeof *x.ids);
        x.eos[n] = pool_place(&c->empty[e], 0, t->pools_largest);
    }
    bool wants_pooled = e == arch->family->pooled;
    bl_port inputs[] = {{"ids", x.ids}, {wants_pooled ? "eos" : NULL, x.eos}, {NULL, NULL}};
    bl_port outputs[] = {{"context", x.hidden},
                         {wants_pooled ? "text_embeds" : NULL, x.pooled},
                         {x.own ? "own_context" : NULL, x.own},
                         {NULL, NULL}};
    result = result ? result : bl_generation_pass(generation, c->phase[e], inputs, outputs, err);
    size_t row_floats = BL_CHUNK_TOKENS * (size_t)t->width;
    if (!result && x.own) { /* the chunks of row 0 come first */
        memcpy(x.hidden, x.own, (size_t)(c->chunks[0] - c->zero_row) * row_floats * sizeof *x.hidden);
    }
    size_t pooled_floats = wants_pooled ? x.chunks * (size_t)t->projection : 0;
    if (!result &&
        !(bl_all_finite(x.hidden, x.chunks * row_floats) && bl_all_finite(x.pooled, pooled_floats))) {
        result =
            bl_fail_nan(generation, e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, "in the encoded prompt", err);
    }
    const float *empty = c->from_empty ? x.hidden + n * row_floats : NULL;
    n = 0;
    for (int row = 0; row < c->rows && !result; row++) {
        for (int chunk = row == 0 && c->zero_row ? 1 : 0; chunk < c->chunks[row]; chunk++, n++) {
            place(c, x.hidden + n * row_floats, empty, e, row, chunk, channel, t->width);
            if (wants_pooled && chunk == 0) { /* the pooled text is that of the first chunk, as everywhere */
                memcpy(c->pooled + (size_t)row * (size_t)c->pooled_dim, x.pooled + n * (size_t)c->pooled_dim,
                       (size_t)c->pooled_dim * sizeof *x.pooled);
            }
        }
    }
    close_run(&x);
    return result;
}

int bl_condition_encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err) {
    size_t row = (size_t)c->tokens * (size_t)c->context_dim;
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
    return result;
}
