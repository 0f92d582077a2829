/* Any bytes as a form: a line with its Content-Type, then the body. Parts lie within it, in order. */
#include "fuzz.h"

#include "server/api/multipart.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct part parts[MULTIPART_MOST];
    char type[200] = "";
    int count = 0;
    struct problem p = {0};
    const uint8_t *line = memchr(data, '\n', size);
    size_t head = line ? (size_t)(line - data) : 0, bytes = size - head - (line != NULL);
    memcpy(type, data, head < sizeof type ? head : sizeof type - 1);
    char *body = malloc(bytes + 1); /* as http hands it over: with a 0 behind it */
    MUST(body);
    memcpy(body, data + size - bytes, bytes);
    body[bytes] = 0;
    int status = multipart_read(parts, &count, type, body, bytes, &p);
    MUST(!status || (status == 422 && p.text[0]));
    const char *at = body;
    for (int i = 0; i < count && !status; i++) {
        MUST(parts[i].data >= at && parts[i].data + parts[i].bytes <= body + bytes);
        MUST(memchr(parts[i].name, 0, sizeof parts[i].name));
        at = parts[i].data + parts[i].bytes;
    }
    free(body);
    return 0;
}
