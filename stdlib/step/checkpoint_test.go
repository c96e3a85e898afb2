package step_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/step"
)

func checkpoints(t *testing.T, key string) *step.Checkpoints {
	return &step.Checkpoints{Path: t.TempDir(), Key: key, Keep: 2, Attempt: 3}
}

// saves returns what writes a file into a folder of a checkpoint.
func saves(text string) func(string) error {
	return func(dir string) error {
		return errors.Join(os.Mkdir(filepath.Join(dir, "deep"), 0o755), os.WriteFile(filepath.Join(dir, "deep", "state"), []byte(text), 0o644))
	}
}

// newest returns what the newest checkpoint holds, and why others are left out.
func newest(t *testing.T, c *step.Checkpoints) (text string, warned []string) {
	t.Helper()
	found, err := c.Newest(func(why error) { warned = append(warned, why.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	if found == nil {
		return "", warned
	}
	b, err := os.ReadFile(filepath.Join(found.Path, "deep", "state"))
	if err != nil || found.Attempt != 3 {
		t.Fatalf("%+v: %v", found, err)
	}
	return string(b), warned
}

func TestTheNewestCheckpointsAreKept(t *testing.T) {
	c := checkpoints(t, "key")
	for _, n := range []int64{9, 10, 11} {
		if err := c.Save(n, saves(strings.Repeat("x", int(n)))); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := c.Numbers(); err != nil || !slices.Equal(got, []int64{11, 10}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, warned := newest(t, c); got != strings.Repeat("x", 11) || warned != nil {
		t.Errorf("%q, %q", got, warned)
	}
	entries, err := os.ReadDir(c.Path)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v: something half-written is left", entries, err)
	}
}

// A checkpoint that was not resumed from does not take the place of those that are saved after it.
func TestADamagedCheckpointIsNotCounted(t *testing.T) {
	c := checkpoints(t, "key")
	c.Keep = 1
	if err := errors.Join(c.Save(9, saves("9")), os.Remove(filepath.Join(c.At(9), step.CheckpointFile)), c.Save(1, saves("1"))); err != nil {
		t.Fatal(err)
	}
	if got, warned := newest(t, c); got != "1" || warned != nil {
		t.Errorf("%q, %q", got, warned)
	}
}

func TestADamagedCheckpointIsLeftOut(t *testing.T) {
	at := func(c *step.Checkpoints, name ...string) string {
		return filepath.Join(append([]string{c.At(2)}, name...)...)
	}
	for _, x := range []struct {
		name, want string
		damage     func(c *step.Checkpoints) error
	}{
		{"without a manifest", "is not complete", func(c *step.Checkpoints) error { return os.Remove(at(c, step.CheckpointFile)) }},
		{"half a manifest", "is not complete", func(c *step.Checkpoints) error { return os.Truncate(at(c, step.CheckpointFile), 30) }},
		{"a file is cut off", "deep/state is not what was saved", func(c *step.Checkpoints) error { return os.Truncate(at(c, "deep", "state"), 0) }},
		{"a file is missing", "deep/state is not what was saved", func(c *step.Checkpoints) error { return os.Remove(at(c, "deep", "state")) }},
		{"another file", "files that were not saved with it", func(c *step.Checkpoints) error { return os.WriteFile(at(c, "more"), nil, 0o644) }},
		{"a link", "neither a file nor a folder", func(c *step.Checkpoints) error { return os.Symlink("deep", at(c, "link")) }},
		{"other code", "other code, or with other inputs", func(c *step.Checkpoints) error {
			other := *c
			other.Key = "other"
			return other.Save(2, saves("other"))
		}},
		{"a copy", "is a copy of checkpoint 1", func(c *step.Checkpoints) error {
			return errors.Join(os.RemoveAll(c.At(2)), os.CopyFS(c.At(2), os.DirFS(c.At(1))))
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := checkpoints(t, "key")
			if err := errors.Join(c.Save(1, saves("1")), c.Save(2, saves("2")), x.damage(c)); err != nil {
				t.Fatal(err)
			}
			got, warned := newest(t, c)
			if got != "1" || len(warned) != 1 || !strings.Contains(warned[0], x.want) {
				t.Errorf("it resumes from %q and says %q", got, warned)
			}
			var packed bytes.Buffer
			if err := c.Pack(2, &packed); err == nil {
				t.Error("it was packed")
			}
			if err := c.Save(2, saves("again")); err != nil {
				t.Fatal(err)
			}
			if got, _ := newest(t, c); got != "again" {
				t.Errorf("saved again, it is %q", got)
			}
		})
	}
}

func TestACheckpointIsPackedAndUnpacked(t *testing.T) {
	from, to := checkpoints(t, "key"), checkpoints(t, "key")
	var packed bytes.Buffer
	if err := errors.Join(from.Save(7, saves("seven")), from.Pack(7, &packed)); err != nil {
		t.Fatal(err)
	}
	whole := packed.Bytes()
	for n := 0; n < len(whole); n += 97 { // what is cut off holds all that was saved, or is no checkpoint
		part := checkpoints(t, "key")
		if err := part.Unpack(7, bytes.NewReader(whole[:n])); err != nil {
			continue
		}
		if got, _ := newest(t, part); got != "" && got != "seven" {
			t.Errorf("the first %d of %d bytes are a checkpoint with %q", n, len(whole), got)
		}
	}
	if err := to.Unpack(7, bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	if got, warned := newest(t, to); got != "seven" || warned != nil {
		t.Errorf("%q, %q", got, warned)
	}
}

func TestWhatFailsToSaveIsNoCheckpoint(t *testing.T) {
	c := checkpoints(t, "key")
	failed := errors.New("no space")
	if err := c.Save(1, func(dir string) error {
		return errors.Join(failed, os.WriteFile(filepath.Join(dir, "half"), nil, 0o644))
	}); !errors.Is(err, failed) {
		t.Errorf("it said %v", err)
	}
	if err := c.Save(0, saves("")); err == nil || !strings.Contains(err.Error(), "begin at 1") {
		t.Errorf("it said %v", err)
	}
	if err := c.Save(1, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, step.CheckpointFile), nil, 0o644)
	}); err == nil || !strings.Contains(err.Error(), "name of the manifest") {
		t.Errorf("it said %v", err)
	}
	if entries, err := os.ReadDir(c.Path); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}
