#include "cli/cli.h"

#include <stdio.h>

int command_config(int argc, char **argv) {
    static const char *const origins[] = {"default", "config file", "environment", "command line"};
    struct settings s;
    int result = settings_load(&s, CMD_CONFIG, 0, argc, argv);
    if (!result) {
        printf("# config file: %s\n", s.config_path ? s.config_path : "none");
        for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
            if (s.value[i].text) {
                printf("%s = %s  # %s\n", setting_table[i].name, s.value[i].text, origins[s.value[i].origin]);
            } else {
                printf("# %s: not set\n", setting_table[i].name);
            }
        }
    }
    settings_free(&s);
    return result;
}
