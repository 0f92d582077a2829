/* The checkpoints of the folder. Titles are paths below it; a link that leads out of it is passed over. */
#include "server/jobs/internal.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_DEPTH 6
#define MOST_MODELS 4096
#define SUFFIX ".safetensors"
#define GGUF ".gguf"

static bool ends(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcasecmp(text + n - m, end);
}

/* Length of the ending by which a checkpoint of one file is known; 0 where the name has none. */
static size_t suffix_of(const char *text) {
    return ends(text, SUFFIX) ? strlen(SUFFIX) : ends(text, GGUF) ? strlen(GGUF) : 0;
}

void catalogue_free(struct catalogue *c) {
    for (int i = 0; i < c->model_count + c->vae_count; i++) {
        struct model_entry *e = i < c->model_count ? &c->models[i] : &c->vaes[i - c->model_count];
        free(e->title);
        free(e->name);
        free(e->path);
    }
    free(c->models);
    free(c->vaes);
    *c = (struct catalogue){0};
}

static void add(struct model_entry **list, int *count, const char *path, const char *title, bool folder) {
    struct model_entry *grown =
        *count < MOST_MODELS ? realloc(*list, (size_t)(*count + 1) * sizeof **list) : NULL;
    if (!grown) {
        return;
    }
    *list = grown;
    struct model_entry e = {
        .title = strdup(title), .name = strdup(title), .path = strdup(path), .folder = folder};
    if (!e.title || !e.name || !e.path) {
        free(e.title);
        free(e.name);
        free(e.path);
        return;
    }
    e.name[strlen(e.name) - suffix_of(e.name)] = 0;
    for (char *c = e.name; *c; c++) {
        *c = *c == '/' ? '_' : *c;
    }
    grown[(*count)++] = e;
}

/* A VAE or adapter among checkpoints is told apart by trying: its headers do not make a model. */
static bool opens(ballast_context *context, const char *path, struct model_entry *about, char *why,
                  size_t size) {
    ballast_model *model = NULL;
    ballast_model_options o;
    ballast_error err = {0};
    ballast_model_options_init(&o, sizeof o);
    o.path = path;
    int code = ballast_model_open(&model, context, &o, &err);
    char *json = NULL;
    if (!code && !ballast_model_inspect(&json, model, 0, 0, NULL)) {
        json_t *report = json_loads(json, 0, NULL);
        const char *name = json_string_value(json_object_get(report, "architecture"));
        json_t *module;
        const char *key;
        snprintf(about->family, sizeof about->family, "%s", name ? name : "");
        json_object_foreach(json_object_get(report, "modules"), key, module) {
            about->bytes += json_integer_value(json_object_get(module, "packed_bytes"));
        }
        const json_t *recommended = json_object_get(report, "recommended"),
                     *cfg = json_object_get(recommended, "cfg"),
                     *guidance = json_object_get(recommended, "guidance");
        about->multiple = (int)json_integer_value(json_object_get(report, "multiple"));
        about->guidance = json_is_number(guidance) ? json_number_value(guidance) : -1;
        about->steps = (int)json_integer_value(json_object_get(recommended, "steps"));
        about->cfg = json_is_number(cfg) ? json_number_value(cfg) : -1;
        const char *sampler = json_string_value(json_object_get(recommended, "sampler"));
        snprintf(about->sampler, sizeof about->sampler, "%s", sampler ? sampler : "");
        json_decref(report);
    }
    ballast_string_free(&json);
    ballast_model_close(&model);
    snprintf(why, size, "%s", err.message);
    return !code;
}

struct search {
    struct catalogue *out;
    ballast_context *context;
    const char *root; /* resolved */
    void (*log)(const char *line);
};

static void found(struct search *s, const char *path, const char *title, bool folder) {
    char why[1024], line[1200];
    struct model_entry about = {.cfg = -1, .guidance = -1};
    bool vae = ends(title, ".vae" SUFFIX);
    if (!vae && s->context && !opens(s->context, path, &about, why, sizeof why)) {
        vae = strcasestr(title, "vae") != NULL;
        if (!vae) {
            snprintf(line, sizeof line, "not listed: %s", why);
            s->log(line);
            return;
        }
    }
    if (vae) {
        add(&s->out->vaes, &s->out->vae_count, path, title, folder);
    } else {
        int before = s->out->model_count;
        add(&s->out->models, &s->out->model_count, path, title, folder);
        if (s->out->model_count > before) {
            memcpy(s->out->models[before].family, about.family, sizeof about.family);
            s->out->models[before].bytes = about.bytes;
            s->out->models[before].steps = about.steps;
            s->out->models[before].cfg = about.cfg;
            s->out->models[before].guidance = about.guidance;
            s->out->models[before].multiple = about.multiple;
            memcpy(s->out->models[before].sampler, about.sampler, sizeof about.sampler);
        }
    }
}

/* Folders of things that belong to models and are none. */
static bool is_others(const char *name) {
    return !strcasecmp(name, "lora") || !strcasecmp(name, "embeddings");
}

static void look(struct search *s, const char *folder, const char *below, int depth) {
    DIR *d = depth < MOST_DEPTH ? opendir(folder) : NULL;
    struct dirent *entry;
    size_t root = strlen(s->root);
    while (d && (entry = readdir(d))) {
        char path[PATH_MAX], title[PATH_MAX], real[PATH_MAX], index[PATH_MAX + 32];
        struct stat st;
        if (entry->d_name[0] == '.' ||
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path ||
            snprintf(title, sizeof title, "%s%s", below, entry->d_name) >= (int)sizeof title ||
            !realpath(path, real) || stat(real, &st)) {
            continue;
        }
        if (strncmp(real, s->root, root) != 0 || (real[root] && real[root] != '/')) {
            char line[PATH_MAX + 64];
            snprintf(line, sizeof line, "not listed: %s leads out of the models' folder", title);
            s->log(line);
            continue;
        }
        if (S_ISDIR(st.st_mode) && depth == 0 && is_others(entry->d_name)) {
            continue;
        }
        if (S_ISDIR(st.st_mode)) {
            snprintf(index, sizeof index, "%s/model_index.json", path);
            if (!access(index, R_OK)) {
                found(s, path, title, true);
            } else if (strlen(title) + 2 < sizeof title) {
                title[strlen(title) + 1] = 0;
                title[strlen(title)] = '/';
                look(s, path, title, depth + 1);
            }
        } else if (S_ISREG(st.st_mode) && suffix_of(title)) {
            found(s, path, title, false);
        }
    }
    if (d) {
        closedir(d);
    }
}

static int by_title(const void *a, const void *b) {
    const struct model_entry *x = a, *y = b;
    int order = strcasecmp(x->title, y->title);
    return order ? order : strcmp(x->title, y->title);
}

void catalogue_refresh(struct jobs *j) {
    char root[PATH_MAX];
    struct catalogue fresh = {0};
    if (!realpath(j->options.models, root)) {
        j->options.log("the models' folder cannot be read");
        return;
    }
    /* A context of its own: the worker's may be at work. */
    ballast_context *context = NULL;
    ballast_context_options o;
    ballast_context_options_init(&o, sizeof o);
    o.threads = 1;
    o.isa = j->options.isa;
    o.cache_dir = "";
    ballast_context_open(&context, &o, NULL);
    struct search s = {&fresh, context, root, j->options.log};
    look(&s, root, "", 0);
    ballast_context_close(&context);
    if (fresh.model_count) {
        qsort(fresh.models, (size_t)fresh.model_count, sizeof *fresh.models, by_title);
    }
    if (fresh.vae_count) {
        qsort(fresh.vaes, (size_t)fresh.vae_count, sizeof *fresh.vaes, by_title);
    }
    pthread_mutex_lock(&j->lock);
    struct catalogue old = j->catalogue;
    j->catalogue = fresh;
    pthread_mutex_unlock(&j->lock);
    catalogue_free(&old);
}

static json_t *list_of(const struct model_entry *entries, int count) {
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        const struct model_entry *e = &entries[i];
        char hash[11] = "";
        memcpy(hash, e->sha256, 10);
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:n, s:s, s:I, s:i, s:{s:o, s:o, s:o, s:s?}, s:o, s:o}", "title",
                            e->title, "model_name", e->name, "filename", e->path, "config", "family",
                            e->family, "bytes", e->bytes, "multiple", e->multiple ? e->multiple : 8,
                            "recommended", "steps", e->steps ? json_integer(e->steps) : json_null(), "cfg",
                            e->cfg >= 0 ? json_real(e->cfg) : json_null(), "guidance",
                            e->guidance >= 0 ? json_real(e->guidance) : json_null(), "sampler",
                            *e->sampler ? e->sampler : NULL, "hash", *hash ? json_string(hash) : json_null(),
                            "sha256", *hash ? json_string(e->sha256) : json_null()));
    }
    return list;
}

json_t *jobs_models(void *self) {
    struct jobs *j = self;
    pthread_mutex_lock(&j->lock);
    json_t *list = list_of(j->catalogue.models, j->catalogue.model_count);
    pthread_mutex_unlock(&j->lock);
    return list;
}

/* What a list of the library says; an empty one where it cannot. */
static json_t *listed(int (*list)(char **json, const char *folders, ballast_error *err),
                      const char *folders) {
    char *text = NULL;
    json_t *out = list(&text, folders, NULL) ? NULL : json_loads(text, 0, NULL);
    ballast_string_free(&text);
    return out ? out : json_array();
}

json_t *jobs_adapters(void *self) {
    const struct jobs *j = self;
    return listed(ballast_adapters_list, j->options.adapters);
}

json_t *jobs_embeddings(void *self) {
    const struct jobs *j = self;
    return listed(ballast_embeddings_list, j->options.embeddings);
}

json_t *jobs_vaes(void *self) {
    struct jobs *j = self;
    pthread_mutex_lock(&j->lock);
    json_t *list = list_of(j->catalogue.vaes, j->catalogue.vae_count);
    pthread_mutex_unlock(&j->lock);
    return list;
}

/* Is `name`, of `n` letters, a name of this entry: title, name or file name, with the suffix or without, or
 * its hash, as far as A1111 shows it or whole? */
static bool answers_to(const struct model_entry *e, const char *name, size_t n) {
    const char *file = strrchr(e->title, '/');
    const char *names[] = {e->title, e->name, file ? file + 1 : e->title, e->path};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t whole = strlen(names[i]), bare = whole - suffix_of(names[i]);
        if ((n == whole || n == bare) && !strncasecmp(name, names[i], n)) {
            return true;
        }
    }
    return e->sha256[0] && (n == 10 || n == 64) && !strncasecmp(name, e->sha256, n);
}

/* How unlike two names are: letters that have to be put in, left out or changed. */
static int distance(const char *a, const char *b) {
    int row[128], n = (int)strlen(b);
    if (n > 127) {
        return 999;
    }
    for (int k = 0; k <= n; k++) {
        row[k] = k;
    }
    for (int i = 0; a[i]; i++) {
        int before = row[0];
        row[0] = i + 1;
        for (int k = 0; k < n; k++) {
            int changed = before + (tolower((unsigned char)a[i]) != tolower((unsigned char)b[k]));
            before = row[k + 1];
            int least = row[k] < before ? row[k] + 1 : before + 1;
            row[k + 1] = changed < least ? changed : least;
        }
    }
    return row[n];
}

static int unknown_model(const struct catalogue *c, const char *name, struct problem *p) {
    int nearest[3] = {-1, -1, -1}, apart[3] = {0};
    for (int i = 0; i < c->model_count; i++) {
        int d = strcasestr(c->models[i].name, name) ? 0 : distance(name, c->models[i].name), at = i;
        for (int k = 0; k < 3; k++) {
            if (nearest[k] < 0 || d < apart[k]) {
                int swap = nearest[k], swap_d = apart[k];
                nearest[k] = at;
                apart[k] = d;
                at = swap;
                d = swap_d;
                if (at < 0) {
                    break;
                }
            }
        }
    }
    char list[400] = "";
    for (int k = 0; k < 3 && nearest[k] >= 0; k++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%.120s", k ? ", " : "", c->models[nearest[k]].title);
    }
    return problem_set(p, 404, "sd_model_checkpoint",
                       "there is no model \"%.100s\"; the nearest names are: %s", name, list);
}

int jobs_find_model(void *self, const char *name, char **title, struct problem *p) {
    struct jobs *j = self;
    const char *hash = strstr(name, " [");
    size_t n = hash && hash[strlen(hash) - 1] == ']' ? (size_t)(hash - name) : strlen(name);
    int status = 0;
    *title = NULL;
    pthread_mutex_lock(&j->lock);
    const struct catalogue *c = &j->catalogue;
    for (int i = 0; i < c->model_count && !*title; i++) {
        if (answers_to(&c->models[i], name, n)) {
            *title = strdup(c->models[i].title);
        }
    }
    if (!*title) {
        status = unknown_model(c, name, p);
    }
    pthread_mutex_unlock(&j->lock);
    return status;
}

char *catalogue_path(struct jobs *j, const char *title, bool vae) {
    char *path = NULL;
    pthread_mutex_lock(&j->lock);
    const struct model_entry *list = vae ? j->catalogue.vaes : j->catalogue.models;
    int count = vae ? j->catalogue.vae_count : j->catalogue.model_count;
    for (int i = 0; i < count && !path; i++) {
        if (!strcmp(list[i].title, title) || (vae && answers_to(&list[i], title, strlen(title)))) {
            path = strdup(list[i].path);
        }
    }
    pthread_mutex_unlock(&j->lock);
    return path;
}
