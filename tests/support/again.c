#include "support/again.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int bl_test_again(const char *argument) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "again", argument, (char *)NULL);
        _exit(127);
    }
    int status = 1;
    return child < 0 || waitpid(child, &status, 0) < 0 || status ? 1 : 0;
}
