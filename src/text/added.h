/* Words beside CLIP's vocabulary, found in a prompt as transformers' tokenizers do: the leftmost first, of
 * those that begin there the longest. */
#ifndef BALLAST_TEXT_ADDED_H
#define BALLAST_TEXT_ADDED_H

#include "core/added_token.h"
#include "core/error.h"
#include "text/bpe.h"

#include <stddef.h>

typedef struct bl_added bl_added;

/* Copies them. The owner closes it with bl_added_free. BL_E_ARGUMENT: a text that is not UTF-8; BL_E_MEMORY.
 */
int bl_added_new(bl_added **out, const bl_added_token *tokens, int count, bl_error *err);
void bl_added_free(bl_added **added);

/* What begins at one place of a text. */
typedef struct bl_added_match {
    size_t length; /* 0: nothing */
    int index;     /* -1: a word that must stand alone and does not: it is passed over */
} bl_added_match;

/* At byte `at` of the text itself, among the words that are not normalized. Words whose id is below
 * `least_id` are not looked for. `added` may be NULL: there are none. */
bl_added_match bl_added_in_text(const bl_added *added, int32_t least_id, const char *text, size_t bytes,
                                size_t at);

/* At character `at` of the normalized text (bl_normalize), among the words that are. */
bl_added_match bl_added_in_points(const bl_added *added, int32_t least_id, const int32_t *points,
                                  size_t count, size_t at);

/* Appends the word's id, and those of its further vectors: "cat_1", "cat_2", ... behind "cat", as long as
 * there are such words. */
int bl_added_put(bl_token_list *list, const bl_added *added, int index, bl_error *err);

/* How many words there are, and each, whose text is borrowed. NULL: none. */
int bl_added_count(const bl_added *added);
bl_added_token bl_added_at(const bl_added *added, int index);

#endif
