/* --lora and --lora-dir. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Cuts a number behind the last ':' off. False: there is none. */
static bool cut_number(char *text, double *number) {
    char *colon = strrchr(text, ':'), *end;
    if (!colon || !colon[1]) {
        return false;
    }
    errno = 0;
    double value = strtod(colon + 1, &end);
    if (*end || errno || !isfinite(value)) {
        return false;
    }
    *number = value;
    *colon = 0;
    return true;
}

/* FILE, FILE:BOTH or FILE:TE:UNET; a file of that very name is the file. Cuts the numbers off. */
static void read_one(ballast_adapter *out, char *text) {
    double last, first;
    ballast_adapter_init(out, sizeof *out);
    out->path = text;
    if (!access(text, F_OK) || !cut_number(text, &last)) {
        return;
    }
    out->text = out->denoiser = last;
    if (access(text, F_OK) && cut_number(text, &first)) {
        out->text = first;
    }
}

int read_adapters(const ballast_adapter **list, size_t *count, struct inputs *in, const struct settings *s) {
    const char **files = setting_files(s, S_LORA);
    size_t n = 0;
    *list = NULL;
    *count = 0;
    while (files && files[n]) {
        n++;
    }
    in->adapter_files = files;
    in->adapters = files ? calloc(n + 1, sizeof *in->adapters) : NULL;
    if (!in->adapters) {
        return out_of_memory();
    }
    for (size_t i = 0; i < n; i++) {
        read_one(&in->adapters[i], (char *)(uintptr_t)files[i]);
        if (access(in->adapters[i].path, F_OK) && errno == ENOENT) {
            return complain_of(
                s, S_LORA,
                "there is no file %s; write FILE, FILE:0.8 or FILE:TE:UNET. One from --lora-dir is "
                "asked for in the prompt: <lora:NAME:0.8>",
                in->adapters[i].path);
        }
    }
    *list = n ? in->adapters : NULL;
    *count = n;
    return 0;
}

/* Length of a path's folder with its '/'; 0 where it has none. */
static int folder_length(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    while (n && path[n - 1] != '/') {
        n--;
    }
    return (int)n;
}

/* Who gave a folder that is not there would miss what is in it, in silence. */
static int check_folders(enum setting_id id, const struct settings *s, const char *folders) {
    int result = 0;
    for (const char *p = folders; *p && !result;) {
        size_t n = strcspn(p, ":");
        struct stat st;
        char *folder = strndup(p, n);
        if (!folder) {
            return out_of_memory();
        }
        errno = 0;
        if (n && (stat(folder, &st) || !S_ISDIR(st.st_mode))) {
            result = complain_of(s, id, "%s: %s", folder, errno ? strerror(errno) : "it is not a folder");
        }
        free(folder);
        p += n + (p[n] == ':');
    }
    return result;
}

int read_folders(const char **folders, char **own, const char *name, enum setting_id id,
                 const struct settings *s, const char *models) {
    const char *given = setting_text(s, id), *model = setting_text(s, S_MODEL), *config = s->config_path;
    char *beside = NULL;
    *folders = given;
    *own = NULL;
    if (given) {
        return check_folders(id, s, given);
    }
    int n = models  ? asprintf(&beside, "%s/%s", models, name)
            : model ? asprintf(&beside, "%.*s%s", folder_length(model), model, name)
                    : asprintf(&beside, "%s", "");
    if (n >= 0 && config) {
        n = asprintf(own, "%s%s%.*s%s", beside, *beside ? ":" : "", folder_length(config), config, name);
        free(beside);
    } else {
        *own = n >= 0 ? beside : NULL;
    }
    if (n < 0) {
        *own = NULL;
        return out_of_memory();
    }
    *folders = *own;
    return 0;
}
