/* Prompts that are read as they are, through their encoders. */
#include "model/rope.h"
#include "model/t5.h"
#include "pipeline/finite.h"
#include "pipeline/words.h"

#include <stdlib.h>
#include <string.h>

/* Tensors: the tables of embeddings [vocab, width], and the table of T5's bias [buckets, heads]. */
#define QWEN_TABLE "model.embed_tokens.weight"
#define T5_TABLE "shared.weight"
#define T5_BIAS "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
#define T5_PAD 0

static bool reads_t5(const bl_architecture *arch) {
    return arch->family->reader == BL_READER_T5;
}

/* Zeros stand for T5 where it is missing. */
static bool reads_words(const bl_architecture *arch) {
    return !reads_t5(arch) || arch->t5.layers;
}

/* ---- phases */

/* Rows of the pass that reads a text. */
static int rows_of(const bl_condition *c, int text) {
    return (c->length[text] - c->beside + BL_WORDS_STEP - 1) / BL_WORDS_STEP * BL_WORDS_STEP;
}

/* The texts of the next pass, the one with more rows first: up to two of those not known, so that weights
 * come once for both, from number `from` on. How many, in *count; the number behind them. */
static int next_texts(int texts[2], int *count, const bl_condition *c, int from) {
    *count = 0;
    while (from < c->encoded_count && *count < 2) {
        const bl_encoded *x = &c->encoded[from++];
        if (!x->known) {
            texts[(*count)++] = x->text;
        }
    }
    if (*count == 2 && rows_of(c, texts[1]) > rows_of(c, texts[0])) {
        const int shorter = texts[0];
        texts[0] = texts[1];
        texts[1] = shorter;
    }
    return from;
}

/* CLIP beside T5: for the vector, and for rows where the family reads some. */
static int clip_phases(bl_condition *c, bl_generation *generation, const bl_family *family, bl_error *err) {
    static const char *const names[] = {"encode with CLIP L", "encode with CLIP G"};
    for (int e = 0; e < family->encoders && c->missing; e++) {
        const bl_shape_key key = {.batch = 1};
        c->phase[e] =
            bl_generation_phase(generation, family->words.beside ? names[e] : "encode prompt for the vector",
                                "prompt", e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, key, c->missing, err);
        if (c->phase[e] < 0) {
            return c->phase[e];
        }
    }
    return 0;
}

int bl_words_phases(bl_condition *c, bl_generation *generation, const bl_architecture *arch, bl_error *err) {
    const bl_family *family = arch->family;
    int texts[2], count;
    for (int n = 0; n < c->encoded_count && reads_words(arch);) {
        n = next_texts(texts, &count, c, n);
        if (!count) {
            continue;
        }
        const bl_shape_key key = {
            .batch = 1, .tokens = rows_of(c, texts[0]), .second = count > 1 ? rows_of(c, texts[1]) : 0};
        const int phase = bl_generation_phase(generation, "encode prompt", "prompt",
                                              bl_family_words_module(family), key, 1, err);
        if (phase < 0) {
            return phase;
        }
        c->word_phase[texts[0]] = phase;
    }
    return reads_t5(arch) ? clip_phases(c, generation, family, err) : 0;
}

/* ---- rows */

/* What a pass reads and writes of one text. */
typedef struct run {
    bl_view table;
    int32_t pad;
    void *stored;      /* a row of the table, as it is stored */
    float *embeddings; /* [rows, width] */
    float *places;     /* Qwen3: rope [rows, head_dim]; T5: bias [heads, 2 rows - 1] */
    float *context;    /* [rows, context_dim] */
    int32_t count;
} run;

static int qwen_places(run *x, const bl_qwen3 *q, int rows, bl_error *err) {
    x->places = calloc((size_t)rows * (size_t)q->head_dim, sizeof *x->places);
    if (!x->places) {
        return bl_fail_memory(err, "the text's positions", (size_t)rows * (size_t)q->head_dim * 4);
    }
    for (int i = 0; i < rows; i++) {
        bl_rope_row(x->places + (size_t)i * (size_t)q->head_dim, &i, &q->head_dim, 1, q->theta);
    }
    return 0;
}

static int t5_places(run *x, const bl_checkpoint *ckpt, const bl_t5 *t, bl_module module, int rows,
                     bl_error *err) {
    const int64_t shape[2] = {t->buckets, t->heads};
    const size_t values = (size_t)t->buckets * (size_t)t->heads;
    bl_view table;
    int result = bl_checkpoint_require(&table, ckpt, module, T5_BIAS, shape, 2, err);
    if (result) {
        return result;
    }
    void *stored = malloc(values * bl_dtype_size(table.dtype));
    float *bias = malloc(values * sizeof *bias);
    x->places = calloc((size_t)t->heads * (2 * (size_t)rows - 1), sizeof *x->places);
    result = stored && bias && x->places ? bl_view_read(&table, 0, t->buckets, stored, err)
                                         : bl_fail_memory(err, "the text's positions", values * 8);
    if (!result && bl_convert(bias, BL_F32, stored, table.dtype, values)) {
        result = bl_fail(err, BL_E_INTERNAL, "a bias of a type that cannot be converted");
    }
    if (!result) {
        bl_t5_bias(x->places, t, bias, rows);
    }
    free(stored);
    free(bias);
    return result;
}

static int open_run(run *x, const bl_checkpoint *ckpt, const bl_architecture *arch, int rows, bl_error *err) {
    const bool t5 = reads_t5(arch);
    const bl_module module = bl_family_words_module(arch->family);
    const int64_t shape[2] = {t5 ? arch->t5.vocab : arch->qwen3.vocab,
                              t5 ? arch->t5.width : arch->qwen3.width};
    const size_t width = (size_t)shape[1], floats = (size_t)rows * (size_t)arch->context_dim;
    *x = (run){.pad = t5 ? T5_PAD : BL_QWEN_PAD};
    int result = bl_checkpoint_require(&x->table, ckpt, module, t5 ? T5_TABLE : QWEN_TABLE, shape, 2, err);
    if (result) {
        return result;
    }
    x->stored = malloc(width * bl_dtype_size(x->table.dtype));
    x->embeddings = calloc((size_t)rows * width, sizeof *x->embeddings);
    x->context = malloc(floats * sizeof *x->context);
    if (!x->stored || !x->embeddings || !x->context) {
        return bl_fail_memory(err, "the encoded prompt", floats * sizeof *x->context);
    }
    return t5 ? t5_places(x, ckpt, &arch->t5, module, rows, err) : qwen_places(x, &arch->qwen3, rows, err);
}

static void close_run(run *x) {
    free(x->stored);
    free(x->embeddings);
    free(x->places);
    free(x->context);
}

/* The rows of the table that a text needs are read alone: the whole is a tenth of the encoder. */
static int fill_run(run *x, const bl_token_list *ids, int rows, bl_error *err) {
    const size_t width = (size_t)x->table.shape[1];
    int result = 0;
    x->count = (int32_t)ids->count;
    for (int i = 0; i < rows && !result; i++) {
        const int64_t id = (size_t)i < ids->count ? ids->ids[i] : x->pad;
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

/* Where an encoded text lies in the context, and how much it is. */
static float *place_of(const bl_condition *c, int text) {
    return c->context + bl_condition_rows_before(c, text) * (size_t)c->context_dim;
}

static size_t floats_of(const bl_condition *c, int text) {
    return (size_t)c->length[text] * (size_t)c->context_dim;
}

/* Of that what CLIP's rows take. */
static size_t floats_beside(const bl_condition *c) {
    return (size_t)c->beside * (size_t)c->context_dim;
}

/* One text, or two, through the encoder, to their places. */
static int encode_pass(const bl_condition *c, const int *texts, int count, bl_generation *generation,
                       const bl_architecture *arch, bl_error *err) {
    run x[2] = {{.count = 0}, {.count = 0}};
    int result = 0;
    for (int k = 0; k < count && !result; k++) {
        const int rows = rows_of(c, texts[k]);
        result = open_run(&x[k], bl_generation_checkpoint(generation), arch, rows, err);
        result = result ? result : fill_run(&x[k], &c->words[texts[k]], rows, err);
    }
    if (!result) {
        const bool both = count > 1;
        bl_port qwen[] = {{"embeddings", x[0].embeddings},
                          {"counts", &x[0].count},
                          {"rope", x[0].places},
                          {both ? "embeddings 2" : NULL, x[1].embeddings},
                          {"counts 2", &x[1].count},
                          {"rope 2", x[1].places},
                          {NULL, NULL}};
        bl_port t5[] = {{"embeddings", x[0].embeddings},
                        {"bias", x[0].places},
                        {both ? "embeddings 2" : NULL, x[1].embeddings},
                        {"bias 2", x[1].places},
                        {NULL, NULL}};
        bl_port outputs[] = {
            {"context", x[0].context}, {both ? "context 2" : NULL, x[1].context}, {NULL, NULL}};
        result =
            bl_generation_pass(generation, c->word_phase[texts[0]], reads_t5(arch) ? t5 : qwen, outputs, err);
    }
    for (int k = 0; k < count && !result; k++) {
        const size_t floats = floats_of(c, texts[k]) - floats_beside(c);
        if (bl_all_finite(x[k].context, floats)) {
            memcpy(place_of(c, texts[k]) + floats_beside(c), x[k].context, floats * sizeof *x[k].context);
        } else {
            result =
                bl_fail_nan(generation, bl_family_words_module(arch->family), "in the encoded prompt", err);
        }
    }
    close_run(&x[0]);
    close_run(&x[1]);
    return result;
}

/* ---- the vector, and CLIP's rows */

/* Where its vector lies. */
static float *vector_of(const bl_condition *c, const bl_encoded *x) {
    return c->pooled + (size_t)x->text * (size_t)c->pooled_dim;
}

/* One text through CLIP: `to` [pooled_dim], the row of its end token. */
static int encode_vector(float *to, const bl_condition *c, int text, bl_generation *generation,
                         bl_error *err) {
    const bl_chunks *chunks = &c->text[0][text];
    bl_port inputs[] = {{"ids", chunks->ids}, {"eos", chunks->eos_index}, {NULL, NULL}};
    bl_port outputs[] = {{"pooled", to}, {NULL, NULL}};
    int result = bl_generation_pass(generation, c->phase[0], inputs, outputs, err);
    return result || bl_all_finite(to, (size_t)c->pooled_dim)
               ? result
               : bl_fail_nan(generation, BL_TEXT_ENCODER, "in the encoded prompt", err);
}

/* One text through one of two: its share of the rows, [77, width] of [77, context_dim], and of the vector,
 * [bl_text_vector_dim] of [pooled_dim]. */
static int encode_side(float *rows, float *vector, const bl_condition *c, int text, int e,
                       bl_generation *generation, const bl_text_architecture *t, bl_error *err) {
    const bl_chunks *chunks = &c->text[e][text];
    const size_t width = (size_t)t->width, count = (size_t)c->beside;
    int32_t end = bl_pool_place(chunks, 0, t->pools_largest);
    float *hidden = malloc(count * width * sizeof *hidden);
    if (!hidden) {
        return bl_fail_memory(err, "the encoded prompt", count * width * sizeof *hidden);
    }
    bl_port inputs[] = {{"ids", chunks->ids}, {"eos", &end}, {NULL, NULL}};
    bl_port outputs[] = {
        {"context", hidden}, {t->projection ? "text_embeds" : "pooled", vector}, {NULL, NULL}};
    int result = bl_generation_pass(generation, c->phase[e], inputs, outputs, err);
    if (!result &&
        !(bl_all_finite(hidden, count * width) && bl_all_finite(vector, (size_t)bl_text_vector_dim(t)))) {
        result =
            bl_fail_nan(generation, e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, "in the encoded prompt", err);
    }
    for (size_t i = 0; i < count && !result; i++) {
        memcpy(rows + i * (size_t)c->context_dim, hidden + i * width, width * sizeof *rows);
    }
    free(hidden);
    return result;
}

/* All texts that are not known through CLIP, encoder by encoder. */
static int encode_clip(const bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                       bl_error *err) {
    size_t column = 0, channel = 0;
    int result = 0;
    for (int e = 0; e < arch->family->encoders && c->pooled_dim; e++) {
        const bl_text_architecture *t = &arch->text[e];
        for (int n = 0; n < c->encoded_count && !result; n++) {
            const bl_encoded *x = &c->encoded[n];
            if (!x->known) {
                float *rows = place_of(c, x->text) + column, *vector = vector_of(c, x) + channel;
                result = c->beside ? encode_side(rows, vector, c, x->text, e, generation, t, err)
                                   : encode_vector(vector, c, x->text, generation, err);
            }
        }
        column += (size_t)t->width;
        channel += (size_t)bl_text_vector_dim(t);
    }
    return result;
}

/* ---- all texts */

/* Texts that are not known, pass by pass. */
static int encode_texts(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err) {
    int texts[2], count, result = 0;
    for (int n = 0; n < c->encoded_count && reads_words(arch) && !result;) {
        n = next_texts(texts, &count, c, n);
        result = count ? encode_pass(c, texts, count, generation, arch, err) : 0;
    }
    return result ? result : encode_clip(c, generation, arch, err);
}

/* Takes what is known from the cache, or gives it what was not: rows, and behind them the vector. */
static int exchange(const bl_condition *c, bl_encodings *encodings, bool known, bl_error *err) {
    int result = 0;
    for (int n = 0; n < c->encoded_count && !result; n++) {
        const bl_encoded *x = &c->encoded[n];
        const size_t floats = floats_of(c, x->text), pooled = (size_t)c->pooled_dim;
        if (x->known != known || !encodings) {
            continue;
        }
        float *both = malloc((floats + pooled) * sizeof *both);
        if (!both) {
            result = known ? bl_fail_memory(err, "the context", (floats + pooled) * sizeof *both) : 0;
        } else if (known) {
            result = bl_encodings_take(encodings, &x->key, both, floats + pooled)
                         ? 0
                         : bl_fail(err, BL_E_INTERNAL, "an encoded text is not there any more");
            if (!result) {
                memcpy(place_of(c, x->text), both, floats * sizeof *both);
                memcpy(vector_of(c, x), both + floats, pooled * sizeof *both);
            }
        } else {
            memcpy(both, place_of(c, x->text), floats * sizeof *both);
            memcpy(both + floats, vector_of(c, x), pooled * sizeof *both);
            bl_encodings_put(encodings, &x->key, both, floats + pooled);
        }
        free(both);
    }
    return result;
}

int bl_words_encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                    bl_encodings *encodings, bl_error *err) {
    const size_t floats = bl_condition_rows_before(c, c->texts.count) * (size_t)c->context_dim,
                 pooled = (size_t)c->texts.count * (size_t)c->pooled_dim;
    c->context = calloc(floats + 1, sizeof *c->context);
    c->pooled = calloc(pooled + 1, sizeof *c->pooled);
    if (!c->context || !c->pooled) {
        return bl_fail_memory(err, "the context", (floats + pooled) * sizeof *c->context);
    }
    int result = exchange(c, encodings, true, err);
    result = result ? result : encode_texts(c, generation, arch, err);
    return result ? result : exchange(c, encodings, false, err);
}
