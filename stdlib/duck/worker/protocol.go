package worker

import (
	"encoding/json"
	"errors"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// protocol is raised when an older side would misread a newer one.
const protocol = 1

type hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
}

// A request without a call cancels the one of its ID.
type request struct {
	ID   int64           `json:"id"`
	Call string          `json:"call,omitempty"`
	Args json.RawMessage `json:"args,omitempty"`
}

type response struct {
	ID     int64           `json:"id"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *failure        `json:"error,omitempty"`
}

// The arguments of the calls, and the results that are no type of package duck.
type (
	describeArgs struct {
		Tables map[string]ir.Schema `json:"tables"`
		Query  string               `json:"query"`
	}
	evaluateArgs struct {
		Query  string                  `json:"query"`
		Inputs map[string]duck.Literal `json:"inputs"`
		Out    duck.Table              `json:"out"`
	}
	typedArgs struct {
		Rows   duck.Rows `json:"rows"`
		Schema ir.Schema `json:"schema"`
	}
	writeArgs struct {
		Inputs map[string]duck.Literal `json:"inputs"`
		Paths  map[string]string       `json:"paths"`
	}
	readArgs struct {
		Path   string    `json:"path"`
		Schema ir.Schema `json:"schema"`
	}
	verifyArgs struct {
		Path       string           `json:"path"`
		Schema     ir.Schema        `json:"schema"`
		Keys       []string         `json:"keys,omitempty"`
		References []duck.Reference `json:"references,omitempty"`
	}
	verified struct {
		Violations []duck.Violation `json:"violations"`
		Rows       int64            `json:"rows"`
	}
	previewArgs struct {
		Path string `json:"path"`
		N    int    `json:"n"`
	}
	nullsArgs struct {
		Path string `json:"path"`
	}
	csvArgs struct {
		Path string `json:"path"`
		To   string `json:"to"`
	}
	headsArgs struct {
		Heads []duck.Head `json:"heads"`
	}
	inferArgs struct {
		Query   string                 `json:"query"`
		Sources map[string]duck.Source `json:"sources"`
	}
)

// A failure is an error: what it says, and the errors in it that callers look for.
type failure struct {
	Message string           `json:"message"`
	SQL     *duck.SQLError   `json:"sql,omitempty"`
	Value   *duck.ValueError `json:"value,omitempty"`
}

func failureOf(err error) *failure {
	f := &failure{Message: err.Error()}
	errors.As(err, &f.SQL)
	errors.As(err, &f.Value)
	return f
}

// err is the error that became the failure, as far as callers can tell.
func (f *failure) err() error {
	var inner error
	switch {
	case f.SQL != nil:
		inner = f.SQL
	case f.Value != nil:
		inner = f.Value
	default:
		return errors.New(f.Message)
	}
	if inner.Error() == f.Message {
		return inner
	}
	return &wrapped{f.Message, inner}
}

type wrapped struct {
	message string
	inner   error
}

func (e *wrapped) Error() string { return e.message }
func (e *wrapped) Unwrap() error { return e.inner }
