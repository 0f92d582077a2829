/* The prompts of families whose text encoder is a language model or T5: tokens as they come, of
 * which the layers that the denoiser reads are kept; beside T5 CLIP, for one vector of a text. What
 * bl_condition does for them. */
#ifndef BALLAST_PIPELINE_WORDS_H
#define BALLAST_PIPELINE_WORDS_H

#include "pipeline/condition.h"

/* A pass has a multiple of so many rows: few graphs, and bits that hang on its text alone. */
#define BL_WORDS_STEP 32

/* Where nothing makes tokens of the family's prompts the model is planned and not run, nor measured:
 * BL_E_UNSUPPORTED, with why. */
int bl_words_need(const bl_architecture *arch, const bl_wordbook *words, bl_error *err);

/* Puts each text into the family's frame and makes tokens of it: c->words, c->length; beside T5 CLIP's, too,
 * of which more than a chunk is left out: c->text. Where nothing makes tokens the lengths are as if
 * something did. BL_E_FORMAT for an encoder without rows for them. */
int bl_words_parse(bl_condition *c, const bl_architecture *arch, const bl_wordbook *words,
                   const bl_tokenizer *const clip[BL_FAMILY_ENCODERS], bl_error *err);
void bl_words_clear(bl_condition *c);

/* Says what was left out of the prompts, and what in them means nothing here. */
void bl_words_tell(const bl_condition *c, const bl_request *r, const bl_architecture *arch,
                   const bl_log *log);

/* Declares a phase of one pass for each two texts that are not known, whose blocks each serve one text and
 * then the other: weights come once for both. Beside T5 one for each CLIP. */
int bl_words_phases(bl_condition *c, bl_generation *generation, const bl_architecture *arch, bl_error *err);

/* Fills c->context, and c->pooled beside T5, by the encoders or from what was encoded before. */
int bl_words_encode(bl_condition *c, bl_generation *generation, const bl_architecture *arch,
                    bl_encodings *encodings, bl_error *err);

#endif
