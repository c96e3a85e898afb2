package builtin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A Component is work that tenon-duck does.
type Component struct {
	Name string // "source.csv"
	Run  func(context.Context, *step.Step) error
}

// Params reads the parameters of a step. A field that the component does not
// know is an error, because it would have no effect.
func Params(s *step.Step, to any) error {
	if len(s.Params) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(s.Params))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("parameters of %s: %w", s.Component, err)
	}
	return nil
}

// Input returns an input port that the step must have.
func Input(s *step.Step, port string) (step.Port, error) {
	p, ok := s.Inputs[port]
	if !ok {
		return p, fmt.Errorf("%s has no input %q", s.Component, port)
	}
	return p, nil
}

// Output returns an output port that the step must have.
func Output(s *step.Step, port string) (step.Port, error) {
	p, ok := s.Outputs[port]
	if !ok {
		return p, fmt.Errorf("%s has no output %q", s.Component, port)
	}
	return p, nil
}

// Limits are the resources that the step may use. A step that asked for nothing
// gets DuckDB's defaults.
func Limits(s *step.Step) engine.Limits {
	// Some of the memory is for the program around the database.
	return engine.Limits{
		Threads: int((s.Resources.MilliCPU + 999) / 1000),
		Memory:  s.Resources.Memory / 10 * 8,
		TempDir: s.Scratch,
	}
}

// Report appends a line to the progress of the step. A step does not fail
// because its progress cannot be written.
func Report(s *step.Step, done, total float64, message string) {
	if s.Progress == "" {
		return
	}
	f, err := os.OpenFile(s.Progress, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	line, err := json.Marshal(step.Progress{Done: done, Total: total, Message: message})
	if err != nil {
		return
	}
	f.Write(append(line, '\n'))
}
