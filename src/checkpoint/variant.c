/* Which of the files in a module's folder holds its weights. diffusers and transformers call them
 * NAME.safetensors, or NAME.VARIANT.safetensors ("fp16", "bf16", "non_ema", anything); where they are in
 * shards, an index names those: NAME.safetensors.index.json, NAME.safetensors.index.VARIANT.json or
 * NAME.VARIANT.safetensors.index.json. */
#include "checkpoint/names.h"
#include "checkpoint/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

/* One file's name taken apart. */
typedef struct weights_name {
    const char *variant; /* not terminated; of none, length 0 */
    size_t length;
    bool index, pickle;
} weights_name;

static bool starts_with(const char *text, size_t n, const char *start) {
    return n >= strlen(start) && memcmp(text, start, strlen(start)) == 0;
}

static bool ends_with(const char *text, size_t n, const char *end) {
    return n >= strlen(end) && memcmp(text + n - strlen(end), end, strlen(end)) == 0;
}

/* `rest`: what follows NAME. False if this is no file of weights, or a shard. */
static bool take_apart(weights_name *out, const char *rest) {
    static const char weights[] = ".safetensors", shards[] = ".safetensors.index", json[] = ".json";
    size_t n = strlen(rest);
    weights_name w = {.variant = rest, .length = 0};
    if (ends_with(rest, n, ".bin.index.json")) {
        w.pickle = true;
        w.length = n - strlen(".bin.index.json");
    } else if (ends_with(rest, n, json)) {
        n -= strlen(json);
        w.index = true;
        if (starts_with(rest, n, shards)) { /* the variant follows */
            w.variant = rest + strlen(shards);
            w.length = n - strlen(shards);
        } else if (ends_with(rest, n, shards)) {
            w.length = n - strlen(shards);
        } else {
            return false;
        }
    } else if (ends_with(rest, n, weights)) {
        w.length = n - strlen(weights);
    } else if (ends_with(rest, n, ".bin")) {
        w.pickle = true;
        w.length = n - strlen(".bin");
    } else {
        return false;
    }
    if (w.length && *w.variant != '.') {
        return false;
    }
    for (size_t i = 0; i + 4 <= w.length; i++) {
        if (memcmp(w.variant + i, "-of-", 4) == 0) {
            return false;
        }
    }
    *out = w;
    return true;
}

/* Lower is taken first: full precision (what we compute in is decided elsewhere), then the most precise;
 * weights that are no moving average last, as pictures are made with the average. */
static int rank(const weights_name *w) {
    static const char *const known[] = {"", ".fp32", ".fp16", ".bf16"};
    static const char raw[] = "non_ema";
    for (size_t i = 0; i + strlen(raw) <= w->length; i++) {
        if (memcmp(w->variant + i, raw, strlen(raw)) == 0) {
            return 5;
        }
    }
    for (int i = 0; i < COUNT(known); i++) {
        if (w->length == strlen(known[i]) && memcmp(w->variant, known[i], w->length) == 0) {
            return i;
        }
    }
    return 4;
}

/* Is `name` such a file, and which? */
static bool read_name(weights_name *out, const char *name) {
    static const char *const bases[] = {"diffusion_pytorch_model", "model", "pytorch_model"};
    for (int i = 0; i < COUNT(bases); i++) {
        const char *rest = bl_after(name, bases[i]);
        if (rest && take_apart(out, rest)) {
            return true;
        }
    }
    return false;
}

bool bl_is_weights_name(const char *name) {
    weights_name w;
    return read_name(&w, name) && !w.index && !w.pickle;
}

int bl_choose_weights(bl_weights_file *out, const char *folder, bl_error *err) {
    bl_weights_file best = {.name = ""};
    int best_order = 0;
    *out = best;
    DIR *d = opendir(folder);
    if (!d) {
        return errno == ENOENT || errno == ENOTDIR ? 0 : bl_fail_open(err, folder, errno);
    }
    for (const struct dirent *e; (e = readdir(d));) {
        weights_name w;
        if (strlen(e->d_name) >= sizeof best.name || !read_name(&w, e->d_name)) {
            continue;
        }
        int order = (w.pickle ? 100 : 0) + 2 * rank(&w) + w.index;
        if (!best.name[0] || order < best_order ||
            (order == best_order && strcmp(e->d_name, best.name) < 0)) {
            best = (bl_weights_file){.index = w.index, .pickle = w.pickle};
            memcpy(best.name, e->d_name, strlen(e->d_name) + 1);
            best_order = order;
        }
    }
    closedir(d);
    *out = best;
    return 0;
}
