package components

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// functions are the code of all of builtin.Components.
var functions = map[string]func(context.Context, *step.Step) error{
	"source.csv":     sourceFiles("csv"),
	"source.parquet": sourceFiles("parquet"),
	"source.json":    sourceFiles("json"),
	"source.http":    sourceHTTP,
	"feature.sql":    featureSQL,
	"split.random":   splitRandom,
	"split.by_time":  splitByTime,
	"split.by_group": splitByGroup,
	"evaluate.gate":  gate,
}

// Run does the work of a step.
func Run(ctx context.Context, s *step.Step) error {
	run, ok := functions[s.Component]
	if !ok {
		return fmt.Errorf("component %q is not built in", s.Component)
	}
	return run(ctx, s)
}

// params reads the parameters of a step. A field that the component does not
// know is an error, because it would have no effect.
func params(s *step.Step, to any) error {
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

func input(s *step.Step, port string) (step.Port, error) {
	p, ok := s.Inputs[port]
	if !ok {
		return p, fmt.Errorf("%s has no input %q", s.Component, port)
	}
	return p, nil
}

func output(s *step.Step, port string) (step.Port, error) {
	p, ok := s.Outputs[port]
	if !ok {
		return p, fmt.Errorf("%s has no output %q", s.Component, port)
	}
	return p, nil
}

// limits are what the unit may take. A step that asked for nothing gets what
// DuckDB takes by itself.
func limits(s *step.Step) engine.Limits {
	// Some of the memory is for the program around the database.
	return engine.Limits{
		Threads: int((s.Resources.MilliCPU + 999) / 1000),
		Memory:  s.Resources.Memory / 10 * 8,
		TempDir: s.Scratch,
	}
}

// report appends a line to the progress of the step. Progress is a courtesy:
// a step does not fail for want of it.
func report(s *step.Step, done, total float64, message string) {
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
