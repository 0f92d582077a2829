/* Writes the page's files as C: pack OUT.c FILE... Each is compressed, and tagged with a digest of what it
 * holds. Runs while building. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* A whole file; NULL: it cannot be read. */
static unsigned char *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    unsigned char *data = NULL;
    long size = -1;
    if (file && !fseek(file, 0, SEEK_END) && (size = ftell(file)) >= 0 && !fseek(file, 0, SEEK_SET)) {
        data = malloc((size_t)size + 1);
        if (data && fread(data, 1, (size_t)size, file) != (size_t)size) {
            free(data);
            data = NULL;
        }
    }
    if (file) {
        fclose(file);
    }
    *bytes = (size_t)size;
    return data;
}

/* As `gzip -9n` would; NULL: no memory. */
static unsigned char *compress_file(const unsigned char *data, size_t bytes, size_t *packed) {
    z_stream z = {.next_in = (unsigned char *)data, .avail_in = (unsigned)bytes};
    if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
        return NULL;
    }
    size_t room = deflateBound(&z, (unsigned long)bytes);
    unsigned char *out = malloc(room);
    z.next_out = out;
    z.avail_out = (unsigned)room;
    int result = out ? deflate(&z, Z_FINISH) : Z_MEM_ERROR;
    *packed = z.total_out;
    deflateEnd(&z);
    if (result != Z_STREAM_END) {
        free(out);
        return NULL;
    }
    return out;
}

/* FNV-1a. */
static uint64_t digest(const unsigned char *data, size_t bytes) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ data[i]) * 0x100000001b3u;
    }
    return hash;
}

static int write_array(FILE *out, int number, const unsigned char *data, size_t bytes) {
    fprintf(out, "static const unsigned char file_%d[] = {", number);
    for (size_t i = 0; i < bytes; i++) {
        fprintf(out, "%s%d,", i % 24 ? "" : "\n", data[i]);
    }
    return fprintf(out, "};\n") < 0;
}

struct row {
    const char *name;
    size_t bytes;
    uint64_t tag;
};

static int write_files(FILE *out, struct row *rows, int count, char **paths) {
    fprintf(out, "/* Made by pack.c. */\n#include \"server/api/page.h\"\n\n");
    for (int i = 0; i < count; i++) {
        size_t bytes, packed = 0;
        unsigned char *data = read_file(paths[i], &bytes);
        unsigned char *small = data ? compress_file(data, bytes, &packed) : NULL;
        const char *slash = strrchr(paths[i], '/');
        rows[i] = (struct row){slash ? slash + 1 : paths[i], bytes, data ? digest(data, bytes) : 0};
        int bad = !small || write_array(out, i, small, packed);
        free(small);
        free(data);
        if (bad) {
            fprintf(stderr, "pack: %s cannot be packed\n", paths[i]);
            return 1;
        }
    }
    fprintf(out, "\nconst struct page_file page_files[] = {\n");
    for (int i = 0; i < count; i++) {
        fprintf(out, "    {\"%s\", file_%d, sizeof file_%d, %zu, \"\\\"%016llx\\\"\"},\n", rows[i].name, i, i,
                rows[i].bytes, (unsigned long long)rows[i].tag);
    }
    return fprintf(out, "    {0},\n};\n") < 0;
}

int main(int argc, char **argv) {
    struct row *rows = calloc((size_t)argc, sizeof *rows);
    FILE *out = argc > 2 && rows ? fopen(argv[1], "w") : NULL;
    int bad = !out || write_files(out, rows, argc - 2, argv + 2);
    if (out && fclose(out)) {
        bad = 1;
    }
    if (bad) {
        fprintf(stderr, "pack: %s was not written\n", argc > 1 ? argv[1] : "nothing");
    }
    free(rows);
    return bad;
}
