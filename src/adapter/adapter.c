#include "adapter/adapter.h"

#include "core/checked.h"
#include "core/utf8.h"

#include <float.h>
#include <jansson.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (1u << 20)        /* bytes read at once */
#define MOST_METADATA (1 << 20) /* bytes of PEFT's configuration */

static _Atomic uint64_t serials;

bl_adapter *bl_adapter_hold(bl_adapter *a) {
    a->holders++;
    return a;
}

void bl_adapter_drop(bl_adapter **ap) {
    bl_adapter *a = *ap;
    *ap = NULL;
    if (a && !--a->holders) {
        bl_safetensors_close(&a->file);
        free(a->items);
        free(a->path);
        free(a);
    }
}

static int compare(bl_module module, const char *layer, size_t length, const bl_layer *l) {
    if (module != l->module) {
        return (int)module - (int)l->module;
    }
    int c = strncmp(layer, l->name, length);
    return c ? c : l->name[length] ? -1 : 0;
}

const bl_adapted *bl_adapter_find(const bl_adapter *a, bl_module module, const char *layer, size_t length) {
    int low = 0, high = a->count - 1;
    while (low <= high) {
        int middle = low + (high - low) / 2;
        int c = compare(module, layer, length, a->items[middle].layer);
        if (!c) {
            return &a->items[middle];
        }
        if (c > 0) {
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    return NULL;
}

/* ---- alphas that PEFT keeps in the metadata: {"unet.lora_alpha": 8, "unet.alpha_pattern": {"MODULE": 4}} */

typedef struct peft {
    json_t *config; /* NULL: there is none */
} peft;

static int open_peft(peft *out, const bl_adapter *a, bl_error *err) {
    const char *text = bl_safetensors_metadata(a->file, "lora_adapter_metadata");
    out->config = text && strlen(text) < MOST_METADATA ? json_loads(text, 0, NULL) : NULL;
    return text && !json_is_object(out->config)
               ? bl_fail(err, BL_E_FORMAT, "%.400s: its metadata's lora_adapter_metadata is no JSON object",
                         a->path)
               : 0;
}

/* Does a pattern, which PEFT takes for a regular expression at the end of a module's name, mean this one?
 * Names are all that is written there: their dots, and a '^' or '\' before them. */
static bool means(const char *pattern, const char *name) {
    char plain[BL_NAME_BYTES];
    size_t n = 0;
    for (const char *p = pattern + (*pattern == '^'); *p && n + 1 < sizeof plain; p++) {
        if (*p != '\\' && !(*p == '$' && !p[1])) {
            plain[n++] = *p;
        }
    }
    plain[n] = '\0';
    size_t m = strlen(name);
    return n && n <= m && !strcmp(name + m - n, plain) && (n == m || name[m - n - 1] == '.');
}

/* NaN: it says nothing. */
static double peft_alpha(const peft *p, const bl_layer *l) {
    char key[64];
    const char *pattern;
    json_t *value, *patterns;
    snprintf(key, sizeof key, "%s.alpha_pattern", bl_module_name(l->module));
    patterns = json_object_get(p->config, key);
    json_object_foreach(patterns, pattern, value) {
        if (json_is_number(value) && means(pattern, l->name)) {
            return json_number_value(value);
        }
    }
    snprintf(key, sizeof key, "%s.lora_alpha", bl_module_name(l->module));
    value = json_object_get(p->config, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* ---- reading it */

/* As F32, which is what they are read to. */
static bool all_finite(const void *data, bl_dtype type, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool bad = false;
        switch (type) {
        case BL_F16:
            bad = (((const uint16_t *)data)[i] & 0x7c00u) == 0x7c00u;
            break;
        case BL_BF16:
            bad = (((const uint16_t *)data)[i] & 0x7f80u) == 0x7f80u;
            break;
        case BL_F32:
            bad = !isfinite(((const float *)data)[i]);
            break;
        default:
            bad = !(fabs(((const double *)data)[i]) <= (double)FLT_MAX);
            break;
        }
        if (bad) {
            return false;
        }
    }
    return true;
}

static int by_offset(const void *a, const void *b) {
    const bl_file_tensor *const *x = a, *const *y = b;
    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

/* Every tensor once, in the order of the file: hashed, and held against NaN. */
static int read_whole(bl_adapter *a, EVP_MD_CTX *hash, const bl_file_tensor **order, int count, void *piece,
                      bl_error *err) {
    int rc = 0;
    for (int i = 0; i < count && !rc; i++) {
        const bl_file_tensor *t = order[i];
        bool weights = t->dtype == BL_F16 || t->dtype == BL_BF16 || t->dtype == BL_F32 || t->dtype == BL_F64;
        for (uint64_t at = 0; at < t->bytes && !rc; at += PIECE) {
            uint64_t n = t->bytes - at < PIECE ? t->bytes - at : PIECE;
            rc = bl_safetensors_read(a->file, t->offset + at, n, piece, err);
            if (!rc && EVP_DigestUpdate(hash, piece, (size_t)n) != 1) {
                rc = bl_fail_memory(err, "the adapter's hash", n);
            }
            if (!rc && weights && !all_finite(piece, t->dtype, (size_t)n / bl_dtype_size(t->dtype))) {
                rc = bl_fail(err, BL_E_FORMAT,
                             "%.400s: \"%.200s\" holds a NaN, an infinity or what F32 has no number for: the "
                             "file is damaged",
                             a->path, t->name);
            }
        }
    }
    return rc;
}

static int check_numbers(bl_adapter *a, bl_error *err) {
    int count;
    const bl_file_tensor *tensors = bl_safetensors_tensors(a->file, &count);
    const bl_file_tensor **order = malloc(((size_t)count + 1) * sizeof(void *));
    void *piece = malloc(PIECE);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    int rc = order && piece && hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1
                 ? 0
                 : bl_fail_memory(err, "reading an adapter", PIECE);
    for (int i = 0; i < count && order; i++) {
        order[i] = &tensors[i];
    }
    if (!rc) {
        qsort(order, (size_t)count, sizeof *order, by_offset);
        rc = read_whole(a, hash, order, count, piece, err);
    }
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    if (!rc && EVP_DigestFinal_ex(hash, digest, NULL) != 1) {
        rc = bl_fail_memory(err, "the adapter's hash", sizeof digest);
    }
    for (int i = 0; i < 32; i++) {
        snprintf(a->hash + 2 * i, 3, "%02x", digest[i]);
    }
    EVP_MD_CTX_free(hash);
    free(piece);
    free((void *)order);
    return rc;
}

/* What trainers wrote into the metadata comes first, as in A1111. */
static void take_hash(bl_adapter *a) {
    const char *said = bl_safetensors_metadata(a->file, "sshs_model_hash");
    size_t n = said ? strspn(said, "0123456789abcdefABCDEF") : 0;
    if (n >= 12 && n < sizeof a->hash && !said[n]) {
        memcpy(a->hash, said, n + 1);
    }
}

/* ---- what is in it */

static void note_unmatched(bl_adapter *a, const char *key) {
    if (a->unmatched < BL_ADAPTER_NAMED) {
        a->first_unmatched[a->unmatched] = key;
    }
    a->unmatched++;
}

/* A part of the change of one layer, which it may have with others. */
static int take_part(bl_adapter *a, int *item_of, const bl_layers *layers, bl_layer_place place, bl_part part,
                     const bl_file_tensor *t, bl_error *err) {
    int *item = &item_of[place.layer];
    if (*item < 0) {
        *item = a->count;
        a->items[a->count++] = (bl_adapted){
            .layer = bl_layers_at(layers, place.layer), .first = place.first, .rows = place.rows};
    }
    bl_adapted *x = &a->items[*item];
    if (x->part[part]) {
        return bl_fail(err, BL_E_FORMAT, "%.300s: \"%.200s\" and \"%.200s\" are the same part of one layer",
                       a->path, x->part[part]->name, t->name);
    }
    if (x->first != place.first || x->rows != place.rows) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.300s: \"%.200s\" changes layer %.127s, which others change by itself", a->path,
                       t->name, x->layer->name);
    }
    x->part[part] = t;
    return 0;
}

static int take_key(bl_adapter *a, int *item_of, const bl_layers *layers, const bl_file_tensor *t,
                    bl_error *err) {
    size_t length;
    bl_layer_place places[BL_LAYER_SHARES];
    bl_part part = bl_key_part(t->name, &length);
    int count = part == BL_PART_COUNT ? 0 : bl_layers_find(places, layers, t->name, length), rc = 0;
    if (!count) {
        note_unmatched(a, t->name);
        return 0;
    }
    if (t->dtype != BL_F32 && t->dtype != BL_F16 && t->dtype != BL_BF16 && t->dtype != BL_F64) {
        return bl_fail(err, BL_E_UNSUPPORTED,
                       "%.300s: \"%.200s\" has type %.20s; adapters are read in F32, F16, BF16 and F64",
                       a->path, t->name, t->dtype_name);
    }
    for (int i = 0; i < count && !rc; i++) {
        rc = take_part(a, item_of, layers, places[i], part, t, err);
    }
    a->bytes += t->bytes;
    return rc;
}

static int read_alpha(double *out, const bl_adapter *a, const bl_adapted *x, const peft *p, bl_error *err) {
    const bl_file_tensor *t = x->part[BL_PART_ALPHA];
    *out = t ? NAN : peft_alpha(p, x->layer);
    if (!t) {
        return 0;
    }
    unsigned char stored[8];
    float value;
    if (t->bytes != bl_dtype_size(t->dtype)) {
        return bl_fail(err, BL_E_FORMAT, "%.300s: \"%.200s\" is not one number", a->path, t->name);
    }
    int rc = bl_safetensors_read(a->file, t->offset, t->bytes, stored, err);
    if (!rc) {
        bl_convert(&value, BL_F32, stored, t->dtype, 1);
        *out = (double)value;
    }
    return rc;
}

static int by_layer(const void *a, const void *b) {
    const bl_adapted *x = a, *y = b;
    return x->layer->module != y->layer->module ? (int)x->layer->module - (int)y->layer->module
                                                : strcmp(x->layer->name, y->layer->name);
}

/* A layer of which nothing is there but its alpha does not count. */
static bool is_empty(const bl_adapted *x) {
    for (int i = 0; i < BL_PART_COUNT; i++) {
        if (x->part[i] && i != BL_PART_ALPHA) {
            return false;
        }
    }
    return true;
}

static int check_items(bl_adapter *a, bl_error *err) {
    peft p = {0};
    int rc = open_peft(&p, a, err), kept = 0;
    for (int i = 0; i < a->count && !rc; i++) {
        double alpha;
        bl_adapted *x = &a->items[i];
        if (is_empty(x)) {
            note_unmatched(a, x->part[BL_PART_ALPHA]->name);
            continue;
        }
        rc = read_alpha(&alpha, a, x, &p, err);
        rc = rc ? rc : bl_adapted_check(x, a->path, alpha, err);
        if (!rc && !isfinite(x->scale)) {
            rc = bl_fail(err, BL_E_FORMAT, "%.300s: layer %.127s: no finite alpha", a->path, x->layer->name);
        }
        a->modules[x->layer->module]++;
        a->items[kept++] = *x;
    }
    json_decref(p.config);
    a->count = kept;
    qsort(a->items, (size_t)a->count, sizeof *a->items, by_layer);
    return rc;
}

static int nothing_matches(const bl_adapter *a, const bl_layers *layers, bl_error *err) {
    if (!a->unmatched) {
        return bl_fail(err, BL_E_FORMAT, "%.300s: nothing in it changes a layer: it is no adapter", a->path);
    }
    return bl_fail(
        err, BL_E_FORMAT,
        "%.300s: none of its %d keys is a layer of this %s model; the first is \"%.200s\": it is for "
        "another family, or no adapter",
        a->path, a->unmatched, bl_layers_family(layers), a->first_unmatched[0]);
}

static int collect(bl_adapter *a, const bl_layers *layers, bl_error *err) {
    int keys, all = bl_layers_count(layers), rc = 0;
    const bl_file_tensor *t = bl_safetensors_tensors(a->file, &keys);
    int *item_of = malloc(((size_t)all + 1) * sizeof *item_of);
    a->items = calloc((size_t)all + 1, sizeof *a->items);
    if (!item_of || !a->items) {
        rc = bl_fail_memory(err, "an adapter's layers", (unsigned long long)all * sizeof *a->items);
    }
    for (int i = 0; i < all && item_of; i++) {
        item_of[i] = -1;
    }
    for (int i = 0; i < keys && !rc; i++) {
        rc = take_key(a, item_of, layers, &t[i], err);
    }
    free(item_of);
    rc = rc ? rc : check_items(a, err);
    return rc || a->count ? rc : nothing_matches(a, layers, err);
}

/* "style" of "lora/style.safetensors". */
static void name_it(bl_adapter *a) {
    static const char suffix[] = ".safetensors";
    const char *slash = strrchr(a->path, '/'), *from = slash ? slash + 1 : a->path;
    size_t n = strlen(from), cut = sizeof suffix - 1;
    n -= n > cut && !strcmp(from + n - cut, suffix) ? cut : 0;
    char *clean = bl_utf8_copy(from);
    snprintf(a->name, sizeof a->name, "%.*s", (int)(n < 255 ? n : 255), clean ? clean : from);
    free(clean);
}

int bl_adapter_open(bl_adapter **out, const char *path, const bl_layers *layers, bl_error *err) {
    *out = NULL;
    bl_adapter *a = calloc(1, sizeof *a);
    if (!a || !(a->path = strdup(path))) {
        free(a);
        return bl_fail_memory(err, "an adapter", sizeof *a);
    }
    a->holders = 1;
    a->serial = atomic_fetch_add(&serials, 1) + 1;
    name_it(a);
    int rc = bl_safetensors_open(&a->file, path, err);
    rc = rc ? rc : collect(a, layers, err);
    rc = rc ? rc : check_numbers(a, err);
    if (rc) {
        bl_adapter_drop(&a);
        return rc;
    }
    take_hash(a);
    *out = a;
    return 0;
}
