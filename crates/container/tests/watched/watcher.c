/* The first process of a container that looks into every process that comes to its PID namespace: it stops each as early as it can
 * and reads what a tracer may read. Each thing that it should not see is a line of output.
 *
 * watcher FILE ENVIRONMENT NEEDLE UID CAPABILITIES NAMESPACES...
 *   FILE          a file of the host
 *   ENVIRONMENT   a variable of the maker, its bytes plus one so that it is not found here
 *   NEEDLE        what lies in the maker's memory, likewise
 *   UID           the user of everything that comes
 *   CAPABILITIES  all that they may have (hexadecimal)
 *   NAMESPACES    names of the host's, as readlink gives them
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char buffer[1 << 20];

static void decode(char *text) {
    for (; *text; text++) *text -= 1;
}

static int read_file(const char *path, char *to, int size) {
    int fd = open(path, O_RDONLY), length = 0, got;
    if (fd < 0) return -1;
    while (length < size - 1 && (got = read(fd, to + length, size - 1 - length)) > 0) length += got;
    close(fd);
    to[length] = 0;
    return length;
}

/* Whether the memory of a process has the needle in it. */
static int has(int pid, const char *needle) {
    static char maps[1 << 18];
    char path[64], *line, *rest;
    unsigned long start, end;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    if (read_file(path, maps, sizeof maps) <= 0) return 0;
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int fd = open(path, O_RDONLY), found = 0;
    if (fd < 0) return 0;
    for (line = strtok_r(maps, "\n", &rest); line && !found; line = strtok_r(NULL, "\n", &rest)) {
        if (sscanf(line, "%lx-%lx", &start, &end) != 2 || !strstr(line, " rw-p ")) continue;
        for (; start < end && !found; start += sizeof buffer) {
            size_t want = end - start < sizeof buffer ? end - start : sizeof buffer;
            ssize_t got = pread(fd, buffer, want, (off_t)start);
            found = got > 0 && memmem(buffer, got, needle, strlen(needle)) != NULL;
        }
    }
    close(fd);
    return found;
}

static void descriptors(int pid) {
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        int number = atoi(entry->d_name);
        ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        if (length < 0) continue;
        target[length] = 0;
        /* The gate to its maker, and the pipe by which it hears that it is known: both end with it. */
        int is_pipe = number != 3 && number <= 5 && !strncmp(target, "pipe:", 5);
        int is_stream = is_pipe || (number <= 2 && !strcmp(target, "/dev/null"));
        int is_gate = number == 3 && !strncmp(target, "socket:", 7);
        if (!is_stream && !is_gate) printf("DESCRIPTOR %d %s\n", number, target);
    }
    closedir(dir);
}

static unsigned long field(const char *status, const char *name, int base) {
    const char *at = strstr(status, name);
    return at ? strtoul(at + strlen(name), NULL, base) : 0;
}

int main(int argc, char **argv) {
    char path[4096], link[4096];
    if (argc < 6) return 2;
    decode(argv[2]);
    decode(argv[3]);
    unsigned long uid = strtoul(argv[4], NULL, 10), allowed = strtoul(argv[5], NULL, 16);
    int next = getpid() + 1, spins = 0, caught = 0, early = 0;
    setvbuf(stdout, NULL, _IOLBF, 1 << 16);
    printf("ready\n");
    for (;;) {
        if (kill(next, SIGSTOP) < 0) {
            if (++spins % 64) continue;
            /* One that came and went is passed over. */
            if (read_file("/proc/sys/kernel/ns_last_pid", link, sizeof link) > 0 && atoi(link) > next) next++;
            struct pollfd end = {0, POLLIN, 0};
            if (spins % 256 == 0 && poll(&end, 1, 0) > 0) break;
            continue;
        }
        int pid = next++;
        caught++;
        snprintf(path, sizeof path, "/proc/%d/exe", pid);
        ssize_t length = readlink(path, link, sizeof link - 1);
        int is_early = length > 0 && (link[length] = 0, strcmp(link, "/bin/busybox"));
        early += is_early;
        snprintf(path, sizeof path, "/proc/%d/root%s", pid, argv[1]);
        int fd = open(path, O_RDONLY);
        if (fd >= 0) printf("FILE\n"), close(fd);
        snprintf(path, sizeof path, "/proc/%d/environ", pid);
        if ((length = read_file(path, buffer, sizeof buffer)) > 0 && memmem(buffer, length, argv[2], strlen(argv[2]))) printf("ENVIRONMENT\n");
        if (has(pid, argv[3])) printf("MEMORY\n");
        snprintf(path, sizeof path, "/proc/%d/status", pid);
        /* What has exited has nothing any more. */
        if (read_file(path, buffer, sizeof buffer) > 0 && !strstr(buffer, "State:\tZ") && !strstr(buffer, "State:\tX")) {
            if (field(buffer, "\nUid:", 10) != uid) printf("USER %lu\n", field(buffer, "\nUid:", 10));
            unsigned long sets = field(buffer, "\nCapPrm:", 16) | field(buffer, "\nCapBnd:", 16) | field(buffer, "\nCapEff:", 16);
            if (sets & ~allowed) printf("CAPABILITIES %lx\n", sets);
        }
        for (int i = 6; i < argc; i++) {
            const char *kinds[] = {"mnt", "net", "ipc", "uts", "cgroup"};
            for (int k = 0; k < 5; k++) {
                snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kinds[k]);
                length = readlink(path, link, sizeof link - 1);
                if (length > 0 && (link[length] = 0, !strcmp(link, argv[i]))) printf("NAMESPACE %s\n", link);
            }
        }
        descriptors(pid);
        kill(pid, SIGCONT);
    }
    printf("caught %d early %d\n", caught, early);
    return 0;
}
