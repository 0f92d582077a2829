#include "cli/cli.h"
#include "server/server.h"

#include <ctype.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static void log_line(const char *line) {
    fprintf(stderr, "ballast: %s\n", line);
}

static void log_nothing(const char *line) {
    (void)line;
}

/* "48M", "2G", "1000000" in bytes; false: it is no size. */
static bool parse_size(const char *text, int64_t *out) {
    static const char units[] = "KMG";
    char *end;
    double number = strtod(text, &end);
    for (int i = 0; *end && i < 3; i++) {
        if (toupper((unsigned char)*end) == units[i]) {
            number *= (double)(1LL << 10 * (i + 1));
            end++;
            break;
        }
    }
    end += *end == 'i';
    end += *end == 'B';
    if (end == text || *end || !(number >= 1) || number > 1e15) {
        return false;
    }
    *out = (int64_t)number;
    return true;
}

/* The folder for what is kept where nobody says another one; made with the folders above it. NULL: there is
 * no home. */
static char *default_data(void) {
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    char *path = NULL;
    int n = xdg && *xdg     ? asprintf(&path, "%s/ballast", xdg)
            : home && *home ? asprintf(&path, "%s/.local/share/ballast", home)
                            : -1;
    if (n < 0) {
        return NULL;
    }
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    return path;
}

static const char *value_of(const struct settings *s, enum setting_id id) {
    return setting_text(s, id);
}

/* Who said so; NULL: nobody. The variables' names live as long as the program. */
static const char *origin_of(const struct settings *s, enum setting_id id) {
    static struct variable names[S_COUNT_OF_SETTINGS];
    switch (s->value[id].origin) {
    case FROM_COMMAND_LINE:
        return "the command line";
    case FROM_ENVIRONMENT:
        names[id] = setting_variable((int)id);
        return names[id].name;
    case FROM_CONFIG:
        return s->config_path;
    default:
        return NULL;
    }
}

static struct placement placement_of(const struct settings *s,
                                     const char *(*text)(const struct settings *s, enum setting_id id)) {
    return (struct placement){.offload = text(s, S_OFFLOAD),
                              .budget = text(s, S_BUDGET),
                              .reserve = text(s, S_RESERVE),
                              .host_budget = text(s, S_HOST_BUDGET),
                              .low = text(s, S_LOW),
                              .high = text(s, S_HIGH),
                              .never = text(s, S_NEVER),
                              .always = text(s, S_ALWAYS),
                              .fit_check = text(s, S_FIT_CHECK)};
}

/* Is it a folder that holds a page? */
static bool has_page(const char *folder) {
    char *path = NULL;
    bool there = asprintf(&path, "%s/index.html", folder) >= 0 && !access(path, R_OK);
    free(path);
    return there;
}

static int fill(struct server_options *o, const struct settings *s) {
    *o = (struct server_options){.models = setting_text(s, S_MODELS),
                                 .listen = setting_text(s, S_LISTEN),
                                 .data = setting_text(s, S_DATA),
                                 .base_path = setting_text(s, S_BASE_PATH),
                                 .page = setting_text(s, S_PAGE),
                                 .passwords = setting_text(s, S_AUTH),
                                 .keys = setting_text(s, S_API_KEYS),
                                 .insecure = setting_on(s, S_INSECURE),
                                 .threads = setting_int(s, S_THREADS),
                                 .text_cache = (size_t)setting_int(s, S_TEXT_CACHE),
                                 .isa = setting_text(s, S_ISA),
                                 .dtype = setting_text(s, S_DTYPE),
                                 .vae_dtype = setting_text(s, S_VAE_DTYPE),
                                 .taesd = setting_text(s, S_TAESD),
                                 .previews = setting_text(s, S_PREVIEW),
                                 .preview_every = setting_int(s, S_PREVIEW_EVERY),
                                 .placement = placement_of(s, value_of),
                                 .placement_from = placement_of(s, origin_of),
                                 .device = setting_text(s, S_DEVICE),
                                 .fair = !strcmp(setting_text(s, S_ORDER), "fair"),
                                 .idle_seconds = (int)(setting_number(s, S_IDLE_RELEASE) * 60),
                                 .most_pixels = (int64_t)setting_number(s, S_MAX_PIXELS),
                                 .most_steps = setting_int(s, S_MAX_STEPS),
                                 .most_pictures = setting_int(s, S_MAX_IMAGES),
                                 .most_waiting = setting_int(s, S_MAX_QUEUE),
                                 .keepalive_seconds = setting_int(s, S_KEEPALIVE),
                                 .log = setting_on(s, S_QUIET) ? log_nothing : log_line};
    const char *previews = setting_text(s, S_PREVIEW);
    if (previews && strcmp(previews, "none") != 0 && strcmp(previews, "linear") != 0 &&
        strcmp(previews, "taesd") != 0) {
        return complain_of(s, S_PREVIEW, "\"%s\" is none; there are none, linear and taesd", previews);
    }
    if (previews && !strcmp(previews, "taesd") && !setting_text(s, S_TAESD)) {
        return complain_of(s, S_PREVIEW, "taesd needs its file; name it with --taesd FILE");
    }
    if (strcmp(setting_text(s, S_ORDER), "fair") != 0 && strcmp(setting_text(s, S_ORDER), "arrival") != 0) {
        return complain_of(s, S_ORDER, "\"%s\" is none; there are fair and arrival",
                           setting_text(s, S_ORDER));
    }
    if (o->page && !has_page(o->page)) {
        return complain_of(s, S_PAGE, "%s: no page is there: a folder with index.html in it", o->page);
    }
    if (!parse_size(setting_text(s, S_MAX_BODY), &o->most_body)) {
        return complain_of(s, S_MAX_BODY, "\"%s\" is no size; write 48M", setting_text(s, S_MAX_BODY));
    }
    if (setting_text(s, S_RETAIN) && !parse_size(setting_text(s, S_RETAIN), &o->retain)) {
        return complain_of(s, S_RETAIN, "\"%s\" is no size; write 20G", setting_text(s, S_RETAIN));
    }
    return 0;
}

static sem_t stops; /* how often somebody asked for the end */

static void on_stop(int number) {
    (void)number;
    sem_post(&stops);
}

static void wait_for_stop(void) {
    while (sem_wait(&stops)) { /* a signal came */
    }
}

static void *wait_for_second(void *payload) {
    wait_for_stop();
    server_hurry(payload);
    return NULL;
}

/* SIGINT and SIGTERM are counted, whichever thread they reach: a library may have threads from before main,
 * which take every signal. Those that are started here take none: `set` is what they are spared. */
static void count_stops(sigset_t *set) {
    struct sigaction a = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    sem_init(&stops, 0, 0);
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Serves until a signal comes; the picture in hand then has its grace, unless a second one comes. */
static int serve(const struct settings *s, const struct server_options *o) {
    struct server *server = NULL;
    struct problem p = {0};
    pthread_t second;
    sigset_t set;
    count_stops(&set);
    if (server_start(&server, o, &p)) {
        bool named = p.field[0];
        fprintf(stderr, "ballast: %s%s%s%s\n", named ? "--" : "", p.field, named ? ": " : "", p.text);
        return p.status < 500 ? EXIT_USAGE : EXIT_OURS;
    }
    printf("%s\n", server_address(server));
    flush_stdout();
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    wait_for_stop();
    if (!setting_on(s, S_QUIET)) {
        fprintf(stderr,
                "ballast: going down; the picture in hand is finished first, a second signal stops it\n");
    }
    bool waits = !pthread_create(&second, NULL, wait_for_second, server);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* the second one's affair */
    server_stop(&server, setting_number(s, S_GRACE));
    if (waits) {
        pthread_cancel(second);
        pthread_join(second, NULL);
    }
    return 0;
}

int command_serve(int argc, char **argv) {
    struct settings s;
    struct server_options o;
    char *models = NULL, *data = NULL, *adapters = NULL, *embeddings = NULL;
    const char **origins = NULL;
    int result = settings_load(&s, CMD_SERVE, 0, argc, argv);
    result = result ? result : fill(&o, &s);
    if (!result && !o.models) {
        models = embedded_folder();
        o.models = models;
        result = models ? 0 : EXIT_USAGE;
    }
    result = result ? result : read_folders(&o.adapters, &adapters, "lora", S_LORA_DIR, &s, o.models);
    result = result ? result
                    : read_folders(&o.embeddings, &embeddings, "embeddings", S_EMBEDDING_DIR, &s, o.models);
    if (!result && !o.data) {
        data = default_data();
        o.data = data;
        result = data ? 0 : complain_of(&s, S_DATA, "there is no home folder to keep things in; name one");
    }
    if (!result) {
        origins = setting_files(&s, S_ALLOW_ORIGIN);
        result = origins ? 0 : out_of_memory();
    }
    if (!result) {
        o.allow_origins = origins;
        while (origins[o.allow_origin_count]) {
            o.allow_origin_count++;
        }
        result = serve(&s, &o);
    }
    free(origins);
    free(adapters);
    free(embeddings);
    free(models);
    free(data);
    settings_free(&s);
    return result;
}
