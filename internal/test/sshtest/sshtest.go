// Package sshtest makes hosts for tests of what runs over ssh: each is a network namespace of
// this machine, with its own processes, name, home folder and /dev/shm, and an sshd of OpenSSH. They share
// the rest of the file system. It needs root, iproute2, util-linux and openssh-server.
package sshtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostsVar names the hosts, for processes that a test starts and kills.
const hostsVar = "TENON_TEST_SSH_HOSTS"

const sshd = "/usr/sbin/sshd"

// Hosts are machines that can be reached over ssh from this one.
type Hosts struct {
	Key     string // path of the private key of user root on all of them
	Gateway string // address of this machine on their network
	All     []*Host
}

// A Host is a machine.
type Host struct {
	Address string
	HostKey string // public key
	Home    string // folder that is /root there
	Dir     string
	NS      string // network namespace
	Socket  string // of its containerd, once there is one

	outer *exec.Cmd
}

// Up makes two hosts that last as long as the test, or returns those of the process that started
// this one. It skips the test where that is not possible.
func Up(t testing.TB) *Hosts {
	t.Helper()
	if text := os.Getenv(hostsVar); text != "" {
		var h Hosts
		if err := json.Unmarshal([]byte(text), &h); err != nil {
			t.Fatal(err)
		}
		return &h
	}
	if os.Geteuid() != 0 {
		t.Skip("making hosts for ssh needs root, for network namespaces")
	}
	for _, program := range []string{sshd, "ip", "unshare", "nsenter", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("making hosts for ssh needs openssh-server, iproute2 and util-linux: %v; `.ci/tools test` installs them", err)
		}
	}
	dir := t.TempDir()
	h := &Hosts{Key: filepath.Join(dir, "id")}
	must(t, run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", h.Key))
	must(t, os.MkdirAll("/run/sshd", 0o755)) // where sshd gives up its rights
	subnet := freeSubnet(t)
	bridge := fmt.Sprintf("tnb%d", subnet)
	h.Gateway = fmt.Sprintf("10.211.%d.1", subnet)
	if err := run("ip", "link", "add", bridge, "type", "bridge"); err != nil {
		t.Skipf("a network bridge cannot be created on this machine: %v", err)
	}
	t.Cleanup(func() { must(t, run("ip", "link", "del", bridge)) })
	must(t, run("ip", "addr", "add", h.Gateway+"/24", "dev", bridge))
	must(t, run("ip", "link", "set", bridge, "up"))
	for n := range 2 {
		host := &Host{
			Address: fmt.Sprintf("10.211.%d.%d", subnet, 11+n), Dir: filepath.Join(dir, strconv.Itoa(n)), NS: fmt.Sprintf("tn%dvm%d", subnet, n),
		}
		host.Home = filepath.Join(host.Dir, "root")
		must(t, os.MkdirAll(host.Home, 0o700))
		host.network(t, bridge, fmt.Sprintf("tnv%dx%d", subnet, n))
		host.configure(t, h.Key)
		host.Start(t)
		t.Cleanup(func() { host.Kill(t) })
		h.All = append(h.All, host)
	}
	return h
}

// Setenv lets processes that the test starts use these hosts.
func (h *Hosts) Setenv(t testing.TB) {
	t.Helper()
	b, err := json.Marshal(h)
	must(t, err)
	t.Setenv(hostsVar, string(b))
}

// freeSubnet returns the third number of a network that no interface has.
func freeSubnet(t testing.TB) int {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	must(t, err)
	for i := range 200 {
		n := (os.Getpid()+i)%200 + 20
		if !strings.Contains(fmt.Sprint(addrs), fmt.Sprintf("10.211.%d.", n)) {
			return n
		}
	}
	t.Fatal("all networks are taken")
	return 0
}

func (h *Host) network(t testing.TB, bridge, link string) {
	t.Helper()
	if err := run("ip", "netns", "add", h.NS); err != nil {
		t.Skipf("a network namespace cannot be created on this machine: %v", err)
	}
	t.Cleanup(func() { must(t, run("ip", "netns", "del", h.NS)) })
	must(t, run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", h.NS))
	// With its namespace, it would go some time later, and the next test may use the name again.
	t.Cleanup(func() { must(t, run("ip", "link", "del", link)) })
	must(t, run("ip", "link", "set", link, "master", bridge, "up"))
	must(t, run("ip", "-n", h.NS, "addr", "add", h.Address+"/24", "dev", "eth0"))
	must(t, run("ip", "-n", h.NS, "link", "set", "eth0", "up"))
	must(t, run("ip", "-n", h.NS, "link", "set", "lo", "up"))
}

func (h *Host) configure(t testing.TB, key string) {
	t.Helper()
	own := filepath.Join(h.Dir, "hostkey")
	must(t, run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", own))
	public, err := os.ReadFile(own + ".pub")
	must(t, err)
	h.HostKey = strings.TrimSpace(string(public))
	allowed, err := os.ReadFile(key + ".pub")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(h.Dir, "keys"), allowed, 0o600))
	config := []string{
		"ListenAddress " + h.Address, "HostKey " + own, "AuthorizedKeysFile " + filepath.Join(h.Dir, "keys"),
		"SetEnv PATH=/root/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PidFile none", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "StrictModes no", "UsePAM no", "LogLevel ERROR",
	}
	must(t, os.WriteFile(filepath.Join(h.Dir, "sshd_config"), []byte(strings.Join(config, "\n")+"\n"), 0o600))
}

// Start starts the host and waits until it can be reached.
func (h *Host) Start(t testing.TB) {
	t.Helper()
	script := `hostname "$1" && mount --bind "$2" /root && mount -t tmpfs -o mode=1777 tmpfs /dev/shm && exec ` + sshd + ` -D -e -f "$3"`
	// Unlike `ip netns exec`, it leaves /sys as it is, where runc looks for control groups.
	h.outer = exec.Command("nsenter", "--net="+filepath.Join("/run/netns", h.NS), "unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", script, "sh", h.NS, h.Home, filepath.Join(h.Dir, "sshd_config"))
	var said bytes.Buffer
	h.outer.Stdout, h.outer.Stderr = &said, &said
	h.outer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, h.outer.Start())
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(h.Address, "22"), time.Second)
		if err == nil {
			must(t, conn.Close())
			return
		}
		if time.Now().After(end) {
			h.Kill(t)
			t.Fatalf("the host %s does not answer: %v\n%s", h.Address, err, said.String())
		}
	}
}

// Kill ends the host with all its processes, as if it had no power. It does nothing if it does
// not run.
func (h *Host) Kill(t testing.TB) {
	t.Helper()
	if h.outer == nil {
		return
	}
	_ = h.outer.Process.Kill() // --kill-child ends the rest
	_ = h.outer.Wait()
	h.outer = nil
	for end := time.Now().Add(10 * time.Second); len(h.processes(t)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("processes of %s do not end", h.Address)
		}
	}
}

// Down reports whether nothing runs on the host.
func (h *Host) Down(t testing.TB) bool {
	t.Helper()
	return len(h.processes(t)) == 0
}

// Script makes a program on the host, in a folder of its $PATH.
func (h *Host) Script(t testing.TB, name, text string) {
	t.Helper()
	dir := filepath.Join(h.Home, "bin")
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
}

// PowerOff is what a script runs to stop its host.
const PowerOff = "kill -TERM 1" // the first process is sshd, with which all others end

// Cut breaks all ssh connections to the host. What was started over them continues.
func (h *Host) Cut(t testing.TB) {
	t.Helper()
	for _, pid := range h.processes(t) {
		name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err == nil && strings.HasPrefix(string(name), "sshd: root") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
	}
}

// Freeze stops all processes of the host, which then accepts connections and answers nothing. What is
// returned lets them continue.
func (h *Host) Freeze(t testing.TB) (thaw func()) {
	t.Helper()
	pids := h.processes(t)
	send := func(s syscall.Signal) {
		for _, pid := range pids {
			if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Error(err)
			}
		}
	}
	send(syscall.SIGSTOP)
	return func() { send(syscall.SIGCONT) }
}

// processes returns those on the network of the host.
func (h *Host) processes(t testing.TB) (pids []int) {
	t.Helper()
	var own, of syscall.Stat_t
	must(t, syscall.Stat(filepath.Join("/run/netns", h.NS), &own))
	all, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	for _, dir := range all {
		if syscall.Stat(filepath.Join(dir, "ns/net"), &of) != nil || of.Ino != own.Ino { // it has ended
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		must(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// Command returns a command that runs on the host, which ends it at the latest when it is killed.
func (h *Host) Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	for _, pid := range h.processes(t) {
		if exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe")); err == nil && exe == sshd {
			return exec.Command("nsenter", append([]string{"--target", strconv.Itoa(pid), "--mount", "--uts", "--net", "--pid", "--", name}, args...)...)
		}
	}
	t.Fatalf("%s does not run", h.Address)
	return nil
}

// Containerd starts a containerd on the host, and returns the path of its socket. It skips the test
// where there is none. The program is "containerd", or what $CONTAINERD names.
func (h *Host) Containerd(t testing.TB) string {
	t.Helper()
	if h.Socket != "" { // this process was started by the one that has started it
		return h.Socket
	}
	name, err := exec.LookPath(cmp.Or(os.Getenv("CONTAINERD"), "containerd"))
	if err != nil {
		t.Skipf("containers on hosts need containerd and runc: %v; `.ci/tools test` installs them", err)
	}
	dir, err := os.MkdirTemp("/tmp", "tns") // the path of a socket has at most 107 bytes
	must(t, err)
	address, config := filepath.Join(dir, "c.sock"), filepath.Join(dir, "config.toml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, "version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), address), 0o600))
	cmd := h.Command(t, name, "-c", config)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(name)+":"+os.Getenv("PATH"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	must(t, cmd.Start())
	t.Cleanup(func() {
		h.Kill(t)
		_ = cmd.Wait() // it was killed with the host
		must(t, os.RemoveAll(dir))
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("unix", address); err == nil {
			must(t, conn.Close())
			h.Socket = address
			return address
		}
		if time.Now().After(end) {
			h.Kill(t)
			_ = cmd.Wait()
			t.Fatalf("containerd on %s does not answer: %s", h.Address, said.String())
		}
	}
}

// Of returns how many processes of the host have a variable in their environment.
func (h *Host) Of(t testing.TB, variable string) (n int) {
	t.Helper()
	for _, pid := range h.processes(t) {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
		if err == nil && bytes.Contains(append([]byte{0}, b...), []byte("\x00"+variable+"\x00")) {
			n++
		}
	}
	return n
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
