package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func TestJobIsPreparedRunAndStored(t *testing.T) {
	b := newFixture(t)
	task := b.job(`set -e
		cat ../in/flights ../data/2024/a.csv; ../code/tool
		cp -r ../in/model ../out/model; echo 42 > ../out/result
		echo '{"roc_auc": NaN}' > ../notes/metrics.json
		echo '{"done": 1, "total": 2}' >> ../notes/progress.jsonl`)
	task.Step.Outputs["model"] = step.Port{Kind: ir.Model, Path: b.at("out/model")}
	task.Step.Outputs["other"] = step.Port{Kind: ir.File, Path: b.at("out/other")} // it is not written
	model := b.put("weights", "a/b", "signature.json")
	task.Fetch = []pod.Fetch{
		{Ref: b.put("#!/bin/sh\necho tool\n", "tool"), Path: "code", Name: "the code"},
		{Ref: b.put("rows\n"), Path: "in/flights", Name: "input flights"},
		{Ref: model, Path: "in/model", Name: "input model"},
		{Ref: b.put("data\n"), Path: "data/2024/a.csv", Name: "file a.csv"},
	}
	c := b.run(task).want(pod.End{Stored: true})
	got := c.result()
	out, progress := c.log()
	if out != "rows\ndata\ntool\n" || !cmp.Equal(progress, []step.Progress{{Done: 1, Total: 2}}) {
		t.Errorf("it said %q and %v", out, progress)
	}
	if len(got.Outputs) != 2 || got.Outputs["model"].Digest != model.Digest {
		t.Errorf("outputs %v, want result and model, which is %s", got.Outputs, model.Digest)
	}
	if text, err := b.store.Bytes(t.Context(), got.Outputs["result"]); err != nil || string(text) != "42\n" {
		t.Errorf("the result is %q, %v", text, err)
	}
	if text, err := b.store.Bytes(t.Context(), *got.Log); err != nil || string(text) != out || got.LogCut != 0 {
		t.Errorf("the log is %q, %v", text, err)
	}
	if string(got.Metrics) != "{\"roc_auc\": NaN}\n" {
		t.Errorf("metrics %q", got.Metrics)
	}
	if got.Finished.Before(got.Started) || got.Usage.CPU <= 0 || got.Usage.PeakMem <= 0 {
		t.Errorf("it ran from %v to %v and took %+v", got.Started, got.Finished, got.Usage)
	}
	for _, path := range []string{"in/flights", "in/model", "in/model/a/b", "code/tool", "data/2024/a.csv"} {
		if info, err := os.Stat(b.at(path)); err != nil || info.Mode()&0o222 != 0 {
			t.Errorf("%s can be written: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestExitsLikeTheProgram(t *testing.T) {
	for script, want := range map[string]pod.End{
		"exit 0": {}, "exit 3": {ExitCode: 3}, "exit 127": {ExitCode: 127}, "exit 255": {ExitCode: 255, Signal: ""},
		"kill -TERM $$":      {ExitCode: 128 + 15, Signal: "SIGTERM"},
		"kill -KILL $$":      {ExitCode: 128 + 9, Signal: "SIGKILL"},
		"sleep 600 & exit 4": {ExitCode: 4}, // what it leaves behind keeps its output open
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			want.Stored = true
			c := b.run(b.job("echo 42 > ../out/result; " + script)).want(want)
			if got := c.result(); len(got.Outputs) > 0 != (want.ExitCode == 0) || got.Log == nil {
				t.Errorf("outputs %v, log %v", got.Outputs, got.Log)
			}
		})
	}
}

// Of several pods of a task, the outputs of the first count.
func TestATaskOfSeveralPods(t *testing.T) {
	b := newFixture(t)
	task := b.job(`echo "I am $JOB_COMPLETION_INDEX" | tee ../out/result; exit $JOB_COMPLETION_INDEX`)
	for _, node := range []string{"0", "1"} {
		b.run(task, pod.NodeEnv+"="+node)
	}
	var first, second pod.Result
	for note, r := range map[string]*pod.Result{"runs/" + task.Name + "/result.json": &first, "runs/" + task.Name + "/nodes/1/result.json": &second} {
		text, err := b.store.Note(t.Context(), note)
		b.ok(err)
		b.ok(json.Unmarshal(text, r))
	}
	if first.ExitCode != 0 || first.Outputs["result"].Digest != ir.Sum([]byte("I am 0\n")) {
		t.Errorf("the first left %+v", first)
	}
	if second.ExitCode != 1 || len(second.Outputs) > 0 || second.Log == nil || second.Log.Digest != ir.Sum([]byte("I am 1\n")) {
		t.Errorf("the second left %+v", second)
	}
	task.Name, task.Command[2] = task.Name+"b", "echo 42 > ../out/result"
	b.run(task, pod.NodeEnv+"=1")
	text, err := b.store.Note(t.Context(), pod.NodeNote(task.Name, "1"))
	b.ok(err)
	second = pod.Result{}
	b.ok(json.Unmarshal(text, &second))
	if second.ExitCode != 0 || len(second.Outputs) > 0 {
		t.Errorf("the second left %+v", second)
	}
}

func TestEmptyCodeFolderExists(t *testing.T) {
	b := newFixture(t)
	task := b.job("pwd; ls -A")
	task.Step.Code = b.at("code")
	if c := b.run(task).want(pod.End{Stored: true}); c.said() != b.at("code")+"\n" {
		t.Errorf("it said %q", c.said())
	}
}

func TestServiceWritesOnlyAMessage(t *testing.T) {
	b := newFixture(t)
	task := b.job("trap 'echo bye; exit 0' TERM; cat ../in/model; while :; do sleep 0.01; done")
	task.Kind, task.Step.Outputs = ir.Service, nil
	task.Fetch = []pod.Fetch{{Ref: b.put("a model\n"), Path: "in/model", Name: "input model"}}
	c := b.start(task)
	c.says("a model\n")
	b.ok(c.Process.Signal(unix.SIGTERM))
	if c.wait().want(pod.End{}); !strings.HasSuffix(c.said(), "bye\n") {
		t.Errorf("it said %q", c.said())
	}
	// It restarts, although the store has lost what is still in the folder.
	b.ok(b.store.Remove(t.Context(), task.Fetch[0].Ref.Digest))
	task.Command[2] = "cat ../in/model; exit 1"
	c = b.run(task)
	if c.want(pod.End{ExitCode: 1}); c.said() != "a model\n" {
		t.Errorf("it said %q", c.said())
	}
}

func TestFinishedJobDoesNotRunAgain(t *testing.T) {
	for script, want := range map[string]pod.End{
		"echo 42 > ../out/result": {Stored: true}, "exit 3": {ExitCode: 3, Stored: true}, "mkfifo ../out/result": {Stored: true,
			Fault: "output result is a file: expected a file or a folder at WORK/out/result, but the step wrote something else (p---------)"},
	} {
		b := newFixture(t)
		want.Fault = strings.ReplaceAll(want.Fault, "WORK", b.work)
		task := b.job("echo ran; " + script)
		first := b.run(task).want(want)
		b.ok(os.Remove(b.message))
		again := b.run(task).want(want)
		if first.said() != "ran\n" || again.said() != "" {
			t.Errorf("%s: it said %q, and then %q", script, first.said(), again.said())
		}
	}
}

func TestKilledPodStartsOver(t *testing.T) {
	b := newFixture(t)
	task := b.job(`ls -A . ../out ../notes ../in; cat ../in/*
		chmod u+w ../in/changed && echo damaged > ../in/changed
		mkdir -p deep/er && touch deep/er/x ../out/result ../notes/metrics.json ../in/more ../more && chmod 555 deep/er
		echo done; [ -e /proc/1/root` + b.at("again") + ` ] || exec sleep 600`)
	task.Fetch = []pod.Fetch{{Ref: b.put("kept\n"), Path: "in/kept", Name: "input kept"}, {Ref: b.put("whole\n"), Path: "in/changed", Name: "input changed"}}
	c := b.start(task)
	c.says("done\n")
	before, err := os.Stat(b.at("in/kept"))
	b.ok(err)
	b.ok(c.Process.Kill())
	b.ok(os.Mkdir(b.at("in/"+files.HalfWritten+"x"), 0o755)) // of an interrupted fetch
	task.Command[2] = strings.ReplaceAll(task.Command[2], "exec sleep 600", "exit 0")
	again := b.run(task).want(pod.End{Stored: true})
	if again.said() != c.said() {
		t.Errorf("it found\n%swhere it found at first\n%s", again.said(), c.said())
	}
	after, err := os.Stat(b.at("in/kept"))
	b.ok(err)
	if !os.SameFile(before, after) {
		t.Error("what was there whole was fetched again")
	}
}

func TestEveryByteIsInBothLogs(t *testing.T) {
	b := newFixture(t)
	data := make([]byte, 300<<10)
	r := rand.NewChaCha8(sha256.Sum256(nil))
	_, _ = r.Read(data)
	copy(data[1000:], pod.Mark+"{\"done\":7}\n\x1e\n\x1e\x1e")
	task := b.job(`cat ../in/data; printf 'no end' >&2; echo '{"done": 1}' >> ../notes/progress.jsonl
		while [ ! -e go ]; do sleep 0.01; done
		printf ' yet'; echo '{"done": 2}' >> ../notes/progress.jsonl`)
	task.Fetch = []pod.Fetch{{Ref: b.put(string(data)), Path: "in/data", Name: "input data"}}
	c := b.start(task)
	c.eventually("it reports progress", func() bool { _, progress := c.log(); return len(progress) == 1 })
	b.ok(os.WriteFile(b.at("scratch/go"), nil, 0o644))
	c.wait().want(pod.End{Stored: true})
	want := string(data) + "no end yet"
	out, progress := c.log()
	if out != want {
		t.Errorf("the pod's log has %d bytes, want %d", len(out), len(want))
	}
	if !cmp.Equal(progress, []step.Progress{{Done: 1}, {Done: 2}}) {
		t.Errorf("progress %v", progress)
	}
	if text, err := b.store.Bytes(t.Context(), *c.result().Log); err != nil || string(text) != want {
		t.Errorf("the log in the store has %d bytes, want %d; %v", len(text), len(want), err)
	}
}

func TestBothOutputsKeepTheirOrder(t *testing.T) {
	b := newFixture(t)
	c := b.run(b.job("for i in 1 2 3; do echo out $i; echo err $i >&2; done")).want(pod.End{Stored: true})
	if got, want := c.said(), "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"; got != want {
		t.Errorf("the log is %q, want %q", got, want)
	}
}

func TestNoCoreIsWritten(t *testing.T) {
	b := newFixture(t)
	if c := b.run(b.job("ulimit -S -c; ulimit -H -c")).want(pod.End{Stored: true}); c.said() != "0\n0\n" {
		t.Errorf("it said %q", c.said())
	}
}

func TestTheVariablesOfTheProgram(t *testing.T) {
	b := newFixture(t)
	task := b.job("env | sort; cat $TENON_STEP | head -c 12")
	task.Env = map[string]string{"OMP_NUM_THREADS": "2", "OF_BOTH": "the task", "VIRTUAL_ENV": "/opt/tenon/env", "HOME": "/root"}
	c := b.run(task, "OF_IMAGE=1", "OF_BOTH=the image", "OMP_NUM_THREADS=64", "HOME=/",
		pod.SecretEnv+"PASSWORD=a b", pod.SecretEnv+"AWS_ACCESS_KEY_ID=of the program", pod.StoreEnv+"AWS_ACCESS_KEY_ID=of the store", pod.SecretEnv+"OF_BOTH=the secret").want(pod.End{Stored: true})
	want := []string{
		"AWS_ACCESS_KEY_ID=of the program", "HOME=" + b.at("scratch"), "LANG=C.UTF-8", "LOGNAME=tenon", "OF_BOTH=the secret", "OF_IMAGE=1", "OMP_NUM_THREADS=2",
		"PASSWORD=a b", "PATH=/opt/tenon/env/bin:/usr/bin:/bin", "PWD=" + b.at("scratch"), asPod + "=1", "TENON_STEP=" + b.at("step.json"), "TMPDIR=" + b.at("scratch"), "USER=tenon",
		"VIRTUAL_ENV=/opt/tenon/env",
	}
	got := slices.DeleteFunc(strings.Split(c.said(), "\n"), func(kv string) bool { return kv == "OLDPWD=" || strings.HasPrefix(kv, "_=") })
	if diff := cmp.Diff(append(want, `{"version":1`), got); diff != "" {
		t.Errorf("variables:\n%s", diff)
	}
}

// The credentials of the store are in the memory and in the variables of the first
// process.
func TestTheProgramCannotLookIntoTheFirstProcess(t *testing.T) {
	b := newFixture(t)
	task := b.job(`id -u; cat /proc/self/environ > /dev/null && echo can read; exec 2>&1
		cat /proc/1/environ; head -c 1 /proc/1/mem; ls /proc/1/fd; readlink /proc/1/cwd`)
	b.ok(errors.Join(os.Chmod(filepath.Dir(b.work), 0o755), os.Chmod(b.work, 0o777), os.WriteFile(b.message, nil, 0o666), os.Chmod(b.message, 0o666)))
	c := b.command(task, []string{pod.StoreEnv + "KEY=secret"}, "sh", "-c", `mount -t proc proc /proc && exec setpriv --reuid 65532 --regid 65532 --clear-groups "$0" "$@"`, copied(t)).wait()
	denied, refused := c.said(), 0
	for line := range strings.Lines(strings.TrimPrefix(denied, "65532\ncan read\n")) {
		if refused++; !strings.Contains(line, "ermission denied") {
			t.Errorf("it read %q", line)
		}
	}
	if !strings.HasPrefix(denied, "65532\ncan read\n") || refused < 3 || c.end().ExitCode != 1 {
		t.Errorf("%+v; it said %q", c.end(), denied)
	}
}

// copied returns a copy of the test binary that every user may execute.
func copied(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tenon-pod")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b, err := os.ReadFile(os.Args[0])
	if err = errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "pod"), b, 0o755)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "pod")
}

func TestStartErrorsAreReported(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b *fixture, t *pod.Task)
		want   pod.End
	}{
		"no such program": {func(_ *fixture, t *pod.Task) { t.Command = []string{"no-such-program"} },
			pod.End{ExitCode: 127, Fault: `program "no-such-program" not found in the PATH of the image (/usr/bin:/bin)`}},
		"no program": {func(_ *fixture, t *pod.Task) { t.Command = nil },
			pod.End{ExitCode: 126, Fault: `the task is damaged: no program to run`}},
		"no folder": {func(_ *fixture, t *pod.Task) { t.Step.Code = "/no/such" },
			pod.End{ExitCode: 126, Fault: "chdir /no/such: no such file or directory"}},
		"an input that is missing": {func(b *fixture, t *pod.Task) {
			t.Fetch = []pod.Fetch{{Ref: artifact.Ref{Digest: ir.Sum([]byte("gone"))}, Path: "in/flights", Name: "input flights"}}
		}, pod.End{ExitCode: 126, Fault: "fetch input flights: " + ir.Sum([]byte("gone")) + " in STORE: artifact is not in the store"}},
		"an input that is damaged": {func(b *fixture, t *pod.Task) {
			ref := b.put("rows")
			h := strings.TrimPrefix(ref.Digest, "sha256:")
			path := filepath.Join(b.dir, "cas/sha256", h[:2], h[2:])
			b.ok(errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, []byte("RowS"), 0o644)))
			t.Fetch = []pod.Fetch{{Ref: ref, Path: "in/flights", Name: "input flights"}}
		}, pod.End{ExitCode: 126, Fault: "fetch input flights: artifact " + ir.Sum([]byte("rows")) + " was modified: STORE/cas/sha256/f3/6b now has the digest " + ir.Sum([]byte("RowS"))}},
		"a path out of the work folder": {func(b *fixture, t *pod.Task) {
			t.Fetch = []pod.Fetch{{Ref: b.put("rows"), Path: "../in", Name: "input flights"}}
		}, pod.End{ExitCode: 126, Fault: `the task is damaged: "../in" is outside the work folder`}},
		"a task of another version": {func(_ *fixture, t *pod.Task) { t.Step.Version = 99 },
			pod.End{ExitCode: 126, Fault: "the task has version 99 of the contract, but this tenon-pod supports version 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			task := b.job("echo ran")
			c.change(b, &task)
			c.want.Stored = task.Step.Version == step.Version
			run := b.run(task)
			c.want.Fault = strings.ReplaceAll(c.want.Fault, "STORE", b.url)
			if strings.Contains(name, "damaged") && strings.HasPrefix(run.end().Fault, "fetch input flights: artifact "+ir.Sum([]byte("rows"))+" was modified") {
				c.want.Fault = run.end().Fault // it names paths of the store
			}
			run.want(c.want)
			if c.want.Stored && run.result().Finished.Before(run.result().Started) {
				t.Errorf("it finished at %v", run.result().Finished)
			}
			if got := run.said(); got != "tenon: "+c.want.Fault+"\n" {
				t.Errorf("it said %q", got)
			}
			if c.want.Stored && run.result().Log != nil {
				if text, err := b.store.Bytes(t.Context(), *run.result().Log); err != nil || string(text) != run.said() {
					t.Errorf("the log in the store is %q, %v", text, err)
				}
			}
		})
	}
}

func TestProgramThatWritesTooMuchIsStopped(t *testing.T) {
	b := newFixture(t)
	task := b.job("trap '' TERM; head -c 3M /dev/zero > ../all; mv ../all .; sleep 600 & wait; sleep 600")
	task.Disk = 1 << 20
	b.run(task).want(pod.End{ExitCode: 137, Signal: "SIGKILL", Fault: "wrote 3 MiB, more than needs.disk 1 MiB", Stored: true})
}

// Speed makes no difference: the program fails whether it was killed or had ended.
func TestProgramThatWroteTooMuchFails(t *testing.T) {
	b := newFixture(t)
	task := b.job("head -c 3M /dev/zero > ../all; mv ../all ../out/result")
	task.Disk = 1 << 20
	c := b.run(task)
	if got := c.result(); got.Fault != "wrote 3 MiB, more than needs.disk 1 MiB" || len(got.Outputs) > 0 || c.status == 0 {
		t.Errorf("status %d, %+v", c.status, got)
	}
	task.Disk = 8 << 20
	task.Name += "b"
	b.run(task).want(pod.End{Stored: true})
}

func TestPodIsStopped(t *testing.T) {
	const deaf = "trap '' TERM; echo listens; while :; do sleep 0.01; done"
	for name, c := range map[string]struct {
		script string
		grace  time.Duration
		want   pod.End
	}{
		"ends with its program":       {"echo listens; exec sleep 600", 0, pod.End{ExitCode: 143, Signal: "SIGTERM", Fault: "the pod was stopped", Asked: true}},
		"succeeds all the same":       {"trap 'echo 42 > ../out/result; exit 0' TERM; echo listens; while :; do sleep 0.01; done", 0, pod.End{Stored: true}},
		"kills a program after grace": {deaf, time.Millisecond, pod.End{ExitCode: 137, Signal: "SIGKILL", Fault: "the pod was stopped", Asked: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFixture(t)
			task := b.job(c.script)
			task.Grace = c.grace
			run := b.start(task)
			run.says("listens\n")
			b.ok(run.Process.Signal(unix.SIGTERM))
			run.wait().want(c.want)
		})
	}
}

// The startup probe of a service without an endpoint succeeds from the start of its
// program to the end of the pod.
func TestServiceWithoutEndpointReportsItsStart(t *testing.T) {
	started := func() (bool, string) {
		cmd := exec.Command(os.Args[0], pod.StartedCommand)
		cmd.Env = []string{asPod + "=1"}
		said, err := cmd.Output()
		return err == nil, string(said)
	}
	b := newFixture(t)
	task := b.job("echo runs; while :; do sleep 0.01; done")
	task.Kind, task.Step.Outputs = ir.Service, nil
	if ok, said := started(); ok || said != pod.NotStarted+"\n" {
		t.Errorf("before the pod: %v, it said %q", ok, said)
	}
	c := b.start(task)
	c.says("runs\n")
	c.eventually("it reports that it has started", func() bool { ok, _ := started(); return ok })
	b.ok(c.Process.Kill())
	c.wait()
	if ok, _ := started(); ok {
		t.Error("after the end of the pod, it still reports that it has started")
	}
}

func TestStoppedServiceContinuesWhileItDrains(t *testing.T) {
	const script = "trap 'echo heard; exit 0' TERM; echo listens; while :; do sleep 0.01; done"
	start := func(t *testing.T, drain time.Duration) *container {
		t.Parallel()
		b := newFixture(t)
		task := b.job(script)
		task.Kind, task.Step.Outputs, task.Drain = ir.Service, nil, drain
		task.Step.Endpoint = &ir.Endpoint{Port: 8080}
		c := b.start(task)
		c.says("listens\n")
		return c
	}
	t.Run("to its end", func(t *testing.T) {
		c := start(t, 500*time.Millisecond)
		c.ok(c.Process.Signal(unix.SIGTERM))
		asked := time.Now()
		if c.wait().want(pod.End{}); time.Since(asked) < c.task.Drain || !strings.Contains(c.said(), "heard\n") {
			t.Errorf("it ended after %s of a drain of %s; it said %q", time.Since(asked), c.task.Drain, c.said())
		}
	})
	t.Run("unless nothing is left", func(t *testing.T) {
		c := start(t, time.Hour)
		c.ok(c.store.PutNote(t.Context(), pod.IdleNote(c.task.Name), nil))
		c.ok(c.Process.Signal(unix.SIGTERM))
		c.wait().want(pod.End{})
	})
	t.Run("unless it is asked again", func(t *testing.T) {
		c := start(t, time.Hour)
		c.eventually("it ends", func() bool {
			c.ok(c.Process.Signal(unix.SIGTERM))
			return strings.Contains(c.said(), "heard\n")
		})
		c.wait().want(pod.End{})
	})
}

func TestPodIsStoppedBeforeItsProgramStarts(t *testing.T) {
	b := newFixture(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	b.ok(err)
	t.Cleanup(func() { b.ok(silent.Close()) })
	b.url = "s3://bucket?use_path_style=true&region=us-east-1&endpoint=http://" + silent.Addr().String()
	c := b.start(b.job("echo ran"), pod.StoreEnv+"AWS_ACCESS_KEY_ID=a", pod.StoreEnv+"AWS_SECRET_ACCESS_KEY=b")
	asks, err := silent.Accept()
	b.ok(err)
	defer asks.Close()
	b.ok(c.Process.Signal(unix.SIGTERM))
	c.wait().want(pod.End{ExitCode: 143, Signal: "SIGTERM", Fault: "the pod was stopped before its program started", Asked: true})
}

func TestControlGroupPath(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		peak   int64
		killed bool
	}{
		"version 2": {map[string]string{
			"cgroup.type": "domain\n", "memory.stat": "anon 4096\nfile 1000000\nkernel 16384\nshmem 8192\n", "memory.events": "low 0\noom 1\noom_kill 1\noom_group_kill 0\n",
		}, 12288, true},
		"version 1": {map[string]string{
			"memory/memory.stat": "cache 99\nrss 1\ntotal_cache 1000000\ntotal_rss 4096\ntotal_shmem 8192\n", "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		}, 12288, true},
		"that of the machine": {map[string]string{
			"memory/memory.stat": "total_rss 99999999999999\n", "memory/memory.oom_control": "oom_kill 2\n", "memory/release_agent": "",
		}, 0, false},
		"none": {nil, 0, false},
	} {
		dir := t.TempDir()
		for path, text := range c.files {
			err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755), os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644))
			if err != nil {
				t.Fatal(err)
			}
		}
		m := newMeter(dir)
		m.kills = 0
		m.look()
		if m.peak != c.peak {
			t.Errorf("%s: %d bytes of memory, want %d", name, m.peak, c.peak)
		}
		if _, killed := m.read(); killed != c.killed {
			t.Errorf("%s: killed because of memory: %v", name, killed)
		}
	}
}

// The kernel kills the largest process, which need not be the program itself.
func TestOutOfMemoryKillIsReported(t *testing.T) {
	b := newFixture(t)
	root, limit := "/sys/fs/cgroup", "memory.max"
	if _, err := os.Stat(filepath.Join(root, "memory/memory.stat")); err == nil {
		root, limit = filepath.Join(root, "memory"), "memory.limit_in_bytes"
	} else {
		b.ok(os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0))
	}
	group, err := os.MkdirTemp(root, "tenon-pod-test")
	b.ok(err)
	b.ok(os.WriteFile(filepath.Join(group, limit), []byte("128M"), 0))
	// Processes join the control group; a mount makes it visible, as in a container.
	join := fmt.Sprintf(`echo 0 > %[1]s/cgroup.procs && mount --make-rprivate / && mount --bind %[1]s %[2]s && exec "$0" "$@"`, group, root)
	c := b.command(b.job("head -c 1G /dev/zero | tail -c 1G | wc -c; echo goes on; exit 3"), nil, "sh", "-c", join, os.Args[0]).wait()
	c.want(pod.End{ExitCode: 3, OutOfMemory: true, Stored: true})
	if used := c.result().Usage.PeakMem; used < 32<<20 || used > 128<<20 {
		t.Errorf("it used %d bytes at most", used)
	}
	c.eventually("the group is empty", func() bool { return os.Remove(group) == nil })
}

func TestRunsOnlyAsInit(t *testing.T) {
	b := newFixture(t)
	cmd := exec.Command(os.Args[0], "run", "--store", b.url, "--task", "sha256:"+hex.EncodeToString(make([]byte, 32)), "--message", b.message)
	cmd.Env = []string{asPod + "=1"}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 126 || !strings.Contains(string(out), "first process of a container") {
		t.Errorf("%v, it said %q", err, out)
	}
	if _, err := os.ReadFile(b.message); err != nil {
		t.Error(fmt.Errorf("there is no message: %w", err))
	}
}
