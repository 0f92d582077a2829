/* From prompts to what the denoiser is told: tokens (CLIP's in chunks, a language model's as they are),
 * encoder passes, emphasis, the joined context. Which rules of A1111, ComfyUI and diffusers are followed is
 * told in docs/accuracy.md. */
#ifndef BALLAST_PIPELINE_CONDITION_H
#define BALLAST_PIPELINE_CONDITION_H

#include "pipeline/encodings.h"
#include "pipeline/generation.h"
#include "pipeline/request.h"
#include "pipeline/texts.h"
#include "pipeline/wordbook.h"
#include "text/prompt.h"

#define BL_ENCODED_AT_ONCE 16 /* chunks: more go through the encoders in several passes */

struct bl_embeddings;

/* A chunk that is encoded. */
typedef struct bl_encoded {
    int text, chunk;     /* text number texts.count: the empty one */
    bool known;          /* it is in the cache */
    bl_encoding_key key; /* owned; empty without a cache */
} bl_encoded;

/* Who encodes. */
typedef struct bl_encoder {
    bl_encodings *encodings; /* what was encoded before; NULL: nothing is kept */
    uint64_t model;          /* bl_modules_serial */
    int encoders;
    bl_changes changes; /* to its weights */
} bl_encoder;

typedef struct bl_condition {
    bl_texts texts;       /* which, and when */
    bl_chunks *text[2];   /* [encoder][texts.count], as many encoders as the family has */
    int *chunks;          /* [texts.count] of 77 tokens; all encoders have as many; 1 of a language model */
    int *length;          /* [texts.count] rows of each text's context */
    bl_token_list *words; /* [texts.count] what a language model or T5 reads; NULL of CLIP */
    int *word_phase;      /* [texts.count] in which it does, of the first text of a pass */
    int beside;           /* rows of CLIP's at the begin of each context, as bl_family_words has it */
    int row_step;         /* rows of a context are a multiple of it, zeros at the end */
    int words_left_out;   /* at the ends of texts: see bl_family_words.most */
    int rows;   /* of the denoiser for one picture: unconditional, if it is guided, then conditional */
    int tokens; /* of the longest row there is: rows of a context, of which a shorter one fills the first */
    bool own_lengths;           /* rows differ in length, or do at another time */
    bool pads;                  /* the shorter of unconditional and conditional rows gets empty chunks */
    bool zero_row;              /* text 0, which is empty, begins with a chunk of zeros instead */
    bool from_empty;            /* weights are distances from the empty text */
    bool needs_empty;           /* an empty chunk is encoded too */
    bl_chunks empty[2];         /* [encoder] that chunk, then */
    int clip_skip;              /* of the encoders, as bl_clip_text_outputs counts */
    bool own_context;           /* the negative prompt's texts are encoded without it */
    int phase[2];               /* the encoders' phases */
    int encoder_batch;          /* chunks of each of their passes */
    bl_encoded *encoded;        /* [encoded_count] owned; NULL before bl_condition_look */
    int encoded_count, missing; /* and how many of them the encoders have to be run for */
    int context_dim, pooled_dim;
    float *context; /* [rows of all texts, then of the empty one, context_dim] */
    float *pooled;  /* [texts.count, pooled_dim] */
} bl_condition;

/* Cuts prompt and negative prompt into texts and these into chunks, and notes in the request if one was
 * padded. Of the tokenizers those that the family's reader has are there. Owner: caller, bl_condition_clear.
 */
int bl_condition_parse(bl_condition *out, bl_request *r, const bl_architecture *arch,
                       const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS], const bl_wordbook *words,
                       bl_error *err);
void bl_condition_clear(bl_condition *c);

/* Says, a line each, what of the request the followed program leaves out. */
void bl_condition_tell(const bl_condition *c, const bl_request *r, const bl_architecture *arch,
                       const bl_log *log);

/* For --verbose: each text with its chunks, tokens, weights and embeddings, and which rows are told it when.
 */
void bl_condition_show(const bl_condition *c, const bl_request *r, const struct bl_embeddings *embeddings,
                       const bl_log *log);

/* Chunks that the encoders see. */
int bl_condition_encoded(const bl_condition *c);

/* Are the rows told something else at this call of the denoiser than at the one before? */
bool bl_condition_changes(const bl_condition *c, int pass, int call);

/* What the denoiser is told at a call of a pass: context [rows, batch, tokens, context_dim], pooled [rows,
 * batch, pooled_dim] (NULL: nobody reads it), and how much of each row counts, lengths [rows, batch]; NULL
 * where all do. */
void bl_condition_fill(float *context, float *pooled, int32_t *lengths, const bl_condition *c, int pass,
                       int call, int batch);

/* Finds out which chunks were encoded before, by this encoder. Once, before the phases are declared. */
int bl_condition_look(bl_condition *c, const bl_encoder *who, bl_error *err);
/* Chunks that `before`, which runs first, encodes or has are known then, too. */
void bl_condition_comes_after(bl_condition *c, const bl_condition *before);

/* Forgets what was encoded for it: what comes next encodes it again. */
void bl_condition_forget(bl_condition *c);
/* The token at which a chunk is pooled. */
int32_t bl_pool_place(const bl_chunks *text, int chunk, bool at_largest);
/* For bl_condition_clear. */
void bl_condition_clear_encoded(bl_condition *c);

/* Chunks, and rows of the context, of all texts before this one. */
int bl_condition_chunks_before(const bl_condition *c, int text);
size_t bl_condition_rows_before(const bl_condition *c, int text);

/* Declares the encoders' phases: none where all is known. */
int bl_condition_phases(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err);

/* Runs them and fills context and pooled, from what was encoded before where it was. `encodings` as in
 * bl_condition_look, gets the rest. BL_E_NUMERIC if an encoder makes NaN. */
int bl_condition_encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_encodings *encodings, bl_error *err);

#endif
