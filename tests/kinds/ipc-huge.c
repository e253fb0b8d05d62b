/* SPDX-License-Identifier: Apache-2.0 */
/* A segment of huge pages, where the machine has any: contents and page size; one locked in memory. */
#include "kind.h"

#include <sys/shm.h>

enum { MIB = 1 << 20 };

int main(int argc, char **argv)
{
	struct shmid_ds ds;
	int huge, locked;

	kind_init(argc, argv);
	locked = shmget(IPC_PRIVATE, 8192, 0600);
	CHECK(locked >= 0 && !shmctl(locked, SHM_LOCK, NULL));
	huge = shmget(IPC_PRIVATE, 4 * MIB - 5000, SHM_HUGETLB | 21 << 26 | 0600);
	unsigned char *p = huge < 0 ? NULL : shmat(huge, NULL, 0);
	CHECK(p != (void *)-1);
	if (p) {
		p[5] = 5;
		p[3 * MIB] = 6;
		CHECK_EQ(kind_smaps(p, "KernelPageSize"), 2048);
		kind_busy(); /* which of them are in its page table is not kept */
	}
	kind_ready();
	CHECK(!shmctl(locked, IPC_STAT, &ds));
	CHECK_EQ(ds.shm_perm.mode & 02000, 02000); /* SHM_LOCKED */
	if (p) {
		CHECK(p[5] == 5 && p[3 * MIB] == 6 && !p[6]);
		CHECK_EQ(kind_smaps(p, "KernelPageSize"), 2048);
		CHECK(!shmctl(huge, IPC_STAT, &ds) && ds.shm_segsz == 4 * MIB - 5000 && ds.shm_nattch == 1);
		CHECK(!shmdt(p) && !shmctl(huge, IPC_RMID, NULL));
	}
	CHECK(!shmctl(locked, IPC_RMID, NULL));
	kind_pass();
}
