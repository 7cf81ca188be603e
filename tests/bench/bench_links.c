/*
 * bench-links [SECONDS]: records a second of one link, of a link between two stages (records packed and unpacked), and
 * of a queue with 1, 2, 4 and 8 workers, beside ZeroMQ's plain PUSH/PULL of the same messages, straight and through its
 * proxy with as many that pull. Then the time of one record, from feeding to acknowledgement. Every program is a
 * process of its own, over ipc; workers acknowledge at once. All take turns, SECONDS each; what is printed is the
 * median of the rounds.
 */
#include "common/clock.h"
#include "common/crc32c.h"
#include "common/endpoint.h"
#include "common/err.h"
#include "common/link.h"
#include "common/log.h"
#include "common/stage_counts.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOW_BYTES ((uint64_t)48 << 20) /* on their way at once, for each contender */
#define CREDIT_BYTES ((uint64_t)8 << 20)
#define STAGE_RECORDS 16384 /* on their way between stages (link_endpoint.c) */
#define MAX_CHILDREN 16
#define MAX_TIMES 100000
#define ROUNDS 5
#define POLL_MS 1000

static char dir[] = "/tmp/atelier-bench-XXXXXX";
static const char *queue;
static double seconds = 0.3;
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

static void make_record(struct record *r, const struct load *load)
{
    char *picture = xcalloc(1, load->bytes);
    record_set_u64(r, FIELD_ID, 0);
    record_set_string(r, FIELD_IMAGE, picture, load->bytes);
    free(picture);
}

static void make_batch(zmq_msg_t *message, const struct load *load)
{
    struct record r = {0};
    struct buf body = {0};
    make_record(&r, load);
    for (uint32_t i = 0; i < load->records; i++) {
        r.id = i;
        link_record_pack(&body, &r);
    }
    record_free(&r);
    link_body(message, &body);
}

static char *address(const char *name)
{
    return xasprintf("ipc://%s/%s", dir, name);
}

static void wait_for(void *socket)
{
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    zmq_poll(&item, 1, POLL_MS);
}

/* Takes, passes on and acknowledges for ever. */
static _Noreturn void work(const char *uri)
{
    struct link *l;
    struct link_batch b;
    const struct link_options o = {.role = LINK_WORKER, .credit_items = 4096, .credit_bytes = CREDIT_BYTES};
    if (link_open(&l, uri, &o) < 0)
        die("worker");
    for (;; wait_for(link_socket(l))) {
        if (link_service(l, clock_now()) < 0)
            die("worker");
        while (link_take(l, &b)) {
            zmq_msg_close(&b.body);
            link_pass(l, b.ticket);
            link_ack(l, b.ticket);
        }
        link_flush(l, clock_now());
    }
}

struct feeder {
    struct link *link;
    zmq_msg_t batch;
    uint32_t records, sum; /* of it */
};

static void feeder_open(struct feeder *f, const char *uri, const struct load *load)
{
    if (link_open(&f->link, uri, &(struct link_options){.role = LINK_FEEDER}) < 0 ||
        link_service(f->link, clock_now()) < 0)
        die("feeder");
    make_batch(&f->batch, load);
    f->records = load->records;
    f->sum = crc32c(0, zmq_msg_data(&f->batch), zmq_msg_size(&f->batch));
}

static void feeder_close(struct feeder *f)
{
    zmq_msg_close(&f->batch);
    link_close(&f->link);
}

static void feed_one(struct feeder *f)
{
    zmq_msg_t copy;
    zmq_msg_init(&copy);
    zmq_msg_copy(&copy, &f->batch);
    link_feed(f->link, &copy, f->records, f->sum);
    link_seal(f->link, 0);
}

/* Waits for messages: how many batches were acknowledged. */
static uint64_t await(struct feeder *f)
{
    uint64_t ticket, count = 0;
    link_flush(f->link, clock_now());
    wait_for(link_socket(f->link));
    if (link_service(f->link, clock_now()) < 0)
        die("feeder");
    while (link_next_settled(f->link, &ticket))
        count++;
    return count;
}

/* Feeds for a while: records acknowledged a second. */
static double feed_much(struct feeder *f)
{
    uint64_t done = 0;
    double start = 0, now = 0;
    while (start == 0 || now - start < seconds) {
        while (link_counts(f->link)->open_bytes < WINDOW_BYTES)
            feed_one(f);
        done += await(f);
        now = clock_now();
        if (start == 0 && done > 0) { /* all are there */
            start = now;
            done = 0;
        }
    }
    return (double)(done * f->records) / (now - start);
}

static void run_queue(const char *in, const char *out)
{
    if (spawn() == 0) {
        execl(queue, queue, "--in", in, "--out", out, (char *)NULL);
        _exit(1);
    }
}

/* Starts workers, and with `queued` a queue in front of them. */
static void join(struct feeder *f, const struct load *load, int workers, bool queued)
{
    char *in = address("in"), *out = queued ? address("out") : xstrdup(in), *bound = xasprintf("bind+%s", in);
    if (queued)
        run_queue(in, out);
    for (int i = 0; i < workers; i++)
        if (spawn() == 0)
            work(out);
    feeder_open(f, queued ? in : bound, load);
    free(in);
    free(out);
    free(bound);
}

static double through(const struct load *load, int workers, bool queued)
{
    struct feeder f;
    join(&f, load, workers, queued);
    double rate = feed_much(&f);
    feeder_close(&f);
    kill_children();
    return rate;
}

static double through_link(const struct load *load, int workers)
{
    return through(load, workers, false);
}

static double through_queue(const struct load *load, int workers)
{
    return through(load, workers, true);
}

static _Noreturn void work_as_stage(const char *uri)
{
    struct source *s;
    struct record r = {0};
    int event = SOURCE_IDLE;
    if (source_open(&s, uri, &(struct source_options){0}) < 0)
        die("stage");
    for (; event >= 0 && event != SOURCE_END; event = source_next(s, &r))
        if (event == SOURCE_BATCH)
            source_acknowledge(s, source_pass(s));
    _exit(0);
}

/* What goes in once the window is full is what comes out. */
static double between_stages(const struct load *load, int workers)
{
    struct sink *s;
    struct record r = {0};
    char *uri = address("stages"), *bound = xasprintf("bind+%s", uri);
    double start = 0, now = 0;
    uint64_t filled = 0, done = 0;
    for (int i = 0; i < workers; i++)
        if (spawn() == 0)
            work_as_stage(uri);
    if (sink_open(&s, bound, &(struct sink_options){.link.batch = load->records}) < 0)
        die("sink");
    make_record(&r, load);
    while (start == 0 || now - start < seconds) {
        for (uint32_t i = 0; i < load->records; i++)
            if (sink_put(s, &r) < 0)
                die("sink");
        now = clock_now();
        if (start > 0)
            done += load->records;
        else if ((filled += load->records) > STAGE_RECORDS || filled * load->bytes > WINDOW_BYTES)
            start = now;
    }
    sink_close(&s);
    kill_children();
    record_free(&r);
    free(uri);
    free(bound);
    return (double)done / (now - start);
}

static void *plain_socket(void *context, int type, const char *uri, bool binds, size_t bytes)
{
    void *socket = zmq_socket(context, type);
    int mark = (int)(WINDOW_BYTES / 4 / bytes) + 1; /* each socket has two */
    if (zmq_setsockopt(socket, ZMQ_SNDHWM, &mark, sizeof mark) != 0 ||
        zmq_setsockopt(socket, ZMQ_RCVHWM, &mark, sizeof mark) != 0 ||
        (binds ? zmq_bind : zmq_connect)(socket, uri) != 0)
        die(uri);
    return socket;
}

static _Noreturn void push(const char *uri, const struct load *load)
{
    zmq_msg_t batch, copy;
    make_batch(&batch, load);
    void *socket = plain_socket(zmq_ctx_new(), ZMQ_PUSH, uri, false, zmq_msg_size(&batch));
    for (;;) {
        zmq_msg_init(&copy);
        zmq_msg_copy(&copy, &batch);
        zmq_msg_send(&copy, socket, 0);
    }
}

static _Noreturn void stand_between(const char *in, const char *out, size_t bytes)
{
    void *context = zmq_ctx_new();
    zmq_proxy(plain_socket(context, ZMQ_PULL, in, true, bytes), plain_socket(context, ZMQ_PUSH, out, true, bytes),
              NULL);
    _exit(1);
}

/* One word of each line of the cache: what any program does that has a use for what came. */
static uint64_t look_at(const zmq_msg_t *message)
{
    const uint64_t *words = zmq_msg_data((zmq_msg_t *)message);
    uint64_t sum = 0;
    for (size_t i = 0; i < zmq_msg_size(message) / sizeof *words; i += 8)
        sum += words[i];
    return sum;
}

/* Takes for ever, and counts. */
static _Noreturn void pull(const char *uri, bool binds, size_t bytes, bool reads, atomic_uint_fast64_t *done)
{
    static volatile uint64_t seen;
    void *socket = plain_socket(zmq_ctx_new(), ZMQ_PULL, uri, binds, bytes);
    for (;;) {
        zmq_msg_t batch;
        zmq_msg_init(&batch);
        zmq_msg_recv(&batch, socket, 0);
        if (reads)
            seen += look_at(&batch);
        zmq_msg_close(&batch);
        ++*done;
    }
}

static uint64_t sum(const atomic_uint_fast64_t *counts, int count)
{
    uint64_t all = 0;
    for (int i = 0; i < count; i++)
        all += counts[i];
    return all;
}

/* The same messages, looked at where they arrive or not; with a proxy in between, which alone can have several that
 * pull, or none. */
static double plainly(const struct load *load, bool proxy, int pullers, bool reads)
{
    char *in = address("push"), *out = proxy ? address("pull") : xstrdup(in);
    size_t bytes = load->records * load->bytes, len = (size_t)pullers * sizeof(atomic_uint_fast64_t);
    atomic_uint_fast64_t *done = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (done == MAP_FAILED)
        die("mmap");
    if (spawn() == 0)
        push(in, load);
    if (proxy && spawn() == 0)
        stand_between(in, out, bytes);
    for (int i = 0; i < pullers; i++)
        if (spawn() == 0)
            pull(out, !proxy, bytes, reads, &done[i]);
    while (sum(done, pullers) == 0)
        usleep(1000);
    double start = clock_now();
    uint64_t before = sum(done, pullers);
    usleep((useconds_t)(1e6 * seconds));
    uint64_t after = sum(done, pullers);
    double rate = (double)(after - before) * load->records / (clock_now() - start);
    kill_children();
    munmap(done, len);
    free(in);
    free(out);
    return rate;
}

static double through_push(const struct load *load, int reads)
{
    return plainly(load, false, 1, reads);
}

static double through_proxy(const struct load *load, int pullers)
{
    return plainly(load, true, pullers, true);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct contender {
    const char *name;
    double (*run)(const struct load *load, int count);
    int count;
    int peer; /* which it is compared with */
    double rates[ROUNDS];
};

static void compete(const struct load *load)
{
    struct contender all[] = {
        {"PUSH/PULL, unread", through_push, 0, 1, {0}},
        {"PUSH/PULL", through_push, 1, 1, {0}},
        {"link", through_link, 1, 1, {0}},
        {"link between stages", between_stages, 1, 1, {0}},
        {"proxy, 1 worker", through_proxy, 1, 4, {0}},
        {"queue, 1 worker", through_queue, 1, 4, {0}},
        {"proxy, 2 workers", through_proxy, 2, 6, {0}},
        {"queue, 2 workers", through_queue, 2, 6, {0}},
        {"proxy, 4 workers", through_proxy, 4, 8, {0}},
        {"queue, 4 workers", through_queue, 4, 8, {0}},
        {"proxy, 8 workers", through_proxy, 8, 10, {0}},
        {"queue, 8 workers", through_queue, 8, 10, {0}},
    };
    const size_t count = sizeof all / sizeof *all;
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < count; i++)
            all[i].rates[round] = all[i].run(load, all[i].count);
    for (size_t i = 0; i < count; i++)
        qsort(all[i].rates, ROUNDS, sizeof *all[i].rates, ascending);
    for (size_t i = 0; i < count; i++) {
        const struct contender *c = &all[i];
        double rate = c->rates[ROUNDS / 2];
        printf("%-10s %-20s %10.0f records/s %8.1f MB/s (%.1f to %.1f) %6.2f of %s\n", load->name, c->name, rate,
               rate * (double)load->bytes / 1e6, c->rates[0] * (double)load->bytes / 1e6,
               c->rates[ROUNDS - 1] * (double)load->bytes / 1e6, rate / all[c->peer].rates[ROUNDS / 2],
               all[c->peer].name);
        fflush(stdout);
    }
}

/* One record at a time, from feeding to acknowledgement. */
static void time_one(bool queued)
{
    static const struct load one = {"one", 1, 200};
    static double times[MAX_TIMES];
    struct feeder f;
    size_t count = 0;
    join(&f, &one, 1, queued);
    feed_one(&f); /* all are there when it is back */
    while (await(&f) == 0)
        ;
    for (double start = clock_now(); count < MAX_TIMES && clock_now() - start < ROUNDS * seconds; count++) {
        double begun = clock_now();
        feed_one(&f);
        while (await(&f) == 0)
            ;
        times[count] = clock_now() - begun;
    }
    feeder_close(&f);
    kill_children();
    qsort(times, count, sizeof *times, ascending);
    printf("one record %-20s median %.0f us, 99%% %.0f us, of %zu\n", queued ? "queue" : "link", 1e6 * times[count / 2],
           1e6 * times[count * 99 / 100], count);
}

int main(int argc, char **argv)
{
    static const struct load loads[] = {{"200 bytes", 256, 200}, {"100 KB", 10, 100000}};
    const char *slash = strrchr(argv[0], '/');
    queue = xasprintf("%.*satelier-queue", slash ? (int)(slash + 1 - argv[0]) : 0, argv[0]);
    seconds = argc > 1 ? strtod(argv[1], NULL) : seconds;
    log_open("bench-links", false);
    if (mkdtemp(dir) == NULL)
        return 1;
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
        compete(&loads[i]);
    time_one(false);
    time_one(true);
    char *command = xasprintf("rm -rf %s", dir);
    int rc = system(command);
    free(command);
    return rc != 0;
}
