/* Loaded before the C library by `cargo xtask torture`: ends the process, or lets a call fail, at the Nth call that changes
 * a file below FAULTS_UNDER.
 *
 * FAULTS_KILL_AT=N   SIGKILL instead of the Nth call
 * FAULTS_FAIL_AT=N   the Nth call and all after it fail with FAULTS_ERRNO, as on a disk that stays full
 * FAULTS_COUNT=FILE  where the number of calls is written at the end
 *
 * A file descriptor counts as below FAULTS_UNDER if the kernel says so; others (terminals, pipes, sockets) never fail.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls = 0;
static long kill_at = -1, fail_at = -1;
static int fail_errno = EIO;
static const char *under = 0;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

__attribute__((constructor)) static void begin(void) {
    kill_at = number("FAULTS_KILL_AT", -1);
    fail_at = number("FAULTS_FAIL_AT", -1);
    fail_errno = (int)number("FAULTS_ERRNO", EIO);
    under = getenv("FAULTS_UNDER");
}

__attribute__((destructor)) static void end(void) {
    const char *file = getenv("FAULTS_COUNT");
    FILE *out = file ? fopen(file, "w") : 0;
    if (out) {
        fprintf(out, "%ld\n", (long)calls);
        fclose(out);
    }
}

/* Does this call fail? */
static int strikes(void) {
    long call = ++calls;
    if (call == kill_at) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    if (fail_at >= 0 && call >= fail_at) {
        errno = fail_errno;
        return 1;
    }
    return 0;
}

static int path_strikes(const char *path) {
    char whole[PATH_MAX];
    if (!under) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole) || strncmp(whole, under, strlen(under))) return 0;
        return strikes();
    }
    return strncmp(path, under, strlen(under)) ? 0 : strikes();
}

static int fd_strikes(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return path[0] == '/' ? path_strikes(path) : 0;
}

#define REAL(result, name, types) \
    static result(*real) types = 0; \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)
#define CHANGES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        REAL(int, #name, (const char *, int, ...)); \
        if (CHANGES(flags) && path_strikes(path)) return -1; \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int dir, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        REAL(int, #name, (int, const char *, int, ...)); \
        if (CHANGES(flags) && path_strikes(path)) return -1; \
        return real(dir, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define ON_FD(result, name, types, arguments, fd) \
    result name types { \
        REAL(result, #name, types); \
        if (fd_strikes(fd)) return -1; \
        return real arguments; \
    }
ON_FD(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n), fd)
ON_FD(ssize_t, writev, (int fd, const struct iovec *from, int n), (fd, from, n), fd)
ON_FD(ssize_t, pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), fd)
ON_FD(ssize_t, pwrite64, (int fd, const void *from, size_t n, off64_t at), (fd, from, n, at), fd)
ON_FD(ssize_t, copy_file_range, (int in, off64_t *a, int fd, off64_t *b, size_t n, unsigned f), (in, a, fd, b, n, f), fd)
ON_FD(int, fsync, (int fd), (fd), fd)
ON_FD(int, fdatasync, (int fd), (fd), fd)
ON_FD(int, ftruncate, (int fd, off_t n), (fd, n), fd)
ON_FD(int, ftruncate64, (int fd, off64_t n), (fd, n), fd)

#define ON_PATH(name, types, arguments, path) \
    int name types { \
        REAL(int, #name, types); \
        if (path_strikes(path)) return -1; \
        return real arguments; \
    }
ON_PATH(rename, (const char *from, const char *to), (from, to), to)
ON_PATH(renameat2, (int a, const char *from, int b, const char *to, unsigned f), (a, from, b, to, f), to)
ON_PATH(unlink, (const char *path), (path), path)
ON_PATH(unlinkat, (int dir, const char *path, int flags), (dir, path, flags), path)
ON_PATH(rmdir, (const char *path), (path), path)
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode), path)
ON_PATH(link, (const char *from, const char *to), (from, to), to)
ON_PATH(symlink, (const char *from, const char *to), (from, to), to)
