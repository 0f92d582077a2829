/* --like PICTURE: settings from the parameters that a picture carries, and what of them cannot be taken over.
 */
#include "cli/setting_sources.h"

#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct like {
    struct settings *s;
    struct like_hashes *hashes;
    char left[600];    /* ", "-joined: what was not taken over */
    char strength[32]; /* "Denoising strength": of the second pass, or else of a start picture */
    char model[256];
    bool second; /* there is a second pass */
    bool rng;    /* the generator is named */
    int failed;  /* exit code */
} like;

static void leave(like *l, const char *key, const char *value) {
    size_t used = strlen(l->left);
    snprintf(l->left + used, sizeof l->left - used, "%s%s: %.60s", used ? ", " : "", key, value);
}

static void take(like *l, enum setting_id id, const char *value) {
    if (!l->failed) {
        l->failed = setting_set(l->s, id, value, FROM_PICTURE, "--like");
    }
}

static const struct {
    const char *key;
    enum setting_id id;
} plain[] = {
    {"Prompt", S_PROMPT},
    {"Negative prompt", S_NEGATIVE},
    {"Steps", S_STEPS},
    {"CFG scale", S_CFG},
    {"Distilled CFG Scale", S_GUIDANCE},
    {"Seed", S_SEED},
    {"Variation seed", S_VARIATION_SEED},
    {"Variation seed strength", S_VARIATION_STRENGTH},
    {"Clip skip", S_CLIP_SKIP},
    {"ENSD", S_ENSD},
    {"Eta", S_ETA},
    {"CFG Rescale", S_CFG_RESCALE},
    {"Hires upscale", S_HIRES},
    {"Hires steps", S_HIRES_STEPS},
};

/* Said in another way, or of no consequence. */
static bool is_known(const char *key) {
    static const char *const keys[] = {"Model hash", "Version", "VAE hash"};
    bool known = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        known = known || !strcmp(key, keys[i]);
    }
    return known;
}

static bool has_upscaler(const char *value) {
    const char *name;
    for (int i = 0; (name = ballast_upscaler_name(i)); i++) {
        if (!strcmp(name, value)) {
            return true;
        }
    }
    return false;
}

static void take_if(like *l, bool there, enum setting_id id, const char *key, const char *value) {
    if (there) {
        take(l, id, value);
    } else {
        leave(l, key, value);
    }
}

static void take_size(like *l, const char *value) {
    char width[16] = "";
    const char *x = strchr(value, 'x');
    if (!x || x - value >= (long)sizeof width) {
        leave(l, "Size", value);
        return;
    }
    memcpy(width, value, (size_t)(x - value));
    take(l, S_WIDTH, width);
    take(l, S_HEIGHT, x + 1);
}

static void keep(char **to, const char *value) {
    free(*to);
    *to = strdup(value); /* without memory nothing is said of it */
}

/* Keys whose value is no setting's as it stands; false: it is none of them. */
static bool take_other(like *l, const char *key, const char *value) {
    const char *found, *behind;
    if (!strcmp(key, "Sampler")) {
        take_if(l, !ballast_sampler_find(&found, &behind, value, NULL), S_SAMPLER, key, value);
    } else if (!strcmp(key, "Schedule type")) {
        if (strcmp(value, "Automatic") != 0) {
            take_if(l, !ballast_schedule_find(&found, value, NULL), S_SCHEDULE, key, value);
        }
    } else if (!strcmp(key, "Size")) {
        take_size(l, value);
    } else if (!strcmp(key, "RNG")) {
        l->rng = true;
        take(l, S_RNG, !strcmp(value, "CPU") ? "cpu" : "gpu");
    } else if (!strcmp(key, "Pad conds")) {
        take(l, S_PAD_CONDS, !strcmp(value, "True") ? "on" : "off");
    } else if (!strcmp(key, "Noise Schedule")) {
        take(l, S_ZSNR, !strcmp(value, "Zero Terminal SNR") ? "on" : "off");
    } else if (!strcmp(key, "Hires upscaler")) {
        take_if(l, has_upscaler(value), S_HIRES_UPSCALER, key, value);
    } else if (!strcmp(key, "Denoising strength")) {
        snprintf(l->strength, sizeof l->strength, "%s", value);
    } else if (!strcmp(key, "VAE Decoder")) {
        bool taesd = !strcmp(value, "TAESD"), there = !taesd || setting_text(l->s, S_TAESD);
        if (there && (taesd || !strcmp(value, "Full"))) {
            take(l, S_DECODE, taesd ? "taesd" : "vae");
        } else {
            leave(l, key, value);
        }
    } else if (!strcmp(key, "Lora hashes")) {
        keep(&l->hashes->adapters, value);
    } else if (!strcmp(key, "TI hashes")) {
        keep(&l->hashes->embeddings, value);
    } else if (!strcmp(key, "Model")) {
        snprintf(l->model, sizeof l->model, "%s", value);
    } else {
        return false;
    }
    return true;
}

static int on_entry(void *payload, const char *key, const char *value) {
    like *l = payload;
    bool taken = take_other(l, key, value) || is_known(key);
    for (size_t i = 0; i < sizeof plain / sizeof *plain && !taken; i++) {
        taken = !strcmp(key, plain[i].key);
        l->second = l->second || (taken && plain[i].id == S_HIRES);
        if (taken && *value) {
            take(l, plain[i].id, value);
        }
    }
    if (!taken) {
        leave(l, key, value);
    }
    return l->failed != 0;
}

/* Is the model that is used called so? */
static bool same_model(const struct settings *s, const char *name) {
    const char *path = setting_text(s, S_MODEL);
    const char *slash = path ? strrchr(path, '/') : NULL, *base = slash  ? slash + 1
                                                                  : path ? path
                                                                         : "ballast-mini";
    size_t n = strlen(name);
    return !*name || (!strncmp(base, name, n) && (!base[n] || base[n] == '.'));
}

static void finish(like *l) {
    if (!l->rng) { /* A1111 leaves its default out */
        take(l, S_RNG, "gpu");
    }
    if (*l->strength && (l->second || setting_text(l->s, S_INIT_IMAGE))) {
        take(l, l->second ? S_HIRES_STRENGTH : S_STRENGTH, l->strength);
    } else if (*l->strength) {
        leave(l, "Denoising strength", l->strength);
    }
    if (!same_model(l->s, l->model)) {
        leave(l, "Model", l->model);
    }
    if (*l->left && !l->failed && !setting_on(l->s, S_QUIET)) {
        fprintf(stderr, "ballast: --like: not taken over: %s\n", l->left);
    }
}

int apply_like(struct settings *s, struct like_hashes *hashes) {
    const char *path = setting_text(s, S_LIKE);
    like l = {.s = s, .hashes = hashes};
    struct picture picture = {0};
    ballast_error err = {0};
    if (!path) {
        return 0;
    }
    int result = read_picture(&picture, S_LIKE, path, s);
    if (!result && !picture.parameters) {
        result = complain_of(s, S_LIKE, "%s carries no parameters", path);
    }
    if (!result && ballast_parameters_read(picture.parameters, on_entry, &l, &err) && !l.failed) {
        result = report_error(s, &err);
    }
    if (!result) {
        finish(&l);
        result = l.failed;
    }
    free_picture(&picture);
    return result;
}

/* ---- files beside the model */

void free_like(struct like_hashes *hashes) {
    free(hashes->adapters);
    free(hashes->embeddings);
    *hashes = (struct like_hashes){0};
}

static int keep_own(void *payload, const char *key, const char *value) {
    struct like_hashes *own = payload;
    if (!strcmp(key, "Lora hashes")) {
        keep(&own->adapters, value);
    } else if (!strcmp(key, "TI hashes")) {
        keep(&own->embeddings, value);
    }
    return 0;
}

/* Has the list "name: hash, name: hash" this name? *hash: what stands behind it. */
static bool find_hash(const char *list, const char *name, size_t length, const char **hash) {
    for (const char *p = list; p && *p; p += strcspn(p, ","), p += strspn(p, ", ")) {
        if (!strncmp(p, name, length) && p[length] == ':') {
            *hash = p + length + 1 + strspn(p + length + 1, " ");
            return true;
        }
    }
    return false;
}

static void tell_list(const char *what, const char *theirs, const char *own) {
    for (const char *p = theirs; p && *p; p += strcspn(p, ","), p += strspn(p, ", ")) {
        size_t n = strcspn(p, ","), name = strcspn(p, ":");
        if (name >= n) {
            continue;
        }
        const char *hash = p + name + 1 + strspn(p + name + 1, " "), *mine = "";
        int digits = (int)strcspn(hash, ", "), shown = name < 100 ? (int)name : 100;
        digits = digits < 64 ? digits : 64;
        if (!find_hash(own, p, name, &mine)) {
            fprintf(stderr, "ballast: --like: %s %.*s is not in this picture: it was made with %.*s\n", what,
                    shown, p, digits, hash);
        } else if (strncmp(mine, hash, (size_t)(digits < 12 ? digits : 12)) != 0) {
            fprintf(stderr,
                    "ballast: --like: %s %.*s is another file: %.*s, and the picture was made with %.*s\n",
                    what, shown, p, (int)strcspn(mine, ", "), mine, digits, hash);
        }
    }
}

void tell_other_files(const struct like_hashes *hashes, const char *parameters) {
    struct like_hashes own = {0};
    ballast_error err;
    if ((hashes->adapters || hashes->embeddings) &&
        !ballast_parameters_read(parameters, keep_own, &own, &err)) {
        tell_list("adapter", hashes->adapters, own.adapters);
        tell_list("embedding", hashes->embeddings, own.embeddings);
    }
    free_like(&own);
}
