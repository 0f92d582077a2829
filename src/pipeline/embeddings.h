/* The embeddings (textual inversion) that a request's prompts name. Their words are words of the tokenizer;
 * each vector takes the place of a token that no text of the request has, in the table that the text encoder
 * reads. */
#ifndef BALLAST_PIPELINE_EMBEDDINGS_H
#define BALLAST_PIPELINE_EMBEDDINGS_H

#include "adapter/embedding.h"
#include "adapter/merge.h"
#include "checkpoint/hash.h"
#include "pipeline/condition.h"
#include "sample/names.h"
#include "text/tokenizer.h"

#define BL_MOST_EMBEDDINGS 64 /* of one request */

/* Begin with {0}; bl_embeddings_clear. */
typedef struct bl_embeddings {
    bl_embedding items[BL_MOST_EMBEDDINGS]; /* [count] sorted by name */
    int count;
    struct {
        char hash[BL_HASH_TEXT]; /* of the file */
        size_t at;               /* where a prompt first names it; the negative one's places follow */
        bool used;               /* after bl_embeddings_place: a text has its vectors */
    } of[BL_MOST_EMBEDDINGS];    /* [count] */
    bl_tokenizer *own[BL_FAMILY_ENCODERS];             /* that know them; NULL without any */
    const bl_tokenizer *tokenizer[BL_FAMILY_ENCODERS]; /* what prompts are read with */
    bl_rows rows;
} bl_embeddings;

/* Opens those whose name is a word of the prompts; in ComfyUI's way "embedding:" stands before it, and one
 * that is not there is refused with the nearest names. Folders: as in ballast_generate_options, NULL:
 * "embeddings" beside the model. Errors: those of bl_embedding_open. */
int bl_embeddings_open(bl_embeddings *out, const bl_architecture *arch, const bl_checkpoint *ckpt,
                       const bl_tokenizer *const tokenizer[BL_FAMILY_ENCODERS],
                       const ballast_generate_options *o, bl_compat compat, bl_error *err);

/* Does this text of a prompt hold number `i`'s word, and so its vectors? After bl_embeddings_place. */
bool bl_embeddings_in(const bl_embeddings *e, int i, const char *text);

/* "name: c74b4e810b03, ...", A1111's "TI hashes" of those that are used, in the order of the prompts: the
 * first 12 digits of each file's SHA-256. Caller frees. BL_E_MEMORY. */
int bl_embeddings_hashes(char **out, const bl_embeddings *e, bl_error *err);

/* Gives the vectors that the texts hold their places, in the texts and in `rows`. */
int bl_embeddings_place(bl_embeddings *e, bl_condition *c, const bl_architecture *arch, bl_error *err);

void bl_embeddings_clear(bl_embeddings *e);

#endif
