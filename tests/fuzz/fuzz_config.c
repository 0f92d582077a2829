/* Any bytes as the command's config file: taken, with values that are what the table of settings says, or
 * refused with exit code 2; and read the same a second time. */
#include "fuzz.h"

#include "cli/cli.h"

#include <unistd.h>

/* The command's, which the settings call. */
int out_of_memory(void) {
    MUST(!"memory was short");
    return 1;
}

static int load(struct settings *s, const uint8_t *data, size_t size) {
    char path[] = "/tmp/ballast-config-XXXXXX";
    int fd = mkstemp(path);
    MUST(fd >= 0 && (!size || write(fd, data, size) == (ssize_t)size) && !close(fd));
    char flag[] = "--config", *argv[] = {flag, path};
    int code = settings_load(s, CMD_CONFIG, 0, 2, argv);
    unlink(path);
    return code;
}

static void check_value(const struct settings *s, enum setting_id id) {
    const struct setting *row = &setting_table[id];
    const char *text = setting_text(s, id);
    MUST(!text || s->value[id].origin != FROM_CONFIG || s->value[id].line > 0);
    if (!text) {
        return;
    }
    if (row->kind == SET_INT || row->kind == SET_NUMBER) {
        double number = row->kind == SET_INT ? setting_int(s, id) : setting_number(s, id);
        MUST(number >= row->min && number <= row->max);
    } else if (row->kind == SET_SEED) {
        setting_seed(s, id);
    } else if (row->kind == SET_SWITCH) {
        setting_on(s, id);
    } else if (row->kind == SET_FILES) {
        const char **files = setting_files(s, id);
        MUST(files);
        free(files);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct settings once, again;
    int code = load(&once, data, size), second = load(&again, data, size);
    MUST(code == second && (!code || code == 2));
    for (int i = 0; i < S_COUNT_OF_SETTINGS && !code; i++) {
        const char *a = setting_text(&once, (enum setting_id)i),
                   *b = setting_text(&again, (enum setting_id)i);
        check_value(&once, (enum setting_id)i);
        MUST(i == S_CONFIG || (a ? b && !strcmp(a, b) : !b));
    }
    settings_free(&again);
    settings_free(&once);
    return 0;
}
