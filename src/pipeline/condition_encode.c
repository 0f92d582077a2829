/* Texts through the encoders, but for chunks that were encoded before. */
#include "pipeline/condition.h"

#include "pipeline/finite.h"
#include "pipeline/words.h"

#include <stdlib.h>
#include <string.h>

/* ---- which chunks there are, and what of them is known */

/* The chunk of a text that is encoded first: the one before may be zeros. */
static int first_chunk(const bl_condition *c, int text) {
    return !text && c->zero_row;
}

static const bl_chunks *chunks_of(const bl_condition *c, const bl_encoded *x, int e) {
    return x->text < c->texts.count ? &c->text[e][x->text] : &c->empty[e];
}

/* Bytes that are written one behind the other, or counted where `to` is NULL. */
typedef struct writer {
    unsigned char *to;
    size_t used;
} writer;

static void put_bytes(writer *w, const void *data, size_t bytes) {
    if (w->to && bytes) { /* no data need not be at an address */
        memcpy(w->to + w->used, data, bytes);
    }
    w->used += bytes;
}

/* Which of the rows that are replaced an id stands for; -1: none. */
static int row_of(const bl_rows *rows, int32_t id) {
    int n = (rows ? rows->count : 0) - 1;
    while (n >= 0 && rows->row[n] != id) {
        n--;
    }
    return n;
}

/* One encoder's ids of the chunk. Vectors of embeddings stand in the place of ids: which rows they were given
 * hangs on the rest of the request. */
static void write_ids(writer *w, const bl_chunks *text, int chunk, const bl_rows *rows, int e) {
    const int32_t *ids = text->ids + (size_t)chunk * BL_CHUNK_TOKENS, vector = -1;
    for (int i = 0; i < BL_CHUNK_TOKENS; i++) {
        int row = row_of(rows, ids[i]);
        put_bytes(w, row < 0 ? &ids[i] : &vector, sizeof *ids);
        if (row >= 0) {
            const size_t width = (size_t)rows->width[e];
            put_bytes(w, rows->values[e] + (size_t)row * width, width * sizeof(float));
        }
    }
    put_bytes(w, &text->eos_index[chunk], sizeof *text->eos_index);
}

/* Adapters in their order, of which each adds its part. */
static void write_adapters(writer *w, const bl_changes *changes) {
    for (int i = 0; i < changes->adapter_count; i++) {
        const bl_wanted *a = &changes->adapters[i];
        bool touches = a->adapter->modules[BL_TEXT_ENCODER] || a->adapter->modules[BL_TEXT_ENCODER_2];
        if (touches && a->text != 0) {
            put_bytes(w, &a->adapter->serial, sizeof a->adapter->serial);
            put_bytes(w, &a->text, sizeof a->text);
        }
    }
}

static void write_key(writer *w, const bl_condition *c, const bl_encoded *x, const bl_changes *changes,
                      int encoders) {
    if (c->words) {
        const bl_token_list *ids = &c->words[x->text];
        const char *text = c->texts.text[x->text];
        if (ids->count) {
            put_bytes(w, ids->ids, ids->count * sizeof *ids->ids);
        } else { /* it is planned alone: nothing makes tokens of it */
            put_bytes(w, text, strlen(text) + 1);
        }
        for (int e = 0; e < encoders; e++) {
            if (c->text[e][x->text].count) {
                write_ids(w, &c->text[e][x->text], 0, NULL, e);
            }
        }
        write_adapters(w, changes);
        return;
    }
    int32_t how[] = {c->clip_skip, c->own_context && x->text < c->texts.negative};
    put_bytes(w, how, sizeof how);
    for (int e = 0; e < encoders; e++) {
        write_ids(w, chunks_of(c, x, e), x->chunk, changes->rows, e);
    }
    write_adapters(w, changes);
}

static int make_key(bl_encoded *x, const bl_condition *c, const bl_encoder *who, bl_error *err) {
    writer count = {0};
    write_key(&count, c, x, &who->changes, who->encoders);
    writer w = {.to = malloc(count.used)};
    if (!w.to) {
        return bl_fail_memory(err, "the prompt", count.used);
    }
    write_key(&w, c, x, &who->changes, who->encoders);
    x->key = (bl_encoding_key){.model = who->model, .bytes = w.used, .data = w.to};
    x->known = bl_encodings_have(who->encodings, &x->key);
    return 0;
}

static void count_missing(bl_condition *c) {
    c->missing = 0;
    for (int n = 0; n < c->encoded_count; n++) {
        c->missing += !c->encoded[n].known;
    }
}

int bl_condition_look(bl_condition *c, const bl_encoder *who, bl_error *err) {
    int count = bl_condition_encoded(c), n = 0, result = 0;
    c->encoded = calloc((size_t)count + 1, sizeof *c->encoded);
    if (!c->encoded) {
        return bl_fail_memory(err, "the prompt", ((size_t)count + 1) * sizeof *c->encoded);
    }
    c->encoded_count = count;
    for (int i = 0; i < c->texts.count; i++) {
        for (int chunk = first_chunk(c, i); chunk < c->chunks[i]; chunk++) {
            c->encoded[n++] = (bl_encoded){.text = i, .chunk = chunk};
        }
    }
    if (c->needs_empty) {
        c->encoded[n++] = (bl_encoded){.text = c->texts.count};
    }
    for (n = 0; n < count && who->encodings && !result; n++) {
        result = make_key(&c->encoded[n], c, who, err);
    }
    count_missing(c);
    return result;
}

void bl_condition_comes_after(bl_condition *c, const bl_condition *before) {
    for (int n = 0; n < c->encoded_count; n++) {
        bl_encoded *x = &c->encoded[n];
        for (int k = 0; k < before->encoded_count && x->key.data && !x->known; k++) {
            const bl_encoding_key *other = &before->encoded[k].key;
            x->known = other->model == x->key.model && other->bytes == x->key.bytes &&
                       !memcmp(other->data, x->key.data, x->key.bytes);
        }
    }
    count_missing(c);
}

void bl_condition_clear_encoded(bl_condition *c) {
    for (int n = 0; n < c->encoded_count; n++) {
        free(c->encoded[n].key.data);
    }
    free(c->encoded);
    c->encoded = NULL;
    c->encoded_count = 0;
}

/* ---- phases */

int bl_condition_phases(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err) {
    static const char *const names[] = {"encode prompt", "encode prompt 2"};
    if (c->words) {
        return bl_words_phases(c, generation, arch, err);
    }
    int n = c->missing, passes = (n + BL_ENCODED_AT_ONCE - 1) / BL_ENCODED_AT_ONCE;
    for (int e = 0; e < arch->family->encoders && n; e++) {
        c->encoder_batch = (n + passes - 1) / passes;
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

/* ---- encoding */

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
    size_t batch = (size_t)c->encoder_batch, n = (size_t)c->missing;
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

int32_t bl_pool_place(const bl_chunks *text, int chunk, bool at_largest) {
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
    x->eos[n] = bl_pool_place(text, chunk, at_largest);
}

/* The chunks that are not known. */
static void fill_run(run *x, const bl_condition *c, int e, bool at_largest) {
    size_t n = 0;
    for (int i = 0; i < c->encoded_count; i++) {
        if (!c->encoded[i].known) {
            put_chunk(x, n++, chunks_of(c, &c->encoded[i], e), c->encoded[i].chunk, at_largest);
        }
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

/* Floats of one chunk: of each encoder [77, width], then the pooled ones. */
static size_t chunk_floats(const bl_condition *c) {
    return BL_CHUNK_TOKENS * (size_t)c->context_dim + (size_t)c->pooled_dim;
}

/* Runs one encoder on the chunks that are not known and puts its share into `raw`, [encoded_count,
 * chunk_floats]; `channel`: of the encoders before it. */
static int encode(float *raw, const bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                  int e, int channel, bl_error *err) {
    const bl_text_architecture *t = &arch->text[e];
    const size_t row = BL_CHUNK_TOKENS * (size_t)t->width, pooled_dim = (size_t)c->pooled_dim;
    const bool pooled = e == arch->family->pooled;
    run x;
    int result = open_run(&x, c, t, err);
    if (!result) {
        fill_run(&x, c, e, t->pools_largest);
        result = run_passes(&x, generation, c->phase[e], t, pooled, err);
    }
    size_t n = 0;
    for (int i = 0; i < c->encoded_count && !result; i++) {
        float *chunk = raw + (size_t)i * chunk_floats(c), *to = chunk + BL_CHUNK_TOKENS * (size_t)channel;
        if (c->encoded[i].known) {
            continue;
        }
        memcpy(to, (x.own && c->encoded[i].text < c->texts.negative ? x.own : x.hidden) + n * row,
               row * sizeof *to);
        bool fine = bl_all_finite(to, row);
        if (pooled) {
            to = chunk + BL_CHUNK_TOKENS * (size_t)c->context_dim;
            memcpy(to, x.pooled + n * pooled_dim, pooled_dim * sizeof *to);
            fine = fine && bl_all_finite(to, pooled_dim);
        }
        if (!fine) {
            result = bl_fail_nan(generation, e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, "in the encoded prompt",
                                 err);
        }
        n++;
    }
    close_run(&x);
    return result;
}

/* Fills `raw`: from the cache what is known, by the encoders the rest, which the cache gets. */
static int fill_raw(float *raw, const bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                    bl_encodings *encodings, bl_error *err) {
    const size_t floats = chunk_floats(c);
    int result = 0;
    for (int i = 0; i < c->encoded_count; i++) {
        const bl_encoded *x = &c->encoded[i];
        if (x->known && !bl_encodings_take(encodings, &x->key, raw + (size_t)i * floats, floats)) {
            return bl_fail(err, BL_E_INTERNAL, "an encoded text is not there any more");
        }
    }
    for (int e = 0, channel = 0; e < arch->family->encoders && c->missing && !result; e++) {
        result = encode(raw, c, generation, arch, e, channel, err);
        channel += arch->text[e].width;
    }
    for (int i = 0; i < c->encoded_count && encodings && !result; i++) {
        if (!c->encoded[i].known) {
            bl_encodings_put(encodings, &c->encoded[i].key, raw + (size_t)i * floats, floats);
        }
    }
    return result;
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

/* Weighs what was encoded and puts it into the context; `raw` is changed. */
static void place_all(bl_condition *c, float *raw, const bl_architecture *arch) {
    const size_t floats = chunk_floats(c);
    const float *last = raw + (size_t)(c->encoded_count - 1) * floats; /* the empty one, where it is needed */
    for (int i = 0; i < c->encoded_count; i++) {
        const bl_encoded *x = &c->encoded[i];
        const bool is_text = x->text < c->texts.count;
        float *chunk = raw + (size_t)i * floats;
        int at = bl_condition_chunks_before(c, x->text) + x->chunk;
        for (int e = 0, channel = 0; e < arch->family->encoders; e++) {
            size_t before = BL_CHUNK_TOKENS * (size_t)channel;
            const float *weights = c->text[e][is_text ? x->text : 0].weights;
            place(c, chunk + before, c->from_empty ? last + before : NULL,
                  is_text ? weights + (size_t)x->chunk * BL_CHUNK_TOKENS : NULL, at, channel,
                  arch->text[e].width);
            channel += arch->text[e].width;
        }
        if (is_text && x->chunk == 0) { /* the pooled text is that of the first chunk, as everywhere */
            memcpy(c->pooled + (size_t)x->text * (size_t)c->pooled_dim,
                   chunk + BL_CHUNK_TOKENS * (size_t)c->context_dim,
                   (size_t)c->pooled_dim * sizeof *c->pooled);
        }
    }
}

int bl_condition_encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_encodings *encodings, bl_error *err) {
    if (c->words) {
        return bl_words_encode(c, generation, arch, encodings, err);
    }
    size_t chunks = (size_t)bl_condition_chunks_before(c, c->texts.count) + c->needs_empty;
    size_t floats = chunks * BL_CHUNK_TOKENS * (size_t)c->context_dim;
    size_t raw_floats = (size_t)c->encoded_count * chunk_floats(c);
    float *raw = malloc(raw_floats * sizeof *raw);
    int result = raw ? fill_raw(raw, c, generation, arch, encodings, err)
                     : bl_fail_memory(err, "the encoded prompt", raw_floats * sizeof *raw);
    if (!result) {
        c->context = calloc(floats, sizeof *c->context);
        c->pooled = calloc((size_t)c->texts.count * (size_t)c->pooled_dim + 1, sizeof *c->pooled);
        result =
            c->context && c->pooled ? 0 : bl_fail_memory(err, "the context", floats * sizeof *c->context);
    }
    if (!result) {
        place_all(c, raw, arch);
    }
    free(raw);
    return result;
}
