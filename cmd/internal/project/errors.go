package project

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
)

// A SourceError contains the faults of a system's sources and what is needed to show
// them.
type SourceError struct {
	Faults diag.List
	Source func(file string) []byte // content of a file that the faults name, or nil
}

func (e *SourceError) Error() string { return e.Faults.Error() }

// Unwrap returns the faults.
func (e *SourceError) Unwrap() error { return e.Faults }

// A RequestError is an invalid request, whatever the state is.
type RequestError struct{ error }

// Unwrap returns the cause.
func (e *RequestError) Unwrap() error { return e.error }

// A Setting names one of the [Settings] in an error.
type Setting string

// The settings that may need another value.
const (
	StateSetting     Setting = "state"
	ArtifactsSetting Setting = "artifacts"
)

// A SettingError may be resolved by another value of a setting.
type SettingError struct {
	Setting Setting
	Err     error
}

func (e *SettingError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *SettingError) Unwrap() error { return e.Err }

// A DetachError says why tenon cannot do something in a cluster.
type DetachError struct {
	What      string // "the plan cannot be applied"
	Obstacles []Obstacle
}

// An Obstacle is one thing that must be changed first.
type Obstacle struct {
	Message string
	Setting Setting // the setting that removes it, or ""
	Value   string  // the required value of the setting, or "" if there is a choice
}

func (e *DetachError) Error() string {
	lines := []string{e.What + " in the cluster:"}
	for _, o := range e.Obstacles {
		lines = append(lines, o.Message)
	}
	return strings.Join(lines, "\n")
}

func (e *DetachError) add(s Setting, value, format string, args ...any) {
	e.Obstacles = append(e.Obstacles, Obstacle{fmt.Sprintf(format, args...), s, value})
}
