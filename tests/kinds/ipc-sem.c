/* SPDX-License-Identifier: Apache-2.0 */
/* System V semaphores: values, who operated last, that somebody did; key, creator, mode; one
 * that a process waits for. */
#include "kind.h"

#include <sys/sem.h>

enum { N = 40, KEY = 0x63720002 };
union semun { int val; struct semid_ds *buf; unsigned short *array; };

static int set, fresh, foreign;

static int operate(int id, unsigned short n, short by)
{
	struct sembuf op = { n, by, 0 };

	return semop(id, &op, 1);
}

static int child(void *arg)
{
	CHECK(!operate(set, 3, 4));
	CHECK(!operate(set, 0, -7)); /* waits: it is 2 */
	return 0;
}

static int stranger(void *arg)
{
	CHECK(!setgid(55) && !setuid(66));
	foreign = semget(IPC_PRIVATE, 1, 0600);
	CHECK(foreign >= 0);
	CHECK(!operate(foreign, 0, 5));
	*(int *)arg = foreign;
	return 0;
}

int main(int argc, char **argv)
{
	unsigned short values[N];
	struct semid_ds ds;
	int *shared;
	pid_t pid, last;

	kind_init(argc, argv);
	shared = kind_shared(4096);
	set = semget(KEY, N, IPC_CREAT | IPC_EXCL | 0620);
	fresh = semget(IPC_PRIVATE, 3, 0600);
	CHECK(set >= 0 && fresh >= 0);
	CHECK(!semctl(set, 0, SETVAL, (union semun){ .val = 2 }));
	CHECK(!semctl(set, N - 1, SETVAL, (union semun){ .val = 32767 }));
	pid = kind_fork(stranger, shared);
	last = pid;
	kind_join(pid);
	foreign = *shared;
	pid = kind_fork(child, NULL);
	while (semctl(set, 0, GETNCNT) != 1)
		kind_sleep_ms(1);
	kind_ready();

	CHECK_EQ(semget(KEY, N, 0), set);
	CHECK(!semctl(set, 0, IPC_STAT, (union semun){ .buf = &ds }));
	CHECK(ds.sem_nsems == N && ds.sem_otime && (ds.sem_perm.mode & 0777) == 0620);
	CHECK(!semctl(fresh, 0, IPC_STAT, (union semun){ .buf = &ds }));
	CHECK(ds.sem_nsems == 3 && !ds.sem_otime);
	CHECK(!semctl(foreign, 0, IPC_STAT, (union semun){ .buf = &ds }));
	CHECK_EQ(ds.sem_perm.cuid, 66);
	CHECK_EQ(ds.sem_perm.cgid, 55);
	CHECK_EQ(semctl(foreign, 0, GETVAL), 5);
	CHECK_EQ(semctl(foreign, 0, GETPID), last);
	CHECK(!semctl(set, 0, GETALL, (union semun){ .array = values }));
	for (int i = 0; i < N; i++)
		CHECK_EQ(values[i], i == 0 ? 2 : i == 3 ? 4 : i == N - 1 ? 32767 : 0);
	CHECK_EQ(semctl(set, 0, GETPID), getpid());
	CHECK_EQ(semctl(set, 3, GETPID), pid);
	CHECK_EQ(semctl(set, 5, GETPID), 0);
	CHECK_EQ(semctl(fresh, 1, GETPID), 0);
	CHECK(!operate(set, 0, 6));
	kind_join(pid);
	CHECK_EQ(semctl(set, 0, GETVAL), 1);
	CHECK(!semctl(set, 0, IPC_RMID) && !semctl(fresh, 0, IPC_RMID) && !semctl(foreign, 0, IPC_RMID));
	kind_pass();
}
