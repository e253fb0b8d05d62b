# SPDX-License-Identifier: Apache-2.0
# Installs Debian packages that are missing: `need_packages a b c`. Does nothing, and
# needs no network, where they are all there. Sourced by ./quickstart and ./test.

packages_build='gcc libc6-dev meson ninja-build pkg-config python3 protobuf-c-compiler
	libprotobuf-c-dev libyaml-dev libcap-dev libxxhash-dev liblz4-dev libzstd-dev libarchive-dev libnl-3-dev'
packages_test='clang g++ make libcmocka-dev util-linux procps tar gzip git xz-utils findutils
	sqlite3 tmux vim less strace default-jdk-headless postgresql apache2-bin iproute2 libnftables1 redis-server nginx-light
	mariadb-server openssh-server curl fio btrfs-progs xfsprogs erlang-base restic'

need_packages()
{
	missing=
	for p in "$@"; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q ' installed$' ||
			missing="$missing $p"
	done
	[ -n "$missing" ] || return 0
	echo "installing$missing"
	if ! command -v apt-get >/dev/null; then
		echo "Error: not a Debian system; install what these packages hold:$missing" >&2
		return 1
	fi
	log=$(mktemp) || return 1
	# What is installed for tests is not to be started: no server appears on this machine.
	policy=/usr/sbin/policy-rc.d made=
	if [ ! -e "$policy" ]; then
		made=1
		printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
	fi
	ret=0
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		echo "Error: apt-get could not install$missing; see above" >&2
		ret=1
	fi
	rm -f "$log"
	[ -z "$made" ] || rm -f "$policy"
	return $ret
}
