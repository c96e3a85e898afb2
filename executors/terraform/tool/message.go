package tool

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A message is a line of the output with -json.
type message struct {
	Type       string      `json:"type"`
	Text       string      `json:"@message"`
	Hook       hook        `json:"hook"`
	Diagnostic *diagnostic `json:"diagnostic"`
}

type hook struct {
	Resource resource `json:"resource"`
	Action   string   `json:"action"` // "create", "read", "update", "replace", "delete"
}

type resource struct {
	Address string `json:"addr"`
}

type diagnostic struct {
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Detail   string `json:"detail"`
	Address  string `json:"address"`
	Range    *struct {
		File  string `json:"filename"`
		Start struct {
			Line int `json:"line"`
		} `json:"start"`
	} `json:"range"`
}

func (d *diagnostic) String() string {
	text := d.Summary
	if d.Detail != "" {
		text += ": " + strings.Join(strings.Fields(d.Detail), " ")
	}
	var at []string
	if d.Address != "" {
		at = append(at, d.Address)
	}
	if d.Range != nil {
		at = append(at, fmt.Sprintf("%s:%d", d.Range.File, d.Range.Start.Line))
	}
	if len(at) > 0 {
		text = strings.Join(at, ", ") + ": " + text
	}
	return text
}

// mostOther is how many bytes are kept of lines that are not messages.
const mostOther = 4 << 10

// read calls f for each message, and returns the errors among them. Other lines, such as warnings about the
// configuration of the program, or a crash, are returned as text.
func read(r io.Reader, f func(message)) (other []byte, err error) {
	var errs []error
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var m message
			switch bad := json.Unmarshal(line, &m); {
			case bad != nil:
				if len(other) < mostOther {
					other = append(other, line...)
				}
			case m.Type == "diagnostic" && m.Diagnostic != nil && m.Diagnostic.Severity == "error":
				errs = append(errs, errors.New(m.Diagnostic.String()))
			default:
				f(m)
			}
		}
		if err != nil {
			break // the end, or the program was killed: Wait returns why
		}
	}
	return other, errors.Join(errs...)
}
