package ssh_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/ssh"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A job runs where enough is free, in exact amounts, and waits while that is nowhere.
func TestRoom(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	e := l.executor(t, func(o *ssh.Options) { o.Hosts, o.Runs = l.hosts("1.5"), runs })
	sleeps := func(name string, milli int64, args ...string) executors.Task {
		task := job(t, runs, name, args...)
		task.Unit.Needs.MilliCPU = milli
		return task
	}
	a, b, c := sleeps("a", 1000, "sleep"), sleeps("b", 501, "sleep"), sleeps("c", 500, "sleep")
	ha := apply(t, e, a)
	apply(t, e, b)
	apply(t, e, c)
	if l.on(t, a) != l.All[0] || l.on(t, b) != l.All[1] || l.on(t, c) != l.All[0] {
		t.Errorf("1 and 0.5 cores fit the first host, and 0.501 the second: they run on %s, %s, %s", l.on(t, a).Address, l.on(t, c).Address, l.on(t, b).Address)
	}
	last := sleeps("d", 1000, "exit", "0")
	started := make(chan state.Handle, 1)
	go func() { started <- apply(t, e, last) }()
	select {
	case <-started:
		t.Fatal("it was started where nothing is free")
	case <-time.After(500 * time.Millisecond):
	}
	ok(t, e.Destroy(within(t), ha))
	wait(t, e, <-started, state.Succeeded)

	task := job(t, runs, "large", "exit", "0")
	task.Unit.Needs.Memory = 128 << 30
	_, err := e.Apply(within(t), task, nil)
	if err == nil || !strings.Contains(err.Error(), "needs.memory: it needs 128GiB, and the largest host has 64GiB") {
		t.Errorf("apply gave %v", err)
	}
	// What is not declared is what the machine has.
	e = l.executor(t, func(o *ssh.Options) { o.Hosts, o.Runs = l.hosts(""), runs })
	task.Unit.Needs = ir.Resources{MilliCPU: 1_000_000_000}
	_, err = e.Apply(within(t), task, nil)
	if err == nil || !strings.Contains(err.Error(), "no host can run it: host "+l.All[0].Address+": it needs 1000000 of ") {
		t.Errorf("apply gave %v", err)
	}
}

// What a host has is not sent again, and what it made is there for the next job.
func TestSentOnce(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	e := l.executor(t, func(o *ssh.Options) { o.Runs = runs })
	input := filepath.Join(t.TempDir(), "input")
	ok(t, os.MkdirAll(filepath.Join(input, "sub"), 0o755))
	ok(t, os.WriteFile(filepath.Join(input, "sub/a"), bytes.Repeat([]byte("0123456789abcdef"), 1<<16), 0o644))
	ok(t, os.Symlink("sub/a", filepath.Join(input, "link")))
	digest, err := artifact.Digest(t.Context(), input)
	ok(t, err)
	at := func(digest string) string {
		hex, _ := artifact.Hex(digest)
		return filepath.Join(l.All[0].Home, ".cache/tenon/ssh/artifacts", hex[:2], hex[2:])
	}
	reads := func(name string) executors.Task {
		task := job(t, runs, name, "report")
		task.Inputs = map[string]step.Port{"data": {Kind: ir.File, Path: input, Digest: digest}}
		return task
	}
	first := reads("first")
	wait(t, e, apply(t, e, first), state.Succeeded)
	before, err := os.Stat(at(digest))
	ok(t, err)
	if got, err := artifact.Digest(t.Context(), at(digest)); err != nil || got != digest {
		t.Errorf("the host has %s, %v", got, err)
	}
	second := reads("second")
	wait(t, e, apply(t, e, second), state.Succeeded)
	after, err := os.Stat(at(digest))
	ok(t, err)
	if !os.SameFile(before, after) {
		t.Error("the input was sent again")
	}
	made, err := artifact.Digest(t.Context(), filepath.Join(first.Dir, "out/out"))
	ok(t, err)
	if _, err := os.Stat(at(made)); err != nil {
		t.Errorf("the host does not keep its output: %v", err)
	}
	// Nobody else can read what the host has.
	info, err := os.Stat(filepath.Join(l.All[0].Home, ".cache/tenon/ssh"))
	ok(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the folder on the host has mode %o", info.Mode().Perm())
	}

	// Its output is garbage once the state does not keep it, and what it has read once its run is, too.
	garbage := func(keeps executors.Needed, lost ...string) string {
		t.Helper()
		found, err := e.Collect(within(t), keeps, false)
		var partial *executors.PartialError
		if errors.As(err, &partial) && slices.Equal(partial.Lacks, lost) {
			err = nil
		} else if len(lost) > 0 {
			t.Errorf("%q do not answer, and the error is %v", lost, err)
		}
		ok(t, err)
		all := []string{}
		for _, g := range found {
			all = append(all, g.Kind+" "+g.Name[:strings.LastIndex(g.Name, " ")]+" "+g.Name[len(g.Name)-4:])
		}
		slices.Sort(all)
		return strings.Join(all, ", ")
	}
	other, err := artifact.Digest(t.Context(), filepath.Join(second.Dir, "out/out"))
	ok(t, err)
	tasks := map[string]bool{"first": true, "second": true}
	on := l.All[0].Address + " "
	if got := garbage(executors.Needed{Tasks: tasks, Digests: map[string]bool{made: true, other: true}}); got != "" {
		t.Errorf("while all is kept, garbage is %q", got)
	}
	if got := garbage(executors.Needed{Tasks: tasks, Digests: map[string]bool{other: true}}); got != "host artifact "+on+made[len(made)-4:] {
		t.Errorf("garbage is %q", got)
	}
	l.All[1].Kill(t)
	delete(tasks, "first")
	if got := garbage(executors.Needed{Tasks: tasks, Digests: map[string]bool{other: true}}, "host "+l.All[1].Address); got != "host run folder "+on+"irst" {
		t.Errorf("garbage is %q", got)
	}
	if got := garbage(executors.Needed{Digests: map[string]bool{other: true}}, "host "+l.All[1].Address); got != "host artifact "+on+digest[len(digest)-4:]+", host run folder "+on+"cond" {
		t.Errorf("garbage is %q", got)
	}
	l.All[1].Start(t)
}

// No host is trusted whose key was not known before.
func TestHostKeys(t *testing.T) {
	l, dir := newLab(t), t.TempDir()
	known := filepath.Join(dir, "known_hosts")
	of := func(h int, line string) string { return l.All[h].Address + " " + line + "\n" }
	task := job(t, dir, "case", "exit", "0")
	for _, tt := range []struct {
		name, hostKey, known string
		env                  []string
		want                 string // part of the error, or "" if it connects
	}{
		{name: "the key of the host", hostKey: l.All[0].HostKey},
		{name: "the key of another host", hostKey: l.All[1].HostKey, want: "instead of host_key"},
		{name: "known_hosts has it", known: of(0, l.All[0].HostKey)},
		{name: "known_hosts has another", known: of(0, l.All[1].HostKey), want: "somebody may be in between"},
		{name: "known_hosts has none", known: of(1, l.All[1].HostKey), want: "its key is not in known_hosts: name it as host_key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ok(t, os.WriteFile(known, []byte(tt.known), 0o600))
			e := l.executor(t, func(o *ssh.Options) {
				o.Hosts, o.KnownHosts = o.Hosts[:1], known
				o.Hosts[0].HostKey = tt.hostKey
			})
			h, err := e.Apply(within(t), task, nil)
			if tt.want == "" {
				ok(t, err)
				apart := l.executor(t, func(o *ssh.Options) { o.Settings = ssh.Settings{} })
				if _, err := apart.Inspect(within(t), h); err != nil {
					t.Errorf("the handle alone does not say which keys are known: %v", err)
				}
				if err := apart.BringKept(within(t), h, ir.Shipment{Folder: "log"}, time.Time{}, dir); err == nil || !strings.Contains(err.Error(), "any host of the target, which is not known") {
					t.Errorf("without the hosts of the target, what was kept is complete: %v", err)
				}
				ok(t, e.Destroy(within(t), h))
			} else if err == nil || !strings.Contains(err.Error(), "host "+l.All[0].Address+": ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("apply gave %v, want %q", err, tt.want)
			}
		})
	}
}

// A key is one that only its owner can read, or one of the agent.
func TestCredentials(t *testing.T) {
	l, dir := newLab(t), t.TempDir()
	other := filepath.Join(dir, "other")
	ok(t, exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other).Run())
	locked := filepath.Join(dir, "locked")
	ok(t, exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "passphrase", "-f", locked).Run())
	open := filepath.Join(dir, "open")
	b, err := os.ReadFile(l.Key)
	ok(t, err)
	ok(t, os.WriteFile(open, b, 0o644))
	socket := filepath.Join(dir, "agent")
	agent := exec.Command("ssh-agent", "-D", "-a", socket)
	ok(t, agent.Start())
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	})
	eventually(t, "the agent listens", func() bool { _, err := os.Stat(socket); return err == nil })
	add := exec.Command("ssh-add", "-q", l.Key)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	ok(t, add.Run())
	task := job(t, dir, "case", "exit", "0")
	for _, tt := range []struct{ name, key, agent, want string }{
		{name: "a file", key: l.Key},
		{name: "below the home folder", key: "~/id"},
		{name: "the agent", agent: socket},
		{name: "neither", want: "no agent is at $SSH_AUTH_SOCK: name a private key as key"},
		{name: "of somebody else", key: other, want: "it does not let user root in with the key " + other},
		{name: "with a passphrase", key: locked, want: "has a passphrase: add it to an agent with ssh-add"},
		{name: "that all can read", key: open, want: "run `chmod 600 " + open + "`"},
		{name: "that does not exist", key: dir + "/none", want: "no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := l.executor(t, func(o *ssh.Options) {
				o.Env = []string{"HOME=" + filepath.Dir(l.Key), "SSH_AUTH_SOCK=" + tt.agent}
				o.Hosts = o.Hosts[:1]
				o.Hosts[0].Key = tt.key
			})
			h, err := e.Apply(within(t), task, nil)
			if tt.want == "" {
				ok(t, err)
				ok(t, e.Destroy(within(t), h))
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("apply gave %v, want %q", err, tt.want)
			}
		})
	}
}

// A host whose tenon-host was damaged gets it again.
func TestDamagedProgram(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	e := l.executor(t, func(o *ssh.Options) { o.Runs = runs })
	wait(t, e, apply(t, e, job(t, runs, "first", "exit", "0")), state.Succeeded)
	ok(t, e.Close())
	digest, err := artifact.File(t.Context(), os.Getenv(hostVar))
	ok(t, err)
	hex, _ := artifact.Hex(digest)
	path := filepath.Join(l.All[0].Home, ".cache/tenon/ssh/programs", hex)
	eventually(t, "the program ends", func() bool { return os.WriteFile(path, []byte("#!/bin/sh\necho hello\n"), 0o700) == nil })
	wait(t, e, apply(t, e, job(t, runs, "second", "exit", "0")), state.Succeeded)
	if got, err := artifact.File(t.Context(), path); err != nil || got != digest {
		t.Errorf("the host has %s, %v", got, err)
	}
}

// What hosts cannot honour is refused before anything starts, at the field that says it.
func TestCheck(t *testing.T) {
	hosts := func(cpu, memory string) []ssh.Host {
		return []ssh.Host{{Address: "10.0.0.1", Port: 22, User: "ml", CPU: json.Number(cpu), Memory: memory}, {Address: "10.0.0.2", Port: 22, User: "ml", CPU: "1", Memory: "64GiB"}}
	}
	for _, tt := range []struct {
		name   string
		hosts  []ssh.Host
		change func(*ir.Unit)
		want   string // the field; "" is that nothing is refused
	}{
		{"a command", hosts("4", "8GiB"), func(*ir.Unit) {}, ""},
		{"SQL", hosts("4", "8GiB"), func(u *ir.Unit) { u.Code = ir.Code{Runtime: ir.Builtin} }, ""},
		{"Python", hosts("4", "8GiB"), func(u *ir.Unit) { u.Code.Runtime, u.Code.Lock = ir.Python, "sha256:00" }, ""},
		{"a service that anyone may ask, which is a warning", hosts("4", "8GiB"), func(u *ir.Unit) { u.Kind, u.Endpoint = ir.Service, &ir.Endpoint{Host: "127.0.0.1", Port: 8080} }, "host"},
		{"a service on a host", hosts("4", "8GiB"), func(u *ir.Unit) { u.Kind, u.Endpoint = ir.Service, &ir.Endpoint{Host: "10.0.0.2", Port: 8080} }, ""},
		{"a service elsewhere", hosts("4", "8GiB"), func(u *ir.Unit) { u.Kind, u.Endpoint = ir.Service, &ir.Endpoint{Host: "10.0.0.3", Port: 8080} }, "host"},
		{"a service that is larger than its host", hosts("4", "8GiB"), func(u *ir.Unit) {
			u.Kind, u.Endpoint, u.Needs.MilliCPU = ir.Service, &ir.Endpoint{Host: "10.0.0.2", Port: 8080}, 2000
		}, "needs.cpu"},
		{"a GPU", hosts("4", "8GiB"), func(u *ir.Unit) { u.Needs.GPU = 1 }, ""},
		{"a slice of a GPU", hosts("4", "8GiB"), func(u *ir.Unit) { u.Needs.GPU, u.Needs.GPUSlice = 1, "1g.10gb" }, "needs.gpu"},
		{"all cores", hosts("4", "8GiB"), func(u *ir.Unit) { u.Needs.MilliCPU = 4000 }, ""},
		{"memory, which is a warning", hosts("4", "8GiB"), func(u *ir.Unit) { u.Needs.Memory = 1 << 30 }, "needs.memory"},
		{"memory of a container", hosts("4", "8GiB"), func(u *ir.Unit) { u.Needs.Memory, u.Code.Image = 1<<30, "acme/a:1" }, ""},
		{"more cores", hosts("4", "8GiB"), func(u *ir.Unit) { u.Needs.MilliCPU = 4001 }, "needs.cpu"},
		{"more memory", hosts("4", "8GiB"), func(u *ir.Unit) { u.Needs.Memory = 65 << 30 }, "needs.memory"},
		{"cores of one host and memory of another", hosts("4", "8GiB"), func(u *ir.Unit) { u.Needs.MilliCPU, u.Needs.Memory = 2000, 9<<30 }, "needs"},
		{"cores that are not declared", hosts("", "8GiB"), func(u *ir.Unit) { u.Needs.MilliCPU = 64000 }, ""},
		{"a call of a service", hosts("4", "8GiB"), func(u *ir.Unit) {
			u.Inputs = []ir.Input{{Port: "model", Kind: ir.EndpointOf, Unit: "deployments/api/serve"}}
		}, ""},
		{"prices that cannot be compared", []ssh.Host{{Address: "10.0.0.1", Port: 22, User: "ml", Price: "1 USD/h"}, {Address: "10.0.0.2", Port: 22, User: "ml", Price: "1 EUR/h"}}, func(*ir.Unit) {}, "hosts.1.price"},
		{"what a service keeps for itself", hosts("4", "8GiB"), func(u *ir.Unit) { u.Kind, u.Keeps = ir.Service, "tls.acme" }, "tls.acme"},
		{"a file of this machine", hosts("4", "8GiB"), func(u *ir.Unit) { u.MachineFiles = []string{"tls.cert"} }, "tls.cert"},
		{"a host twice", append(hosts("4", "8GiB"), hosts("4", "8GiB")...), func(*ir.Unit) {}, "hosts.2.address"},
		{"no time to start", []ssh.Host{{Address: "10.0.0.1", Port: 22, User: "ml", StartWithin: "0s"}}, func(*ir.Unit) {}, "hosts.0.start_within"},
		{"no host", nil, func(*ir.Unit) {}, "hosts"},
		{"no key", []ssh.Host{{Address: "10.0.0.1", Port: 22, User: "ml", HostKey: "ssh-ed25519 AAAA"}}, func(*ir.Unit) {}, "hosts.0.host_key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := ir.Unit{ID: "steps/a/run", Kind: ir.Job, Code: ir.Code{Runtime: ir.Command, Command: []string{"a"}}}
			tt.change(&u)
			faults := ssh.New(ssh.Options{Settings: ssh.Settings{Hosts: tt.hosts}}).Check(u)
			got := ""
			if len(faults) > 0 {
				got = faults[0].Field
			}
			if got != tt.want || len(faults) > 0 && (faults[0].Message == "" || faults[0].Hint == "") {
				t.Errorf("check gave %+v, want a fault of %q", faults, tt.want)
			}
		})
	}
}
