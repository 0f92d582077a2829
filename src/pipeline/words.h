/* The prompts of families whose text encoder is a language model: tokens as they come, each text a pass of
 * its own, of which the layers that the denoiser reads are kept. What bl_condition does for them. */
#ifndef BALLAST_PIPELINE_WORDS_H
#define BALLAST_PIPELINE_WORDS_H

#include "pipeline/condition.h"

/* A pass has a multiple of so many rows: few graphs, and bits that hang on the text alone. */
#define BL_WORDS_STEP 32

/* Puts each text into the family's frame and makes tokens of it: c->words, c->length. BL_E_FORMAT for an
 * encoder without rows for them. */
int bl_words_parse(bl_condition *c, const bl_architecture *arch, const bl_byte_bpe *words, bl_error *err);
void bl_words_clear(bl_condition *c);

/* Says what was left out of the prompts, and what in them means nothing here. */
void bl_words_tell(const bl_condition *c, const bl_request *r, const bl_architecture *arch,
                   const bl_log *log);

/* Declares a phase for each number of rows that texts not known have: in the order of the texts; beside T5
 * one of CLIP, for the vector. */
int bl_words_phases(bl_condition *c, bl_generation *generation, const bl_family *family, bl_error *err);

/* Fills c->context, by the encoder or from what was encoded before. */
int bl_words_encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                    bl_encodings *encodings, bl_error *err);

#endif
