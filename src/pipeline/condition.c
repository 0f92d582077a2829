#include "pipeline/condition.h"

#include "pipeline/finite.h"
#include "text/adapter_tags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A1111 and diffusers give SDXL zeros in place of a negative prompt: A1111 of one that is empty (exactly;
 * blanks are text), diffusers only of one that is not there. */
static bool zeros_for(const bl_condition *c, const bl_request *r, const bl_architecture *arch) {
    if (!c->texts.guided || !arch->family->zero_negative) {
        return false;
    }
    return r->compat == BL_COMPAT_DIFFUSERS
               ? !r->o->negative_prompt && !arch->encodes_empty_negative
               : r->compat == BL_COMPAT_A1111 && c->texts.negative == 1 && !*c->texts.text[0];
}

static int parse_text(bl_condition *c, int i, const bl_request *r, const bl_architecture *arch,
                      const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS], bl_error *err) {
    static const bl_prompt_syntax syntaxes[BL_COMPAT_COUNT] = {[BL_COMPAT_A1111] = BL_PROMPT_A1111,
                                                               [BL_COMPAT_COMFYUI] = BL_PROMPT_COMFYUI,
                                                               [BL_COMPAT_DIFFUSERS] = BL_PROMPT_PLAIN};
    const char *text = c->texts.text[i];
    int result = 0;
    for (int e = 0; e < arch->family->encoders && !result; e++) {
        bl_chunks *chunks = &c->text[e][i];
        result = bl_prompt_parse(chunks, tokenizer[e], text, strlen(text), syntaxes[r->compat],
                                 arch->text[e].pad_token, err);
        if (!result) {
            c->chunks[i] = chunks->count > c->chunks[i] ? chunks->count : c->chunks[i];
            c->from_empty = c->from_empty || (r->compat == BL_COMPAT_COMFYUI && bl_emphasis_any(chunks));
        }
    }
    for (int e = 0; e < arch->family->encoders && !result;
         e++) { /* tokenizers with words of their own may differ */
        result = bl_chunks_extend(&c->text[e][i], c->chunks[i], arch->text[e].pad_token, err);
    }
    return result;
}

static int parse_all(bl_condition *c, const bl_request *r, const bl_architecture *arch,
                     const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS], bl_error *err) {
    size_t n = (size_t)c->texts.count;
    int result = 0;
    c->chunks = calloc(n, sizeof *c->chunks);
    for (int e = 0; e < 2; e++) {
        c->text[e] = calloc(n, sizeof *c->text[e]);
    }
    if (!c->chunks || !c->text[0] || !c->text[1]) {
        return bl_fail_memory(err, "the prompt", n * sizeof *c->text[0]);
    }
    for (int i = 0; i < c->texts.count && !result; i++) {
        result = parse_text(c, i, r, arch, tokenizer, err);
    }
    return result;
}

/* Adapters' tags are no words to draw: adapters.h reads them. */
static int read_texts(bl_condition *c, const bl_request *r, bl_error *err) {
    char *negative = bl_without_adapter_tags(r->o->negative_prompt ? r->o->negative_prompt : "");
    char *prompt = bl_without_adapter_tags(r->o->prompt);
    int result = negative && prompt ? bl_texts_read(&c->texts, r, negative, prompt, err)
                                    : bl_fail_memory(err, "the prompt", strlen(r->o->prompt));
    free(negative);
    free(prompt);
    return result;
}

/* Chunks of the unconditional row and of the longest conditional one at a call. */
static void lengths_at(int of[2], const bl_condition *c, int pass, int call) {
    of[0] = of[1] = 0;
    for (int row = 0; row < c->rows; row++) {
        int *most = &of[!(c->texts.guided && !row)], n = c->chunks[bl_texts_at(&c->texts, pass, row, call)];
        *most = n > *most ? n : *most;
    }
}

/* What lengths there are, over all calls. `pads`: A1111's "Pad conds". */
static void measure(bl_condition *c, bool pads) {
    int most = 0, least = 0, of[2];
    bool differ = false;
    for (int pass = 0; pass < 2; pass++) {
        for (int call = 0; call < bl_texts_calls(&c->texts, pass); call++) {
            lengths_at(of, c, pass, call);
            int longest = of[0] > of[1] ? of[0] : of[1];
            int shortest = c->texts.guided && of[0] < of[1] ? of[0] : of[1];
            differ = differ || longest != shortest;
            shortest = pads ? longest : shortest;
            most = longest > most ? longest : most;
            least = !least || shortest < least ? shortest : least;
        }
    }
    c->pads = pads && differ;
    c->tokens = most * BL_CHUNK_TOKENS;
    c->own_lengths = least != most;
}

int bl_condition_parse(bl_condition *out, bl_request *r, const bl_architecture *arch,
                       const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS], bl_error *err) {
    bl_condition c = {.clip_skip = r->clip_skip,
                      .context_dim = arch->unet.context_dim,
                      .pooled_dim =
                          arch->family->pooled < 0 ? 0 : arch->text[arch->family->pooled].projection};
    int result = read_texts(&c, r, err);
    if (!result) {
        c.rows = c.texts.rows;
        c.zero_row = zeros_for(&c, r, arch);
        c.own_context = c.texts.guided && r->negative_own_context;
        result = parse_all(&c, r, arch, tokenizer, err);
    }
    if (!result) {
        measure(&c, r->o->pad_conds && r->compat == BL_COMPAT_A1111);
        c.needs_empty = c.from_empty || c.pads;
    }
    for (int e = 0; e < arch->family->encoders && c.needs_empty && !result; e++) {
        result = bl_chunks_extend(&c.empty[e], 1, arch->text[e].pad_token, err);
    }
    if (result) {
        bl_condition_clear(&c);
        return result;
    }
    *out = c;
    r->padded = c.pads;
    return 0;
}

void bl_condition_tell(const bl_condition *c, const bl_request *r, const bl_architecture *arch,
                       const bl_log *log) {
    for (int i = 0; i < c->texts.count; i++) {
        if (c->text[0][i].left_out) {
            bl_log_line(log, BL_LOG_WARNING, "diffusers takes 75 tokens of %s: the last %d are left out",
                        i < c->texts.negative ? "the negative prompt" : "the prompt", c->text[0][i].left_out);
        }
    }
    double weight = c->texts.row[0][c->texts.guided].weight;
    if (c->rows == c->texts.guided + 1 && weight != 1) {
        bl_log_line(log, BL_LOG_INFO,
                    "The prompt ends in a number: as in A1111 that is its weight, %g, which multiplies --cfg",
                    weight);
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

void bl_condition_clear(bl_condition *c) {
    for (int e = 0; e < 2; e++) {
        for (int i = 0; c->text[e] && i < c->texts.count; i++) {
            bl_chunks_clear(&c->text[e][i]);
        }
        free(c->text[e]);
        bl_chunks_clear(&c->empty[e]);
    }
    free(c->chunks);
    free(c->context);
    free(c->pooled);
    bl_texts_clear(&c->texts);
    memset(c, 0, sizeof *c);
}

/* Chunks of all texts before text i. */
static int chunks_before(const bl_condition *c, int i) {
    int n = 0;
    while (i) {
        n += c->chunks[--i];
    }
    return n;
}

int bl_condition_encoded(const bl_condition *c) {
    return chunks_before(c, c->texts.count) - c->zero_row + c->needs_empty;
}

int bl_condition_phases(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err) {
    static const char *const names[] = {"encode prompt", "encode prompt 2"};
    int n = bl_condition_encoded(c), passes = (n + BL_ENCODED_AT_ONCE - 1) / BL_ENCODED_AT_ONCE;
    passes = passes ? passes : 1;
    c->encoder_batch = (n + passes - 1) / passes;
    for (int e = 0; e < arch->family->encoders; e++) {
        bl_shape_key key = {
            .batch = c->encoder_batch, .clip_skip = c->clip_skip, .own_context = c->own_context};
        c->phase[e] = bl_generation_phase(generation, names[e], "prompt",
                                          e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, key, passes, err);
        if (c->phase[e] < 0) {
            return c->phase[e];
        }
    }
    return 0;
}

/* Puts one encoded chunk, hidden [77, width], with these weights (NULL: all 1) into its place in the context.
 * `empty`: the same of an empty text, or NULL where weights work on the chunk alone. */
static void place(bl_condition *c, float *hidden, const float *empty, const float *weights, int chunk,
                  int channel, int width) {
    float *to = c->context + (size_t)chunk * BL_CHUNK_TOKENS * (size_t)c->context_dim + channel;
    if (weights && empty) {
        bl_emphasis_apply_comfyui(hidden, weights, empty, BL_CHUNK_TOKENS, width);
    } else if (weights) {
        bl_emphasis_apply(hidden, weights, BL_CHUNK_TOKENS, width);
    }
    for (size_t i = 0; i < BL_CHUNK_TOKENS; i++) {
        memcpy(to + i * (size_t)c->context_dim, hidden + i * (size_t)width, (size_t)width * sizeof *hidden);
    }
}

/* What one encoder reads and writes. */
typedef struct run {
    size_t chunks, batch; /* chunks of all passes, the last one filled up; of one */
    int32_t *ids;         /* [chunks, 77] */
    int32_t *eos;         /* [chunks] */
    float *hidden;        /* [chunks, 77, width] */
    float *own;    /* [chunks, 77, width], without clip skip, if the negative prompt reads that; else NULL */
    float *pooled; /* [chunks, projection] */
} run;

static int open_run(run *x, const bl_condition *c, const bl_text_architecture *t, bl_error *err) {
    size_t batch = (size_t)c->encoder_batch, n = (size_t)bl_condition_encoded(c);
    size_t chunks = (n + batch - 1) / batch * batch, tokens = chunks * BL_CHUNK_TOKENS,
           width = (size_t)t->width;
    *x = (run){.chunks = chunks,
               .batch = batch,
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

static void put_chunk(run *x, size_t n, const bl_chunks *text, int chunk, bool at_largest) {
    memcpy(x->ids + n * BL_CHUNK_TOKENS, text->ids + (size_t)chunk * BL_CHUNK_TOKENS,
           BL_CHUNK_TOKENS * sizeof *x->ids);
    x->eos[n] = pool_place(text, chunk, at_largest);
}

/* The chunk of a text that is encoded first: the one before may be zeros. */
static int first_chunk(const bl_condition *c, int text) {
    return !text && c->zero_row;
}

static void fill_run(run *x, const bl_condition *c, int e, bool at_largest) {
    size_t n = 0;
    for (int i = 0; i < c->texts.count; i++) {
        for (int chunk = first_chunk(c, i); chunk < c->chunks[i]; chunk++) {
            put_chunk(x, n++, &c->text[e][i], chunk, at_largest);
        }
    }
    if (c->needs_empty) {
        put_chunk(x, n++, &c->empty[e], 0, at_largest);
    }
    for (; n && n < x->chunks; n++) { /* what fills the last pass is not looked at */
        memcpy(x->ids + n * BL_CHUNK_TOKENS, x->ids, BL_CHUNK_TOKENS * sizeof *x->ids);
        x->eos[n] = x->eos[0];
    }
}

static int run_passes(run *x, bl_generation *generation, int phase, const bl_text_architecture *t,
                      bool pooled, bl_error *err) {
    size_t row = BL_CHUNK_TOKENS * (size_t)t->width;
    int result = 0;
    for (size_t n = 0; n < x->chunks && !result; n += x->batch) {
        bl_port inputs[] = {
            {"ids", x->ids + n * BL_CHUNK_TOKENS}, {pooled ? "eos" : NULL, x->eos + n}, {NULL, NULL}};
        bl_port outputs[] = {{"context", x->hidden + n * row},
                             {pooled ? "text_embeds" : NULL, x->pooled + n * (size_t)t->projection},
                             {x->own ? "own_context" : NULL, x->own ? x->own + n * row : NULL},
                             {NULL, NULL}};
        result = bl_generation_pass(generation, phase, inputs, outputs, err);
    }
    return result;
}

/* Runs one encoder on all chunks of all texts and puts its share of the channels into the context. */
static int encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch, int e, int channel,
                  bl_error *err) {
    const bl_text_architecture *t = &arch->text[e];
    const size_t row = BL_CHUNK_TOKENS * (size_t)t->width;
    bool pooled = e == arch->family->pooled;
    run x;
    int result = open_run(&x, c, t, err);
    if (!result) {
        fill_run(&x, c, e, t->pools_largest);
        result = run_passes(&x, generation, c->phase[e], t, pooled, err);
    }
    size_t negative = (size_t)(chunks_before(c, c->texts.negative) - c->zero_row); /* they come first */
    if (!result && x.own) {
        memcpy(x.hidden, x.own, negative * row * sizeof *x.hidden);
    }
    if (!result && !(bl_all_finite(x.hidden, x.chunks * row) &&
                     bl_all_finite(x.pooled, pooled ? x.chunks * (size_t)t->projection : 0))) {
        result =
            bl_fail_nan(generation, e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, "in the encoded prompt", err);
    }
    size_t n = 0, all = (size_t)bl_condition_encoded(c);
    int at = 0;
    float *last = x.hidden && all ? x.hidden + (all - 1) * row : NULL; /* the empty one, where it is needed */
    for (int i = 0; i < c->texts.count && !result; at += c->chunks[i], i++) {
        for (int chunk = first_chunk(c, i); chunk < c->chunks[i]; chunk++, n++) {
            place(c, x.hidden + n * row, c->from_empty ? last : NULL,
                  c->text[e][i].weights + (size_t)chunk * BL_CHUNK_TOKENS, at + chunk, channel, t->width);
            if (pooled && chunk == 0) { /* the pooled text is that of the first chunk, as everywhere */
                memcpy(c->pooled + (size_t)i * (size_t)c->pooled_dim, x.pooled + n * (size_t)c->pooled_dim,
                       (size_t)c->pooled_dim * sizeof *x.pooled);
            }
        }
    }
    if (!result && c->needs_empty) {
        place(c, last, NULL, NULL, at, channel, t->width);
    }
    close_run(&x);
    return result;
}

int bl_condition_encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err) {
    size_t chunks = (size_t)chunks_before(c, c->texts.count) + c->needs_empty;
    size_t floats = chunks * BL_CHUNK_TOKENS * (size_t)c->context_dim;
    c->context = calloc(floats, sizeof *c->context);
    c->pooled = calloc((size_t)c->texts.count * (size_t)c->pooled_dim + 1, sizeof *c->pooled);
    if (!c->context || !c->pooled) {
        return bl_fail_memory(err, "the context", floats * sizeof *c->context);
    }
    int result = 0;
    for (int e = 0, channel = 0; e < arch->family->encoders && !result; e++) {
        result = encode(c, generation, arch, e, channel, err);
        channel += arch->text[e].width;
    }
    return result;
}

/* ---- what the denoiser is told */

bool bl_condition_changes(const bl_condition *c, int pass, int call) {
    bool changes = false;
    for (int row = 0; row < c->rows; row++) {
        changes =
            changes || bl_texts_at(&c->texts, pass, row, call) != bl_texts_at(&c->texts, pass, row, call - 1);
    }
    return changes;
}

/* One row's context of `chunks` chunks, and behind it as many as make `most`: copies of its last vector, as
 * A1111 joins prompts of two lengths by AND; and then, where texts are padded, empty chunks up to `padded`.
 */
static void fill_row(float *to, const bl_condition *c, int text, int most, int padded) {
    const size_t dim = (size_t)c->context_dim, chunk = BL_CHUNK_TOKENS * dim;
    const size_t n = (size_t)c->chunks[text] * chunk,
                 empty = (size_t)chunks_before(c, c->texts.count) * chunk;
    memcpy(to, c->context + (size_t)chunks_before(c, text) * chunk, n * sizeof *to);
    for (size_t i = n; i < (size_t)most * chunk; i++) {
        to[i] = to[i - dim];
    }
    for (int k = most; k < padded; k++) {
        memcpy(to + (size_t)k * chunk, c->context + empty, chunk * sizeof *to);
    }
}

void bl_condition_fill(float *context, float *pooled, int32_t *lengths, const bl_condition *c, int pass,
                       int call, int batch) {
    const size_t row_floats = (size_t)c->tokens * (size_t)c->context_dim, pooled_dim = (size_t)c->pooled_dim;
    int of[2];
    lengths_at(of, c, pass, call);
    int longest = of[0] > of[1] ? of[0] : of[1];
    for (int row = 0; row < c->rows; row++) {
        int text = bl_texts_at(&c->texts, pass, row, call), most = of[!(c->texts.guided && !row)];
        int padded = c->pads ? longest : most;
        float *first = context + (size_t)(row * batch) * row_floats;
        fill_row(first, c, text, most, padded);
        for (int b = 0; b < batch; b++) {
            size_t at = (size_t)(row * batch + b);
            if (b) {
                memcpy(context + at * row_floats, first, row_floats * sizeof *context);
            }
            memcpy(pooled + at * pooled_dim, c->pooled + (size_t)text * pooled_dim,
                   pooled_dim * sizeof *pooled);
            if (lengths) {
                lengths[at] = padded * BL_CHUNK_TOKENS;
            }
        }
    }
}
