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
#define COMFYUI_WORD "embedding:"
#define HASH_DIGITS 12                  /* of A1111's "TI hashes" */
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

/* Where the text holds this word by itself, in any case; NULL: nowhere. */
static const char *find_word(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *p = text; n && (p = strcasestr(p, word)) != NULL; p++) {
        bool before = p > text && isalnum((unsigned char)p[-1]), after = isalnum((unsigned char)p[n]);
        if (!before && !after) {
            return p;
        }
    }
    return NULL;
}

/* Opens it as the next one, with its file's hash. */
static int open_one(bl_embeddings *e, const bl_found *x, size_t at, const bl_architecture *arch,
                    bl_error *err) {
    bl_hash *h = NULL;
    if (e->count == BL_MOST_EMBEDDINGS) {
        return bl_fail(err, BL_E_ARGUMENT, "prompt: more than %d embeddings", BL_MOST_EMBEDDINGS);
    }
    int rc = bl_embedding_open(&e->items[e->count], x->path, x->name, arch, err);
    e->count += !rc;
    rc = rc ? rc : bl_hash_open(&h, x->path, err);
    rc = rc ? rc : bl_hash_go_on(e->of[e->count - 1].hash, h, NULL, NULL, err);
    bl_hash_close(&h);
    if (!rc) {
        e->of[e->count - 1].at = at;
    }
    return rc;
}

/* The list is sorted by name: of several of one name the first counts. */
static int open_named(bl_embeddings *e, const bl_found_list *list, const char *before,
                      const bl_architecture *arch, const ballast_generate_options *o, bl_error *err) {
    const char *negative = o->negative_prompt ? o->negative_prompt : "";
    int rc = 0;
    for (int i = 0; i < list->count && !rc; i++) {
        const bl_found *x = &list->items[i];
        char *word;
        if (e->count && !strcmp(e->items[e->count - 1].name, x->name)) {
            continue;
        }
        if (asprintf(&word, "%s%s", before, x->name) < 0) {
            return bl_fail_memory(err, "an embedding", strlen(x->name));
        }
        const char *here = find_word(o->prompt, word), *there = here ? NULL : find_word(negative, word);
        if (here || there) {
            rc = open_one(e, x,
                          here ? (size_t)(here - o->prompt) : strlen(o->prompt) + (size_t)(there - negative),
                          arch, err);
        }
        free(word);
    }
    return rc;
}

/* Bytes of the name behind "embedding:", without the suffix that it may have. */
static size_t name_length(const char *name) {
    static const char suffix[] = ".safetensors";
    size_t n = strcspn(name, " \t\r\n,()[]:|"), m = sizeof suffix - 1;
    return n > m && !strncmp(name + n - m, suffix, m) ? n - m : n;
}

/* In ComfyUI's way a text says that an embedding is meant: one that is not there is no word. */
static int refuse_missing(const bl_embeddings *e, const char *folders, const char *text, bl_error *err) {
    int rc = 0;
    for (const char *p = text; !rc && (p = strcasestr(p, COMFYUI_WORD)) != NULL;) {
        bool inside = p > text && isalnum((unsigned char)p[-1]);
        p += sizeof COMFYUI_WORD - 1;
        size_t n = name_length(p);
        bool there = inside || !n;
        for (int i = 0; i < e->count && !there; i++) {
            there = strlen(e->items[i].name) == n && !strncasecmp(e->items[i].name, p, n);
        }
        char *name = there ? NULL : strndup(p, n), *path = NULL;
        rc = there  ? 0
             : name ? bl_find_named(&path, folders, name, "embedding", err)
                    : bl_fail_memory(err, "an embedding", n);
        free(name);
        free(path);
    }
    return rc;
}

/* ComfyUI's word may have the file's suffix. */
static int extend_tokenizers(bl_embeddings *e, const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS],
                             int encoders, const char *before, bl_error *err) {
    bl_added_token words[2 * BL_MOST_EMBEDDINGS];
    char *texts[2 * BL_MOST_EMBEDDINGS] = {NULL};
    const int forms = *before ? 2 : 1;
    int count = 0, rc = 0;
    for (int i = 0; i < forms * e->count && !rc; i++) {
        const bl_embedding *x = &e->items[i / forms];
        if (asprintf(&texts[i], "%s%s%s", before, x->name, i % forms ? ".safetensors" : "") < 0) {
            texts[i] = NULL;
            rc = bl_fail_memory(err, "an embedding", strlen(x->name));
            break;
        }
        words[count++] = (bl_added_token){.text = texts[i],
                                          .id = BL_VECTOR_ID + i / forms * STEP,
                                          .normalized = true,
                                          .whole_word = true,
                                          .vectors = x->vectors};
    }
    for (int i = 0; i < encoders && count && !rc; i++) {
        rc = bl_tokenizer_extend(&e->own[i], tokenizer[i], words, count, err);
        e->tokenizer[i] = e->own[i];
    }
    for (int i = 0; i < forms * e->count; i++) {
        free(texts[i]);
    }
    return rc;
}

int bl_embeddings_open(bl_embeddings *out, const bl_architecture *arch, const bl_checkpoint *ckpt,
                       const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS],
                       const ballast_generate_options *o, bl_compat compat, bl_error *err) {
    const bool comfyui = compat == BL_COMPAT_COMFYUI;
    const char *before = comfyui ? COMFYUI_WORD : "";
    char *folders = NULL;
    bl_found_list list = {0};
    *out = (bl_embeddings){0};
    for (int i = 0; i < BL_FAMILY_ENCODERS; i++) {
        out->tokenizer[i] = tokenizer[i];
    }
    if (arch->family->reader != BL_READER_CLIP) {
        return comfyui && (strstr(o->prompt, COMFYUI_WORD) ||
                           (o->negative_prompt && strstr(o->negative_prompt, COMFYUI_WORD)))
                   ? bl_fail(err, BL_E_UNSUPPORTED,
                             "prompt: \"%s\" names vectors for CLIP, which %s does not have", COMFYUI_WORD,
                             arch->family->name)
                   : 0;
    }
    int rc = bl_folders_beside(&folders, ckpt, o->embedding_folders, "embeddings", err);
    rc = rc ? rc : bl_find_all(&list, folders, true, err);
    rc = rc ? rc : open_named(out, &list, before, arch, o, err);
    if (!rc && comfyui) {
        rc = refuse_missing(out, folders, o->prompt, err);
        rc = rc || !o->negative_prompt ? rc : refuse_missing(out, folders, o->negative_prompt, err);
    }
    rc = rc ? rc : extend_tokenizers(out, tokenizer, arch->family->encoders, before, err);
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
    for (int i = 0; i < e->count * STEP; i++) {
        e->of[i / STEP].used = e->of[i / STEP].used || u->vector[i];
    }
    free(u);
    return rc;
}

bool bl_embeddings_in(const bl_embeddings *e, int i, const char *text) {
    return e->of[i].used && find_word(text, e->items[i].name);
}

/* Of those that are used the one that is named first behind number `last`; -1: there is none. */
static int next_used(const bl_embeddings *e, int last) {
    int best = -1;
    for (int i = 0; i < e->count; i++) {
        size_t at = e->of[i].at, from = last < 0 ? 0 : e->of[last].at;
        bool later = last < 0 || at > from || (at == from && i > last);
        best = e->of[i].used && later && (best < 0 || at < e->of[best].at) ? i : best;
    }
    return best;
}

int bl_embeddings_hashes(char **out, const bl_embeddings *e, bl_error *err) {
    size_t bytes;
    *out = NULL;
    FILE *f = open_memstream(out, &bytes);
    for (int i = next_used(e, -1), first = 1; f && i >= 0; i = next_used(e, i), first = 0) {
        fputs(first ? "" : ", ", f);
        for (const char *p = e->items[i].name; *p;
             p++) { /* which A1111 leaves out, since they divide the list */
            if (*p != ':' && *p != ',') {
                fputc(*p, f);
            }
        }
        fprintf(f, ": %.*s", HASH_DIGITS, e->of[i].hash);
    }
    if (!f || fclose(f)) {
        free(*out);
        *out = NULL;
        return bl_fail_memory(err, "the picture's parameters", 0);
    }
    return 0;
}
