#include "pipeline/words.h"

#include "model/rope.h"
#include "pipeline/finite.h"

#include <stdlib.h>
#include <string.h>

#define EMBEDDINGS "model.embed_tokens.weight" /* [vocab, width] */

/* ---- prompt to tokens */

static int read_text(bl_token_list *list, const bl_byte_bpe *words, const bl_family_words *frame,
                     const char *text, bl_error *err) {
    const size_t before = strlen(frame->before), n = strlen(text), after = strlen(frame->after);
    char *whole = malloc(before + n + after + 1);
    if (!whole) {
        return bl_fail_memory(err, "the prompt", before + n + after + 1);
    }
    memcpy(whole, frame->before, before);
    memcpy(whole + before, text, n);
    memcpy(whole + before + n, frame->after, after + 1);
    int result = bl_byte_bpe_encode(list, words, whole, before + n + after, err);
    free(whole);
    return result;
}

/* Leaves out what is too much, fills up where the family does, and counts the rows. */
static int fit_text(bl_condition *c, int i, const bl_architecture *arch, bl_error *err) {
    const bl_family_words *frame = &arch->family->words;
    bl_token_list *list = &c->words[i];
    const size_t most = (size_t)frame->most;
    if (list->count > most) {
        c->words_left_out = c->words_left_out ? c->words_left_out : (int)(list->count - most);
        list->count = most;
    }
    for (size_t k = 0; k < list->count; k++) {
        if (list->ids[k] >= arch->qwen3.vocab) {
            return bl_fail(
                err, BL_E_FORMAT,
                "prompt: token %d is of no row of the text encoder's embeddings, of which there are %d",
                (int)list->ids[k], arch->qwen3.vocab);
        }
    }
    c->chunks[i] = 1;
    c->row_step = frame->row_step ? frame->row_step : 1;
    c->length[i] = frame->filled ? frame->most : (int)list->count;
    return 0;
}

int bl_words_parse(bl_condition *c, const bl_architecture *arch, const bl_byte_bpe *words, bl_error *err) {
    const size_t n = (size_t)c->texts.count;
    int result = 0;
    c->words = calloc(n, sizeof *c->words);
    c->word_phase = calloc(n, sizeof *c->word_phase);
    if (!c->words || !c->word_phase) {
        return bl_fail_memory(err, "the prompt", n * sizeof *c->words);
    }
    for (int i = 0; i < c->texts.count && !result; i++) {
        if (!arch->family->unread) {
            result = read_text(&c->words[i], words, &arch->family->words, c->texts.text[i], err);
        }
        result = result ? result : fit_text(c, i, arch, err);
    }
    return result;
}

void bl_words_clear(bl_condition *c) {
    for (int i = 0; c->words && i < c->texts.count; i++) {
        free(c->words[i].ids);
    }
    free(c->words);
    free(c->word_phase);
}

/* What A1111 and ComfyUI would read in it that is no more than its characters here. */
static const char *means_nothing(const char *text) {
    const char *colon = text;
    while ((colon = strchr(colon, ':')) != NULL) {
        colon++;
        const char *end = colon + strspn(colon, " 0123456789.");
        if (end > colon && (*end == ')' || *end == ']')) {
            return "weights";
        }
    }
    return strstr(text, " AND ") ? "AND" : strstr(text, "BREAK") ? "BREAK" : NULL;
}

void bl_words_tell(const bl_condition *c, const bl_request *r, const bl_architecture *arch,
                   const bl_log *log) {
    if (!c->words) {
        return;
    }
    if (c->words_left_out) {
        bl_log_line(log, BL_LOG_WARNING, "%s reads %d tokens of a prompt: the last %d are left out",
                    arch->family->name, arch->family->words.most, c->words_left_out);
    }
    const char *what = NULL;
    for (int i = 0; i < c->texts.count && !what; i++) {
        what = means_nothing(c->texts.text[i]);
    }
    if (what && r->compat != BL_COMPAT_DIFFUSERS) {
        bl_log_line(log, BL_LOG_WARNING,
                    "%s reads prompts as they are written: %s in them mean%s nothing more",
                    arch->family->name, what, what[0] == 'w' ? "" : "s");
    }
    if (r->compat == BL_COMPAT_A1111 && r->o->pad_conds) {
        bl_log_line(log, BL_LOG_WARNING, "pad-conds changes nothing: prompts of %s have no chunks",
                    arch->family->name);
    }
}

/* ---- tokens to context */

/* Rows of the pass that reads a text. */
static int rows_of(const bl_condition *c, int text) {
    return (c->length[text] + BL_WORDS_STEP - 1) / BL_WORDS_STEP * BL_WORDS_STEP;
}

int bl_words_phases(bl_condition *c, bl_generation *generation, const bl_family *family, bl_error *err) {
    for (int n = 0; n < c->encoded_count; n++) {
        const int text = c->encoded[n].text, rows = rows_of(c, text);
        int earlier = 0, passes = 0;
        for (int k = 0; k < c->encoded_count; k++) {
            const bool same = !c->encoded[k].known && rows_of(c, c->encoded[k].text) == rows;
            earlier += same && k < n;
            passes += same;
        }
        if (c->encoded[n].known || earlier) {
            continue;
        }
        const bl_shape_key key = {.batch = 1, .tokens = rows};
        const int phase = bl_generation_phase(generation, "encode prompt", "prompt",
                                              bl_family_words_module(family), key, passes, err);
        if (phase < 0) {
            return phase;
        }
        for (int k = n; k < c->encoded_count; k++) {
            if (rows_of(c, c->encoded[k].text) == rows) {
                c->word_phase[c->encoded[k].text] = phase;
            }
        }
    }
    if (family->reader == BL_READER_T5 && c->missing) { /* and CLIP, for the vector */
        const bl_shape_key key = {.batch = 1};
        const int phase = bl_generation_phase(generation, "encode prompt for the vector", "prompt",
                                              BL_TEXT_ENCODER, key, c->missing, err);
        return phase < 0 ? phase : 0;
    }
    return 0;
}

/* What a pass reads and writes. */
typedef struct run {
    bl_view table;
    void *stored;      /* a row of the table, as it is stored */
    float *embeddings; /* [rows, width] */
    float *rope;       /* [rows, head_dim] */
    float *context;    /* [rows, context_dim] */
    int32_t count;
} run;

static int open_run(run *x, const bl_checkpoint *ckpt, const bl_qwen3 *q, int rows, int context_dim,
                    bl_error *err) {
    const int64_t shape[2] = {q->vocab, q->width};
    const size_t n = (size_t)rows, width = (size_t)q->width;
    *x = (run){0};
    int result = bl_checkpoint_require(&x->table, ckpt, BL_TEXT_ENCODER, EMBEDDINGS, shape, 2, err);
    if (result) {
        return result;
    }
    x->stored = malloc(width * bl_dtype_size(x->table.dtype));
    x->embeddings = calloc(n * width, sizeof *x->embeddings);
    x->rope = calloc(n * (size_t)q->head_dim, sizeof *x->rope);
    x->context = malloc(n * (size_t)context_dim * sizeof *x->context);
    if (!x->stored || !x->embeddings || !x->rope || !x->context) {
        return bl_fail_memory(err, "the encoded prompt", n * (size_t)context_dim * sizeof *x->context);
    }
    for (int i = 0; i < rows; i++) {
        bl_rope_row(x->rope + (size_t)i * (size_t)q->head_dim, &i, &q->head_dim, 1, q->theta);
    }
    return 0;
}

static void close_run(run *x) {
    free(x->stored);
    free(x->embeddings);
    free(x->rope);
    free(x->context);
}

/* The rows of the table that a text needs are read alone: the whole is a tenth of the encoder. */
static int fill_run(run *x, const bl_token_list *ids, int rows, bl_error *err) {
    const size_t width = (size_t)x->table.shape[1];
    int result = 0;
    x->count = (int32_t)ids->count;
    for (int i = 0; i < rows && !result; i++) {
        const int64_t id = (size_t)i < ids->count ? ids->ids[i] : BL_QWEN_PAD;
        if (id >= x->table.shape[0]) {
            continue; /* padding that nobody sees, of a table without its row */
        }
        result = bl_view_read(&x->table, id, id + 1, x->stored, err);
        if (!result &&
            bl_convert(x->embeddings + (size_t)i * width, BL_F32, x->stored, x->table.dtype, width)) {
            result = bl_fail(err, BL_E_INTERNAL, "an embedding of a type that cannot be converted");
        }
    }
    return result;
}

/* One text through the encoder: `to` [its length, context_dim]. */
static int encode_text(float *to, const bl_condition *c, int text, bl_generation *generation,
                       const bl_architecture *arch, bl_error *err) {
    const int rows = rows_of(c, text);
    const size_t floats = (size_t)c->length[text] * (size_t)c->context_dim;
    run x;
    int result = open_run(&x, bl_generation_checkpoint(generation), &arch->qwen3, rows, c->context_dim, err);
    result = result ? result : fill_run(&x, &c->words[text], rows, err);
    if (!result) {
        bl_port inputs[] = {
            {"embeddings", x.embeddings}, {"counts", &x.count}, {"rope", x.rope}, {NULL, NULL}};
        bl_port outputs[] = {{"context", x.context}, {NULL, NULL}};
        result = bl_generation_pass(generation, c->word_phase[text], inputs, outputs, err);
    }
    if (!result && !bl_all_finite(x.context, floats)) {
        result = bl_fail_nan(generation, BL_TEXT_ENCODER, "in the encoded prompt", err);
    }
    if (!result) {
        memcpy(to, x.context, floats * sizeof *to);
    }
    close_run(&x);
    return result;
}

/* Where an encoded text lies in the context. */
static float *place_of(const bl_condition *c, const bl_encoded *x) {
    return c->context + bl_condition_rows_before(c, x->text) * (size_t)c->context_dim;
}

static size_t floats_of(const bl_condition *c, const bl_encoded *x) {
    return (size_t)c->length[x->text] * (size_t)c->context_dim;
}

/* Texts that are not known, phase by phase. */
static int encode_texts(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err) {
    int result = 0, last = -1;
    for (int n = 0; n < c->encoded_count && !result; n++) {
        const int phase = c->word_phase[c->encoded[n].text];
        if (c->encoded[n].known || phase <= last) {
            continue;
        }
        for (int k = n; k < c->encoded_count && !result; k++) {
            const bl_encoded *x = &c->encoded[k];
            if (!x->known && c->word_phase[x->text] == phase) {
                result = encode_text(place_of(c, x), c, x->text, generation, arch, err);
            }
        }
        last = phase;
    }
    return result;
}

int bl_words_encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                    bl_encodings *encodings, bl_error *err) {
    const size_t floats = bl_condition_rows_before(c, c->texts.count) * (size_t)c->context_dim;
    c->context = calloc(floats + 1, sizeof *c->context);
    if (!c->context) {
        return bl_fail_memory(err, "the context", floats * sizeof *c->context);
    }
    for (int n = 0; n < c->encoded_count; n++) {
        const bl_encoded *x = &c->encoded[n];
        if (x->known && !bl_encodings_take(encodings, &x->key, place_of(c, x), floats_of(c, x))) {
            return bl_fail(err, BL_E_INTERNAL, "an encoded text is not there any more");
        }
    }
    int result = encode_texts(c, generation, arch, err);
    for (int n = 0; n < c->encoded_count && encodings && !result; n++) {
        const bl_encoded *x = &c->encoded[n];
        if (!x->known) {
            bl_encodings_put(encodings, &x->key, place_of(c, x), floats_of(c, x));
        }
    }
    return result;
}
