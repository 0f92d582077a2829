/* The emphasis syntax of A1111 and of ComfyUI: a prompt cut into spans of text with one weight each. */
#ifndef BALLAST_TEXT_EMPHASIS_H
#define BALLAST_TEXT_EMPHASIS_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

/* No emphasis beyond this, nested brackets multiplied: a sum over the hidden state must stay finite. */
#define BL_EMPHASIS_MAX 1000.0

typedef struct bl_span {
    size_t start, length; /* in bl_emphasis.text */
    double weight;        /* 1: as written */
    bool is_break;        /* a BREAK: no text, a new chunk begins after it */
} bl_span;

typedef struct bl_emphasis {
    char *text;     /* the prompt without its syntax; not NUL-terminated; owned */
    bl_span *spans; /* [count], owned; at least one */
    size_t count;
} bl_emphasis;

/* ---- reading a prompt */

/* Parses as A1111's parse_prompt_attention does:
 *   (text) weight x 1.1; [text] weight / 1.1; (text:1.3) weight x 1.3; they nest and multiply
 *   \( \) \[ \] \\ the character itself; a lone backslash vanishes
 *   an opening bracket that is never closed counts to the end; a closing one that was never opened is text
 *   BREAK as a word of its own (case matters) ends the chunk
 *   # and what is behind it in its line is a comment, wherever it stands
 * It differs in three things, in which A1111 fails: a weight that is no number (":1.2.3)", ":.)") is text
 * followed by a closing bracket; BREAK works inside brackets and beside a weight of -1; a weight beyond
 * +-BL_EMPHASIS_MAX is refused. Errors: BL_E_ARGUMENT (not UTF-8, too long, too much emphasis), BL_E_MEMORY.
 */
int bl_emphasis_parse(bl_emphasis *out, const char *text, size_t bytes, bl_error *err);

/* Copies the text but for A1111's comments, what stands between a '#' and the end of its line; returns the
 * length. */
size_t bl_leave_out_comments(char *to, const char *text, size_t bytes);

/* Parses as ComfyUI's token_weights does:
 *   (text) weight x 1.1; (text:1.3) weight 1.3, whatever it was outside; they nest; the last ':' counts
 *   \( \) the character itself; any other backslash, square brackets and BREAK are text
 *   an opening bracket that is never closed is text, and so is all that is behind a closing one that was
 * never opened, up to one that is An empty prompt has no span, and spans are not joined: each is tokenized
 * alone. It differs in refusing a weight beyond +-BL_EMPHASIS_MAX, and brackets nested deeper than
 * BL_EMPHASIS_DEPTH, where ComfyUI fails too; "inf" and "nan" are no numbers here. Errors as above. */
#define BL_EMPHASIS_DEPTH 500
int bl_emphasis_parse_comfyui(bl_emphasis *out, const char *text, size_t bytes, bl_error *err);

void bl_emphasis_clear(bl_emphasis *emphasis);

/* ---- inside of the text room, for parsers */

/* Appends a span; emphasis->text has room for it. False: no memory. */
bool bl_emphasis_add(bl_emphasis *emphasis, const char *text, size_t length, double weight, bool is_break);

/* Whether a letter, number or underscore ends right before `at` (backwards) or begins at it, in UTF-8. */
bool bl_word_beside(const char *text, size_t n, size_t at, bool backwards);

/* Refuses weights that are too large, or none. */
int bl_emphasis_check(const bl_emphasis *emphasis, bl_error *err);

#endif
