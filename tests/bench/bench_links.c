/*
 * bench-links [SECONDS]: records and bytes a second of one link, and of a queue with 1, 2, 4 and 8 workers, beside a
 * plain PUSH/PULL of the same messages; then what a queue adds to the time from feeding to acknowledgement. Processes
 * of their own over ipc; workers acknowledge at once.
 */
#include "common/err.h"
#include "common/link.h"
#include "common/stage_counts.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOW_BYTES ((uint64_t)48 << 20)
#define MAX_CHILDREN 16

static char dir[] = "/tmp/atelier-bench-XXXXXX";
static const char *queue;
static double seconds = 2;
static pid_t children[MAX_CHILDREN];
static size_t child_count;

struct load {
    const char *name;
    uint32_t records; /* of a batch */
    size_t bytes;     /* of a record */
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench-links: %s: %s\n", what, err_text());
    exit(1);
}

/* Starts a process that ends with this one: 0 in the new one. */
static pid_t spawn(void)
{
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    else
        children[child_count++] = pid;
    return pid;
}

static void kill_children(void)
{
    for (size_t i = 0; i < child_count; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    child_count = 0;
}

static void make_batch(zmq_msg_t *message, const struct load *load)
{
    struct record r = {0};
    struct buf body = {0};
    char *picture = xcalloc(1, load->bytes);
    for (uint32_t i = 0; i < load->records; i++) {
        record_set_u64(&r, FIELD_ID, i);
        record_set_string(&r, FIELD_IMAGE, picture, load->bytes);
        link_record_pack(&body, &r);
    }
    record_free(&r);
    free(picture);
    link_body(message, &body);
}

static char *address(const char *name)
{
    return xasprintf("ipc://%s/%s", dir, name);
}

static void wait_for(void *socket)
{
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    zmq_poll(&item, 1, 10);
}

/* Takes, passes on and acknowledges for ever. */
static _Noreturn void work(const char *uri)
{
    struct link *l;
    struct link_batch b;
    const struct link_options o = {.role = LINK_WORKER, .credit_items = 4096, .credit_bytes = 8 << 20};
    if (link_open(&l, uri, &o) < 0)
        die("worker");
    for (;;) {
        wait_for(link_socket(l));
        if (link_service(l, stage_clock()) < 0)
            die("worker");
        while (link_take(l, &b)) {
            zmq_msg_close(&b.body);
            link_pass(l, b.ticket);
            link_ack(l, b.ticket);
        }
        link_service(l, stage_clock());
    }
}

/* Feeds for a while, at most `window` bytes on their way: records acknowledged a second. */
static double feed(const char *uri, const struct load *load, uint64_t window)
{
    struct link *l;
    zmq_msg_t batch;
    uint64_t ticket, done = 0;
    if (link_open(&l, uri, &(struct link_options){.role = LINK_FEEDER}) < 0)
        die("feeder");
    make_batch(&batch, load);
    double start = 0, now = stage_clock();
    while (start == 0 || now - start < seconds) {
        const struct link_counts *c = link_counts(l);
        while (c->open_bytes < window) {
            zmq_msg_t copy;
            zmq_msg_init(&copy);
            zmq_msg_copy(&copy, &batch);
            link_feed(l, &copy, load->records);
            link_seal(l, 0);
        }
        if (link_service(l, now) < 0)
            die("feeder");
        wait_for(link_socket(l));
        now = stage_clock();
        if (link_service(l, now) < 0)
            die("feeder");
        while (link_next_settled(l, &ticket))
            done += load->records;
        if (start == 0 && done > 0) { /* all are there */
            start = now;
            done = 0;
        }
    }
    zmq_msg_close(&batch);
    link_close(&l);
    return (double)done / (now - start);
}

static void run_queue(const char *in, const char *out)
{
    if (spawn() == 0) {
        execl(queue, queue, "--in", in, "--out", out, (char *)NULL);
        _exit(1);
    }
}

static double through_link(const struct load *load, int workers, bool queued, uint64_t window)
{
    char *in = address("in"), *out = queued ? address("out") : xstrdup(in), *feeder = xasprintf("bind+%s", in);
    if (queued)
        run_queue(in, out);
    for (int i = 0; i < workers; i++)
        if (spawn() == 0)
            work(out);
    double rate = feed(queued ? in : feeder, load, window);
    kill_children();
    free(in);
    free(out);
    free(feeder);
    return rate;
}

/* PUSH/PULL of the same batches as single messages. */
static double through_push(const struct load *load)
{
    char *uri = address("push");
    zmq_msg_t batch;
    if (spawn() == 0) {
        void *context = zmq_ctx_new(), *push = zmq_socket(context, ZMQ_PUSH);
        make_batch(&batch, load);
        if (zmq_connect(push, uri) != 0)
            _exit(1);
        for (;;) {
            zmq_msg_t copy;
            zmq_msg_init(&copy);
            zmq_msg_copy(&copy, &batch);
            zmq_msg_send(&copy, push, 0);
        }
    }
    void *context = zmq_ctx_new(), *pull = zmq_socket(context, ZMQ_PULL);
    if (zmq_bind(pull, uri) != 0)
        die("pull");
    double start = 0, now = stage_clock();
    uint64_t done = 0;
    while (start == 0 || now - start < seconds) {
        zmq_msg_init(&batch);
        zmq_msg_recv(&batch, pull, 0);
        zmq_msg_close(&batch);
        done += load->records;
        now = stage_clock();
        if (start == 0) {
            start = now;
            done = 0;
        }
    }
    kill_children();
    zmq_close(pull);
    zmq_ctx_term(context);
    free(uri);
    return (double)done / (now - start);
}

static void print(const struct load *load, const char *what, double rate, double plain)
{
    printf("%-12s %-22s %12.0f records/s %9.1f MB/s %8.2f of PUSH/PULL\n", load->name, what, rate,
           rate * (double)load->bytes / 1e6, rate / plain);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct load loads[] = {{"200 bytes", 256, 200}, {"100 KB", 10, 100000}};
    static const struct load one = {"one record", 1, 200};
    char *slash = strrchr(argv[0], '/');
    queue = xasprintf("%.*satelier-queue", slash ? (int)(slash + 1 - argv[0]) : 0, argv[0]);
    seconds = argc > 1 ? strtod(argv[1], NULL) : seconds;
    if (mkdtemp(dir) == NULL)
        return 1;
    for (size_t i = 0; i < 2; i++) {
        const struct load *load = &loads[i];
        double plain = through_push(load);
        print(load, "PUSH/PULL", plain, plain);
        print(load, "link", through_link(load, 1, false, WINDOW_BYTES), plain);
        for (int workers = 1; workers <= 8; workers *= 2) {
            char *what = xasprintf("queue, %d worker%s", workers, workers > 1 ? "s" : "");
            print(load, what, through_link(load, workers, true, WINDOW_BYTES), plain);
            free(what);
        }
    }
    double direct = 1e6 / through_link(&one, 1, false, 1), queued = 1e6 / through_link(&one, 1, true, 1);
    printf("one record at a time: %.0f us to its acknowledgement, %.0f us through a queue\n", direct, queued);
    char *command = xasprintf("rm -rf %s", dir);
    int rc = system(command);
    free(command);
    return rc != 0;
}
