#include "pipeline/embeddings.h"

#include "adapter/find.h"
#include "pipeline/adapters.h"
#include "text/prompt.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORDS BL_TOKEN_BOS /* tokens that may give their row away: those below the start and end token */
#define STEP (BL_EMBEDDING_VECTORS + 1) /* numbers of one embedding's vectors: those of two do not touch */

void bl_embeddings_clear(bl_embeddings *e) {
    for (int i = 0; i < e->count; i++) {
        bl_embedding_clear(&e->items[i]);
    }
    for (int i = 0; i < BL_FAMILY_ENCODERS; i++) {
        bl_tokenizer_free(&e->own[i]);
        free(e->rows.values[i]);
    }
    free(e->rows.row);
    *e = (bl_embeddings){0};
}

/* Does the text hold this word by itself, in any case? */
static bool holds_word(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *p = text; n && (p = strcasestr(p, word)) != NULL; p++) {
        bool before = p > text && isalnum((unsigned char)p[-1]), after = isalnum((unsigned char)p[n]);
        if (!before && !after) {
            return true;
        }
    }
    return false;
}

/* The list is sorted by name: of several of one name the first counts. */
static int open_named(bl_embeddings *e, const bl_found_list *list, const bl_architecture *arch,
                      const ballast_generate_options *o, bl_error *err) {
    const char *negative = o->negative_prompt ? o->negative_prompt : "";
    int rc = 0;
    for (int i = 0; i < list->count && !rc; i++) {
        const bl_found *x = &list->items[i];
        bool again = e->count && !strcmp(e->items[e->count - 1].name, x->name);
        if (again || (!holds_word(o->prompt, x->name) && !holds_word(negative, x->name))) {
            continue;
        }
        if (e->count == BL_MOST_EMBEDDINGS) {
            return bl_fail(err, BL_E_ARGUMENT, "prompt: more than %d embeddings", BL_MOST_EMBEDDINGS);
        }
        rc = bl_embedding_open(&e->items[e->count], x->path, x->name, arch, err);
        e->count += !rc;
    }
    return rc;
}

static int extend_tokenizers(bl_embeddings *e, const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS],
                             int encoders, bl_error *err) {
    bl_added_token words[BL_MOST_EMBEDDINGS];
    int rc = 0;
    for (int i = 0; i < e->count; i++) {
        words[i] = (bl_added_token){.text = e->items[i].name,
                                    .id = BL_VECTOR_ID + i * STEP,
                                    .normalized = true,
                                    .whole_word = true,
                                    .vectors = e->items[i].vectors};
    }
    for (int i = 0; i < encoders && e->count && !rc; i++) {
        rc = bl_tokenizer_extend(&e->own[i], tokenizer[i], words, e->count, err);
        e->tokenizer[i] = e->own[i];
    }
    return rc;
}

int bl_embeddings_open(bl_embeddings *out, const bl_architecture *arch, const bl_checkpoint *ckpt,
                       const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS],
                       const ballast_generate_options *o, bl_error *err) {
    char *folders = NULL;
    bl_found_list list = {0};
    *out = (bl_embeddings){0};
    for (int i = 0; i < BL_FAMILY_ENCODERS; i++) {
        out->tokenizer[i] = tokenizer[i];
    }
    int rc = bl_folders_beside(&folders, ckpt, o->embedding_folders, "embeddings", err);
    rc = rc ? rc : bl_find_all(&list, folders, true, err);
    rc = rc ? rc : open_named(out, &list, arch, o, err);
    rc = rc ? rc : extend_tokenizers(out, tokenizer, arch->family->encoders, err);
    bl_found_clear(&list);
    free(folders);
    if (rc) {
        bl_embeddings_clear(out);
    }
    return rc;
}

/* ---- places */

/* Which tokens and which vectors the texts hold. */
typedef struct used {
    bool token[WORDS];
    bool vector[BL_MOST_EMBEDDINGS * STEP];
    int32_t place[BL_MOST_EMBEDDINGS * STEP]; /* of a vector that is there: its row */
} used;

static void note(used *u, bl_chunks *chunks, bool places) {
    for (int i = 0; i < chunks->count * BL_CHUNK_TOKENS; i++) {
        int32_t *id = &chunks->ids[i];
        if (*id >= BL_VECTOR_ID && places) {
            *id = u->place[*id - BL_VECTOR_ID];
        } else if (*id >= BL_VECTOR_ID) {
            u->vector[*id - BL_VECTOR_ID] = true;
        } else if (*id < WORDS) {
            u->token[*id] = true;
        }
    }
}

static void note_all(used *u, bl_condition *c, int encoders, bool places) {
    for (int e = 0; e < encoders; e++) {
        for (int i = 0; i < c->texts.count; i++) {
            note(u, &c->text[e][i], places);
        }
        note(u, &c->empty[e], places);
    }
}

static int open_rows(bl_embeddings *e, const used *u, const bl_architecture *arch, bl_error *err) {
    int count = 0;
    for (int i = 0; i < e->count * STEP; i++) {
        count += u->vector[i];
    }
    e->rows.row = calloc((size_t)count + 1, sizeof *e->rows.row);
    bool good = e->rows.row != NULL;
    for (int i = 0; i < arch->family->encoders; i++) {
        e->rows.width[i] = arch->text[i].width;
        e->rows.values[i] = calloc((size_t)count * (size_t)arch->text[i].width + 1, sizeof(float));
        good = good && e->rows.values[i];
    }
    return good ? 0 : bl_fail_memory(err, "embeddings", (unsigned long long)count * 8192);
}

/* From the rarest token down, so that the same embeddings mostly have the same rows, whatever else is in the
 * prompt: then the table need not be packed again. */
static void give_rows(bl_embeddings *e, used *u, int encoders) {
    int32_t row = WORDS - 1;
    for (int i = 0; i < e->count * STEP; i++) {
        if (!u->vector[i]) {
            continue;
        }
        while (row > 0 && u->token[row]) {
            row--;
        }
        for (int k = 0; k < encoders; k++) {
            size_t width = (size_t)e->rows.width[k];
            memcpy(e->rows.values[k] + (size_t)e->rows.count * width,
                   e->items[i / STEP].values[k] + (size_t)(i % STEP) * width, width * sizeof(float));
        }
        u->place[i] = row;
        e->rows.row[e->rows.count++] = row--;
    }
}

int bl_embeddings_place(bl_embeddings *e, bl_condition *c, const bl_architecture *arch, bl_error *err) {
    const int encoders = arch->family->encoders;
    if (!e->count) {
        return 0;
    }
    used *u = calloc(1, sizeof *u);
    if (!u) {
        return bl_fail_memory(err, "embeddings", sizeof *u);
    }
    note_all(u, c, encoders, false);
    int rc = open_rows(e, u, arch, err);
    if (!rc) {
        give_rows(e, u, encoders);
        note_all(u, c, encoders, true);
    }
    free(u);
    return rc;
}
