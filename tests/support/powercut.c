/* Keeps, of one directory's files, what a power cut would leave: LD_PRELOADed, and told by the environment
 *   POWERCUT_DIRECTORY  the directory, an absolute path
 *   POWERCUT_SHADOW     where to keep it: each file as of its last sync that has returned, and in `names` the
 *                       directory's entries as of the last sync of the directory itself
 *   POWERCUT_DELAY_MS   how much longer each sync takes
 * Whatever was written after the last sync is lost; that is the harshest disk that still keeps its promise.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef int (*sync_call)(int);

/* One sync at a time, so that an older picture never replaces a newer one. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *what) {
    fprintf(stderr, "powercut: %s: %s\n", what, strerror(errno));
    abort();
}

static const char *told(const char *name) {
    const char *value = getenv(name);
    if (value == NULL || *value == '\0') {
        errno = EINVAL;
        die(name);
    }
    return value;
}

static sync_call real(const char *name) {
    sync_call found = (sync_call)dlsym(RTLD_NEXT, name);
    if (found == NULL) die(name);
    return found;
}

/* Reads through the descriptor that is being synced: closing another of the same file would drop SQLite's locks. */
static void copy_file(int from, int to) {
    static char buffer[1 << 16];
    off_t at = 0;
    ssize_t got;
    while ((got = pread(from, buffer, sizeof buffer, at)) > 0) {
        if (write(to, buffer, got) != got) die("write");
        at += got;
    }
    if (got < 0) die("pread");
}

static void copy_names(const char *directory, int to) {
    DIR *open_directory = opendir(directory);
    struct dirent *entry;
    if (open_directory == NULL) die(directory);
    while ((entry = readdir(open_directory)) != NULL)
        if (dprintf(to, "%s\n", entry->d_name) < 0) die("write");
    closedir(open_directory);
}

static int synced(int descriptor, sync_call sync) {
    const char *directory = told("POWERCUT_DIRECTORY"), *shadow = told("POWERCUT_SHADOW"), *name;
    size_t length = strlen(directory);
    char link[64], path[PATH_MAX], kept[PATH_MAX * 2], fresh[PATH_MAX];
    struct timespec delay;
    long delay_ms = atol(told("POWERCUT_DELAY_MS"));
    ssize_t got;
    int picture, result, failure;

    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    got = readlink(link, path, sizeof path - 1);
    if (got < 0) return sync(descriptor);
    path[got] = '\0';
    if (strncmp(path, directory, length) != 0 || (path[length] != '/' && path[length] != '\0')) return sync(descriptor);
    name = path[length] == '/' ? path + length + 1 : "names";
    snprintf(kept, sizeof kept, "%s/%s", shadow, name);
    snprintf(fresh, sizeof fresh, "%s/fresh", shadow);

    pthread_mutex_lock(&mutex);
    picture = open(fresh, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (picture < 0) die(fresh);
    if (path[length] == '/') copy_file(descriptor, picture);
    else copy_names(directory, picture);
    close(picture);
    delay.tv_sec = delay_ms / 1000;
    delay.tv_nsec = delay_ms % 1000 * 1000000;
    nanosleep(&delay, NULL);
    result = sync(descriptor);
    failure = errno;
    /* Only now is it on disk. */
    if (result == 0 && rename(fresh, kept) != 0) die(kept);
    pthread_mutex_unlock(&mutex);
    errno = failure;
    return result;
}

int fsync(int descriptor) { return synced(descriptor, real("fsync")); }

int fdatasync(int descriptor) { return synced(descriptor, real("fdatasync")); }
