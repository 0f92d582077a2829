/* What makes tokens of prompts that are read as they are. */
#ifndef BALLAST_PIPELINE_WORDBOOK_H
#define BALLAST_PIPELINE_WORDBOOK_H

#include "text/byte_bpe.h"
#include "text/unigram.h"

/* All borrowed. */
typedef struct bl_wordbook {
    const bl_byte_bpe *qwen; /* of families that a language model reads for; else NULL */
    const bl_unigram *t5;    /* of those that T5 reads for; NULL also where the model has no such file */
} bl_wordbook;

#endif
