#include "pipeline/encodings.h"

#include <stdlib.h>
#include <string.h>

typedef struct entry {
    uint64_t model, hash, used; /* `used`: when last */
    size_t key_bytes, floats;
    float *values; /* [floats], and behind them the key; owned */
} entry;

struct bl_encodings {
    entry *list; /* [count] */
    size_t count, room, most;
    uint64_t bytes, clock;
};

int bl_encodings_new(bl_encodings **out, size_t most, bl_error *err) {
    *out = NULL;
    bl_encodings *e = calloc(1, sizeof *e);
    if (!e) {
        return bl_fail_memory(err, "the cache of encodings", sizeof *e);
    }
    e->most = most;
    *out = e;
    return 0;
}

static uint64_t bytes_of(size_t key_bytes, size_t floats) {
    return (uint64_t)key_bytes + (uint64_t)floats * sizeof(float) + sizeof(entry);
}

static void drop(bl_encodings *e, size_t i) {
    e->bytes -= bytes_of(e->list[i].key_bytes, e->list[i].floats);
    free(e->list[i].values);
    e->list[i] = e->list[--e->count];
}

void bl_encodings_free(bl_encodings **ep) {
    bl_encodings *e = *ep;
    if (e) {
        while (e->count) {
            drop(e, e->count - 1);
        }
        free(e->list);
        free(e);
        *ep = NULL;
    }
}

/* FNV-1a: it saves comparing, which has the last word. */
static uint64_t hash_of(const bl_encoding_key *key) {
    const unsigned char *p = key->data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < key->bytes; i++) {
        hash = (hash ^ p[i]) * 0x100000001b3u;
    }
    return hash;
}

/* Its number; `count` where it is not there. */
static size_t find(const bl_encodings *e, const bl_encoding_key *key, uint64_t hash) {
    size_t i = 0;
    while (i < e->count && !(e->list[i].hash == hash && e->list[i].model == key->model &&
                             e->list[i].key_bytes == key->bytes &&
                             !memcmp(e->list[i].values + e->list[i].floats, key->data, key->bytes))) {
        i++;
    }
    return i;
}

bool bl_encodings_have(const bl_encodings *e, const bl_encoding_key *key) {
    return find(e, key, hash_of(key)) < e->count;
}

bool bl_encodings_take(bl_encodings *e, const bl_encoding_key *key, float *values, size_t floats) {
    size_t i = find(e, key, hash_of(key));
    if (i == e->count || e->list[i].floats != floats) {
        return false;
    }
    memcpy(values, e->list[i].values, floats * sizeof *values);
    e->list[i].used = ++e->clock;
    return true;
}

static void drop_oldest(bl_encodings *e) {
    size_t oldest = 0;
    for (size_t i = 1; i < e->count; i++) {
        oldest = e->list[i].used < e->list[oldest].used ? i : oldest;
    }
    drop(e, oldest);
}

/* Room in the list for one more. */
static bool grow(bl_encodings *e) {
    if (e->count < e->room) {
        return true;
    }
    size_t room = e->room ? 2 * e->room : 16;
    room = room < e->most ? room : e->most;
    entry *more = realloc(e->list, room * sizeof *more);
    e->list = more ? more : e->list;
    e->room = more ? room : e->room;
    return more != NULL;
}

void bl_encodings_put(bl_encodings *e, const bl_encoding_key *key, const float *values, size_t floats) {
    const uint64_t hash = hash_of(key), bytes = bytes_of(key->bytes, floats),
                   most = (uint64_t)e->most * BL_ENCODING_BYTES;
    if (bytes > most || find(e, key, hash) < e->count) {
        return;
    }
    while (e->count && (e->count >= e->most || e->bytes + bytes > most)) {
        drop_oldest(e);
    }
    float *copy = grow(e) ? malloc(floats * sizeof *copy + key->bytes) : NULL;
    if (copy) {
        memcpy(copy, values, floats * sizeof *copy);
        memcpy(copy + floats, key->data, key->bytes);
        e->list[e->count++] = (entry){.model = key->model,
                                      .hash = hash,
                                      .used = ++e->clock,
                                      .key_bytes = key->bytes,
                                      .floats = floats,
                                      .values = copy};
        e->bytes += bytes;
    }
}

void bl_encodings_forget(bl_encodings *e, uint64_t model) {
    for (size_t i = e->count; i-- > 0;) {
        if (e->list[i].model == model) {
            drop(e, i);
        }
    }
}

bl_encodings_size bl_encodings_size_of(const bl_encodings *e) {
    return (bl_encodings_size){.entries = e->count,
                               .most_entries = e->most,
                               .bytes = e->bytes,
                               .most_bytes = (uint64_t)e->most * BL_ENCODING_BYTES};
}
