/* Any text as the parameters of a picture. What was read can be written and read again. */
#include "fuzz.h"

#include "image/parameters.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bl_error err = {.code = 0};
    char *text = text_of(data, size), *written = NULL, *again = NULL;
    bl_parameters first = {0}, second = {0};
    MUST(!bl_parameters_parse(&first, text, &err));
    free(text); /* nothing points into it */
    if (!bl_parameters_text(&written, &first, &err)) {
        MUST(!bl_parameters_parse(&second, written, &err));
        MUST(!bl_parameters_text(&again, &second, &err));
    }
    free(written);
    free(again);
    bl_parameters_clear(&first);
    bl_parameters_clear(&second);
    return 0;
}
