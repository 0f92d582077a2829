/* Textual inversion: a file of vectors that stand where a word of a prompt would, one list for each text
 * encoder. SD 1.x and SD 2.x: one tensor [n, width] or [width] of any name; SDXL: `clip_l` and `clip_g`. */
#ifndef BALLAST_ADAPTER_EMBEDDING_H
#define BALLAST_ADAPTER_EMBEDDING_H

#include "checkpoint/architecture.h"

#include <stdbool.h>

#define BL_EMBEDDING_VECTORS 75 /* of one: more fit into no chunk */

typedef struct bl_embedding {
    char *name; /* the file's, without folder and suffix: the word */
    int vectors;
    float *values[BL_FAMILY_ENCODERS]; /* [vectors, width of that encoder] */
} bl_embedding;

/* `name` is copied. Owner of what is in *out: the caller, bl_embedding_clear. Errors: those of
 * bl_safetensors_open; BL_E_FORMAT: damaged; BL_E_UNSUPPORTED: for another family, with its name, or a
 * pickle, with the line that converts it. */
int bl_embedding_open(bl_embedding *out, const char *path, const char *name, const bl_architecture *arch,
                      bl_error *err);
void bl_embedding_clear(bl_embedding *e);

/* How many vectors a file holds, how long each is (of SDXL's two encoders together), and whose family reads
 * them ("SD 1.x"); only its header is read. False: it is no embedding, or cannot be read. Borrowed: static.
 */
bool bl_embedding_look(int *vectors, int *width, const char **family, const char *path);

#endif
