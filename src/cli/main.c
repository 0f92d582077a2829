#include "cli/cli.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    enum command id;
    const char *usage, *summary;
} commands[] = {
    {"generate", command_generate, CMD_GENERATE, "--prompt TEXT [flags]", "make pictures"},
    {"plan", command_plan, CMD_PLAN, "[flags]", "what a generation would cost, without running it"},
    {"inspect", command_inspect, CMD_INSPECT, "[FILE] [flags]", "what a checkpoint holds"},
    {"eval", command_eval, CMD_EVAL, "MODULE --inputs IN -o OUT [flags]", "run one module on given tensors"},
    {"config", command_config, CMD_CONFIG, "", "the settings in force, and where each comes from"},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static volatile sig_atomic_t stop_requested;

static void on_interrupt(int number) {
    stop_requested = 1;
    signal(number, SIG_DFL);
}

void catch_interrupt(void) {
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
}

int interrupted(void) {
    return stop_requested;
}

int report_error(const ballast_error *err) {
    if (err->code == BALLAST_E_CANCELLED) {
        fprintf(stderr, "ballast: stopped\n");
        return EXIT_STOPPED;
    }
    fprintf(stderr, "ballast: %s\n", err->message);
    switch (err->code) {
    case BALLAST_E_ARGUMENT:
    case BALLAST_E_NOT_FOUND:
    case BALLAST_E_FORMAT:
    case BALLAST_E_UNSUPPORTED:
    case BALLAST_E_BUDGET:
        return EXIT_USAGE;
    default:
        return EXIT_OURS;
    }
}

static int usage(FILE *to) {
    fprintf(to, "ballast %s: text to image that keeps on the device every weight that fits\n\n",
            ballast_version());
    for (size_t i = 0; i < COMMANDS; i++) {
        fprintf(to, "  ballast %-9s %-34s %s\n", commands[i].name, commands[i].usage, commands[i].summary);
    }
    fprintf(to, "  ballast %-9s %-34s %s\n", "help", "[COMMAND|samplers|schedules|upscalers]",
            "this, or more");
    return to == stderr ? EXIT_USAGE : 0;
}

static int help(const char *topic) {
    static const struct {
        const char *topic;
        const char *(*name)(int index);
    } lists[] = {{"samplers", ballast_sampler_name},
                 {"schedules", ballast_schedule_name},
                 {"upscalers", ballast_upscaler_name}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (!strcmp(topic, lists[i].topic)) {
            for (int k = 0; lists[i].name(k); k++) {
                puts(lists[i].name(k));
            }
            return 0;
        }
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (!strcmp(topic, commands[i].name)) {
            printf("ballast %s %s\n%s\n\n", topic, commands[i].usage, commands[i].summary);
            settings_help(commands[i].id);
            return 0;
        }
    }
    fprintf(stderr, "ballast: help: no such topic \"%s\"\n", topic);
    return EXIT_USAGE;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        return usage(stderr);
    }
    if (!strcmp(argv[1], "--version")) {
        printf("ballast %s\n", ballast_version());
        return 0;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        return argc > 2 ? help(argv[2]) : usage(stdout);
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (!strcmp(argv[1], commands[i].name)) {
            for (int k = 2; k < argc; k++) {
                if (!strcmp(argv[k], "--help") || !strcmp(argv[k], "-h")) {
                    return help(commands[i].name);
                }
            }
            return commands[i].run(argc - 2, argv + 2);
        }
    }
    fprintf(stderr, "ballast: no such command \"%s\"\n", argv[1]);
    return usage(stderr);
}
