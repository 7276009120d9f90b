/* The two files that stay open. The program may close their numbers (daemons close all) and give them to files of its own: so
   before a number is used it is checked to be ours still, and the file is opened again where it is not. */
#define _GNU_SOURCE 1
#include "tt.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    char *path; /* of the run folder of this process */
    struct stat folder, tables;
    pthread_mutex_t lock;
} files = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Low numbers are for the program: what it opens gets the numbers that it would get without us. */
int files_out_of_the_way(int fd) {
    struct rlimit limit;
    if (fd < 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0) return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, (int)(limit.rlim_cur < 1024 ? limit.rlim_cur : 1024) / 2);
    if (high < 0) return fd;
    close(fd);
    return high;
}

static int is(int fd, const struct stat *as) {
    struct stat now;
    return fd >= 0 && fstat(fd, &now) == 0 && now.st_ino == as->st_ino && now.st_dev == as->st_dev;
}

int files_keep(const char *folder) {
    free(files.path);
    files.path = strdup(folder);
    rec.folder_fd = files_out_of_the_way(rec.folder_fd);
    rec.tables_fd = files_out_of_the_way(rec.tables_fd);
    return files.path && fstat(rec.folder_fd, &files.folder) == 0 && fstat(rec.tables_fd, &files.tables) == 0 ? 0 : -1;
}

static int opened(int fd, const struct stat *as, int *keep) {
    if (fd >= 0 && !is(fd, as)) {
        close(fd);
        errno = ENOENT;
        fd = -1;
    }
    if (fd < 0) return 0;
    *keep = files_out_of_the_way(fd);
    return 1;
}

/* 0 = both numbers are ours, if need be again; -1 = errno. */
int files_ours(void) {
    pthread_mutex_lock(&files.lock);
    int ours = is(rec.folder_fd, &files.folder) ||
               opened(open(files.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), &files.folder, &rec.folder_fd);
    ours = ours && (is(rec.tables_fd, &files.tables) ||
                    opened(openat(rec.folder_fd, "tables.tt", O_WRONLY | O_APPEND | O_CLOEXEC), &files.tables, &rec.tables_fd));
    int error = errno;
    pthread_mutex_unlock(&files.lock);
    errno = error;
    return ours ? 0 : -1;
}

void files_close(void) {
    if (is(rec.tables_fd, &files.tables)) close(rec.tables_fd);
    if (is(rec.folder_fd, &files.folder)) close(rec.folder_fd);
    rec.tables_fd = rec.folder_fd = -1;
}

/* After fork, in the child: the lock may have been held by a thread that is not there. */
void files_forget(void) { pthread_mutex_init(&files.lock, NULL); }
