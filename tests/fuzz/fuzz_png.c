/* Any bytes as a picture. What is read can be written and is the same when it is read again. */
#include "fuzz.h"

#include "image/png.h"

#define MOST_PIXELS (1 << 20) /* larger ones say nothing new, and take long */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bl_error err = {.code = 0};
    bl_picture first = {0}, second = {0};
    uint8_t *png = NULL;
    size_t bytes = 0;
    if (size >= 24) { /* width and height of the header */
        uint64_t width = (uint64_t)data[16] << 24 | data[17] << 16 | data[18] << 8 | data[19];
        uint64_t height = (uint64_t)data[20] << 24 | data[21] << 16 | data[22] << 8 | data[23];
        if (width && height && width < 65536 && height < 65536 && width * height > MOST_PIXELS) {
            return 0;
        }
    }
    int rc = bl_png_decode(&first, data, size, "fuzz", &err);
    MUST(!rc || (err.message[0] && !first.rgb));
    if (rc) {
        return 0;
    }
    MUST(first.width > 0 && first.height > 0);
    MUST(!bl_png_encode(&png, &bytes, first.rgb, first.height, first.width, first.parameters, &err));
    MUST(!bl_png_decode(&second, png, bytes, "again", &err));
    MUST(second.width == first.width && second.height == first.height);
    MUST(!memcmp(first.rgb, second.rgb, (size_t)(first.width * first.height) * 3));
    MUST(!first.parameters || !*first.parameters || !strcmp(first.parameters, second.parameters));
    free(png);
    bl_picture_clear(&first);
    bl_picture_clear(&second);
    return 0;
}
