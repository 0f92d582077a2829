#include "pipeline/condition.h"

#include "pipeline/words.h"
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
                     const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS], const bl_wordbook *words,
                     bl_error *err) {
    size_t n = (size_t)c->texts.count;
    int result = 0;
    c->chunks = calloc(n, sizeof *c->chunks);
    c->length = calloc(n, sizeof *c->length);
    for (int e = 0; e < 2; e++) {
        c->text[e] = calloc(n, sizeof *c->text[e]);
    }
    if (!c->chunks || !c->length || !c->text[0] || !c->text[1]) {
        return bl_fail_memory(err, "the prompt", n * sizeof *c->text[0]);
    }
    if (arch->family->reader != BL_READER_CLIP) {
        return bl_words_parse(c, arch, words, tokenizer, err);
    }
    for (int i = 0; i < c->texts.count && !result; i++) {
        result = parse_text(c, i, r, arch, tokenizer, err);
        c->length[i] = c->chunks[i] * BL_CHUNK_TOKENS;
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

/* Tokens of the unconditional row and of the longest conditional one at a call. */
static void lengths_at(int of[2], const bl_condition *c, int pass, int call) {
    of[0] = of[1] = 0;
    for (int row = 0; row < c->rows; row++) {
        int *most = &of[!(c->texts.guided && !row)], n = c->length[bl_texts_at(&c->texts, pass, row, call)];
        n = c->words ? (n + c->row_step - 1) / c->row_step * c->row_step : n;
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
    c->tokens = most;
    c->own_lengths = least != most;
}

/* Beside T5 it is the row of CLIP's end token as it is, or of two side by side. */
static int pooled_dim(const bl_architecture *arch) {
    const bl_family *f = arch->family;
    return f->words.beside ? bl_text_vector_dim(&arch->text[0]) + bl_text_vector_dim(&arch->text[1])
           : f->reader == BL_READER_T5 ? arch->text[0].width
           : f->pooled < 0             ? 0
                                       : arch->text[f->pooled].projection;
}

int bl_condition_parse(bl_condition *out, bl_request *r, const bl_architecture *arch,
                       const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS], const bl_wordbook *words,
                       bl_error *err) {
    bl_condition c = {
        .clip_skip = r->clip_skip, .context_dim = arch->context_dim, .pooled_dim = pooled_dim(arch)};
    int result = read_texts(&c, r, err);
    if (!result) {
        c.rows = c.texts.rows;
        c.zero_row = zeros_for(&c, r, arch);
        c.own_context = c.texts.guided && r->negative_own_context;
        result = parse_all(&c, r, arch, tokenizer, words, err);
    }
    if (!result) {
        measure(&c, r->o->pad_conds && r->compat == BL_COMPAT_A1111 && !r->plain);
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
        if (c->text[0][i].left_out && !c->words) {
            bl_log_line(log, BL_LOG_WARNING, "diffusers takes 75 tokens of %s: the last %d are left out",
                        i < c->texts.negative ? "the negative prompt" : "the prompt", c->text[0][i].left_out);
        }
    }
    bl_words_tell(c, r, arch, log);
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

void bl_condition_forget(bl_condition *c) {
    free(c->context);
    free(c->pooled);
    c->context = c->pooled = NULL;
}

void bl_condition_clear(bl_condition *c) {
    for (int e = 0; e < 2; e++) {
        for (int i = 0; c->text[e] && i < c->texts.count; i++) {
            bl_chunks_clear(&c->text[e][i]);
        }
        free(c->text[e]);
        bl_chunks_clear(&c->empty[e]);
    }
    bl_words_clear(c);
    free(c->length);
    bl_condition_clear_encoded(c);
    free(c->chunks);
    bl_condition_forget(c);
    bl_texts_clear(&c->texts);
    memset(c, 0, sizeof *c);
}

int bl_condition_chunks_before(const bl_condition *c, int text) {
    int n = 0;
    while (text) {
        n += c->chunks[--text];
    }
    return n;
}

size_t bl_condition_rows_before(const bl_condition *c, int text) {
    size_t n = 0;
    while (text) {
        n += (size_t)c->length[--text];
    }
    return n;
}

int bl_condition_encoded(const bl_condition *c) {
    return bl_condition_chunks_before(c, c->texts.count) - c->zero_row + c->needs_empty;
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

/* One row's context, and behind it as many rows as make `most`: of CLIP copies of its last vector, as A1111
 * joins prompts of two lengths by AND, of a language model zeros; and then, where texts are padded, empty
 * chunks up to `padded`. */
static void fill_row(float *to, const bl_condition *c, int text, int most, int padded) {
    const size_t dim = (size_t)c->context_dim, chunk = BL_CHUNK_TOKENS * dim;
    const size_t n = (size_t)c->length[text] * dim, empty = bl_condition_rows_before(c, c->texts.count) * dim;
    memcpy(to, c->context + bl_condition_rows_before(c, text) * dim, n * sizeof *to);
    for (size_t i = n; i < (size_t)most * dim; i++) {
        to[i] = c->words ? 0 : to[i - dim];
    }
    for (int k = most; k < padded; k += BL_CHUNK_TOKENS) {
        memcpy(to + (size_t)k * dim, c->context + empty, chunk * sizeof *to);
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
        most = c->words ? c->tokens : most;
        int padded = c->pads ? longest : most;
        float *first = context + (size_t)(row * batch) * row_floats;
        fill_row(first, c, text, most, padded);
        for (int b = 0; b < batch; b++) {
            size_t at = (size_t)(row * batch + b);
            if (b) {
                memcpy(context + at * row_floats, first, row_floats * sizeof *context);
            }
            if (pooled) {
                memcpy(pooled + at * pooled_dim, c->pooled + (size_t)text * pooled_dim,
                       pooled_dim * sizeof *pooled);
            }
            if (lengths) {
                lengths[at] = c->words ? c->length[text] : padded;
            }
        }
    }
}
