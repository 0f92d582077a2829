#include "adapter/shelf.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEPT 16 /* that stay open */

typedef struct kept {
    bl_adapter *adapter; /* held */
    struct stat file;    /* when it was opened */
} kept;

struct bl_shelf {
    const bl_architecture *arch;
    bl_layers *layers; /* made for the first adapter */
    kept items[KEPT];  /* [count] the one used last comes first */
    int count;
};

int bl_shelf_new(bl_shelf **out, const bl_architecture *arch, bl_error *err) {
    *out = NULL;
    bl_shelf *s = calloc(1, sizeof *s);
    if (!s) {
        return bl_fail_memory(err, "the list of adapters", sizeof *s);
    }
    s->arch = arch;
    *out = s;
    return 0;
}

void bl_shelf_free(bl_shelf **sp) {
    bl_shelf *s = *sp;
    if (s) {
        for (int i = 0; i < s->count; i++) {
            bl_adapter_drop(&s->items[i].adapter);
        }
        bl_layers_free(&s->layers);
        free(s);
        *sp = NULL;
    }
}

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Puts number `from` in front. */
static void to_front(bl_shelf *s, int from) {
    kept x = s->items[from];
    memmove(s->items + 1, s->items, (size_t)from * sizeof *s->items);
    s->items[0] = x;
}

int bl_shelf_take(bl_adapter **out, bl_shelf *s, const char *path, bl_error *err) {
    struct stat file = {0};
    *out = NULL;
    bool there = !stat(path, &file);
    for (int i = 0; i < s->count && there; i++) {
        if (!strcmp(s->items[i].adapter->path, path) && same_file(&s->items[i].file, &file)) {
            to_front(s, i);
            *out = bl_adapter_hold(s->items[0].adapter);
            return 0;
        }
    }
    bl_adapter *a = NULL;
    int rc = s->layers ? 0 : bl_layers_new(&s->layers, s->arch, err);
    rc = rc ? rc : bl_adapter_open(&a, path, s->layers, err);
    if (rc) {
        return rc;
    }
    if (s->count == KEPT) {
        bl_adapter_drop(&s->items[--s->count].adapter);
    }
    s->items[s->count] = (kept){a, file};
    to_front(s, s->count++);
    *out = bl_adapter_hold(a);
    return 0;
}
