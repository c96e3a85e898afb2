package local

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A listener is a socket that listens, as the kernel lists it.
type listener struct {
	inode uint64
	uid   string
}

// How often tenon looks for the owner of a listener, and the pause in between. Sockets and
// processes come and go while it looks.
const (
	ownerTries = 3
	ownerPause = 10 * time.Millisecond
)

// stranger names who listens at an address besides the given services, or returns "". The
// kernel would send requests to either. A listener whose process cannot be seen belongs to
// a stranger.
func stranger(ctx context.Context, at *ir.Endpoint, of []Claim) (by string, err error) {
	ips := addresses(ctx, at.Host)
	for try := 1; ; try++ {
		open, err := listeners(at.Port, ips)
		if err != nil {
			return "", fmt.Errorf("see who listens on %s: %w", at.Address(), err)
		}
		if len(open) > 0 {
			removeOwn(open, of)
		}
		if len(open) == 0 {
			return "", nil
		}
		if try == ownerTries {
			return nameOwner(open), nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(ownerPause):
		}
	}
}

// removeOwn removes the listeners of services.
func removeOwn(open map[uint64]listener, of []Claim) {
	for _, c := range of {
		for _, pid := range c.processes() {
			for _, inode := range sockets(pid) {
				delete(open, inode)
			}
		}
	}
}

// nameOwner names a process that has one of the listeners.
func nameOwner(open map[uint64]listener) string {
	pids, _ := processes()
	for _, pid := range pids {
		for _, inode := range sockets(pid) {
			if _, is := open[inode]; is {
				name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
				return fmt.Sprintf("process %d (%s)", pid, printable(strings.TrimSpace(string(name))))
			}
		}
	}
	for _, l := range open {
		return fmt.Sprintf("a process of user %s that this user cannot look into", l.uid)
	}
	return ""
}

// sockets lists the sockets that a process has open, as far as this user may see them.
func sockets(pid int) []uint64 {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var inodes []uint64
	for _, name := range names {
		to, err := os.Readlink(dir + "/" + name)
		if err != nil {
			continue
		}
		if number, ok := strings.CutPrefix(to, "socket:["); ok {
			if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); err == nil {
				inodes = append(inodes, inode)
			}
		}
	}
	return inodes
}

// listeners returns who listens on a port of one of the addresses, by inode. No addresses
// stand for all.
func listeners(port int, ips []netip.Addr) (map[uint64]listener, error) {
	open := map[uint64]listener{}
	if err := diagnose(port, ips, open); err == nil {
		return open, nil
	}
	clear(open)
	// The kernel, or what confines this process, has no sock_diag. The tables list all connections as well.
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if errors.Is(err, fs.ErrNotExist) && table != "/proc/net/tcp" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		parseListeners(b, port, ips, open)
	}
	return open, nil
}

// parseListeners adds the listeners in a table of the kernel.
func parseListeners(table []byte, port int, ips []netip.Addr, to map[uint64]listener) {
	const listen = "0A"
	for line := range bytes.Lines(table) {
		f := strings.Fields(string(line))
		if len(f) < 10 || f[3] != listen {
			continue
		}
		at, ok := parseAddress(f[1])
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if !ok || err != nil || int(at.Port()) != port || !among(at.Addr(), ips) {
			continue
		}
		to[inode] = listener{inode, f[7]}
	}
}

// among reports whether a listener on ip gets connections to one of the addresses.
func among(ip netip.Addr, ips []netip.Addr) bool {
	if len(ips) == 0 || ip.IsUnspecified() {
		return true
	}
	for _, wanted := range ips {
		if wanted.IsUnspecified() || wanted == ip {
			return true
		}
	}
	return false
}

// parseAddress parses an address such as 0100007F:1F90. It consists of numbers of four
// bytes in the byte order of the machine.
func parseAddress(s string) (netip.AddrPort, bool) {
	host, portHex, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	port, err2 := strconv.ParseUint(portHex, 16, 16)
	if err != nil || err2 != nil || len(b) != net.IPv4len && len(b) != net.IPv6len {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	ip, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), true
}

// addresses returns the addresses that a host stands for, or nil if it may be any.
func addresses(ctx context.Context, host string) []netip.Addr {
	if host == "" {
		return nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips
}

// groupOf lists the processes in the control groups of a process, which must not be those
// of tenon.
func groupOf(pid int) []int {
	group, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	own, ownErr := os.ReadFile("/proc/self/cgroup")
	if err != nil || ownErr != nil || bytes.Equal(group, own) {
		return nil
	}
	pids, _ := processes()
	var in []int
	for _, p := range pids {
		if b, err := os.ReadFile("/proc/" + strconv.Itoa(p) + "/cgroup"); err == nil && bytes.Equal(b, group) {
			in = append(in, p)
		}
	}
	return in
}
