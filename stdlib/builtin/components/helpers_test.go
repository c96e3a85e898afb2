package components

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func TestMain(m *testing.M) {
	firstPause = time.Millisecond
	os.Exit(m.Run())
}

var schema = ir.Schema{{Name: "id", Type: "int64"}, {Name: "name", Type: "string"}}

// newStep makes a step with an output for each port.
func newStep(t *testing.T, component, params string, outputs ...string) *step.Step {
	t.Helper()
	dir := t.TempDir()
	scratch := filepath.Join(dir, "scratch")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &step.Step{
		Version: step.Version, Component: component, Params: json.RawMessage(params), Scratch: scratch,
		Progress: filepath.Join(dir, "progress.jsonl"), Inputs: map[string]step.Port{}, Outputs: map[string]step.Port{},
	}
	for _, port := range outputs {
		s.Outputs[port] = step.Port{Kind: ir.Table, Path: filepath.Join(dir, port), Schema: schema}
	}
	t.Cleanup(func() {
		if left, _ := os.ReadDir(scratch); len(left) > 0 {
			t.Errorf("left in scratch: %v", left)
		}
	})
	return s
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func run(t *testing.T, s *step.Step) {
	t.Helper()
	if err := Run(context.Background(), s); err != nil {
		t.Fatal(err)
	}
}

// fails runs a step and wants its error to contain a text.
func fails(t *testing.T, s *step.Step, want string) {
	t.Helper()
	err := Run(context.Background(), s)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

func rows(t *testing.T, path string) []string {
	t.Helper()
	p, err := engine.Preview(context.Background(), path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{}
	for _, c := range p.Rows {
		lines = append(lines, strings.Join(c, "|"))
	}
	return lines
}

// progress returns the messages, and fails if a line is not what the contract says.
func progress(t *testing.T, s *step.Step) []string {
	t.Helper()
	b, err := os.ReadFile(s.Progress)
	if err != nil {
		t.Fatal(err)
	}
	var messages []string
	for _, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		var p step.Progress
		if err := json.Unmarshal(line, &p); err != nil {
			t.Fatalf("progress %s: %v", line, err)
		}
		messages = append(messages, p.Message)
	}
	return messages
}
