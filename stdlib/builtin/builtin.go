package builtin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A Component is work that tenon does itself.
type Component struct {
	Name string
	// Version is raised when the same parameters and inputs come to mean
	// another result, so that what was made before is made again.
	Version int

	run func(context.Context, *step.Step) error
}

// Components are all of them.
func Components() []Component {
	return []Component{
		{"source.csv", 1, sourceFiles("csv")},
		{"source.parquet", 1, sourceFiles("parquet")},
		{"source.json", 1, sourceFiles("json")},
		{"source.http", 1, sourceHTTP},
		{"feature.sql", 1, featureSQL},
		{"split.random", 1, splitRandom},
		{"split.by_time", 1, splitByTime},
		{"split.by_group", 1, splitByGroup},
		{"evaluate.gate", 1, gate},
	}
}

// Lookup returns the component of that name.
func Lookup(name string) (Component, bool) {
	for _, c := range Components() {
		if c.Name == name {
			return c, true
		}
	}
	return Component{}, false
}

// Run does the work of a step.
func Run(ctx context.Context, s *step.Step) error {
	c, ok := Lookup(s.Component)
	if !ok {
		return fmt.Errorf("component %q is not one that tenon runs itself", s.Component)
	}
	return c.run(ctx, s)
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
func limits(s *step.Step) duck.Limits {
	// Some of the memory is for the program around the database.
	return duck.Limits{
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

// Version returns the version of a component's meaning, 0 for one unknown.
func Version(name string) int {
	c, _ := Lookup(name)
	return c.Version
}
