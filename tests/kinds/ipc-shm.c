/* SPDX-License-Identifier: Apache-2.0 */
/* System V shared memory: by key and private, removed, attached by several processes, several
 * times, read-only, in parts; owner, creator, mode; not attached at all. */
#include "kind.h"

#include <sys/mman.h>
#include <sys/shm.h>

enum { SIZE = 4096, PAGES = 64, KEY = 0x63720001 };

static int keyed, removed, parts, loose;
static unsigned char *first, *again, *readonly, *gone, *piece;
static volatile int *state;

static int child(void *arg)
{
	unsigned char *own = shmat(keyed, NULL, 0);

	CHECK(own != (void *)-1);
	state[0] = 1;
	kind_wait();
	CHECK_EQ(own[5 * SIZE], 5);
	own[6 * SIZE] = 66;                  /* the parent sees it */
	CHECK_EQ(gone[0], 'g');
	gone[1] = 'c';
	CHECK(!shmdt(own) && !shmdt(gone));
	return 0;
}

static void set_up(void)
{
	struct shmid_ds ds;

	keyed = shmget(KEY, PAGES * SIZE - 100, IPC_CREAT | IPC_EXCL | 0640);
	removed = shmget(IPC_PRIVATE, 3 * SIZE, IPC_CREAT | 0600);
	parts = shmget(IPC_PRIVATE, PAGES * SIZE, IPC_CREAT | 0600);
	loose = shmget(IPC_PRIVATE, 100 * SIZE, IPC_CREAT | 0666);
	CHECK(keyed >= 0 && removed >= 0 && parts >= 0 && loose >= 0);
	CHECK(!shmctl(keyed, IPC_STAT, &ds));
	ds.shm_perm.uid = 1234;
	ds.shm_perm.gid = 4321;
	CHECK(!shmctl(keyed, IPC_SET, &ds));
	first = shmat(keyed, NULL, 0);
	again = shmat(keyed, NULL, 0);
	readonly = shmat(keyed, NULL, SHM_RDONLY);
	gone = shmat(removed, NULL, 0);
	piece = shmat(parts, NULL, 0);
	unsigned char *other = shmat(loose, NULL, 0);
	CHECK(first != (void *)-1 && again != (void *)-1 && readonly != (void *)-1 &&
	      gone != (void *)-1 && piece != (void *)-1 && other != (void *)-1);
	CHECK(!shmctl(removed, IPC_RMID, NULL));
	memset(other + 50 * SIZE, 50, SIZE);
	CHECK(!shmdt(other));
	first[5 * SIZE] = 5;
	gone[0] = 'g';
	memset(piece, 1, PAGES * SIZE);
	CHECK(!munmap(piece + 8 * SIZE, 8 * SIZE));           /* a hole */
	CHECK(!mprotect(piece + 20 * SIZE, SIZE, PROT_READ)); /* three mappings of the rest */
}

static unsigned long attached(int id)
{
	struct shmid_ds ds;

	CHECK(!shmctl(id, IPC_STAT, &ds));
	return ds.shm_nattch;
}

static void check_permissions(void)
{
	struct shmid_ds ds;

	CHECK(!shmctl(keyed, IPC_STAT, &ds));
	CHECK_EQ(ds.shm_segsz, PAGES * SIZE - 100);
	CHECK_EQ(ds.shm_perm.__key, KEY);
	CHECK_EQ(ds.shm_perm.uid, 1234);
	CHECK_EQ(ds.shm_perm.gid, 4321);
	CHECK_EQ(ds.shm_perm.cuid, 0);
	CHECK_EQ(ds.shm_perm.mode, 0640);
	CHECK_EQ(ds.shm_cpid, getpid());
	CHECK_EQ(shmget(KEY, 0, 0), keyed);
	CHECK(!shmctl(removed, IPC_STAT, &ds));
	CHECK_EQ(ds.shm_perm.mode & 01000, 01000); /* SHM_DEST */
}

int main(int argc, char **argv)
{
	struct shmid_ds ds;
	unsigned long before[3];
	pid_t pid, last;

	kind_init(argc, argv);
	state = kind_shared(SIZE);
	set_up();
	pid = kind_fork(child, NULL);
	kind_until(&state[0], 1);
	before[0] = attached(keyed);
	before[1] = attached(removed);
	before[2] = attached(parts);
	CHECK(!shmctl(keyed, IPC_STAT, &ds));
	last = ds.shm_lpid;
	kind_ready();

	check_permissions();
	CHECK(!shmctl(keyed, IPC_STAT, &ds));
	CHECK(ds.shm_lpid == last || ds.shm_lpid == pid); /* the child may be on its way out */
	kind_join(pid);
	CHECK_EQ(attached(keyed), before[0] - 4);
	CHECK_EQ(attached(removed), before[1] - 1);
	CHECK(first[5 * SIZE] == 5 && again[5 * SIZE] == 5 && readonly[6 * SIZE] == 66);
	first[7] = 7;
	CHECK(again[7] == 7 && readonly[7] == 7 && gone[1] == 'c');
	CHECK(mprotect(readonly, SIZE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
	for (int i = 0; i < PAGES; i++)
		CHECK(i / 8 == 1 || piece[i * SIZE + 9] == 1);
	CHECK_EQ(attached(parts), before[2] / 2); /* the child had the same */
	CHECK(!shmdt(piece)); /* all parts of it */
	CHECK_EQ(attached(parts), 0);
	unsigned char *other = shmat(loose, NULL, 0);
	CHECK(other != (void *)-1 && other[50 * SIZE + 7] == 50 && other[51 * SIZE] == 0);
	CHECK(!shmdt(other) && !shmdt(first) && !shmdt(again) && !shmdt(readonly) && !shmdt(gone));
	CHECK(shmctl(removed, IPC_STAT, &ds) < 0); /* with its last user it is gone */
	CHECK(!shmctl(keyed, IPC_RMID, NULL) && !shmctl(parts, IPC_RMID, NULL) &&
	      !shmctl(loose, IPC_RMID, NULL));
	kind_pass();
}
