/* Setup and teardown of tests whose state is a tokenizer. */
#ifndef BALLAST_TESTS_TEXT_TOKENIZER_STATE_H
#define BALLAST_TESTS_TEXT_TOKENIZER_STATE_H

#include "text/tokenizer.h"

static inline int tokenizer_setup(void **state) {
    bl_tokenizer *t = NULL;
    int rc = bl_tokenizer_new(&t, NULL);
    *state = t;
    return rc;
}

static inline int tokenizer_teardown(void **state) {
    bl_tokenizer *t = *state;
    bl_tokenizer_free(&t);
    return 0;
}

#endif
