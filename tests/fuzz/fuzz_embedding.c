/* Any bytes as an embedding's file, for a model with one text encoder and for one with two: finite vectors, 1
 * to 75 of them, or one line that says why not. */
#include "fuzz.h"

#include "adapter/embedding.h"

#include <math.h>
#include <unistd.h>

static const bl_architecture models[] = {
    {.family = &bl_sd1, .text = {{.present = true, .width = 16}}},
    {.family = &bl_sdxl, .text = {{.present = true, .width = 16}, {.present = true, .width = 24}}},
};

static void take(const char *path, const bl_architecture *arch) {
    bl_embedding e;
    bl_error err = {.code = 0};
    int rc = bl_embedding_open(&e, path, "fuzz", arch, &err);
    MUST(rc ? err.message[0] && !e.name && !e.values[0] && !e.values[1]
            : e.vectors >= 1 && e.vectors <= BL_EMBEDDING_VECTORS);
    for (int i = 0; !rc && i < arch->family->encoders; i++) {
        for (int k = 0; k < e.vectors * arch->text[i].width; k++) {
            MUST(isfinite(e.values[i][k]));
        }
    }
    bl_embedding_clear(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char folder[] = "/tmp/ballast-fuzz-XXXXXX", path[64];
    MUST(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/fuzz.safetensors", folder);
    FILE *f = fopen(path, "we");
    MUST(f && fwrite(data, 1, size, f) == size && !fclose(f));
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        take(path, &models[i]);
    }
    unlink(path);
    rmdir(folder);
    return 0;
}
