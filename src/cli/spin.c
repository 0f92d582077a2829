/* How long threads spin while they wait for work. libgomp, on whose threads the library and oneDNN run, lets
 * each spin 300,000 times, some 15 ms, before it sleeps. On a machine that does other work too, the cores
 * that are spun on are those that somebody waits for. 1,000 times take about as long as waking a sleeper:
 * never more than twice the cost of the better choice, whichever that is. */
#include "cli/cli.h"

#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#define SPINS "1000"

/* libgomp reads the environment while it is loaded, before main; so the program starts once more. Not where
 * the dynamic linker was named on the command line: it would be what starts again. Where starting fails all
 * goes on as it is. */
void limit_spinning(char **argv) {
    if (!getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT") && getauxval(AT_BASE) &&
        !setenv("GOMP_SPINCOUNT", SPINS, 1)) {
        execv("/proc/self/exe", argv);
    }
}
