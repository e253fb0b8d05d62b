/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vdso: code of the kernel in every program. A thread may be inside it or
 * hold its addresses, so a tree comes back only under a kernel with the same
 * one; its hash is in the manifest.
 */
#include <stdbool.h>
#include <sys/auxv.h>
#include <xxhash.h>
#include "core/task/inject.h"
#include "core/task/machine.h"
#include "core/util/util.h"

int vdso_hash(ProtobufCBinaryData *ret, struct crcore_error *err)
{
	uintptr_t base = getauxval(AT_SYSINFO_EHDR);
	size_t size = ALIGN_UP(vdso_own_length(), PAGE); /* it is mapped whole, page by page */
	XXH128_canonical_t *hash = malloc(sizeof(*hash));

	if (!hash)
		return crcore_no_memory(err);
	XXH128_canonicalFromHash(hash, size ? XXH3_128bits((const void *)base, size)
	                                    : XXH3_128bits("", 0));
	ret->data = (uint8_t *)hash;
	ret->len = sizeof(*hash);
	return 0;
}

int vdso_check(const ProtobufCBinaryData *image, struct crcore_error *err)
{
	ProtobufCBinaryData ours = { 0, NULL };
	int r = vdso_hash(&ours, err);

	if (r < 0)
		return r;
	bool same = ours.len == image->len && !memcmp(ours.data, image->data, ours.len);
	free(ours.data);
	if (same)
		return 0;
	crcore_fail_at(err, -1, -1, "vdso");
	crcore_advise(err, "restore under the kernel that the image was made on");
	return crcore_fail(err, -ENOTSUP, "this kernel gives programs other code than the image's");
}
