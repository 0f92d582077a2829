/* SentencePiece's Unigram model, as T5's tokenizer is one (Kudo 2018): a text is normalised, and cut into the
 * pieces of the vocabulary whose scores have the largest sum.
 *
 * Normalising: from left to right the longest beginning that a table knows is replaced, and what it does not
 * know stays; blanks at the ends go, several become one, and each is written U+2581, one at the very begin
 * too. The table is the one that comes with the vocabulary ("precompiled_charsmap": a double-array trie as
 * Darts-clone writes it, then the texts that it points to). */
#ifndef BALLAST_TEXT_UNIGRAM_H
#define BALLAST_TEXT_UNIGRAM_H

#include "text/bpe.h"

#define BL_UNIGRAM_BLANK "\xe2\x96\x81" /* U+2581 */

/* What a tokenizer is made of; all of it is copied. */
typedef struct bl_unigram_piece {
    const char *text; /* UTF-8 */
    double score;     /* the logarithm of how likely it is */
} bl_unigram_piece;

typedef struct bl_unigram_word {
    const char *text; /* found in a text as it is, before all else */
    int32_t id;
} bl_unigram_word;

typedef struct bl_unigram_parts {
    const bl_unigram_piece *pieces; /* their places are their ids */
    int32_t piece_count, unknown;   /* unknown: the id of what no piece covers */
    const uint8_t *charsmap;        /* may be NULL */
    size_t charsmap_bytes;
    const bl_unigram_word *words;
    int word_count;
} bl_unigram_parts;

typedef struct bl_unigram bl_unigram; /* never changes once made: any number of threads may encode with one */

/* BL_E_FORMAT for parts that make no tokenizer; `path` is named then. BL_E_MEMORY. The owner closes it with
 * bl_unigram_free. */
int bl_unigram_new(bl_unigram **out, const bl_unigram_parts *parts, const char *path, bl_error *err);
void bl_unigram_free(bl_unigram **t);

/* Reads tokenizer.json as the tokenizers library writes it: model "Unigram", a precompiled normaliser, blanks
 * as "Metaspace". BL_E_IO where there is none; BL_E_FORMAT for one that is damaged; BL_E_UNSUPPORTED for one
 * that does something else. */
int bl_unigram_open(bl_unigram **out, const char *path, bl_error *err);

/* Reads spiece.model as SentencePiece writes it, with the hundred "<extra_id_N>" that T5 has behind its
 * pieces. Errors as above. */
int bl_unigram_open_model(bl_unigram **out, const char *path, bl_error *err);

/* How many ids there are: larger than any of them. */
int32_t bl_unigram_ids(const bl_unigram *t);

/* Appends the ids of a text, which is UTF-8 (bl_text_check) and may hold NULs; no end token. Of n bytes in
 * O(n times what the longest piece and all words have of bytes). BL_E_MEMORY: some may have been added. */
int bl_unigram_encode(bl_token_list *list, const bl_unigram *t, const char *text, size_t bytes,
                      bl_error *err);

#endif
