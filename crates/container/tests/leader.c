/* A program whose first thread ends while another goes on. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *rest(void *main_thread) {
    pthread_join(*(pthread_t *)main_thread, NULL);
    puts("alone");
    fflush(stdout);
    for (;;) pause();
}

int main(void) {
    static pthread_t self, other;
    self = pthread_self();
    if (pthread_create(&other, NULL, rest, &self)) return 1;
    pthread_exit(NULL);
}
