#include "cli/cli.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    enum command id;
    const char *usage, *summary;
} commands[] = {
    {"generate", command_generate, CMD_GENERATE, "--prompt TEXT [flags]", "make pictures"},
    {"plan", command_plan, CMD_PLAN, "[flags]", "what a generation would cost, without running it"},
    {"calibrate", command_calibrate, CMD_CALIBRATE, "[flags]", "measure what plans are made of, at once"},
    {"tune", command_tune, CMD_TUNE, "[flags]", "find the fastest settings here by measuring, and keep them"},
    {"serve", command_serve, CMD_SERVE, "[--models DIR] [flags]", "answer the APIs that other tools speak"},
    {"inspect", command_inspect, CMD_INSPECT, "[FILE] [flags]", "what a checkpoint holds"},
    {"eval", command_eval, CMD_EVAL, "MODULE --inputs IN -o OUT [flags]", "run one module on given tensors"},
    {"devices", command_devices, CMD_DEVICES, "[flags]", "what could compute here, and what is missing"},
    {"config", command_config, CMD_CONFIG, "[flags]", "the settings in force, and where each comes from"},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static volatile sig_atomic_t signal_seen;

static void on_signal(int number) {
    signal_seen = number;
    signal(number, SIG_DFL);
}

void catch_interrupt(void) {
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
}

bool interrupted(void) {
    return signal_seen != 0;
}

int report_error(const struct settings *s, const ballast_error *err) {
    char source[2 * PATH_MAX];
    if (err->code == BALLAST_E_CANCELLED && signal_seen) {
        fprintf(stderr, "ballast: stopped\n");
        return 128 + signal_seen;
    }
    fprintf(stderr, "ballast: %s%s\n", err->message, setting_source(source, sizeof source, s, err->message));
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
        fprintf(to, "  ballast %-9s %-39s %s\n", commands[i].name, commands[i].usage, commands[i].summary);
    }
    fprintf(to, "  ballast %-9s %-39s %s\n", "help", "[COMMAND|samplers|schedules|upscalers]",
            "this, or more");
    fprintf(to, "  ballast %-9s %-39s %s\n", "version", "", "its number");
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
            printf("ballast %s %s\n%s\n", topic, commands[i].usage, commands[i].summary);
            settings_help(commands[i].id);
            return 0;
        }
    }
    fprintf(stderr,
            "ballast: help: no such topic \"%s\"; there are generate, plan, calibrate, tune, serve, "
            "inspect, eval, devices, config, samplers, schedules and upscalers\n",
            topic);
    return EXIT_USAGE;
}

static bool asks_for_help(int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            return true;
        }
    }
    return false;
}

static int unknown_command(const char *name) {
    for (size_t i = 0; i < COMMANDS; i++) {
        if (looks_like(name, commands[i].name)) {
            fprintf(stderr, "ballast: no such command \"%s\"; did you mean %s?\n", name, commands[i].name);
            return EXIT_USAGE;
        }
    }
    fprintf(stderr,
            "ballast: no such command \"%s\"; there are generate, plan, calibrate, tune, serve, "
            "inspect, eval, devices, config and help\n",
            name);
    return EXIT_USAGE;
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        return usage(stderr);
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V") || !strcmp(argv[1], "version")) {
        printf("ballast %s\n", ballast_version());
        return 0;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        return argc > 2 ? help(argv[2]) : usage(stdout);
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (!strcmp(argv[1], commands[i].name)) {
            return asks_for_help(argc - 2, argv + 2) ? help(commands[i].name)
                                                     : commands[i].run(argc - 2, argv + 2);
        }
    }
    return unknown_command(argv[1]);
}

/* A file that is opened while a standard stream is closed would get its number, and what is printed. Not for
 * writing, so that printing still fails. */
static void hold_standard_streams(void) {
    int fd = 0;
    while (fd >= 0 && fd <= STDERR_FILENO) {
        fd = open("/dev/null", O_RDONLY);
    }
    if (fd >= 0) {
        close(fd);
    }
}

int main(int argc, char **argv) {
    hold_standard_streams();
    signal(SIGXFSZ, SIG_IGN); /* a file that grows too large (ulimit -f) is an error like a full disk */
    limit_spinning(argv);
    int result = run(argc, argv);
    drop_empty_folders();
    if (!flush_stdout() && !result) {
        result = report_stdout();
    }
    return result;
}
