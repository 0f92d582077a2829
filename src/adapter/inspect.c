#include "adapter/inspect.h"

#include "adapter/keys.h"
#include "adapter/whose.h"
#include "checkpoint/safetensors.h"
#include "core/utf8.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_TAGS (4 << 20) /* bytes of "ss_tag_frequency" */
#define TRIGGERS 10

enum place { DENOISER, FIRST, SECOND, PLACES };
enum { WHOSE = 4 };
enum kind { LORA, LOHA, LOKR, FULL, KINDS };

typedef struct found {
    int layers[PLACES], kinds[KINDS];
    bool dora, tucker, convolutions;
    int64_t least_rank, most_rank; /* 0: none has one */
    int64_t context;               /* inputs of a cross attention's keys; 0: there is none */
    const char *whose[WHOSE];      /* families with transformers that layers are of; NULL: no more */
    bool transformer;              /* names of the denoiser are a transformer's */
    bool types[BL_DTYPE_COUNT + 1];
    uint64_t bytes;
    int keys; /* that are an adapter's */
} found;

static bool starts(const char *key, const char *start) {
    return !strncmp(key, start, strlen(start));
}

static enum place place_of(const char *key) {
    static const char *const second[] = {"lora_te2_", "text_encoder_2.", "clip_g.", "text_encoders.clip_g."};
    static const char *const first[] = {"lora_te", "text_encoder.", "clip_l.", "clip_h.", "text_encoders."};
    for (size_t i = 0; i < sizeof second / sizeof *second; i++) {
        if (starts(key, second[i])) {
            return SECOND;
        }
    }
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        if (starts(key, first[i])) {
            return FIRST;
        }
    }
    return DENOISER;
}

/* A UNet has transformer blocks, too, in blocks that no transformer has. */
static bool of_transformer(const char *key) {
    static const char *const unets[] = {"down_blocks",  "mid_block",    "up_blocks",
                                        "input_blocks", "middle_block", "output_blocks"};
    static const char *const others[] = {"transformer_blocks", "double_blocks", "single_blocks",
                                         "joint_blocks",       "layers",        "refiner"};
    bool named = false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        named = named || strstr(key, others[i]);
    }
    for (size_t i = 0; i < sizeof unets / sizeof *unets; i++) {
        named = named && !strstr(key, unets[i]);
    }
    return named;
}

static int64_t row(const bl_file_tensor *t) {
    int64_t n = 1;
    for (int i = 1; i < t->rank; i++) {
        n *= t->shape[i];
    }
    return n;
}

static void note_rank(found *f, int64_t rank) {
    f->least_rank = !f->most_rank || rank < f->least_rank ? rank : f->least_rank;
    f->most_rank = rank > f->most_rank ? rank : f->most_rank;
}

/* Which family has such a layer. */
static void note_whose(found *f, const bl_file_tensor *t, bl_part part) {
    const bool down = part == BL_PART_DOWN || part == BL_PART_DIFF,
               up = part == BL_PART_UP || part == BL_PART_DIFF;
    const char *family = place_of(t->name) == DENOISER && t->rank && (down || up)
                             ? bl_adapter_whose(t->name, down ? row(t) : 0, up ? t->shape[0] : 0)
                             : NULL;
    int i = 0;
    while (family && i < WHOSE && f->whose[i] && strcmp(f->whose[i], family) != 0) {
        i++;
    }
    if (family && i < WHOSE) {
        f->whose[i] = family;
    }
}

static void note_part(found *f, const bl_file_tensor *t, bl_part part) {
    bool keys = strstr(t->name, "attn2_to_k") || strstr(t->name, "attn2.to_k") ||
                strstr(t->name, "attn2.processor.to_k");
    switch (part) {
    case BL_PART_DOWN:
        f->kinds[LORA]++;
        f->convolutions = f->convolutions || (t->rank == 4 && t->shape[2] > 1);
        f->context = keys ? row(t) : f->context;
        note_rank(f, t->rank ? t->shape[0] : 1);
        break;
    case BL_PART_W1B:
        f->kinds[LOHA]++;
        note_rank(f, t->rank ? t->shape[0] : 1);
        break;
    case BL_PART_K1:
    case BL_PART_K1A:
        f->kinds[LOKR]++;
        break;
    case BL_PART_K2B:
        note_rank(f, t->rank ? t->shape[0] : 1);
        break;
    case BL_PART_DIFF:
        f->kinds[FULL]++;
        break;
    default:
        break;
    }
    f->convolutions = f->convolutions || (part == BL_PART_MID && t->rank == 4 && t->shape[2] > 1);
    f->dora = f->dora || part == BL_PART_DORA || part == BL_PART_MAGNITUDE;
    f->tucker = f->tucker || part == BL_PART_MID || part == BL_PART_T1 || part == BL_PART_KT2;
}

/* Keys are sorted, so that those of a layer follow each other. */
static void look(found *f, const bl_file_tensor *t, int count) {
    size_t before = 0;
    const char *layer = NULL;
    for (int i = 0; i < count; i++) {
        size_t length;
        bl_part part = bl_key_part(t[i].name, &length);
        if (part == BL_PART_COUNT) {
            continue;
        }
        if (!layer || before != length || strncmp(layer, t[i].name, length) != 0) {
            enum place place = place_of(t[i].name);
            f->layers[place]++;
            f->transformer = f->transformer || (place == DENOISER && of_transformer(t[i].name));
            layer = t[i].name;
            before = length;
        }
        f->keys += part != BL_PART_ALPHA;
        f->types[t[i].dtype] = true;
        f->bytes += t[i].bytes;
        note_part(f, &t[i], part);
        note_whose(f, &t[i], part);
    }
}

/* Layers that SD3.5 medium shares with SD3's, or its own. */
static bool is_medium(const char *family) {
    return !strncmp(family, "SD3", 3) && strstr(family, "medium");
}

/* Text encoders and the width of what cross attentions read tell the families apart. */
static const char *family_of(const found *f) {
    if (f->transformer) {
        const char *one = f->whose[0], *more = f->whose[1];
        const bool medium = more && !f->whose[2] && is_medium(one) && is_medium(more);
        return medium ? "SD3.5 medium" : more ? NULL : one;
    }
    if (f->layers[SECOND] || f->context == 2048) {
        return "SDXL";
    }
    return f->context == 768 ? "SD 1.x" : f->context == 1024 ? "SD 2.x" : NULL;
}

static void kind_text(char *out, size_t room, const found *f) {
    static const char *const names[KINDS] = {"LoRA", "LoHa", "LoKr", "full differences"};
    size_t n = (size_t)snprintf(out, room, "%s", f->dora ? "DoRA on " : "");
    for (int i = 0; i < KINDS; i++) {
        bool first = n == (f->dora ? strlen("DoRA on ") : 0);
        if (f->kinds[i]) {
            n += (size_t)snprintf(out + n, room - n, "%s%s", first ? "" : ", ",
                                  i == LORA && f->convolutions ? "LoCon" : names[i]);
        }
    }
    snprintf(out + n, room - n, "%s", f->tucker ? " (Tucker)" : "");
}

static void types_text(char *out, size_t room, const found *f) {
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < BL_DTYPE_COUNT; i++) {
        if (f->types[i]) {
            n += (size_t)snprintf(out + n, room - n, "%s%s", n ? ", " : "", bl_dtype_name((bl_dtype)i));
        }
    }
    snprintf(out + n, room - n, "%s", f->types[BL_DTYPE_COUNT] ? (n ? ", others" : "others") : "");
}

/* ---- words that it was trained with: {"folder": {"tag": how often}} */

static void add_tags(json_t *sums, const json_t *folder) {
    const char *tag;
    json_t *times;
    json_object_foreach((json_t *)(uintptr_t)folder, tag, times) {
        json_int_t before = json_integer_value(json_object_get(sums, tag));
        if (json_is_integer(times) && json_object_size(sums) < 100000) {
            json_object_set_new(sums, tag, json_integer(before + json_integer_value(times) % 100000000));
        }
    }
}

/* Takes the most frequent one out; NULL: there is none. */
static const char *most_frequent(json_t *sums, json_t *words) {
    const char *tag, *best = NULL;
    json_t *times;
    json_int_t most = 0;
    json_object_foreach(sums, tag, times) {
        if (json_integer_value(times) > most) {
            most = json_integer_value(times);
            best = tag;
        }
    }
    if (best) {
        json_array_append_new(words, json_string(best));
        json_object_del(sums, best);
    }
    return best;
}

static json_t *trigger_words(const bl_safetensors *f) {
    const char *phrase = bl_safetensors_metadata(f, "modelspec.trigger_phrase");
    const char *tags = bl_safetensors_metadata(f, "ss_tag_frequency");
    json_t *words = json_array(), *sums = json_object(), *folder;
    json_t *root = tags && strlen(tags) < MOST_TAGS ? json_loads(tags, 0, NULL) : NULL;
    const char *key;
    if (phrase && *phrase) {
        json_array_append_new(words, json_string(phrase));
    }
    json_object_foreach(root, key, folder) {
        add_tags(sums, folder);
    }
    for (int i = 0; i < TRIGGERS && most_frequent(sums, words); i++) {
    }
    json_decref(root);
    json_decref(sums);
    return words;
}

static json_t *report(const bl_safetensors *f, const found *x, const char *path) {
    char kind[128], types[128];
    const char *slash = strrchr(path, '/'), *family = family_of(x);
    const char *alias = bl_safetensors_metadata(f, "ss_output_name");
    const char *base = bl_safetensors_metadata(f, "ss_base_model_version");
    char *name = bl_utf8_copy(slash ? slash + 1 : path);
    const char *denoiser = x->transformer ? "transformer" : "unet";
    kind_text(kind, sizeof kind, x);
    types_text(types, sizeof types, x);
    json_t *out = json_pack(
        "{s:s, s:s, s:I, s:I, s:s?, s:s, s:I, s:{s:i, s:i, s:i}, s:s?, s:s?, s:o}", "adapter",
        name ? name : "", "kind", kind, "least_rank", (json_int_t)x->least_rank, "most_rank",
        (json_int_t)x->most_rank, "family", family, "types", types, "bytes", (json_int_t)x->bytes, "layers",
        denoiser, x->layers[DENOISER], "text_encoder", x->layers[FIRST], "text_encoder_2", x->layers[SECOND],
        "alias", alias, "base_model", base ? base : bl_safetensors_metadata(f, "modelspec.architecture"),
        "trigger_words", trigger_words(f));
    free(name);
    return out;
}

int bl_adapter_inspect(json_t **out, const char *path, bl_error *err) {
    bl_safetensors *f = NULL;
    found x = {.keys = 0};
    *out = NULL;
    int count, rc = bl_safetensors_open(&f, path, err);
    if (rc) {
        return rc;
    }
    const bl_file_tensor *t = bl_safetensors_tensors(f, &count);
    look(&x, t, count);
    if (!x.keys) {
        rc = bl_fail(err, BL_E_FORMAT, "%.400s: none of its %d keys is an adapter's", path, count);
    } else {
        *out = report(f, &x, path);
        rc = *out ? 0 : bl_fail_memory(err, "what the adapter is", 0);
    }
    bl_safetensors_close(&f);
    return rc;
}
