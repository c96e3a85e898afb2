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

// A pod resumes from the newest checkpoint whose bytes in the store are right, and removes all of them once the job
// has succeeded. Those of another key stay.
func TestADamagedCheckpointInTheStoreIsLeftOut(t *testing.T) {
	b := newFixture(t)
	const folder = "state/checkpoints/models-late-train/"
	for _, key := range []string{"key", "other"} {
		c := &step.Checkpoints{Path: t.TempDir(), Key: key, Keep: 3, Attempt: 1}
		for _, n := range []int64{9, 10} {
			b.ok(c.Save(n, func(dir string) error { return os.WriteFile(filepath.Join(dir, "state"), []byte(key), 0o644) }))
			path := pod.CheckpointName(t.TempDir(), n)
			f, err := os.Create(path)
			b.ok(err)
			b.ok(errors.Join(c.Pack(n, f), f.Close()))
			_, err = b.store.Keep(t.Context(), folder+key, path, "pod-1")
			b.ok(err)
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
