package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A run that begins from nothing removes what earlier ones saved from the store. What its own attempts saved stays.
func TestARunFromNothingKeepsOnlyItsOwnCheckpoints(t *testing.T) {
	for own, want := range map[int]string{1: "none\n0\n", 2: "9\n1\n"} {
		b := newFixture(t)
		const folder = "state/checkpoints/models-late-train/key"
		for n, attempt := range map[int64]int{9: own, 10: 1} {
			b.keepCheckpoint(folder, &step.Checkpoints{Path: t.TempDir(), Key: "key", Keep: 3, Attempt: attempt}, n)
		}
		task := b.job(`ls ../checkpoints | grep . || echo none; ls ` + filepath.Join(b.dir, "kept", folder) + ` | grep -c tar; exit 0`)
		task.Step.Checkpoints = &step.Checkpoints{Path: b.at("checkpoints"), Key: "key", Keep: 2, Attempt: 2, From: 2}
		task.Checkpoints = &pod.Checkpoints{Folder: folder}
		if out, _ := b.run(task).log(); !strings.HasSuffix(out, want) {
			t.Errorf("with one of attempt %d it said %q, want %q", own, out, want)
		}
	}
}

// A pod resumes from the newest checkpoint whose bytes in the store are right, and removes all of them once the job
// has succeeded. Those of another key stay.
func TestADamagedCheckpointInTheStoreIsLeftOut(t *testing.T) {
	b := newFixture(t)
	const folder = "state/checkpoints/models-late-train/"
	for _, key := range []string{"key", "other"} {
		c := &step.Checkpoints{Path: t.TempDir(), Key: key, Keep: 3, Attempt: 1}
		for _, n := range []int64{9, 10} {
			b.keepCheckpoint(folder+key, c, n)
		}
	}
	damaged, err := filepath.Glob(filepath.Join(b.dir, "kept", folder, "key", "*10.tar*"))
	if err != nil || len(damaged) != 1 {
		t.Fatalf("%v, %v", damaged, err)
	}
	b.ok(os.Chmod(damaged[0], 0o644))
	b.ok(os.WriteFile(damaged[0], make([]byte, 4096), 0o644))

	stored := filepath.Dir(damaged[0])
	task := b.job(`ls ../checkpoints; cat ../checkpoints/9/state; echo; ls ` + stored + ` | grep -c tar; echo done > ../out/result`)
	task.Step.Checkpoints = &step.Checkpoints{Path: b.at("checkpoints"), Key: "key", Keep: 2, Attempt: 2}
	task.Checkpoints = &pod.Checkpoints{Folder: folder + "key"}
	c := b.run(task).want(pod.End{Stored: true})
	out, _ := c.log()
	if !strings.Contains(out, "tenon: checkpoint 10 cannot be used: ") || !strings.HasSuffix(out, "\n9\nkey\n1\n") {
		t.Errorf("it said %q", out)
	}
	for key, want := range map[string]int{"key": 0, "other": 2} {
		if left, err := b.store.Kept(t.Context(), folder+key); err != nil || len(left) != want {
			t.Errorf("of %s are left %v, %v", key, left, err)
		}
	}
}

// A damaged checkpoint, which may be large, is read once. One that the program saves again under its number is stored.
func TestADamagedCheckpointIsReadOnce(t *testing.T) {
	b := newFixture(t)
	at := &step.Checkpoints{Path: t.TempDir(), Key: "key", Keep: 2, Attempt: 1}
	var said []string
	k := &keeper{at: at, store: b.store, folder: "checkpoints/key", tmp: t.TempDir(), from: "pod-1", damaged: map[int64]os.FileInfo{}, say: func(line string) { said = append(said, line) }}
	save := func() {
		b.ok(at.Save(4, func(dir string) error { return os.WriteFile(filepath.Join(dir, "state"), []byte("right"), 0o644) }))
	}
	stored := func(want int) {
		t.Helper()
		b.ok(k.newest(t.Context()))
		if all, err := b.store.Kept(t.Context(), k.folder); err != nil || len(all) != want {
			t.Errorf("%d checkpoints are stored, want %d: %v", len(all), want, err)
		}
	}
	save()
	file := filepath.Join(at.At(4), "state")
	b.ok(os.WriteFile(file, []byte("wrong"), 0o644))
	stored(0)
	b.ok(os.WriteFile(file, []byte("right"), 0o644)) // it would be stored if it was read again
	stored(0)
	if len(said) != 1 || said[0] != "checkpoint 4 is damaged: state is not what was saved, and is not stored" {
		t.Errorf("it said %q", said)
	}
	save()
	stored(1)
}

// keepCheckpoint saves a checkpoint with its key as content, and puts it into the store.
func (b *fixture) keepCheckpoint(folder string, c *step.Checkpoints, number int64) {
	b.Helper()
	b.ok(c.Save(number, func(dir string) error { return os.WriteFile(filepath.Join(dir, "state"), []byte(c.Key), 0o644) }))
	path := pod.CheckpointName(b.TempDir(), number)
	f, err := os.Create(path)
	b.ok(err)
	b.ok(errors.Join(c.Pack(number, f), f.Close()))
	_, err = b.store.Keep(b.Context(), folder, path, "pod-1")
	b.ok(err)
}
