/* SPDX-License-Identifier: Apache-2.0 */
/* POSIX shared memory with and without a name, open and only mapped, by several processes; named
 * semaphores that a process waits for, with and without a name; what is changed after a dump. */
#include "kind.h"

#include <semaphore.h>
#include <sys/mman.h>

enum { SIZE = 4096, PAGES = 300 };

static unsigned char *named, *readonly, *unnamed;
static sem_t *sem, *lonely;
static int fd, plain;

static unsigned char *map(int f, int prot)
{
	unsigned char *p = mmap(NULL, PAGES * SIZE, prot, MAP_SHARED, f, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static int child(void *arg)
{
	CHECK(!sem_wait(sem));  /* waits in it */
	CHECK(!sem_wait(lonely));
	CHECK_EQ(named[100 * SIZE], 7);
	named[101 * SIZE] = 8;
	unnamed[1] = 9;
	return 0;
}

static void set_up(void)
{
	int f = shm_open("/crcore-named", O_CREAT | O_EXCL | O_RDWR, 0640);

	CHECK(f >= 0 && !ftruncate(f, PAGES * SIZE));
	named = map(f, PROT_READ | PROT_WRITE);
	close(f);
	fd = shm_open("/crcore-named", O_RDONLY, 0);
	CHECK(fd >= 0);
	readonly = map(fd, PROT_READ);
	f = shm_open("/crcore-unnamed", O_CREAT | O_EXCL | O_RDWR, 0600);
	CHECK(f >= 0 && !ftruncate(f, PAGES * SIZE) && !shm_unlink("/crcore-unnamed"));
	unnamed = map(f, PROT_READ | PROT_WRITE);
	close(f);
	plain = open("/dev/shm/crcore-plain", O_CREAT | O_EXCL | O_RDWR | O_APPEND, 0604);
	CHECK(plain >= 0 && write(plain, "plain file", 10) == 10 && lseek(plain, 6, SEEK_SET) == 6);
	CHECK(!fchown(plain, 77, 88));
	sem = sem_open("/crcore-sem", O_CREAT | O_EXCL, 0600, 0);
	lonely = sem_open("/crcore-lonely", O_CREAT | O_EXCL, 0600, 1);
	CHECK(sem != SEM_FAILED && lonely != SEM_FAILED && !sem_unlink("/crcore-lonely"));
	named[100 * SIZE] = 7;
	unnamed[0] = 5;
}

int main(int argc, char **argv)
{
	struct stat before, after;
	char buf[16] = "";
	int value;
	pid_t pid;

	kind_init(argc, argv);
	set_up();
	pid = kind_fork(child, NULL);
	kind_until_state(pid, pid, 'S');
	CHECK(!fstat(plain, &before));
	kind_ready();

	CHECK(!stat("/dev/shm/crcore-plain", &after));
	CHECK(after.st_mode == before.st_mode && after.st_uid == 77 && after.st_gid == 88);
	CHECK(after.st_mtim.tv_sec == before.st_mtim.tv_sec && after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
	CHECK_EQ(read(plain, buf, 9), 4);
	CHECK_STR(buf, "file");
	CHECK(!fstat(plain, &before) && before.st_ino == after.st_ino);
	CHECK_EQ(write(plain, "!", 1), 1);
	CHECK_EQ(lseek(plain, 0, SEEK_CUR), 11);
	CHECK(readonly[100 * SIZE] == 7 && readonly[99 * SIZE] == 0);
	CHECK(mprotect(readonly, SIZE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
	CHECK(!sem_getvalue(lonely, &value) && value == 1);
	CHECK(shm_open("/crcore-unnamed", O_RDONLY, 0) < 0 && errno == ENOENT);
	sem_t *again = sem_open("/crcore-sem", 0);
	CHECK(again != SEM_FAILED && !sem_post(again)); /* by its name: the same */
	kind_join(pid);
	CHECK(readonly[101 * SIZE] == 8 && unnamed[0] == 5 && unnamed[1] == 9);
	CHECK(!fstat(fd, &after) && after.st_nlink == 1);
	CHECK(!shm_unlink("/crcore-named") && !sem_unlink("/crcore-sem") && !unlink("/dev/shm/crcore-plain"));
	kind_pass();
}
