package planner_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

func planFile(t *testing.T) (*planner.Plan, string) {
	t.Helper()
	w := world1(t)
	p := w.plan(sys(chain(on("models/late/train", params(`{"sql":"a < b & c > d","n":1.50}`)))...))
	p.Blobs = map[string][]byte{"sha256:b": []byte("b"), "sha256:a": []byte("\x00a")}
	path := filepath.Join(t.TempDir(), "plan")
	if err := planner.Write(path, p); err != nil {
		t.Fatal(err)
	}
	return p, path
}

func TestPlanFileComesBack(t *testing.T) {
	p, path := planFile(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	got, err := planner.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := planner.Write(path+"2", got); err != nil {
		t.Fatal(err)
	}
	first, _ := os.ReadFile(path)
	second, _ := os.ReadFile(path + "2")
	if !bytes.Equal(first, second) {
		t.Error("written again it has other bytes")
	}
	if diff := cmp.Diff(lines(p), lines(got)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	for i, u := range got.System.Units {
		before := u.Digest
		if err := u.Define(); err != nil || u.Digest != before {
			t.Errorf("unit %d came back with another definition: %v", i, err)
		}
	}
}

// signed gives a plan file the digest of its content.
func signed(t *testing.T, file []byte) []byte {
	t.Helper()
	var f struct {
		Version int             `json:"tenon_plan"`
		Digest  string          `json:"digest"`
		Plan    json.RawMessage `json:"plan"`
	}
	if err := json.Unmarshal(file, &f); err != nil {
		t.Fatal(err)
	}
	f.Digest = ir.Sum(f.Plan)
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPlanFileIsRefused(t *testing.T) {
	_, path := planFile(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("the file has no %s", old)
		}
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	const edited = "plan file was modified after it was written: write it again with tenon plan --out"
	tests := []struct {
		name    string
		content []byte
		want    string
		edited  bool
	}{
		{"an action changed", edit(`"action":"create"`, `"action":"delete"`), edited, true},
		{"space added", edit(`"action":`, `"action": `), edited, true},
		{"cut off", good[:len(good)/2], edited, true},
		{"something added", append(bytes.Clone(good), "{}"...), edited, true},
		{"the digest removed", edit(`"digest":"sha256`, `"dugest":"sha256`), edited, true},
		{"a newer version", edit(`"tenon_plan":1`, `"tenon_plan":4`), "plan was written by a newer tenon (version 4, this one supports 1): upgrade tenon", false},
		{"a field of another tenon", signed(t, bytes.Replace(good, []byte(`"action":"create"`), []byte(`"action":"create","if":"night"`), 1)), `unknown field "if"`, false},
		{"another file", []byte(`{"a":1}`), "is not a plan file", false},
		{"no file of ours at all", []byte("\x7fELF"), "is not a plan file", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := planner.Read(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, planner.ErrEdited) != tt.edited {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := planner.Read(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
