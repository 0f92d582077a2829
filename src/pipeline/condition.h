/* From prompts to what the denoiser is told: token chunks, encoder passes, emphasis, the joined context.
 * Which rules of A1111, ComfyUI and diffusers are followed is told in docs/accuracy.md. */
#ifndef BALLAST_PIPELINE_CONDITION_H
#define BALLAST_PIPELINE_CONDITION_H

#include "pipeline/generation.h"
#include "pipeline/request.h"
#include "text/prompt.h"

typedef struct bl_condition {
    int rows;             /* 2: unconditional, then conditional; 1: conditional only */
    bl_chunks text[2][2]; /* [encoder][row], as many as the family has */
    int chunks[2];        /* of 77 tokens, of each row; all encoders have as many */
    int tokens;           /* of the longer row: rows of a context, of which the shorter one fills the first */
    bool padded;          /* the shorter row got empty chunks */
    bool zero_row;        /* row 0 begins with a chunk of zeros instead of its empty text */
    bool from_empty;      /* weights are distances from the empty text, which is encoded too */
    bl_chunks empty[2];   /* [encoder] an empty chunk, then */
    int clip_skip;        /* of the encoders, as bl_clip_text_outputs counts */
    bool own_context;     /* row 0 is encoded without it */
    int phase[2];         /* the encoders' phases */
    int context_dim, pooled_dim;
    float *context; /* [rows, tokens, context_dim] */
    float *pooled;  /* [rows, pooled_dim] */
} bl_condition;

/* Cuts prompt and negative prompt into chunks, and notes in the request if one was padded. Owner: caller,
 * bl_condition_clear. */
int bl_condition_parse(bl_condition *out, bl_request *r, const bl_architecture *arch,
                       const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS], bl_error *err);
void bl_condition_clear(bl_condition *c);

/* Says, a line each, what of the request the followed program leaves out. */
void bl_condition_tell(const bl_condition *c, const bl_request *r, const bl_architecture *arch,
                       const bl_log *log);

/* Do the rows differ in length? */
bool bl_condition_own_lengths(const bl_condition *c);

/* Declares the encoders' phases. */
int bl_condition_phases(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err);

/* Runs them and fills context and pooled. BL_E_NUMERIC if an encoder makes NaN. */
int bl_condition_encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err);

#endif
