/* Run by the build: makes the manual and the shells' completions from the table of settings.
 *
 *     ballast_pages OUT man MANUAL.in | bash | zsh | fish */
#include "cli/settings.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *summary;
    enum command id;
} commands[] = {
    {"generate", "make pictures", CMD_GENERATE},
    {"plan", "what a generation would cost", CMD_PLAN},
    {"calibrate", "measure what plans are made of", CMD_CALIBRATE},
    {"tune", "find the fastest settings by measuring", CMD_TUNE},
    {"serve", "answer the APIs that other tools speak", CMD_SERVE},
    {"inspect", "what a checkpoint holds", CMD_INSPECT},
    {"eval", "run one module on given tensors", CMD_EVAL},
    {"devices", "what could compute here", CMD_DEVICES},
    {"config", "the settings in force", CMD_CONFIG},
    {"help", "this, or more", 0},
    {"version", "print the version", 0},
};
#define COMMANDS ((int)(sizeof commands / sizeof *commands))

static bool takes(enum command command, const struct setting *s) {
    return command == CMD_CONFIG || (s->commands & command);
}

static bool is_path(const struct setting *s) {
    return s->kind == SET_FILE || s->kind == SET_FILES;
}

/* The topic of `ballast help` that lists a setting's values; NULL: none does. */
static const char *names_of(const struct setting *s) {
    static const char *const topics[][2] = {
        {"SAMPLER", "samplers"}, {"SCHEDULE", "schedules"}, {"UPSCALER", "upscalers"}};
    for (int i = 0; s->placeholder && i < 3; i++) {
        if (!strcmp(s->placeholder, topics[i][0])) {
            return topics[i][1];
        }
    }
    return NULL;
}

static bool has_choices(const struct setting *s) {
    return s->placeholder && strchr(s->placeholder, '|') && islower((unsigned char)*s->placeholder);
}

/* The values of "a|b|c" with blanks between them; what stands in capitals is none. */
static void print_choices(const struct setting *s) {
    const char *gap = "";
    for (const char *p = s->placeholder; *p; p += strcspn(p, "|"), p += *p == '|') {
        size_t n = strcspn(p, "|");
        bool plain = true;
        for (size_t i = 0; i < n; i++) {
            plain = plain && !isupper((unsigned char)p[i]);
        }
        if (plain) {
            printf("%s%.*s", gap, (int)n, p);
            gap = " ";
        }
    }
}

/* ---- the manual */

static void print_roff(const char *text) {
    for (const char *p = text; *p; p++) {
        printf(*p == '-' ? "\\-" : *p == '\\' ? "\\e" : "%c", *p);
    }
}

static void print_entry(const struct setting *s) {
    printf(".TP\n\\fB");
    if (s->letter) {
        printf("\\-%c\\fR, \\fB", s->letter);
    }
    print_roff("--");
    print_roff(s->name);
    printf("\\fR");
    if (s->placeholder) {
        printf(" \\fI");
        print_roff(s->placeholder);
        printf("\\fR");
    }
    const char *text = s->manual ? s->manual : s->help;
    printf("\n%c", toupper((unsigned char)*text));
    print_roff(text + 1);
    printf("%s", s->manual ? "" : ".");
    if (s->kind == SET_SWITCH && s->fallback && !strcmp(s->fallback, "on")) {
        printf(" On unless \\fB\\-\\-no\\-");
        print_roff(s->name);
        printf("\\fR.");
    } else if (s->kind != SET_SWITCH && s->fallback) {
        printf(" Default: ");
        print_roff(s->fallback);
        printf(".");
    }
    printf("\n");
}

static void print_flags(void) {
    int group = 0;
    for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
        if (group < setting_group_count && (int)setting_groups[group].first == i) {
            printf(".SS %s\n", setting_groups[group++].title);
        }
        print_entry(&setting_table[i]);
    }
}

static int print_manual(const char *path) {
    char line[1024];
    FILE *f = fopen(path, "re");
    if (!f) {
        perror(path);
        return 1;
    }
    while (fgets(line, sizeof line, f)) {
        if (!strcmp(line, ".\\\" FLAGS\n")) {
            print_flags();
        } else {
            fputs(line, stdout);
        }
    }
    fclose(f);
    return 0;
}

/* ---- bash */

static void print_bash_value(const struct setting *s) {
    if (!is_path(s) && !has_choices(s) && !names_of(s)) {
        return;
    }
    printf("    --%s", s->name);
    if (s->letter) {
        printf("|-%c", s->letter);
    }
    printf(") ");
    if (has_choices(s)) {
        printf("COMPREPLY=($(compgen -W '");
        print_choices(s);
        printf("' -- \"$word\"));");
    } else if (names_of(s)) {
        printf("_ballast_names %s;", names_of(s));
    } else {
        printf("COMPREPLY=($(compgen -f -- \"$word\")); compopt -o filenames 2>/dev/null;");
    }
    printf(" return ;;\n");
}

static void print_bash(void) {
    printf(
        "# bash completion of ballast\n"
        "_ballast_names() {\n"
        "  local IFS=$'\\n'\n"
        "  COMPREPLY=($(compgen -W \"$(ballast help \"$1\" 2>/dev/null | sed \"s/ /\\\\\\\\\\\\\\\\ /g\")\" "
        "-- \"$word\"))\n"
        "}\n"
        "_ballast() {\n"
        "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} flags=\n"
        "  COMPREPLY=()\n"
        "  if ((COMP_CWORD == 1)); then\n"
        "    COMPREPLY=($(compgen -W '");
    for (int c = 0; c < COMMANDS; c++) {
        printf("%s ", commands[c].name);
    }
    printf("' -- \"$word\"))\n    return\n  fi\n  case $before in\n");
    for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
        print_bash_value(&setting_table[i]);
    }
    printf("  esac\n  case ${COMP_WORDS[1]} in\n");
    for (int c = 0; c < COMMANDS && commands[c].id; c++) {
        printf("    %s) flags='--help", commands[c].name);
        for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
            if (takes(commands[c].id, &setting_table[i])) {
                printf(" --%s", setting_table[i].name);
            }
        }
        printf("' ;;\n");
    }
    printf("    help) flags='");
    for (int c = 0; c < COMMANDS && commands[c].id; c++) {
        printf("%s ", commands[c].name);
    }
    printf("samplers schedules upscalers' ;;\n  esac\n"
           "  if [[ $word == -* || ${COMP_WORDS[1]} == help ]]; then\n"
           "    COMPREPLY=($(compgen -W \"$flags\" -- \"$word\"))\n"
           "  else\n"
           "    COMPREPLY=($(compgen -f -- \"$word\")); compopt -o filenames 2>/dev/null\n"
           "  fi\n}\ncomplete -F _ballast ballast\n");
}

/* ---- zsh and fish */

/* Text inside '...'; `also` are characters that want a backslash. */
static void print_quoted(const char *text, const char *also) {
    for (const char *p = text; *p; p++) {
        if (*p == '\'') {
            printf("'\\''");
        } else {
            printf(strchr(also, *p) ? "\\%c" : "%c", *p);
        }
    }
}

static void print_zsh_flag(const struct setting *s) {
    const char *star = s->kind == SET_FILES ? "*" : "";
    for (int letter = 0; letter < (s->letter ? 2 : 1); letter++) {
        if (letter) {
            printf("    '%s-%c[", star, s->letter);
        } else {
            printf("    '%s--%s[", star, s->name);
        }
        print_quoted(s->help, "[]:\\");
        printf("]");
        if (s->kind != SET_SWITCH) {
            printf(":");
            print_quoted(s->placeholder, "[]:\\");
            printf(":");
        }
        if (has_choices(s)) {
            printf("(");
            print_choices(s);
            printf(")");
        } else if (names_of(s)) {
            printf("{_ballast_names %s}", names_of(s));
        } else if (is_path(s)) {
            printf("_files");
        }
        printf("'\n");
    }
}

static void print_zsh(void) {
    printf("#compdef ballast\n"
           "_ballast_names() {\n"
           "  local -a names; names=(\"${(@f)$(ballast help $1 2>/dev/null)}\"); compadd -a names\n"
           "}\n"
           "_ballast() {\n"
           "  local -a commands flags\n"
           "  commands=(\n");
    for (int c = 0; c < COMMANDS; c++) {
        printf("    '%s:%s'\n", commands[c].name, commands[c].summary);
    }
    printf("  )\n"
           "  if ((CURRENT == 2)); then _describe command commands; return; fi\n"
           "  case $words[2] in\n");
    for (int c = 0; c < COMMANDS && commands[c].id; c++) {
        printf("  %s) flags=(\n", commands[c].name);
        for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
            if (takes(commands[c].id, &setting_table[i])) {
                print_zsh_flag(&setting_table[i]);
            }
        }
        printf("    '*:file:_files'\n  ) ;;\n");
    }
    printf("  help) flags=('*:topic:(samplers schedules upscalers");
    for (int c = 0; c < COMMANDS && commands[c].id; c++) {
        printf(" %s", commands[c].name);
    }
    printf(")') ;;\n  esac\n"
           "  words=(\"${(@)words[2,-1]}\"); ((CURRENT--))\n"
           "  _arguments -S : $flags\n}\n_ballast \"$@\"\n");
}

static void print_fish_flag(const struct setting *s) {
    printf("complete -c ballast -n '__fish_seen_subcommand_from");
    for (int c = 0; c < COMMANDS && commands[c].id; c++) {
        if (takes(commands[c].id, s)) {
            printf(" %s", commands[c].name);
        }
    }
    printf("' -l %s", s->name);
    if (s->letter) {
        printf(" -s %c", s->letter);
    }
    if (has_choices(s)) {
        printf(" -x -a '");
        print_choices(s);
        printf("'");
    } else if (names_of(s)) {
        printf(" -x -a '(ballast help %s)'", names_of(s));
    } else if (is_path(s)) {
        printf(" -r -F");
    } else if (s->kind != SET_SWITCH) {
        printf(" -x");
    }
    printf(" -d '");
    for (const char *p = s->help; *p; p++) {
        printf(*p == '\'' || *p == '\\' ? "\\%c" : "%c", *p);
    }
    printf("'\n");
}

static void print_fish(void) {
    printf("# fish completion of ballast\n");
    for (int c = 0; c < COMMANDS; c++) {
        printf("complete -c ballast -n __fish_use_subcommand -x -a %s -d '%s'\n", commands[c].name,
               commands[c].summary);
    }
    printf("complete -c ballast -n '__fish_seen_subcommand_from help' -x -a 'samplers schedules upscalers");
    for (int c = 0; c < COMMANDS && commands[c].id; c++) {
        printf(" %s", commands[c].name);
    }
    printf("'\n");
    for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
        print_fish_flag(&setting_table[i]);
    }
}

int main(int argc, char **argv) {
    const char *page = argc > 2 ? argv[2] : "";
    int result = 0;
    if (*page && !freopen(argv[1], "we", stdout)) {
        perror(argv[1]);
        return 1;
    }
    if (!strcmp(page, "man") && argc > 3) {
        result = print_manual(argv[3]);
    } else if (!strcmp(page, "bash")) {
        print_bash();
    } else if (!strcmp(page, "zsh")) {
        print_zsh();
    } else if (!strcmp(page, "fish")) {
        print_fish();
    } else {
        fprintf(stderr, "ballast_pages: wants OUT and man MANUAL.in, bash, zsh or fish\n");
        return 2;
    }
    return result || fflush(stdout) || ferror(stdout);
}
