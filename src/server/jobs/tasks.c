/* Work of a moment for the thread that owns the device: between two jobs, or, if it only looks, between two
 * blocks of a picture. */
#include "server/jobs/internal.h"

#include <errno.h>
#include <time.h>

bool task_run(struct jobs *j, struct task *task, double seconds) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)seconds;
    task->state = TASK_WAITS;
    pthread_mutex_lock(&j->lock);
    j->task = task;
    pthread_cond_broadcast(&j->wake);
    int rc = 0;
    while (task->state == TASK_RUNS || (task->state == TASK_WAITS && j->started && rc != ETIMEDOUT)) {
        rc = task->state == TASK_RUNS ? pthread_cond_wait(&j->idle, &j->lock)
                                      : pthread_cond_timedwait(&j->idle, &j->lock, &until);
    }
    j->task = NULL;
    bool done = task->state == TASK_DONE;
    pthread_mutex_unlock(&j->lock);
    return done;
}

void task_serve(struct jobs *j, bool beside) {
    struct task *task = j->task;
    if (task && task->state == TASK_WAITS && (task->beside || !beside)) {
        task->state = TASK_RUNS;
        pthread_mutex_unlock(&j->lock);
        task->run(j, task->payload);
        pthread_mutex_lock(&j->lock);
        task->state = TASK_DONE;
        pthread_cond_broadcast(&j->idle);
    }
}
