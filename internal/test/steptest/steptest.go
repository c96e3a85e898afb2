// Package steptest runs components in Go on steps of their own, without the rest of
// Tenon.
package steptest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// schema is that of every output of [New].
var schema = ir.Schema{{Name: "id", Type: "int64"}, {Name: "name", Type: "string"}}

// New makes a step with an output for each port.
func New(t *testing.T, component, params string, outputs ...string) *step.Step {
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

// Write writes a file into a folder of its own and returns its path.
func Write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A Component does the work of a step.
type Component func(context.Context, *step.Step) error

// Run runs a step that must succeed.
func (c Component) Run(t *testing.T, s *step.Step) {
	t.Helper()
	if err := c(context.Background(), s); err != nil {
		t.Fatal(err)
	}
}

// Fails runs a step and wants its error to contain a text.
func (c Component) Fails(t *testing.T, s *step.Step, want string) {
	t.Helper()
	err := c(context.Background(), s)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

// Rows returns the rows of a table, with "|" between the cells.
func Rows(t *testing.T, path string) []string {
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

// Progress returns the messages, and fails if a line is not what the contract says.
func Progress(t *testing.T, s *step.Step) []string {
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
