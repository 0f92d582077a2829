/* Runs a fuzz target over saved inputs, so that what was once found is tested for ever: each argument is a
 * file, or a folder of files. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path) {
    FILE *f = fopen(path, "re");
    if (!f) {
        perror(path);
        return -1;
    }
    size_t room = 1 << 16, n = 0, got;
    uint8_t *data = malloc(room);
    while (data && (got = fread(data + n, 1, room - n, f)) > 0) {
        n += got;
        if (n == room) {
            uint8_t *more = realloc(data, room *= 2);
            if (!more) {
                free(data);
            }
            data = more;
        }
    }
    fclose(f);
    if (!data) {
        fprintf(stderr, "%s: out of memory\n", path);
        return -1;
    }
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    return 0;
}

static int run_folder(const char *path, int *count) {
    DIR *folder = opendir(path);
    if (!folder) {
        (*count)++;
        return run_file(path);
    }
    int failed = 0;
    for (struct dirent *e; (e = readdir(folder));) {
        char file[4096];
        if (e->d_name[0] != '.' && snprintf(file, sizeof file, "%s/%s", path, e->d_name) < (int)sizeof file) {
            failed |= run_file(file);
            (*count)++;
        }
    }
    closedir(folder);
    return failed;
}

int main(int argc, char **argv) {
    int failed = 0, count = 0;
    for (int i = 1; i < argc; i++) {
        failed |= run_folder(argv[i], &count);
    }
    printf("%d inputs\n", count);
    return failed || !count;
}
