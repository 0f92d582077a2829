/* GGUF version 3 (ggml-org/ggml, docs/gguf.md), little-endian: magic, version, counts; keys with typed
 * values; for each tensor its name, dimensions (innermost first), type and offset; then the data. Written by
 * city96's tools (denoisers, whose tensors are reshaped to rows of 256 where a row is no whole number of
 * blocks), stable-diffusion.cpp and llama.cpp.
 */
#include "checkpoint/tensor_file.h"

#include "core/checked.h"
#include "core/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER (256u << 20) /* vocabularies lie there: those published take some 10 MB */
#define FIRST_PIECE (1u << 20)
#define MAX_NAME 127 /* ggml keeps a name in 128 bytes with its NUL */
#define MAX_RANK 4
#define MAX_ALIGNMENT (1u << 20)
#define MIN_PAIR 13   /* bytes of the smallest key with its value */
#define MIN_TENSOR 33 /* of the smallest entry of a tensor */

enum { U8, I8, U16, I16, U32, I32, FLOAT32, BOOL, STRING, ARRAY, U64, I64, FLOAT64, KINDS };

static const int kind_bytes[KINDS] = {
    [U8] = 1,      [I8] = 1,   [U16] = 2, [I16] = 2,     [U32] = 4, [I32] = 4,
    [FLOAT32] = 4, [BOOL] = 1, [U64] = 8, [FLOAT64] = 8, [I64] = 8};

/* What a type's number means. Those that are left out are not read. */
static const struct {
    uint32_t number;
    bl_dtype dtype;
    bl_storage storage;
} types[] = {
    {0, BL_F32, BL_STORED_PLAIN},         {1, BL_F16, BL_STORED_PLAIN},
    {2, BL_DTYPE_COUNT, BL_STORED_Q4_0},  {3, BL_DTYPE_COUNT, BL_STORED_Q4_1},
    {6, BL_DTYPE_COUNT, BL_STORED_Q5_0},  {7, BL_DTYPE_COUNT, BL_STORED_Q5_1},
    {8, BL_DTYPE_COUNT, BL_STORED_Q8_0},  {12, BL_DTYPE_COUNT, BL_STORED_Q4_K},
    {13, BL_DTYPE_COUNT, BL_STORED_Q5_K}, {14, BL_DTYPE_COUNT, BL_STORED_Q6_K},
    {24, BL_I8, BL_STORED_PLAIN},         {25, BL_I16, BL_STORED_PLAIN},
    {26, BL_I32, BL_STORED_PLAIN},        {27, BL_I64, BL_STORED_PLAIN},
    {28, BL_F64, BL_STORED_PLAIN},        {30, BL_BF16, BL_STORED_PLAIN},
};

/* The header as it is read: from `at` to `end`, which is the end of what was read of the file. */
typedef struct reader {
    bl_safetensors *file;
    const char *at, *end;
    char *text; /* where the next string is kept */
    uint32_t alignment;
    bool more; /* what was read of the file did not reach */
    bl_error *err;
} reader;

static int fail(reader *r, const char *what) {
    r->more = true;
    return bl_fail(r->err, BL_E_FORMAT, "%.400s: %s: the GGUF file was cut short, or is damaged",
                   r->file->path, what);
}

/* ---- pieces */

/* The next bytes; zeros after an error. */
static int take(reader *r, void *out, size_t bytes, const char *what) {
    memset(out, 0, bytes);
    if ((size_t)(r->end - r->at) < bytes) {
        return fail(r, what);
    }
    memcpy(out, r->at, bytes); /* little-endian, as we are */
    r->at += bytes;
    return 0;
}

/* A string's bytes, and how many. `what` is said where it does not end. */
static int take_bytes(reader *r, const char **out, uint64_t *n, const char *what) {
    int rc = take(r, n, sizeof *n, what);
    if (!rc && *n > (size_t)(r->end - r->at)) {
        rc = fail(r, what);
    }
    if (!rc) {
        *out = r->at;
        r->at += *n;
    }
    return rc;
}

/* A string, of which *out is a copy among the file's strings. */
static int take_string(reader *r, const char **out, uint64_t *n, const char *what) {
    const char *bytes;
    int rc = take_bytes(r, &bytes, n, what);
    if (!rc) {
        *out = memcpy(r->text, bytes, *n);
        r->text[*n] = 0;
        r->text += *n + 1;
    }
    return rc;
}

static int skip_values(reader *r, uint32_t kind, uint64_t count, const char *key) {
    if (kind == STRING) {
        const char *unused;
        uint64_t n;
        int rc = 0;
        for (uint64_t i = 0; i < count && !rc; i++) {
            rc = take_bytes(r, &unused, &n, "a key's text does not end");
        }
        return rc;
    }
    uint64_t bytes;
    if (kind >= KINDS || kind == ARRAY) {
        return bl_fail(r->err, BL_E_FORMAT, "%.400s: key \"%.100s\" has a value of the type %" PRIu32 "%s",
                       r->file->path, key, kind,
                       kind == ARRAY ? ", an array of arrays" : ", which GGUF does not know");
    }
    if (!bl_mul_u64(count, (uint64_t)kind_bytes[kind], &bytes) || bytes > (size_t)(r->end - r->at)) {
        return fail(r, "a key's values do not end");
    }
    r->at += bytes;
    return 0;
}

/* ---- keys */

static int by_key(const void *a, const void *b) {
    return strcmp(((const bl_text_pair *)a)->key, ((const bl_text_pair *)b)->key);
}

/* comfy.gguf.orig_shape.NAME: what the tensor's shape was. Kept as text, "[320, 4, 3, 3]", until the tensors
 * are there. */
static int take_shape(reader *r, bl_text_pair *pair) {
    int32_t d;
    uint32_t kind;
    uint64_t count;
    int rc = take(r, &kind, sizeof kind, "a key ends early");
    rc = rc ? rc : take(r, &count, sizeof count, "a key ends early");
    if (!rc && (kind != I32 || count > BL_FILE_RANK)) {
        rc = bl_fail(r->err, BL_E_FORMAT,
                     "%.400s: key \"%.200s\" must hold at most %d whole numbers of 32 bits", r->file->path,
                     pair->key, BL_FILE_RANK);
    }
    char text[BL_FILE_RANK * 13 + 3];
    int n = snprintf(text, sizeof text, "[");
    for (uint64_t i = 0; i < count && !rc; i++) {
        rc = take(r, &d, sizeof d, "a key ends early");
        n += rc ? 0 : snprintf(text + n, sizeof text - (size_t)n, "%s%" PRId32, i ? ", " : "", d);
    }
    if (!rc) {
        snprintf(text + n, sizeof text - (size_t)n, "]");
        pair->value = memcpy(r->text, text, (size_t)n + 2);
        r->text += n + 2;
    }
    return rc;
}

/* A vocabulary's tokens, which are kept. */
static int take_words(reader *r, uint64_t count) {
    const char *word;
    uint64_t n;
    int rc = 0;
    r->file->words = r->text;
    r->file->word_count = count;
    for (uint64_t i = 0; i < count && !rc; i++) {
        rc = take_string(r, &word, &n, "a token does not end");
    }
    return rc;
}

static int take_alignment(reader *r, uint32_t kind) {
    uint32_t a = 0;
    int rc = kind == U32 ? take(r, &a, sizeof a, "a key ends early") : 0;
    if (!rc && (!a || a & (a - 1) || a > MAX_ALIGNMENT)) {
        rc = bl_fail(r->err, BL_E_FORMAT,
                     "%.400s: general.alignment must be a power of two of 32 bits, at most %u", r->file->path,
                     MAX_ALIGNMENT);
    }
    r->alignment = a;
    return rc;
}

static int take_value(reader *r, bl_text_pair *pair, uint32_t kind) {
    static const char shape_of[] = "comfy.gguf.orig_shape.";
    if (strcmp(pair->key, "general.alignment") == 0) {
        return take_alignment(r, kind);
    }
    if (kind == STRING) {
        uint64_t n;
        return take_string(r, &pair->value, &n, "a key's text does not end");
    }
    if (kind != ARRAY) {
        return skip_values(r, kind, 1, pair->key);
    }
    if (strncmp(pair->key, shape_of, sizeof shape_of - 1) == 0) {
        return take_shape(r, pair);
    }
    uint64_t count;
    int rc = take(r, &kind, sizeof kind, "a key ends early");
    rc = rc ? rc : take(r, &count, sizeof count, "a key ends early");
    if (!rc && kind == STRING && !strcmp(pair->key, "tokenizer.ggml.tokens")) {
        return take_words(r, count);
    }
    return rc ? rc : skip_values(r, kind, count, pair->key);
}

/* All keys; those whose values are text or shapes stay as metadata. */
static int take_keys(reader *r, uint64_t count) {
    bl_safetensors *f = r->file;
    bl_text_pair *all = calloc(count + 1, sizeof *all);
    int rc = all ? 0 : bl_fail_memory(r->err, "the list of keys", count * sizeof *all);
    for (uint64_t i = 0; i < count && !rc; i++) {
        uint32_t kind;
        uint64_t n;
        rc = take_string(r, &all[i].key, &n, "a key does not end");
        rc = rc ? rc : take(r, &kind, sizeof kind, "a key ends early");
        rc = rc ? rc : take_value(r, &all[i], kind);
    }
    if (!rc) {
        qsort(all, count, sizeof *all, by_key);
    }
    for (uint64_t i = 0; i < count && !rc; i++) {
        if (i && strcmp(all[i].key, all[i - 1].key) == 0) {
            rc = bl_fail(r->err, BL_E_FORMAT, "%.400s: key \"%.200s\" is there twice", f->path, all[i].key);
        } else if (all[i].value) {
            all[f->metadata_count++] = all[i];
        }
    }
    f->metadata = all;
    return rc;
}

/* ---- tensors */

/* Bytes of the tensor, whose shape, type and storage are there. */
static int size_tensor(const reader *r, bl_file_tensor *t) {
    uint64_t values = 1;
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] < 1) {
            return bl_fail_tensor(r->err, r->file->path, t->name,
                                  "its shape holds a number below 1, or far too large");
        }
        if (!bl_mul_u64(values, (uint64_t)t->shape[i], &values) || values > INT64_MAX / 8) {
            return bl_fail_tensor(r->err, r->file->path, t->name, "its shape is too large for any memory");
        }
    }
    if (t->storage == BL_STORED_PLAIN) {
        t->bytes = values * bl_dtype_size(t->dtype);
        return 0;
    }
    const bl_storage_form *form = bl_storage_of(t->storage);
    if (t->shape[t->rank - 1] % form->values) {
        return bl_fail(r->err, BL_E_FORMAT,
                       "%.400s: tensor \"%.127s\" of type %s has rows of %" PRId64
                       " values, no multiple of %d",
                       r->file->path, t->name, form->name, t->shape[t->rank - 1], form->values);
    }
    t->bytes = values / (uint64_t)form->values * (uint64_t)form->bytes;
    return 0;
}

static int take_type(const reader *r, bl_file_tensor *t, uint32_t number) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].number == number) {
            t->dtype = types[i].dtype;
            t->storage = types[i].storage;
            t->dtype_name = t->storage ? bl_storage_of(t->storage)->name : bl_dtype_name(t->dtype);
            return 0;
        }
    }
    return bl_fail(r->err, BL_E_UNSUPPORTED,
                   "%.400s: tensor \"%.127s\" has GGUF's type number %" PRIu32
                   "; Ballast reads F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1 and Q4_0",
                   r->file->path, t->name, number);
}

static int take_tensor(reader *r, bl_file_tensor *t) {
    uint32_t rank, number;
    uint64_t n;
    int rc = take_string(r, &t->name, &n, "a tensor's name does not end");
    if (rc) {
        return rc;
    }
    if (!n || n > MAX_NAME || strlen(t->name) != n || !bl_utf8_valid(t->name)) {
        return bl_fail(r->err, BL_E_FORMAT,
                       "%.400s: the name of a tensor must be UTF-8 of 1 to %d bytes without NUL",
                       r->file->path, MAX_NAME);
    }
    rc = take(r, &rank, sizeof rank, "the list of tensors ends early");
    if (!rc && (rank < 1 || rank > MAX_RANK)) {
        rc = bl_fail(r->err, BL_E_FORMAT,
                     "%.400s: tensor \"%.127s\" has %" PRIu32 " dimensions; 1 to %d can be", r->file->path,
                     t->name, rank, MAX_RANK);
    }
    t->rank = rc ? 0 : (int)rank;
    for (int i = t->rank - 1; i >= 0 && !rc; i--) {
        uint64_t d;
        rc = take(r, &d, sizeof d, "the list of tensors ends early");
        t->shape[i] = rc || d > INT64_MAX ? 0 : (int64_t)d;
    }
    rc = rc ? rc : take(r, &number, sizeof number, "the list of tensors ends early");
    rc = rc ? rc : take(r, &t->offset, sizeof t->offset, "the list of tensors ends early");
    rc = rc ? rc : take_type(r, t, number);
    return rc ? rc : size_tensor(r, t);
}

/* ---- what they say of each other */

static int by_offset(const void *a, const void *b) {
    const bl_file_tensor *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Offsets count from `start`. Tensors follow each other, each from the next multiple of the alignment on. */
static int check_layout(const reader *r, uint64_t start) {
    bl_safetensors *f = r->file;
    const uint64_t size = (uint64_t)f->opened.st_size;
    uint64_t at = start;
    qsort(f->tensors, (size_t)f->tensor_count, sizeof *f->tensors, by_offset);
    for (int i = 0; i < f->tensor_count; i++) {
        bl_file_tensor *t = &f->tensors[i];
        if (t->offset % r->alignment) {
            return bl_fail_tensor(r->err, f->path, t->name,
                                  "its offset is no multiple of the file's alignment");
        }
        if (!bl_add_u64(t->offset, start, &t->offset) || t->offset > size || t->bytes > size - t->offset) {
            return bl_fail(
                r->err, BL_E_FORMAT,
                "%.400s: tensor \"%.127s\" ends behind the end of the file: it was cut short, or is damaged",
                f->path, t->name);
        }
        if (t->offset != at) {
            return bl_fail(r->err, BL_E_FORMAT,
                           "%.400s: tensor \"%.127s\" starts at byte %" PRIu64
                           ", the one before it ends at %" PRIu64
                           ": tensors must follow each other without overlap or hole",
                           f->path, t->name, t->offset, at);
        }
        at = bl_align_up(t->offset + t->bytes, r->alignment);
    }
    return at < size ? bl_fail(r->err, BL_E_FORMAT, "%.400s: %" PRIu64 " bytes follow the last tensor",
                               f->path, size - at)
                     : 0;
}

/* The shape that a tensor had before it was written as rows of blocks: as many values, in the same order. */
static int restore_shape(const reader *r, bl_file_tensor *t) {
    char key[MAX_NAME + 32];
    snprintf(key, sizeof key, "comfy.gguf.orig_shape.%s", t->name);
    const char *text = bl_safetensors_metadata(r->file, key);
    if (!text) {
        return 0;
    }
    bl_file_tensor old = {.name = t->name};
    int64_t values = 1, were = 1;
    for (int i = 0; i < t->rank; i++) {
        values *= t->shape[i];
    }
    for (const char *p = text + 1; *p && *p != ']' && old.rank < BL_FILE_RANK;) {
        char *after;
        const long long d = strtoll(p, &after, 10);
        if (d < 1 || __builtin_mul_overflow(were, (int64_t)d, &were)) {
            were = 0;
            break;
        }
        old.shape[old.rank++] = d;
        p = *after == ',' ? after + 1 : after;
    }
    if (were != values) {
        return bl_fail(r->err, BL_E_FORMAT,
                       "%.300s: tensor \"%.127s\" has %" PRId64 " values, but %s, its shape, another number",
                       r->file->path, t->name, values, text);
    }
    memcpy(t->shape, old.shape, sizeof t->shape);
    t->rank = old.rank;
    return 0;
}

static int check_names(const reader *r) {
    bl_safetensors *f = r->file;
    bl_tensor_file_sort(f);
    for (int i = 0; i < f->tensor_count; i++) {
        if (i && strcmp(f->tensors[i].name, f->tensors[i - 1].name) == 0) {
            return bl_fail_tensor(r->err, f->path, f->tensors[i].name, "is there twice");
        }
        int rc = restore_shape(r, &f->tensors[i]);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* ---- all of it */

static int take_header(reader *r, const char *start) {
    bl_safetensors *f = r->file;
    struct {
        uint32_t version;
        uint64_t tensors, keys;
    } head = {0};
    int rc = take(r, &head.version, sizeof head.version, "its head ends early");
    if (!rc && head.version != 3 && head.version != 2) {
        return bl_fail(r->err, BL_E_UNSUPPORTED,
                       "%.400s is GGUF of version %" PRIu32 "; Ballast reads 3 and 2, little-endian", f->path,
                       head.version);
    }
    rc = rc ? rc : take(r, &head.tensors, sizeof head.tensors, "its head ends early");
    rc = rc ? rc : take(r, &head.keys, sizeof head.keys, "its head ends early");
    if (rc) {
        return rc;
    }
    const uint64_t left = (uint64_t)(r->end - r->at);
    if (head.tensors > left / MIN_TENSOR || head.keys > left / MIN_PAIR) {
        return fail(r, "it announces more than it can hold");
    }
    f->tensors = calloc(head.tensors + 1, sizeof *f->tensors);
    if (!f->tensors) {
        return bl_fail_memory(r->err, "the list of tensors", head.tensors * sizeof *f->tensors);
    }
    rc = take_keys(r, head.keys);
    while (!rc && (uint64_t)f->tensor_count < head.tensors) {
        rc = take_tensor(r, &f->tensors[f->tensor_count]);
        f->tensor_count += !rc;
    }
    rc = rc ? rc : check_layout(r, bl_align_up((uint64_t)(r->at - start), r->alignment));
    return rc ? rc : check_names(r);
}

/* What take_header left, before it tries again with more of the file. */
static void forget(bl_safetensors *f) {
    free(f->tensors);
    free(f->metadata);
    free(f->strings);
    f->tensors = NULL;
    f->metadata = NULL;
    f->strings = NULL;
    f->words = NULL;
    f->tensor_count = f->metadata_count = 0;
}

int bl_gguf_parse(bl_safetensors *f, bl_error *err) {
    const uint64_t size = (uint64_t)f->opened.st_size, most = size < MAX_HEADER ? size : MAX_HEADER;
    /* Nothing says how long the header is. It is seldom longer than the first piece. */
    for (uint64_t n = FIRST_PIECE < most ? FIRST_PIECE : most;; n = n * 16 < most ? n * 16 : most) {
        bool again = false;
        char *head = malloc(n);
        f->strings =
            malloc(2 * n + 1); /* each string with a NUL; a shape as text is at most twice its bytes */
        int rc = head && f->strings ? bl_safetensors_read(f, 0, n, head, err)
                                    : bl_fail_memory(err, "a GGUF file's head", 3 * n);
        if (!rc) {
            reader r = {
                .file = f, .at = head + 4, .end = head + n, .text = f->strings, .alignment = 32, .err = err};
            rc = take_header(&r, head);
            again = rc && r.more && n < most;
        }
        free(head);
        if (!again) {
            return rc;
        }
        forget(f);
    }
}
