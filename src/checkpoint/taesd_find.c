/* Which TAESD a model takes of a folder, by the family's name, and what a file of one is. */
#include "checkpoint/architecture.h"
#include "checkpoint/detect.h"
#include "checkpoint/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define INSIDE "diffusion_pytorch_model.safetensors" /* of a folder as diffusers writes it */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The family whose name a file bears; NULL: none. SD 2.x bears SD 1.x's. */
static const bl_family *named_for(const char *path) {
    const char *name = base_name(path);
    const bl_family *found = NULL;
    for (int i = 0; bl_families[i]; i++) {
        const char *stem = bl_families[i]->taesd;
        bool begins = stem && !strncasecmp(name, stem, strlen(stem));
        found = begins && (!found || strlen(stem) > strlen(found->taesd)) ? bl_families[i] : found;
    }
    return found;
}

static bool same_kind(const bl_family *a, const bl_family *b) {
    return a->taesd && b->taesd && !strcmp(a->taesd, b->taesd);
}

static bool is_file(const char *path) {
    struct stat s;
    return !stat(path, &s) && S_ISREG(s.st_mode);
}

/* The first that is there of the names that a family's has, or of a diffusers folder the file in it. */
static int find_inside(char **out, const char *folder, const bl_family *family, bl_error *err) {
    const char *stem = family->taesd ? family->taesd : "";
    const char *places[][2] = {
        {stem, "_decoder.safetensors"}, {stem, ".safetensors"}, {stem, "/" INSIDE}, {"", INSIDE}};
    const size_t room = strlen(folder) + 128;
    char *path = malloc(room);
    *out = NULL;
    if (!path) {
        return bl_fail_memory(err, "a path", room);
    }
    for (int i = *stem ? 0 : 3; i < 4 && !*out; i++) {
        snprintf(path, room, "%s/%s%s", folder, places[i][0], places[i][1]);
        *out = is_file(path) ? path : NULL;
    }
    if (!*out) {
        free(path);
    }
    return 0;
}

int bl_taesd_find(char **out, char note[BL_TAESD_NOTE], const char *path, const bl_family *family,
                  bl_error *err) {
    *out = NULL;
    note[0] = 0;
    if (bl_is_folder(path)) {
        int rc = find_inside(out, path, family, err);
        if (!rc && !*out && family->taesd) {
            snprintf(note, BL_TAESD_NOTE,
                     "taesd: %.200s holds none for %s: no %s_decoder.safetensors, %s.safetensors, %s/" INSIDE,
                     path, family->name, family->taesd, family->taesd, family->taesd);
        } else if (!rc && !*out) {
            snprintf(note, BL_TAESD_NOTE,
                     "taesd: %.200s is a folder, and %s has no name there; give the file in it", path,
                     family->name);
        }
        return rc;
    }
    const bl_family *named = named_for(path);
    if (named && family->taesd && !same_kind(named, family)) {
        snprintf(note, BL_TAESD_NOTE,
                 "taesd: %.200s is for %s by its name, and this is %s, whose is %s_decoder.safetensors: "
                 "colours will be "
                 "off if the name is right",
                 base_name(path), named->name, family->name, family->taesd);
    }
    *out = strdup(path);
    return *out ? 0 : bl_fail_memory(err, "a path", strlen(path) + 1);
}

int bl_taesd_inspect(bl_taesd_about *out, const char *path, bl_error *err) {
    *out = (bl_taesd_about){.channels = 0};
    bl_checkpoint *c = calloc(1, sizeof *c);
    if (!c) {
        return bl_fail_memory(err, "a file of weights", sizeof *c);
    }
    int rc = bl_checkpoint_take_taesd(c, path, err);
    rc = rc ? rc : bl_dimension(&out->channels, c, BL_TAESD, 0, err, "decoder.layers.0.weight");
    rc = rc ? rc : bl_dimension(&out->latent_channels, c, BL_TAESD, 1, err, "decoder.layers.0.weight");
    if (!rc) {
        const bl_family *named = named_for(path);
        int count;
        const bl_file_tensor *t = bl_safetensors_tensors(c->files[0], &count);
        out->diffusers = c->modules[BL_TAESD].naming == BL_NAMES_DIFFUSERS;
        out->type = bl_dtype_name(t[0].dtype);
        out->family = named ? named->name : NULL;
        for (int i = 0; i < count; i++) {
            bool own = !out->diffusers || !strncmp(t[i].name, "decoder.", 8);
            out->tensors += own;
            out->bytes += own ? t[i].bytes : 0;
        }
    }
    bl_checkpoint_close(&c);
    return rc;
}
