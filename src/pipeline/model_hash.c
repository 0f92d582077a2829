#include "pipeline/model_hash.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    digits = 10,
    small_bytes = 300 << 20, /* hashed at once: a fifth of a second */
    list_bytes = 1 << 20     /* more than ten thousand models; a longer list is started afresh */
};

struct bl_model_hash {
    char *path;      /* without links and dots */
    char *list_path; /* NULL: nothing is remembered */
    struct stat file;
    bool small, running;
    pthread_t thread;
    bl_hash
        *work; /* how far it has come; NULL: done, or there is nothing to hash. Of the thread while it runs */
    atomic_bool stop, known;
    char hash[BL_HASH_TEXT], first[digits + 1]; /* written before `known` is set, only read afterwards */
};

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* ---- the list: "HASH SIZE SECONDS.NANOSECONDS PATH", a line a file; of several the last counts */

static int line_text(char *out, size_t room, const bl_model_hash *h, const char *hash) {
    int length = snprintf(out, room, "%s %lld %lld.%09ld %s\n", hash, (long long)h->file.st_size,
                          (long long)h->file.st_mtim.tv_sec, h->file.st_mtim.tv_nsec, h->path);
    return length > 0 && (size_t)length < room ? length : 0;
}

/* Whether the last line was cut short: a write that failed in its middle. */
static bool is_cut(int fd, off_t size) {
    char last = 0;
    return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

/* One write, so that two processes' lines do not mix. What fails here is only done again the next time, and
 * what others wrote stays: a line that was cut short is ended by the next one. */
static void remember(const bl_model_hash *h) {
    char line[8192] = "\n";
    struct stat list;
    int length = line_text(line + 1, sizeof line - 1, h, h->hash);
    if (!h->list_path || !length || strchr(h->path, '\n')) {
        return;
    }
    int fd = open(h->list_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        return;
    }
    bool fits = !fstat(fd, &list) && (list.st_size <= list_bytes || !ftruncate(fd, 0));
    const char *begin = fits && is_cut(fd, list.st_size) ? line : line + 1;
    if (fits && write(fd, begin, strlen(begin)) < 0) {
        /* the disk is full: the list is as it was */
    }
    close(fd);
}

static bool recall(bl_model_hash *h) {
    char wanted[8192], line[8192], hash[BL_HASH_TEXT];
    bool found = false;
    memset(hash, '0', sizeof hash - 1);
    hash[sizeof hash - 1] = 0;
    FILE *f = h->list_path && line_text(wanted, sizeof wanted, h, hash) ? fopen(h->list_path, "re") : NULL;
    size_t head = sizeof hash - 1, read = 0;
    while (f && read < 2 * (size_t)list_bytes && fgets(line, sizeof line, f)) {
        read += strlen(line);
        if (strlen(line) > head && strspn(line, "0123456789abcdef") == head &&
            !strcmp(line + head, wanted + head)) {
            memcpy(h->hash, line, head);
            h->hash[head] = 0;
            found = true;
        }
    }
    if (f) {
        fclose(f);
    }
    return found;
}

/* ---- hashing */

static void publish(bl_model_hash *h) {
    memcpy(h->first, h->hash, digits);
    atomic_store(&h->known, true);
}

/* Goes on hashing. The file is one that changed meanwhile, or cannot be read any more: then it has no hash.
 */
static int go_on(bl_model_hash *h, bl_hash_stop *stop, void *payload, bl_error *err) {
    char text[BL_HASH_TEXT];
    struct stat after;
    int result = h->work ? bl_hash_go_on(text, h->work, stop, payload, err) : 0;
    if (result == BL_E_CANCELLED) {
        return result;
    }
    if (h->work && !result && !stat(h->path, &after) && same_file(&h->file, &after)) {
        memcpy(h->hash, text, sizeof text);
        remember(h);
        publish(h);
    }
    bl_hash_close(&h->work);
    return 0;
}

static int is_told(void *payload) {
    return atomic_load(&((bl_model_hash *)payload)->stop);
}

static void *work(void *payload) {
    bl_model_hash *h = payload;
    if (!h->small) { /* this thread alone: it gets what nobody else wants, of the disk too */
        sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0});
    }
    go_on(h, is_told, h, NULL);
    return NULL;
}

static void start_thread(bl_model_hash *h) {
    sigset_t all, before;
    sigfillset(&all); /* Ctrl-C is for the thread that makes pictures */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    h->running = pthread_create(&h->thread, NULL, work, h) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bl_model_hash *bl_model_hash_start(const char *path, const char *cache_dir) {
    bl_model_hash *h = calloc(1, sizeof *h);
    if (!h) {
        return NULL;
    }
    h->path = realpath(path, NULL);
    if (!h->path || stat(h->path, &h->file) || !S_ISREG(h->file.st_mode)) {
        bl_model_hash_close(&h);
        return NULL;
    }
    if (cache_dir) {
        size_t room = strlen(cache_dir) + sizeof "/hashes";
        h->list_path = malloc(room);
        if (h->list_path) {
            snprintf(h->list_path, room, "%s/hashes", cache_dir);
        }
    }
    h->small = h->file.st_size < small_bytes;
    if (recall(h)) {
        publish(h);
    } else if (!bl_hash_open(&h->work, h->path, NULL)) {
        start_thread(h);
    }
    return h;
}

static void join(bl_model_hash *h) {
    if (h->running) {
        pthread_join(h->thread, NULL);
        h->running = false;
    }
}

bool bl_model_hash_known(const bl_model_hash *h) {
    return !h || atomic_load(&h->known);
}

int bl_model_hash_wait(const char **text, bl_model_hash *h, bl_hash_stop *stop, void *payload,
                       bl_error *err) {
    int result = 0;
    *text = NULL;
    if (!h) {
        return 0;
    }
    if (!atomic_load(&h->known)) {
        /* On a busy machine the thread might never end, and none takes back a priority that it gave up: this
         * one goes on where it stands. */
        atomic_store(&h->stop, !h->small);
        join(h);
        atomic_store(&h->stop, false);
        if (!atomic_load(&h->known)) {
            result = go_on(h, stop, payload, err);
        }
        if (result) {
            start_thread(h); /* for the next picture */
            return result;
        }
    }
    join(h);
    *text = atomic_load(&h->known) ? h->first : NULL;
    return 0;
}

void bl_model_hash_close(bl_model_hash **out) {
    bl_model_hash *h = *out;
    if (h) {
        atomic_store(&h->stop, true);
        join(h);
        bl_hash_close(&h->work);
        free(h->path);
        free(h->list_path);
        free(h);
        *out = NULL;
    }
}
