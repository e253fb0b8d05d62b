/* SPDX-License-Identifier: Apache-2.0 */
/* System V message queues: messages with their types and order, limits, who sent and received
 * last; a process that waits for a message. */
#include "kind.h"

#include <sys/msg.h>

enum { KEY = 0x63720003, BIG = 8000 };

struct message { long type; char text[BIG]; };
static struct message m;
static int queue, empty, waited;

static void put(int id, long type, size_t len, int fill)
{
	m.type = type;
	memset(m.text, fill, sizeof(m.text));
	CHECK(!msgsnd(id, &m, len, IPC_NOWAIT));
}

static void get(int id, long want, long type, size_t len, int fill)
{
	CHECK_EQ(msgrcv(id, &m, sizeof(m.text), want, IPC_NOWAIT), len);
	CHECK_EQ(m.type, type);
	CHECK(!len || (m.text[0] == fill && m.text[len - 1] == fill));
}

static int child(void *arg)
{
	get(queue, 0, 9, 1, 'c');            /* so it received last */
	CHECK_EQ(msgrcv(waited, &m, sizeof(m.text), 77, 0), 4);
	CHECK(!memcmp(m.text, "late", 4));
	return 0;
}

int main(int argc, char **argv)
{
	struct msqid_ds ds;
	pid_t pid;

	kind_init(argc, argv);
	queue = msgget(KEY, IPC_CREAT | IPC_EXCL | 0602);
	empty = msgget(IPC_PRIVATE, 0600);
	waited = msgget(IPC_PRIVATE, 0600);
	CHECK(queue >= 0 && empty >= 0 && waited >= 0);
	CHECK(!msgctl(queue, IPC_STAT, &ds));
	ds.msg_qbytes = 12000;
	CHECK(!msgctl(queue, IPC_SET, &ds));
	put(queue, 9, 1, 'c');
	pid = kind_fork(child, NULL);
	do {
		kind_sleep_ms(1);
		CHECK(!msgctl(queue, IPC_STAT, &ds));
	} while (ds.msg_qnum);
	kind_until_state(pid, pid, 'S');
	put(queue, 5, BIG, 'a');
	put(queue, 1L << 40, 0, 0);
	put(queue, 2, 100, 'b');
	put(queue, 5, 3000, 'd');
	put(waited, 1, 1, 'x');              /* of another type than what is waited for */
	kind_ready();

	CHECK_EQ(msgget(KEY, 0), queue);
	CHECK(!msgctl(queue, IPC_STAT, &ds));
	CHECK_EQ(ds.msg_qnum, 4);
	CHECK_EQ(ds.msg_qbytes, 12000);
	CHECK_EQ(ds.msg_perm.mode, 0602);
	CHECK_EQ(ds.msg_lspid, getpid());
	CHECK_EQ(ds.msg_lrpid, pid);
	CHECK(!msgctl(empty, IPC_STAT, &ds));
	CHECK(!ds.msg_qnum && !ds.msg_lspid && !ds.msg_lrpid && !ds.msg_stime && !ds.msg_rtime);
	get(queue, 2, 2, 100, 'b');
	get(queue, 0, 5, BIG, 'a');
	get(queue, 0, 1L << 40, 0, 0);
	get(queue, 0, 5, 3000, 'd');
	CHECK(msgrcv(queue, &m, BIG, 0, IPC_NOWAIT) < 0 && errno == ENOMSG);
	get(waited, 0, 1, 1, 'x');
	m.type = 77;
	memcpy(m.text, "late", 4);
	CHECK(!msgsnd(waited, &m, 4, 0));
	kind_join(pid);
	CHECK(!msgctl(queue, IPC_RMID, NULL) && !msgctl(empty, IPC_RMID, NULL) &&
	      !msgctl(waited, IPC_RMID, NULL));
	kind_pass();
}
