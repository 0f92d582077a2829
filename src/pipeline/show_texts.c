/* What a prompt became, for --verbose: its texts, their chunks and tokens, the weights of their pieces, what
 * embeddings they name, and when each is told. */
#include "pipeline/condition.h"
#include "pipeline/embeddings.h"

#include "text/emphasis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "; "red house" weighs 1.21": pieces whose weight is not 1. */
static void add_weights(char *line, size_t room, const char *text, bl_compat compat) {
    bl_emphasis e;
    bl_error ignored;
    if (compat == BL_COMPAT_DIFFUSERS ||
        (compat == BL_COMPAT_A1111 ? bl_emphasis_parse : bl_emphasis_parse_comfyui)(&e, text, strlen(text),
                                                                                    &ignored)) {
        return;
    }
    for (size_t i = 0; i < e.count; i++) {
        const bl_span *span = &e.spans[i];
        size_t used = strlen(line);
        if (!span->is_break && span->weight != 1 && span->length && used < room) {
            snprintf(line + used, room - used, "; \"%.*s\" weighs %.4g",
                     span->length < 40 ? (int)span->length : 40, e.text + span->start, span->weight);
        }
    }
    bl_emphasis_clear(&e);
}

/* "; "zorbel" is an embedding of 3 vectors". */
static void add_embeddings(char *line, size_t room, const char *text, const bl_embeddings *e) {
    for (int i = 0; i < e->count; i++) {
        size_t used = strlen(line);
        if (bl_embeddings_in(e, i, text) && used < room) {
            snprintf(line + used, room - used, "; \"%.100s\" is an embedding of %d vector%s",
                     e->items[i].name, e->items[i].vectors, e->items[i].vectors == 1 ? "" : "s");
        }
    }
}

/* "3 chunks (70 + 74 + 21), 165 tokens" */
static void add_chunks(char *line, size_t room, const bl_condition *c, int text) {
    int tokens = 0;
    size_t used = strlen(line);
    snprintf(line + used, room - used, "%d chunk%s", c->chunks[text], c->chunks[text] == 1 ? "" : "s");
    for (int k = 0; k < c->chunks[text]; k++) {
        int own = c->text[0][text].eos_index[k] - 1;
        tokens += own;
        used = strlen(line);
        if (c->chunks[text] > 1 && used < room / 2) {
            snprintf(line + used, room - used, "%s%d%s", k ? " + " : " (", own,
                     k + 1 == c->chunks[text] ? ")" : "");
        }
    }
    used = strlen(line);
    snprintf(line + used, room - used, ", %d token%s", tokens, tokens == 1 ? "" : "s");
}

static void show_text(const bl_condition *c, int i, bl_compat compat, const bl_embeddings *embeddings,
                      const bl_log *log) {
    char line[1024];
    if (c->words) {
        bl_log_line(log, BL_LOG_INFO, "text %d: %d tokens in its frame: \"%.300s\"", i + 1,
                    (int)c->words[i].count, c->texts.text[i]);
        return;
    }
    snprintf(line, sizeof line, "text %d: ", i + 1);
    add_chunks(line, sizeof line, c, i);
    size_t used = strlen(line);
    snprintf(line + used, sizeof line - used, ": \"%.300s\"", c->texts.text[i]);
    add_weights(line, sizeof line, c->texts.text[i], compat);
    add_embeddings(line, sizeof line, c->texts.text[i], embeddings);
    bl_log_line(log, BL_LOG_INFO, "%s", line);
}

/* "prompt 2, weight 0.5: text 2 to call 4, text 3" */
static void show_row(const bl_condition *c, int pass, int row, const bl_log *log) {
    const bl_text_row *x = &c->texts.row[pass][row];
    const bool negative = c->texts.guided && !row;
    char line[1024];
    snprintf(line, sizeof line, "%s%s %d, weight %g:", pass ? "second pass, " : "",
             negative ? "negative" : "prompt", negative ? 1 : row + 1 - c->texts.guided, x->weight);
    for (int k = 0; k < x->count; k++) {
        size_t used = strlen(line);
        if (k + 1 < x->count) {
            snprintf(line + used, sizeof line - used, " text %d to call %d,", x->texts[k] + 1,
                     x->ends[k] + 1);
        } else {
            snprintf(line + used, sizeof line - used, " text %d", x->texts[k] + 1);
        }
    }
    bl_log_line(log, BL_LOG_INFO, "%s", line);
}

void bl_condition_show(const bl_condition *c, const bl_request *r, const bl_embeddings *embeddings,
                       const bl_log *log) {
    for (int i = 0; i < c->texts.count; i++) {
        show_text(c, i, r->compat, embeddings, log);
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int row = 0; row < c->rows && (pass ? r->second && !bl_texts_constant(&c->texts) : true);
             row++) {
            show_row(c, pass, row, log);
        }
    }
}
