#include "adapter/find.h"

#include "checkpoint/safetensors.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEEPEST 5        /* folders within folders */
#define MOST_FILES 20000 /* that are looked at */
#define NEAREST 3
#define COMPARED 63 /* bytes of a name that nearness looks at */

/* Bytes of the name's suffix; 0: it is none of those that are looked for. */
static size_t suffix_length(const char *name, bool pickles) {
    static const char *const all[] = {".safetensors", ".pt", ".bin"};
    size_t n = strlen(name);
    for (int i = 0; i < (pickles ? 3 : 1); i++) {
        size_t m = strlen(all[i]);
        if (n > m && !strcmp(name + n - m, all[i])) {
            return m;
        }
    }
    return 0;
}

void bl_found_clear(bl_found_list *list) {
    for (int i = 0; i < list->count; i++) {
        free(list->items[i].path);
        free(list->items[i].name);
    }
    free(list->items);
    *list = (bl_found_list){0};
}

/* Takes the path. */
static int add(bl_found_list *list, char *path, bl_error *err) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    bl_found *more = realloc(list->items, ((size_t)list->count + 1) * sizeof *more);
    char *own = strndup(name, strlen(name) - suffix_length(name, true));
    list->items = more ? more : list->items;
    if (!more || !own) {
        free(own);
        free(path);
        return bl_fail_memory(err, "the list of adapters", ((size_t)list->count + 1) * sizeof *more);
    }
    list->items[list->count++] = (bl_found){path, own};
    return 0;
}

static int walk(bl_found_list *list, const char *folder, bool pickles, int depth, bl_error *err) {
    DIR *d = opendir(folder);
    int rc = 0;
    for (const struct dirent *e; d && !rc && list->count < MOST_FILES && (e = readdir(d));) {
        struct stat s;
        char *path = NULL;
        size_t n = strlen(e->d_name);
        if (e->d_name[0] == '.') {
            continue;
        }
        if (asprintf(&path, "%s/%s", folder, e->d_name) < 0) {
            rc = bl_fail_memory(err, "the list of adapters", n);
            break;
        }
        if (stat(path, &s)) {
            free(path);
        } else if (S_ISDIR(s.st_mode) && depth < DEEPEST) {
            rc = walk(list, path, pickles, depth + 1, err);
            free(path);
        } else if (S_ISREG(s.st_mode) && suffix_length(e->d_name, pickles)) {
            rc = add(list, path, err);
        } else {
            free(path);
        }
    }
    if (d) {
        closedir(d);
    }
    return rc;
}

static int by_name(const void *a, const void *b) {
    const bl_found *x = a, *y = b;
    int c = strcmp(x->name, y->name);
    return c ? c : strcmp(x->path, y->path);
}

int bl_find_all(bl_found_list *out, const char *folders, bool pickles, bl_error *err) {
    *out = (bl_found_list){0};
    bl_found_list list = {0};
    int rc = 0;
    for (const char *p = folders; p && *p && !rc;) {
        size_t n = strcspn(p, ":");
        char *folder = n ? strndup(p, n) : NULL;
        rc = folder ? walk(&list, folder, pickles, 0, err)
             : n    ? bl_fail_memory(err, "a folder's name", n)
                    : 0;
        free(folder);
        p += n + (p[n] == ':');
    }
    if (rc) {
        bl_found_clear(&list);
        return rc;
    }
    if (list.count) {
        qsort(list.items, (size_t)list.count, sizeof *list.items, by_name);
    }
    *out = list;
    return 0;
}

char *bl_found_alias(const bl_found *x) {
    bl_safetensors *f = NULL;
    bl_error ignored = {0};
    if (bl_safetensors_open(&f, x->path, &ignored)) {
        return NULL;
    }
    const char *alias = bl_safetensors_metadata(f, "ss_output_name");
    char *own = alias && *alias ? strdup(alias) : NULL;
    bl_safetensors_close(&f);
    return own;
}

static bool is_alias(const bl_found *x, const char *name) {
    char *alias = bl_found_alias(x);
    bool same = alias && !strcmp(alias, name);
    free(alias);
    return same;
}

/* How many letters have to be changed, added or taken away (Levenshtein 1966); case does not count. */
static int apart(const char *a, const char *b) {
    int row[COMPARED + 1];
    int n = (int)strnlen(a, COMPARED), m = (int)strnlen(b, COMPARED);
    for (int k = 0; k <= m; k++) {
        row[k] = k;
    }
    for (int i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int k = 1; k <= m; k++) {
            int x = a[i - 1] | 32, y = b[k - 1] | 32;
            int least = diagonal + (x != y);
            least = row[k] + 1 < least ? row[k] + 1 : least;
            least = row[k - 1] + 1 < least ? row[k - 1] + 1 : least;
            diagonal = row[k];
            row[k] = least;
        }
    }
    return row[m];
}

static int not_found(const bl_found_list *list, const char *folders, const char *name, const char *what,
                     bl_error *err) {
    char near[700] = "";
    int given[NEAREST];
    for (int k = 0; k < NEAREST && k < list->count; k++) {
        int best = -1, least = 0;
        for (int i = 0; i < list->count; i++) {
            bool again = false;
            for (int j = 0; j < k; j++) {
                again = again || !strcmp(list->items[given[j]].name, list->items[i].name);
            }
            int far = apart(name, list->items[i].name);
            if (!again && (best < 0 || far < least)) {
                best = i;
                least = far;
            }
        }
        if (best < 0) {
            break;
        }
        given[k] = best;
        size_t used = strlen(near);
        snprintf(near + used, sizeof near - used, "%s%.180s", k ? ", " : "; the nearest names are ",
                 list->items[best].name);
    }
    return bl_fail(err, BL_E_NOT_FOUND, "no %s \"%.200s\" in %.400s%s", what, name,
                   folders && *folders ? folders : "a folder beside the model or the config file",
                   list->count ? near : "; put its .safetensors there, or take its name out of the prompt");
}

int bl_find_named(char **path, const char *folders, const char *name, const char *what, bl_error *err) {
    bl_found_list list;
    *path = NULL;
    int rc = bl_find_all(&list, folders, false, err), which = -1;
    for (int i = 0; i < list.count && !rc && which < 0; i++) {
        which = strcmp(list.items[i].name, name) ? -1 : i;
    }
    for (int i = 0; i < list.count && !rc && which < 0; i++) {
        which = is_alias(&list.items[i], name) ? i : -1;
    }
    if (!rc && which < 0) {
        rc = not_found(&list, folders, name, what, err);
    }
    if (!rc) {
        *path = strdup(list.items[which].path);
        rc = *path ? 0 : bl_fail_memory(err, "a path", strlen(list.items[which].path));
    }
    bl_found_clear(&list);
    return rc;
}
