/* Any bytes as a picture of whichever form: a picture or a refusal. */
#include "fuzz.h"

#include "image/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bl_error err = {.code = 0};
    bl_picture picture = {0};
    int rc = bl_picture_decode(&picture, data, size, 1 << 18, "fuzz", &err);
    MUST(!rc || (err.message[0] && !picture.rgb));
    MUST(rc || (picture.width > 0 && picture.height > 0 && picture.width * picture.height <= 1 << 18));
    bl_picture_clear(&picture);
    return 0;
}
