#!/bin/bash
# Init of the user-mode Linux in tests/system/uml.py: a customer gateway whose ESP is the Linux kernel's.
# Its root is the development root itself, by hostfs. UML_DIR (kernel command line) holds setup.sh and the
# daemons' configuration; afterwards commands come in on the console, one a line, and "@@ STATUS" ends each
# answer.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 NO_COLOR=1 TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs lab /mnt
cp -a "$UML_DIR/." /mnt/
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
# The kernel's helper looks for modules of the running kernel in /lib/modules; the package has them elsewhere.
mkdir -p /run/modules/lib
ln -s /usr/lib/uml/modules /run/modules/lib/modules
printf '#!/bin/sh\nexec /usr/sbin/modprobe -d /run/modules "$@"\n' >/run/modprobe
chmod 755 /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
dmesg -n 1
stty -echo -onlcr
ip link set vec0 up && ip link set vec1 up # opens the taps; no address and no IPv6 yet: nothing is sent
echo "@@ links"
read -r _ # the lab moves the taps to their places
modprobe -d /run/modules -a ipv6 ip_vti
. /mnt/setup.sh
echo "@@ ready"
while read -r line; do
	eval "$line" 2>&1
	echo "@@ $?"
done
echo o >/proc/sysrq-trigger
sleep 5
