package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/internal/test/s3test"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func TestUnusableStoreIsReported(t *testing.T) {
	b := newFixture(t)
	good := b.url
	for name, c := range map[string]struct{ url, want string }{
		"none":          {"", "the URL of the store"},
		"no such":       {good + "/no/such", "/no/such"},
		"no kind known": {"ftp://host/store", `the URL of the store "ftp://host/store" has an unknown scheme`},
		"without task":  {"file://" + t.TempDir(), "read the task: " + "sha256:"},
	} {
		if b.url = c.url; name == "none" {
			b.url = "="
		}
		run := b.run(b.job("echo ran"))
		end := run.end()
		if run.status != 126 || end.ExitCode != 126 || end.Stored || !strings.Contains(end.Fault, c.want) || strings.Contains(end.Fault, "\n") {
			t.Errorf("%s: status %d, %+v, want %q", name, run.status, end, c.want)
		}
		if run.said() != "tenon: "+end.Fault+"\n" {
			t.Errorf("%s: it said %q", name, run.said())
		}
	}
}

func TestAStoreOnS3(t *testing.T) {
	server := s3test.Start(t)
	server.Setenv(t)
	b := newFixtureAt(t, server.Bucket(t, "runs"), "")
	task := b.job("cat ../in/flights | tee ../out/result; env | grep ^AWS")
	task.Fetch = []pod.Fetch{{Ref: b.put("rows\n"), Path: "in/flights", Name: "input flights"}}
	keys := func(env []string) (own []string) {
		for _, kv := range env {
			own = append(own, pod.StoreEnv+kv)
		}
		return append(own, pod.SecretEnv+"AWS_ACCESS_KEY_ID=of the program")
	}
	c := b.run(task, keys(server.Environ())...).want(pod.End{Stored: true})
	if text, err := b.store.Bytes(t.Context(), c.result().Outputs["result"]); err != nil || string(text) != "rows\n" {
		t.Errorf("the result is %q, %v", text, err)
	}
	if c.said() != "rows\nAWS_ACCESS_KEY_ID=of the program\n" {
		t.Errorf("it said %q", c.said())
	}
	task.Name += "b"
	c = b.run(task, keys([]string{"AWS_ACCESS_KEY_ID=" + server.AccessKey, "AWS_SECRET_ACCESS_KEY=wrong"})...)
	if fault := c.end().Fault; c.status != 126 || !strings.Contains(fault, "refused") || strings.Contains(fault, server.SecretKey) {
		t.Errorf("status %d, fault %q", c.status, fault)
	}
}

func TestOutputsAreOfTheirKind(t *testing.T) {
	for name, c := range map[string]struct {
		kind          ir.PortKind
		script, fault string
	}{
		"a folder for a table": {ir.Table, "mkdir ../out/result", "output result is a table: expected one Parquet file at WORK/out/result, but the step wrote a folder"},
		"a link":               {ir.File, "ln -s /etc/passwd ../out/result", "output result is a file: expected a file or a folder at WORK/out/result, but the step wrote a link"},
		"a pipe in a folder": {ir.File, "mkdir ../out/result; mkfifo ../out/result/p",
			"store output result: digest WORK/out/result: p is a pipe: an artifact can contain only files, folders and links within it"},
		"metrics that are no file": {ir.File, "echo 42 > ../out/result; ln -s /dev/zero ../notes/metrics.json", "metrics: open WORK/notes/metrics.json: too many levels of symbolic links"},
	} {
		b := newFixture(t)
		task := b.job(c.script)
		task.Step.Outputs["result"] = step.Port{Kind: c.kind, Path: b.at("out/result")}
		run := b.run(task).want(pod.End{Fault: strings.ReplaceAll(c.fault, "WORK", b.work), Stored: true})
		if run.status != 126 {
			t.Errorf("%s: status %d", name, run.status)
		}
	}
}

// away makes the store reject every write. back undoes that.
func (b *fixture) away() (back func()) {
	b.Helper()
	cas, notes := filepath.Join(b.dir, "cas"), filepath.Join(b.dir, "notes")
	for _, dir := range []string{cas, notes} {
		if err := os.Rename(dir, dir+".away"); err != nil && !errors.Is(err, os.ErrNotExist) {
			b.Fatal(err)
		}
		b.ok(os.WriteFile(dir, nil, 0o644))
	}
	return func() {
		for _, dir := range []string{cas, notes} {
			b.ok(os.Remove(dir))
			if err := os.Rename(dir+".away", dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				b.Fatal(err)
			}
		}
	}
}

func TestStoreThatRefusesWritesIsRetried(t *testing.T) {
	b := newFixture(t)
	task := b.job("echo 42 > ../out/result; echo written; while [ ! -e go ]; do sleep 0.01; done")
	c := b.start(task)
	c.says("written\n")
	back := b.away()
	b.ok(os.WriteFile(b.at("scratch/go"), nil, 0o644))
	c.eventually("it reports why it waits", func() bool {
		_, progress := c.log()
		return slices.ContainsFunc(progress, func(p step.Progress) bool {
			return strings.HasPrefix(p.Message, "the store does not accept output result; retrying: ")
		})
	})
	back()
	if c.wait().want(pod.End{Stored: true}); c.result().Outputs["result"].Digest != ir.Sum([]byte("42\n")) || c.said() != "written\n" {
		t.Errorf("%+v; it said %q", c.result(), c.said())
	}
}

func TestStoreErrorsAreInTheMessage(t *testing.T) {
	b := newFixture(t)
	b.patience = "1ms"
	task := b.job("echo 42 > ../out/result; echo written; while [ ! -e go ]; do sleep 0.01; done")
	c := b.start(task)
	c.says("written\n")
	b.away()
	b.ok(os.WriteFile(b.at("scratch/go"), nil, 0o644))
	end := c.wait().end()
	if c.status != 126 || end.ExitCode != 0 || end.Stored || !strings.HasPrefix(end.Fault, "store output result: ") || !strings.Contains(end.Fault, "; store the result: ") {
		t.Errorf("status %d, %+v", c.status, end)
	}
}

func TestTheLogThatIsStoredIsBounded(t *testing.T) {
	for _, size := range []int{0, 1, 9, 10, 11, 19, 20, 21, 25, 1000} {
		for _, piece := range []int{1, 3, 10, 17, 1000} {
			var all []byte
			for i := range size {
				all = append(all, byte('a'+i%26))
			}
			dir := t.TempDir()
			tail := newTail(filepath.Join(dir, "log"), 10)
			for rest := all; len(rest) > 0; {
				n := min(piece, len(rest))
				tail.write(rest[:n])
				rest = rest[n:]
			}
			path, cut, err := tail.end()
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if want := all[max(0, size-10):]; err != nil || !bytes.Equal(got, want) || cut != int64(size-len(want)) {
				t.Errorf("%d bytes in pieces of %d: %q without %d, %v, want %q", size, piece, got, cut, err, want)
			}
		}
	}
}

// A job with the rights of its unit reads inputs where they are made, and only writes what it
// leaves: each output into a store of its own, and the result elsewhere.
func TestAJobWithPlaces(t *testing.T) {
	b, made, notes, out := newFixture(t), newFixture(t), newFixture(t), newFixture(t)
	task := b.job("cat ../in/flights; echo 42 > ../out/result")
	task.Fetch = []pod.Fetch{{Ref: made.put("rows\n"), Path: "in/flights", Name: "input flights", Store: made.url}}
	task.Places = &pod.Places{Notes: notes.url, Outputs: map[string]string{"result": out.url}}
	c := b.run(task)
	if c.status != 0 || c.said() != "rows\n" {
		t.Fatalf("it exits with %d and says %q", c.status, c.said())
	}
	text, err := notes.store.Note(t.Context(), pod.ResultNote(task.Name))
	b.ok(err)
	var res pod.Result
	b.ok(json.Unmarshal(text, &res))
	if text, err := out.store.Bytes(t.Context(), res.Outputs["result"]); err != nil || string(text) != "42\n" {
		t.Errorf("the output is %q, %v", text, err)
	}
	if text, err := notes.store.Bytes(t.Context(), *res.Log); err != nil || string(text) != "rows\n" {
		t.Errorf("the log is %q, %v", text, err)
	}
	if all, err := b.store.Notes(t.Context(), ""); err != nil || len(all) > 0 {
		t.Errorf("the store of the task has %v, %v", all, err)
	}
}
