/* From prompts to what the denoiser is told: token chunks, encoder passes, emphasis, the joined context. */
#ifndef BALLAST_PIPELINE_CONDITION_H
#define BALLAST_PIPELINE_CONDITION_H

#include "pipeline/generation.h"
#include "pipeline/request.h"
#include "text/prompt.h"

typedef struct bl_condition {
    int rows;             /* 2: unconditional, then conditional; 1: conditional only */
    int chunks;           /* of 77 tokens in each row */
    bl_chunks text[2][2]; /* [encoder][row], as many as the family has */
    int phase[2];         /* the encoders' phases */
    bool zero_row;        /* row 0 is zeros (diffusers' SDXL without a negative prompt) */
    int context_dim, pooled_dim;
    float *context; /* [rows, chunks * 77, context_dim] */
    float *pooled;  /* [rows, pooled_dim] */
} bl_condition;

/* Cuts prompt and negative prompt into equally many chunks. Owner: caller, bl_condition_clear. */
int bl_condition_parse(bl_condition *out, const bl_request *r, const bl_architecture *arch,
                       const bl_tokenizer *tokenizer, bl_error *err);
void bl_condition_clear(bl_condition *c);

/* Declares the encoders' phases. */
int bl_condition_phases(bl_condition *c, bl_generation *generation, const bl_request *r,
                        const bl_architecture *arch, bl_error *err);

/* Runs them and fills context and pooled. BL_E_NUMERIC if an encoder makes NaN. */
int bl_condition_encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                        bl_error *err);

#endif
