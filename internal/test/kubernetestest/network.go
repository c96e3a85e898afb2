package kubernetestest

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A network is one of 64 that clusters of a machine have: 1,024 addresses of a range
// that is for tests of networks, so that none is anybody else's. Its link and the
// control groups of its cluster bear its name.
//
//	.0.0/30   the link: .1 is the machine, .2 the node
//	.1.0/24   services
//	.2.0/24   pods
type network int

const inner = "eth0" // the node's end of the link

func (n network) name() string { return "tenon-test" + strconv.Itoa(int(n)) }
func (n network) peer() string { return n.name() + "p" }

func (n network) address(host int) string { return fmt.Sprintf("198.18.%d.%d", 4*int(n), host) }
func (n network) services() string        { return fmt.Sprintf("198.18.%d.0/24", 4*int(n)+1) }
func (n network) pods() string            { return fmt.Sprintf("198.18.%d.0/24", 4*int(n)+2) }
func (n network) all() string             { return n.address(0) + "/22" }

// reserve takes a free network for the cluster of a folder: it creates the
// link, which shows its owner, and the control groups.
func reserve(dir string) (network, error) {
	unlock, err := lockNetworks()
	if err != nil {
		return 0, err
	}
	defer unlock()
	for n := range network(64) {
		if _, err := net.InterfaceByName(n.name()); err == nil {
			continue
		}
		if _, err := output("", "ip", "link", "add", n.name(), "type", "veth", "peer", "name", n.peer()); err != nil {
			return 0, err
		}
		_, err := output("", "ip", "link", "set", n.name(), "alias", dir)
		err = errors.Join(err, n.removeGroups()) // of a cluster that was killed
		for _, group := range n.groups() {
			err = errors.Join(err, os.MkdirAll(group, 0o755))
		}
		if err != nil {
			_, rerr := output("", "ip", "link", "delete", n.name())
			return 0, errors.Join(err, rerr)
		}
		return n, nil
	}
	return 0, errors.New("64 test clusters run on this machine")
}

// lockNetworks keeps everybody else from taking a network or giving one back.
func lockNetworks() (unlock func(), err error) {
	f, err := os.Open("/sys/class/net")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// connect gives one end of the link to the node, and adds the route on the machine.
func (n network) connect(pid int) error {
	for _, args := range [][]string{
		{"link", "set", n.peer(), "netns", strconv.Itoa(pid), "name", inner},
		{"addr", "add", n.address(1) + "/30", "dev", n.name()},
		{"link", "set", n.name(), "up"},
		{"route", "add", n.all(), "via", n.address(2)},
	} {
		if _, err := output("", "ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// groups are the cluster's, one for each hierarchy of control groups.
func (n network) groups() []string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return []string{filepath.Join("/sys/fs/cgroup", n.name())}
	}
	hierarchies, err := filepath.Glob("/sys/fs/cgroup/*")
	if err != nil {
		panic(err) // the pattern is sound
	}
	for i, h := range hierarchies {
		hierarchies[i] = filepath.Join(h, n.name())
	}
	return hierarchies
}

// release removes the link and the control groups of the cluster of a folder, which
// does not run. Its link may have gone with the node, and the network may have been
// given to another since.
func (n network) release(dir string) error {
	unlock, err := lockNetworks()
	if err != nil {
		return err
	}
	defer unlock()
	owner, err := os.ReadFile(filepath.Join("/sys/class/net", n.name(), "ifalias"))
	if err == nil && strings.TrimSpace(string(owner)) != dir {
		return nil
	}
	if _, err := output("", "ip", "link", "delete", n.name()); err != nil && !strings.Contains(err.Error(), "Cannot find device") {
		return err
	}
	return n.removeGroups()
}

func (n network) removeGroups() (err error) {
	for _, dir := range n.groups() {
		err = errors.Join(err, removeGroup(dir))
	}
	return err
}

// removeGroup removes a control group and those in it. Their files cannot be
// removed, and need not be. One is in use for a moment longer than its processes are.
func removeGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}
