/* load: the load generator of the server benchmark. One thread, epoll, plain C.
 *
 * Laws
 * - Each connection has DEPTH lanes. A lane has at most one command in flight and walks the steps
 *   of its workload for ever; a reply to it sends its next command at once. So DEPTH commands are
 *   in flight on each connection at every moment. Lanes send in turn and replies come in order, so
 *   the lane that is answered next is simply the next in turn.
 * - Two kinds of load let lanes rest. With a rate (-r) commands are due at even times, whatever the
 *   server does; latency is counted from when a command was due, so a server that stands still
 *   pays for all that should have been sent meanwhile. In `pair` half of the connections wait in
 *   reserve, and the others put one job for each reserve that was sent: who is to get the job is
 *   waiting already.
 * - All commands that one read made possible leave in one send, as a pipelining client does.
 * - No workload can run dry or deadlock. A lane reserves only after its own put (or release) was
 *   answered, so at any moment the server has carried out more puts and releases than reserves
 *   whenever it comes to a reserve: one job at least is ready, be it this lane's or another's.
 *   Reserves are sent with timeout 0: a server that loses a job answers TIMED_OUT, which is an
 *   error here, and does not hang. (`drain` takes what an earlier run has put, and TIMED_OUT is its end; in
 *   `pair` no reserve is left waiting, for the last puts are sent for them.)
 *   Nor can full buffers stop both sides: we never wait in a send,
 *   and read whatever is there while a send waits, so a server that reads no more before its
 *   replies are taken is set free.
 * - Every reply is checked: its kind; that ids rise on a connection and none is given twice; that
 *   no job is reserved twice, nor after its delete; the body, byte by byte; and, at the end, that
 *   every job reserved was one we put. The server must be a fresh one; with -q it may hold jobs of
 *   earlier runs, with bodies of the same size. The first wrong reply ends the run with one line
 *   and status 1.
 * - Bounded: by seconds, by a count of commands, by memory, and by 5 s without any reply.
 * - The steps are evenly mixed throughout. Lanes that began together would put all at once, then
 *   reserve all at once, and with 128,000 of them a window of a second would see puts only. So
 *   each lane begins with its own number of extra puts, and the warm-up lasts until that is done.
 * - Rate, latency and the server's CPU belong to the same window, after a warm-up. CPU is read
 *   from the process clock of the server, which counts all its threads to the nanosecond.
 * - A pause (-l) is what a connection of its own waits that asks a trifle each millisecond. The
 *   time in which the server or we could have run, had another process not had the core, is taken
 *   off: the kernel counts it for each process. What waits for a disk stays in.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum step { PUT, RESERVE, WAIT, TOUCH, RELEASE, DELETE };

struct workload {
    const char *name;
    unsigned length;
    bool random_priority;
    bool drains;        /* until the queue is empty */
    enum step steps[6];
};

/* put-random: a priority out of 100,000, so that put lines hardly repeat and jobs do not arrive in
 * the order in which they would leave. */
static const struct workload WORKLOADS[] = {
    {"put", 1, false, false, {PUT}},
    {"put-random", 1, true, false, {PUT}},
    {"cycle", 3, false, false, {PUT, RESERVE, DELETE}},
    {"cycle-random", 3, true, false, {PUT, RESERVE, DELETE}},
    {"mixed", 6, false, false, {PUT, RESERVE, TOUCH, RELEASE, RESERVE, DELETE}},
    {"drain", 2, false, true, {RESERVE, DELETE}},
    {"pair", 2, false, false, {WAIT, DELETE}},
};
static const struct workload PRODUCER = {"", 1, false, false, {PUT}}; /* the other half of `pair` */

struct lane {
    unsigned step;
    unsigned extra_puts; /* still to be sent before it leaves its first step */
    uint64_t job;
    int64_t sent_at;
};

struct connection {
    int fd;
    unsigned number;
    const struct workload *workload;
    struct lane *lanes;
    unsigned turn;      /* the lane that is answered next */
    unsigned next;      /* the lane that sends next */
    unsigned in_flight;
    uint64_t last_put;  /* id of the newest INSERTED */
    char *in;
    size_t in_length;
    char *out;
    size_t out_length;
    bool wants_out;     /* EPOLLOUT is armed */
    bool has_new;       /* is in the list of those to flush */
};

enum { NAME_SPACE = 64, READ_SPACE = 65536, EVENTS = 1024, BUCKETS = 2048 };
enum { MOST_JOBS = 1 << 28, LONGEST_REPLY_LINE = 224 };
enum job_mark { INSERTED = 1, HELD = 2, GONE = 4 };
enum phase { WARMING, TIMED, DRAINING };

static const int64_t SECOND = 1000000000;
static const int64_t STALL = 5 * 1000000000LL;
static const int64_t PROBE_EVERY = 1000000;
static const unsigned TTR = 3600; /* longer than any run: no job expires, no DEADLINE_SOON */

static struct {
    int port;
    const struct workload *workload;
    unsigned connections, depth, body, tubes;
    double warm_up, seconds, rate;
    uint64_t most;
    pid_t server;
    bool used_queue, probes;
} options = {0, NULL, 1, 1, 64, 0, 0.3, 1.0, 0, 10000000, 0, false, false};

static struct {
    enum phase phase;
    int64_t phase_began;
    uint64_t ops;          /* replies in this phase */
    unsigned in_flight;    /* over all connections */
    clockid_t server_clock;
    int64_t server_cpu, own_cpu, window;
    uint64_t window_ops;
    uint64_t latency[BUCKETS];
    uint64_t window_latency[BUCKETS];
    int64_t slowest, window_slowest;
    uint64_t random;
    int64_t began;
    uint64_t due;          /* commands that were sent because their time had come */
    uint64_t puts, waits;  /* sent */
    unsigned at;           /* the connection that is tried first for a resting lane */
    struct connection **flushing;
    unsigned flushing_count;
} run;

static struct {
    int fd, server_delay, own_delay;
    bool asked;
    int64_t next, sent_at, delay, longest;
} probe = {-1, -1, -1, false, 0, 0, 0, 0};

static struct connection *connections;
static char *body;         /* the body with its CR LF */
static char put_line[NAME_SPACE];
static size_t put_line_length;
static int epoll;
static uint8_t *jobs;      /* job_mark bits by id */
static size_t jobs_space;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL) fail("out of memory");
    return memory;
}

static int64_t read_clock(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) != 0)
        fail("clock: %s (has the server ended?)", strerror(errno));
    return time.tv_sec * SECOND + time.tv_nsec;
}

static int64_t read_server_cpu(void) {
    return options.server ? read_clock(run.server_clock) : 0;
}

/* --- latency: buckets of 32 to an octave, so a percentile is right within 3 % --- */

static unsigned bucket_of(uint64_t nanoseconds) {
    if (nanoseconds < 64) return (unsigned)nanoseconds;
    unsigned shift = 63 - (unsigned)__builtin_clzll(nanoseconds) - 5;
    return shift * 32 + (unsigned)(nanoseconds >> shift);
}

static double bucket_middle(unsigned bucket) {
    if (bucket < 64) return bucket;
    unsigned shift = bucket / 32 - 1;
    return ((double)(bucket - shift * 32) + 0.5) * (double)(1ULL << shift);
}

static double percentile_us(double share) {
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)run.window_ops);
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += run.window_latency[i];
        if (seen > wanted) return bucket_middle(i) / 1000.0;
    }
    return 0;
}

/* --- phases --- */

static void begin_window(int64_t now) {
    run.phase = TIMED;
    run.ops = 0;
    run.slowest = probe.longest = 0;
    memset(run.latency, 0, sizeof run.latency);
    run.server_cpu = read_server_cpu();
    run.own_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    run.phase_began = now;
}

static void end_window(int64_t now) {
    run.phase = DRAINING;
    run.server_cpu = read_server_cpu() - run.server_cpu;
    run.own_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID) - run.own_cpu;
    run.window = now - run.phase_began;
    run.window_ops = run.ops;
    run.window_slowest = run.slowest;
    memcpy(run.window_latency, run.latency, sizeof run.latency);
}

static void advance(int64_t now) {
    double elapsed = (double)(now - run.phase_began) / (double)SECOND;
    bool full = run.ops >= options.most;
    uint64_t lanes = (uint64_t)options.connections * options.depth;
    bool mixed = run.ops >= lanes * options.workload->length;
    if (run.phase == WARMING && (full || (mixed && elapsed >= options.warm_up))) begin_window(now);
    else if (run.phase == TIMED && (full || elapsed >= options.seconds)) end_window(now);
}

/* --- what we know of each job --- */

static uint8_t *marks_of(uint64_t id) {
    if (id >= MOST_JOBS) fail("job id %llu is out of any likely range", (unsigned long long)id);
    if (id >= jobs_space) {
        size_t space = jobs_space ? jobs_space : 1 << 20;
        while (space <= id) space *= 2;
        jobs = realloc(jobs, space);
        if (jobs == NULL) fail("out of memory");
        memset(jobs + jobs_space, 0, space - jobs_space);
        jobs_space = space;
    }
    return &jobs[id];
}

static void note_inserted(struct connection *c, uint64_t id) {
    uint8_t *marks = marks_of(id);
    if (*marks & INSERTED || id <= c->last_put)
        fail("connection %u: INSERTED %llu: an id must be new and rising (before it: %llu)",
             c->number, (unsigned long long)id, (unsigned long long)c->last_put);
    *marks |= INSERTED;
    c->last_put = id;
}

/* INSERTED may not have been read yet: another connection's put can be answered later than the
 * reserve that got its job. check_all_were_put() looks at the end. */
static void note_reserved(struct connection *c, uint64_t id) {
    uint8_t *marks = marks_of(id);
    if (*marks & (HELD | GONE))
        fail("connection %u: RESERVED %llu: that job %s", c->number, (unsigned long long)id,
             *marks & GONE ? "was deleted" : "is reserved already");
    *marks |= HELD;
}

static void check_all_were_put(void) {
    for (size_t id = 0; id < jobs_space; id++)
        if (jobs[id] && !(jobs[id] & INSERTED) && !options.used_queue)
            fail("RESERVED %zu: no put was given that id", id);
}

/* --- commands --- */

static uint64_t random_priority(void) {
    run.random ^= run.random << 13;
    run.random ^= run.random >> 7;
    run.random ^= run.random << 17;
    return run.random % 100000;
}

static size_t write_put(char *out) {
    size_t length = put_line_length;
    if (options.workload->random_priority)
        length = (size_t)sprintf(out, "put %llu 0 %u %u\r\n",
                                 (unsigned long long)random_priority(), TTR, options.body);
    else memcpy(out, put_line, length);
    memcpy(out + length, body, options.body + 2);
    return length + options.body + 2;
}

static size_t write_with_id(char *out, const char *word, uint64_t id, const char *rest) {
    char digits[20], *end = out;
    unsigned count = 0;
    do digits[count++] = (char)('0' + id % 10);
    while (id /= 10);
    end = stpcpy(end, word);
    while (count) *end++ = digits[--count];
    return (size_t)(stpcpy(end, rest) - out);
}

static size_t write_command(char *out, enum step step, uint64_t job) {
    switch (step) {
    case PUT:
        run.puts++;
        return write_put(out);
    case RESERVE:
        return (size_t)(stpcpy(out, "reserve-with-timeout 0\r\n") - out);
    case WAIT:
        run.waits++;
        return (size_t)(stpcpy(out, "reserve\r\n") - out);
    case TOUCH:
        return write_with_id(out, "touch ", job, "\r\n");
    case RELEASE:
        /* Free as soon as it is sent: another lane may hold it before we read RELEASED. */
        *marks_of(job) &= (uint8_t)~HELD;
        return write_with_id(out, "release ", job, " 65536 0\r\n");
    case DELETE:
        *marks_of(job) |= GONE;
        return write_with_id(out, "delete ", job, "\r\n");
    }
    return 0;
}

/* The buffer cannot overflow: it has room for DEPTH commands and no more are in flight. */
static void queue_command(struct connection *c, int64_t now) {
    struct lane *lane = &c->lanes[c->next];
    enum step step = c->workload->steps[lane->step];
    c->out_length += write_command(c->out + c->out_length, step, lane->job);
    lane->sent_at = now;
    if (++c->next == options.depth) c->next = 0;
    c->in_flight++;
    run.in_flight++;
}

static void arm(struct connection *c, bool wants_out) {
    struct epoll_event event = {.events = EPOLLIN | (wants_out ? EPOLLOUT : 0), .data.ptr = c};
    if (c->wants_out == wants_out) return;
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event) != 0) fail("epoll_ctl: %s", strerror(errno));
    c->wants_out = wants_out;
}

static void flush(struct connection *c) {
    if (c->out_length == 0) return;
    ssize_t sent = send(c->fd, c->out, c->out_length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) fail("connection %u: send: %s", c->number, strerror(errno));
    if (sent > 0) {
        c->out_length -= (size_t)sent;
        memmove(c->out, c->out + sent, c->out_length);
    }
    arm(c, c->out_length > 0);
}

/* --- lanes that rest --- */

static bool rests(const struct connection *c) {
    return options.rate > 0 || c->workload == &PRODUCER;
}

static struct connection *resting_lane(void) {
    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *c = &connections[run.at];
        if (++run.at == options.connections) run.at = 0;
        if (rests(c) && c->in_flight < options.depth) return c;
    }
    return NULL;
}

static void wake(struct connection *c, int64_t since) {
    queue_command(c, since);
    if (!c->has_new) run.flushing[run.flushing_count++] = c;
    c->has_new = true;
}

static int64_t due_time(void) {
    return run.began + (int64_t)((double)run.due / options.rate * (double)SECOND);
}

static void wake_lanes(int64_t now) {
    struct connection *c;
    if (options.rate > 0)
        while (run.phase != DRAINING && due_time() <= now && (c = resting_lane()) != NULL) {
            wake(c, due_time());
            run.due++;
        }
    else
        while (run.puts < run.waits && (c = resting_lane()) != NULL) wake(c, now);
}

static void flush_woken(void) {
    while (run.flushing_count > 0) {
        struct connection *c = run.flushing[--run.flushing_count];
        c->has_new = false;
        flush(c);
    }
}

/* --- replies --- */

static void fail_reply(struct connection *c, const char *wanted, const char *line, size_t length) {
    fail("connection %u: expected %s, got \"%.*s\"", c->number, wanted,
         (int)(length > 80 ? 80 : length), line);
}

/* Reads decimal digits; returns where they end, or NULL if there is none or too many. */
static const char *read_number(const char *at, uint64_t *value) {
    const char *start = at;
    *value = 0;
    while (*at >= '0' && *at <= '9' && at - start < 19)
        *value = *value * 10 + (uint64_t)(*at++ - '0');
    return at == start ? NULL : at;
}

static void check_word(struct connection *c, const char *line, size_t length, const char *word) {
    if (length != strlen(word) || memcmp(line, word, length) != 0)
        fail_reply(c, word, line, length);
}

/* Reads the number behind a reply's word; returns where it ends, or NULL if it is another reply. */
static const char *read_after(const char *word, const char *line, size_t length, uint64_t *value) {
    size_t start = strlen(word);
    if (length <= start || memcmp(line, word, start) != 0) return NULL;
    return read_number(line + start, value);
}

static size_t take_inserted(struct connection *c, const char *line, size_t length) {
    uint64_t id;
    const char *end = read_after("INSERTED ", line, length, &id);
    if (end == NULL || end != line + length) fail_reply(c, "INSERTED <id>", line, length);
    note_inserted(c, id);
    return length + 2;
}

/* Returns 0 when the body is not all here yet. */
static size_t take_reserved(struct connection *c, struct lane *lane, const char *line,
                            size_t length, size_t available) {
    uint64_t id, bytes;
    const char *end = read_after("RESERVED ", line, length, &id);
    if (end != NULL) end = *end == ' ' ? read_number(end + 1, &bytes) : NULL;
    if (end == NULL || end != line + length || bytes != options.body)
        fail_reply(c, "RESERVED <id> <bytes put>", line, length);
    size_t total = length + 2 + options.body + 2;
    if (available < total) return 0;
    if (memcmp(line + length + 2, body, options.body + 2) != 0)
        fail("connection %u: job %llu: the body is not the one put", c->number,
             (unsigned long long)id);
    note_reserved(c, id);
    lane->job = id;
    return total;
}

/* Ends a drain: whoever holds a job still deletes it. */
static size_t take_timed_out(struct connection *c, struct lane *lane, const char *line,
                             size_t length) {
    check_word(c, line, length, "TIMED_OUT");
    if (run.phase == WARMING) fail("the queue is empty before the warm-up is over");
    if (run.phase == TIMED) end_window(read_clock(CLOCK_MONOTONIC));
    lane->step = c->workload->length - 1;
    return length + 2;
}

/* Takes one reply from the front; returns its length, or 0 when it is not complete. */
static size_t take_reply(struct connection *c, struct lane *lane, const char *at,
                         size_t available) {
    size_t searched = available < LONGEST_REPLY_LINE ? available : LONGEST_REPLY_LINE;
    const char *newline = memchr(at, '\n', searched);
    if (newline == NULL) {
        if (searched == LONGEST_REPLY_LINE) fail_reply(c, "a reply line", at, available);
        return 0;
    }
    if (newline == at || newline[-1] != '\r') fail_reply(c, "CR LF", at, (size_t)(newline - at));
    size_t length = (size_t)(newline - at) - 1;
    switch (c->workload->steps[lane->step]) {
    case PUT: return take_inserted(c, at, length);
    case RESERVE:
        if (c->workload->drains && *at == 'T') return take_timed_out(c, lane, at, length);
        return take_reserved(c, lane, at, length, available);
    case WAIT: return take_reserved(c, lane, at, length, available);
    case TOUCH: check_word(c, at, length, "TOUCHED"); break;
    case RELEASE: check_word(c, at, length, "RELEASED"); break;
    case DELETE: check_word(c, at, length, "DELETED"); break;
    }
    return length + 2;
}

static void answered(struct connection *c, struct lane *lane, int64_t now) {
    int64_t waited = now - lane->sent_at;
    unsigned bucket = bucket_of((uint64_t)waited);
    if (waited > run.slowest) run.slowest = waited;
    run.latency[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    run.ops++;
    run.in_flight--;
    c->in_flight--;
    if (++c->turn == options.depth) c->turn = 0;
    if (lane->extra_puts > 0) lane->extra_puts--;
    else if (++lane->step == c->workload->length) lane->step = 0;
    bool goes_on = run.phase != DRAINING || (c->workload->drains && lane->step > 0);
    if (goes_on && !rests(c)) queue_command(c, now);
}

static void read_replies(struct connection *c, int64_t *last_reply) {
    size_t space = READ_SPACE + options.body;
    ssize_t got = recv(c->fd, c->in + c->in_length, space - c->in_length, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) fail("connection %u: recv: %s", c->number, strerror(errno));
    if (got == 0) fail("connection %u: closed by the server", c->number);
    c->in_length += (size_t)got;

    int64_t now = read_clock(CLOCK_MONOTONIC);
    size_t at = 0, taken;
    advance(now);
    while (at < c->in_length) {
        struct lane *lane = &c->lanes[c->turn];
        if (c->in_flight == 0) fail_reply(c, "nothing", c->in + at, c->in_length - at);
        if ((taken = take_reply(c, lane, c->in + at, c->in_length - at)) == 0) break;
        at += taken;
        answered(c, lane, now);
        *last_reply = now;
    }
    c->in_length -= at;
    memmove(c->in, c->in + at, c->in_length);
}

/* --- pauses --- */

/* The nanoseconds a process was ready to run and did not: the second number of its schedstat. */
static int64_t read_delay(int file) {
    char text[96];
    ssize_t got = pread(file, text, sizeof text - 1, 0);
    unsigned long long delay = 0;
    text[got > 0 ? got : 0] = 0;
    if (sscanf(text, "%*u %llu", &delay) != 1) fail("schedstat: not readable");
    return (int64_t)delay;
}

static int64_t delay_of_both(void) {
    return read_delay(probe.server_delay) + read_delay(probe.own_delay);
}

static void ask(int64_t now) {
    static const char question[] = "list-tube-used\r\n";
    probe.delay = delay_of_both();
    probe.sent_at = now;
    probe.next = now + PROBE_EVERY;
    if (send(probe.fd, question, sizeof question - 1, MSG_NOSIGNAL) != sizeof question - 1)
        fail("probe: send: %s", strerror(errno));
    probe.asked = true;
}

static void hear(void) {
    char reply[64];
    ssize_t got = recv(probe.fd, reply, sizeof reply, 0);
    int64_t waited = read_clock(CLOCK_MONOTONIC) - probe.sent_at;
    if (got < 5 || memcmp(reply, "USING", 5) != 0) fail("probe: no USING");
    waited -= delay_of_both() - probe.delay;
    if (waited > probe.longest) probe.longest = waited;
    probe.asked = false;
}

/* --- a run --- */

static int connect_to_server(unsigned number) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connection %u to 127.0.0.1:%d: %s", number, options.port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* End by a reset: runs of 1,000 connections would leave all our ports in TIME_WAIT. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    return fd;
}

/* Before the connection is non-blocking: three short replies are waited for. */
static void enter_tube(struct connection *c) {
    char line[192], reply[192];
    unsigned tube = (unsigned)((uint64_t)c->number * options.tubes / options.connections);
    int length = sprintf(line, "use t%u\r\nwatch t%u\r\nignore default\r\n", tube, tube);
    if (send(c->fd, line, (size_t)length, MSG_NOSIGNAL) != length)
        fail("connection %u: send: %s", c->number, strerror(errno));
    for (unsigned lines = 0; lines < 3;) {
        ssize_t got = recv(c->fd, reply, sizeof reply, 0);
        if (got <= 0) fail("connection %u: no reply to %s", c->number, line);
        for (ssize_t i = 0; i < got; i++) lines += reply[i] == '\n';
    }
}

static void open_connection(struct connection *c, unsigned number) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->number = number;
    c->fd = connect_to_server(number);
    c->workload = options.workload;
    if (c->workload->steps[0] == WAIT && number % 2 == 0) c->workload = &PRODUCER;
    if (options.tubes) enter_tube(c);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->lanes = allocate(options.depth, sizeof *c->lanes);
    for (unsigned i = 0; c->workload->steps[0] == PUT && i < options.depth; i++)
        c->lanes[i].extra_puts = (number + i) % c->workload->length;
    /* one byte more than is ever read: read_number() may look at what follows the last digit */
    c->in = allocate(READ_SPACE + options.body + 1, 1);
    c->out = allocate(options.depth, NAME_SPACE + options.body + 2);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) fail("epoll_ctl: %s", strerror(errno));
}

static void open_probe(void) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &probe};
    char path[64];
    probe.fd = connect_to_server(options.connections);
    sprintf(path, "/proc/%d/schedstat", (int)options.server);
    probe.server_delay = open(path, O_RDONLY | O_CLOEXEC);
    probe.own_delay = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
    if (probe.server_delay < 0 || probe.own_delay < 0) fail("%s: %s", path, strerror(errno));
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, probe.fd, &event) != 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void start_all(void) {
    int64_t now = read_clock(CLOCK_MONOTONIC);
    run.phase_began = run.began = now;
    for (unsigned i = 0; i < options.connections; i++) {
        if (rests(&connections[i])) continue;
        for (unsigned k = 0; k < options.depth; k++) queue_command(&connections[i], now);
        flush(&connections[i]);
    }
}

/* Waits for replies, but not beyond the time of the next command or question. */
static int wait_for_events(struct epoll_event *events, int64_t now) {
    int64_t until = now + SECOND / 2;
    if (options.rate > 0 && run.phase != DRAINING && due_time() < until && due_time() > now)
        until = due_time();
    if (options.probes && !probe.asked && probe.next < until) until = probe.next;
    int64_t left = until > now ? until - now : 0;
    struct timespec patience = {.tv_sec = left / SECOND, .tv_nsec = left % SECOND};
    int count = epoll_pwait2(epoll, events, EVENTS, &patience, NULL);
    if (count < 0 && errno != EINTR) fail("epoll_pwait2: %s", strerror(errno));
    return count;
}

static void turn_until_drained(void) {
    struct epoll_event events[EVENTS];
    int64_t now = read_clock(CLOCK_MONOTONIC), last_reply = now;
    while (run.phase != DRAINING || run.in_flight > 0) {
        wake_lanes(now);
        flush_woken();
        if (options.probes && !probe.asked && probe.next <= now) ask(now);
        int count = wait_for_events(events, now);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].data.ptr == &probe) {
                hear();
                continue;
            }
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_replies(c, &last_reply);
            flush(c);
        }
        now = read_clock(CLOCK_MONOTONIC);
        if (now - last_reply > STALL)
            fail("no reply for 5 s with %u commands in flight", run.in_flight);
    }
}

static void print_result(void) {
    printf("ops=%llu seconds=%.6f server_cpu=%.6f own_cpu=%.6f p50_us=%.1f p99_us=%.1f"
           " slowest_us=%.1f pause_us=%.1f\n",
           (unsigned long long)run.window_ops, (double)run.window / 1e9,
           (double)run.server_cpu / 1e9, (double)run.own_cpu / 1e9, percentile_us(0.50),
           percentile_us(0.99), (double)run.window_slowest / 1e3, (double)probe.longest / 1e3);
}

/* --- the command line --- */

static const char USAGE[] =
    "usage: load -p PORT -w put|put-random|cycle|cycle-random|mixed|drain|pair\n"
    "            [-c CONNECTIONS] [-d DEPTH] [-b BODY_BYTES] [-t TUBES] [-r COMMANDS_A_SECOND]\n"
    "            [-u WARM_UP_SECONDS] [-s SECONDS] [-n MOST_COMMANDS] [-P SERVER_PID [-l]] [-q]\n"
    "The server must listen on 127.0.0.1 and, without -q, be fresh. Warm-up and timed part each\n"
    "end after their seconds or after MOST_COMMANDS, whichever is first; the warm-up not before\n"
    "each lane has gone through its workload once. -t: connections are spread over tubes t0, t1\n"
    "and so on. -l: look for the longest pause as well.";

static double number_option(const char *text, double low, double high, char name) {
    char *end;
    double value = strtod(text, &end);
    if (*text == 0 || *end != 0 || !(value >= low && value <= high))
        fail("-%c takes a number from %g to %g, not \"%s\"", name, low, high, text);
    return value;
}

static const struct workload *workload_named(const char *name) {
    for (size_t i = 0; i < sizeof WORKLOADS / sizeof *WORKLOADS; i++)
        if (strcmp(WORKLOADS[i].name, name) == 0) return &WORKLOADS[i];
    fail("no workload \"%s\"\n%s", name, USAGE);
    return NULL;
}

static void read_options(int argc, char **argv) {
    int letter;
    while ((letter = getopt(argc, argv, "p:w:c:d:b:t:r:u:s:n:P:lq")) != -1) switch (letter) {
        case 'p': options.port = (int)number_option(optarg, 1, 65535, 'p'); break;
        case 'w': options.workload = workload_named(optarg); break;
        case 'c': options.connections = (unsigned)number_option(optarg, 1, 10000, 'c'); break;
        case 'd': options.depth = (unsigned)number_option(optarg, 1, 1024, 'd'); break;
        case 'b': options.body = (unsigned)number_option(optarg, 0, 1 << 20, 'b'); break;
        case 't': options.tubes = (unsigned)number_option(optarg, 1, 1e6, 't'); break;
        case 'r': options.rate = number_option(optarg, 1, 1e8, 'r'); break;
        case 'u': options.warm_up = number_option(optarg, 0, 60, 'u'); break;
        case 's': options.seconds = number_option(optarg, 0.01, 600, 's'); break;
        case 'n': options.most = (uint64_t)number_option(optarg, 1, 1e8, 'n'); break;
        case 'P': options.server = (pid_t)number_option(optarg, 1, 1 << 30, 'P'); break;
        case 'l': options.probes = true; break;
        case 'q': options.used_queue = true; break;
        default: fail("%s", USAGE);
        }
    if (options.port == 0 || options.workload == NULL || optind != argc) fail("%s", USAGE);
    if (options.probes && !options.server) fail("%s", USAGE);
    if (options.workload->steps[0] == WAIT && (options.connections < 2 || options.rate > 0))
        fail("pair needs two connections, and has a rate of its own");
}

static void prepare(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1UL);
    body = allocate(options.body + 2, 1);
    memset(body, 'x', options.body);
    memcpy(body + options.body, "\r\n", 2);
    put_line_length = (size_t)snprintf(put_line, sizeof put_line, "put 65536 0 %u %u\r\n", TTR,
                                       options.body);
    run.random = 88172645463325252ULL; /* the same priorities in every run */
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) fail("epoll_create1: %s", strerror(errno));
    if (options.server && clock_getcpuclockid(options.server, &run.server_clock) != 0)
        fail("no process %d", (int)options.server);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    prepare();
    connections = allocate(options.connections, sizeof *connections);
    run.flushing = allocate(options.connections, sizeof *run.flushing);
    for (unsigned i = 0; i < options.connections; i++) open_connection(&connections[i], i);
    if (options.probes) open_probe();
    start_all();
    turn_until_drained();
    check_all_were_put();
    print_result();
    return 0;
}
