/* A library to preload: file systems that refuse what is named in the environment variable REFUSED, or are slow; and
   another host, named HOST_HERE, whose clock is SECONDS_AHEAD of the one that stamps files. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int refused(const char *what) {
    const char *named = getenv("REFUSED");
    return named != NULL && strcmp(named, what) == 0;
}

static void delay(void) { /* a busy file system that many machines share */
    struct timespec moment = {0, 30 * 1000 * 1000};
    if (refused("slow")) nanosleep(&moment, NULL);
}

static int failed(int number) {
    errno = number;
    return -1;
}

int chmod(const char *path, mode_t mode) {
    int (*real)(const char *, mode_t) = (int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "chmod");
    return refused("chmod") ? failed(EPERM) : real(path, mode);
}

int fchmod(int file, mode_t mode) {
    int (*real)(int, mode_t) = (int (*)(int, mode_t))dlsym(RTLD_NEXT, "fchmod");
    return refused("chmod") ? failed(EPERM) : real(file, mode);
}

int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    int (*real)(int, const char *, mode_t, int) =
        (int (*)(int, const char *, mode_t, int))dlsym(RTLD_NEXT, "fchmodat");
    return refused("chmod") ? failed(EPERM) : real(folder, path, mode, flags);
}

int fsync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    struct stat found;
    delay();
    int is_folder = fstat(file, &found) == 0 && S_ISDIR(found.st_mode);
    return refused("fsync of folders") && is_folder ? failed(EINVAL) : real(file);
}

int flock(int file, int operation) {
    int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    delay();
    if (refused("flock ENOSYS")) return failed(ENOSYS);
    if (refused("flock ENOLCK")) return failed(ENOLCK);
    if (refused("flock EOPNOTSUPP")) return failed(EOPNOTSUPP);
    if (refused("flock EINVAL")) return failed(EINVAL);
    return real(file, operation);
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    delay();
    return real(from, to);
}

int getpwuid_r(uid_t user, struct passwd *entry, char *buffer, size_t size, struct passwd **found) {
    int (*real)(uid_t, struct passwd *, char *, size_t, struct passwd **) =
        (int (*)(uid_t, struct passwd *, char *, size_t, struct passwd **))dlsym(RTLD_NEXT, "getpwuid_r");
    if (!refused("home")) return real(user, entry, buffer, size, found);
    *found = NULL; /* a user who is in no list of users */
    return 0;
}

int link(const char *from, const char *to) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "link");
    return refused("flock ENOLCK") ? failed(EPERM) : real(from, to); /* nor has it hard links */
}

int gethostname(char *name, size_t size) {
    int (*real)(char *, size_t) = (int (*)(char *, size_t))dlsym(RTLD_NEXT, "gethostname");
    const char *named = getenv("HOST_HERE");
    if (named == NULL) return real(name, size);
    strncpy(name, named, size);
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *moment) {
    int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *ahead = getenv("SECONDS_AHEAD");
    int failure = real(clock, moment);
    if (ahead != NULL && clock == CLOCK_REALTIME) moment->tv_sec += atol(ahead);
    return failure;
}
