/* Any bytes as a prompt that changes while a picture is made, and as one with tags: texts that lie within
 * what was read, ends that go up, adapters with finite strengths; or one line that says why not. */
#include "fuzz.h"

#include "text/adapter_tags.h"
#include "text/edit.h"

#include <math.h>

static volatile unsigned read_bytes;

static void edits(const bl_subprompt *part, int steps, int before) {
    bl_edits e = {0};
    bl_error err = {.code = 0};
    int rc = bl_edits_read(&e, part, steps, before, &err);
    MUST(rc ? err.message[0] && !e.list : e.count >= 1);
    int ends[64];
    for (int i = 0; !rc && i < e.count; i++) {
        MUST(!i || e.list[i].end > e.list[i - 1].end);
        if (i < 64) {
            ends[i] = e.list[i].end;
        }
    }
    for (int call = 0; !rc && e.count <= 64 && call < steps + 3; call++) {
        int at = bl_edits_at(ends, e.count, call);
        MUST(at >= 0 && at < e.count);
        for (size_t k = 0; k < e.list[at].length; k++) { /* all of it is there to be read */
            read_bytes += (unsigned char)e.text[e.list[at].start + k];
        }
    }
    bl_edits_clear(&e);
}

static void parts(const char *text, size_t size) {
    bl_subprompt *list = NULL;
    int count = 0;
    bl_error err = {.code = 0};
    int rc = bl_subprompts_split(&list, &count, text, size, &err);
    MUST(rc ? rc == BL_E_ARGUMENT && err.message[0] && !list : count >= 1);
    for (int i = 0; !rc && i < count && i < 16; i++) {
        MUST(isfinite(list[i].weight) && list[i].text >= text &&
             list[i].text + list[i].length <= text + size);
        edits(&list[i], 20, -1);
        edits(&list[i], 1, -1);
        edits(&list[i], 7, 20);
    }
    free(list);
}

static void tags(const char *text) {
    size_t length;
    for (const char *p = text; (p = bl_adapter_tag(p, &length)); p += length) {
        bl_adapter_call call;
        bl_error err = {.code = 0};
        int rc = bl_adapter_tag_read(&call, p, length, &err);
        MUST(p[0] == '<' && p[length - 1] == '>');
        MUST(rc ? rc == BL_E_ARGUMENT && err.message[0]
                : strlen(call.name) < BL_ADAPTER_NAME && isfinite(call.text) && isfinite(call.denoiser));
    }
    char *without = bl_without_adapter_tags(text);
    MUST(without && strlen(without) <= strlen(text));
    parts(without, strlen(without));
    free(without);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = text_of(data, size);
    parts(text, size);
    tags(text);
    free(text);
    return 0;
}
