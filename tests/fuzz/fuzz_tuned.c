/* Any bytes as a file of `ballast tune --import`: refused with a line, or entries that are kept and found
 * again. */
#include "fuzz.h"

#include "tune/entries.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bl_error err = {.code = 0};
    bl_calibration *c = NULL;
    bl_tuned *list;
    int count;
    char *text = text_of(data, size);
    int rc = bl_entries_read(&list, &count, text, &err);
    MUST(!rc == !err.message[0] && (!rc || (!list && !count)));
    if (!rc) {
        MUST(!bl_calibration_open(&c, NULL, NULL, &err));
        MUST(!bl_tuned_keep_all(c, list, count, &err));
        for (int i = 0; i < count; i++) {
            bl_tuned found = list[i];
            MUST(bl_tuned_find(&found, c));
        }
        bl_calibration_close(&c);
    }
    free(list);
    free(text);
    return 0;
}
