/* What stands before all names of a file that was saved with the object around its model: "state_dict." of
 * trainers, "module." of torch's data parallel, "_orig_mod." of torch.compile, and others. */
#include "checkpoint/internal.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

/* These may stand beside other things ("epoch", "optimizer_states"). */
static const char *const usual[] = {"state_dict.", "module.", "model.", "_orig_mod.", "_forward_module."};

/* These are modules: below them is no whole one. */
static const char *const modules[] = {"encoder.",    "decoder.",       "unet.",          "control_model.",
                                      "controlnet.", "adapter.",       "base_model.",    "lora_unet.",
                                      "text_model.", "motion_module.", "motion_modules."};

static bool is_module(const char *word, size_t length) {
    for (int i = 0; i < COUNT(modules); i++) {
        if (strlen(modules[i]) == length && memcmp(modules[i], word, length) == 0) {
            return true;
        }
    }
    return false;
}

/* Length of the word, point included, that follows `wrapper` in the name of every tensor; 0 if there is none.
 * Names are sorted: what the first and the last begin with, all do. */
static size_t common_word(const bl_safetensors *f, const char *wrapper) {
    int count;
    const bl_file_tensor *t = bl_safetensors_tensors(f, &count);
    const char *first = count ? bl_after(t[0].name, wrapper) : NULL,
               *last = count ? bl_after(t[count - 1].name, wrapper) : NULL;
    const char *point = first ? strchr(first, '.') : NULL;
    size_t length = point ? (size_t)(point - first) + 1 : 0;
    return last && length > 1 && strncmp(first, last, length) == 0 && !is_module(first, length) ? length : 0;
}

bool bl_next_wrapper(char wrapper[BL_WRAPPER_BYTES], const bl_safetensors *f) {
    char next[BL_PREFIX_BYTES];
    size_t length = common_word(f, wrapper);
    bool found = length > 0 && length < BL_WRAPPER_BYTES;
    if (found) {
        int count;
        const char *name = bl_safetensors_tensors(f, &count)[0].name;
        snprintf(next, sizeof next, "%.*s", (int)(strlen(wrapper) + length), name);
    }
    for (int i = 0; i < COUNT(usual) && !found; i++) {
        snprintf(next, sizeof next, "%s%s", wrapper, usual[i]);
        found = bl_safetensors_find_prefix(f, next) != NULL;
    }
    if (!found || strlen(next) >= BL_WRAPPER_BYTES) {
        return false;
    }
    memcpy(wrapper, next, strlen(next) + 1);
    return true;
}

const bl_file_tensor *bl_find_marker(const bl_checkpoint *c, const char *name) {
    char below[BL_WRAPPER_BYTES + BL_PREFIX_BYTES];
    snprintf(below, sizeof below, "%s%s", c->wrapper, name);
    const bl_file_tensor *t = c->folder ? NULL : bl_safetensors_find(c->files[0], name);
    return t || c->folder ? t : bl_safetensors_find(c->files[0], below);
}
