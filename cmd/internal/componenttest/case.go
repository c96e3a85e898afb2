package componenttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// A testCase is a modification of an example, and the expected outcome.
type testCase struct {
	name    string
	files   map[string][]byte
	refused []string // parts of the message
	rows    int64    // of each table, or -1
	runsOn  bool     // it runs until it is stopped

	request  []byte
	response []string // a status, and parts of the response
}

// readCases reads the cases in the folder of an example.
func readCases(example string) ([]testCase, error) {
	files, err := filepath.Glob(filepath.Join(example, cases, "*.txtar"))
	if err != nil {
		return nil, err
	}
	var all []testCase
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			return nil, err
		}
		c := testCase{name: strings.TrimSuffix(filepath.Base(file), ".txtar"), files: map[string][]byte{}, rows: -1}
		for _, f := range a.Files {
			switch f.Name {
			case "want":
				err = c.want(string(f.Data))
			case "request":
				c.request = f.Data
			case "response":
				c.response = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
			default:
				c.files[f.Name] = f.Data
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
		if len(c.refused) == 0 && c.rows < 0 && !c.runsOn && len(c.response) == 0 {
			return nil, fmt.Errorf("%s: it does not say what has to come of it", file)
		}
		all = append(all, c)
	}
	return all, nil
}

func (c *testCase) want(text string) (err error) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word == "refused" && rest != "":
			c.refused = append(c.refused, rest)
		case word == "rows":
			c.rows, err = strconv.ParseInt(rest, 10, 64)
		case word == "runs" && rest == "on":
			c.runsOn = true
		default:
			err = fmt.Errorf("it wants %q: want refused TEXT, rows N, or runs on", strings.TrimSpace(line))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refuses reports whether the case tests bad input.
func (c *testCase) refuses() bool {
	return len(c.refused) > 0 || len(c.response) > 0 && strings.HasPrefix(c.response[0], "4")
}

// compare returns how an outcome differs from what the case expects.
func (c *testCase) compare(o *outcome) error {
	if len(c.refused) > 0 {
		return c.compareRefusal(o)
	}
	if err := o.succeeded(); err != nil {
		return err
	}
	if c.rows < 0 {
		return nil
	}
	for _, r := range o.runs {
		for port, out := range r.outputs {
			if out.kind == ir.Table && out.rows != c.rows {
				return fmt.Errorf("%s: %s has %d rows, want %d", r.unit.ID, port, out.rows, c.rows)
			}
		}
	}
	return nil
}

func (c *testCase) compareRefusal(o *outcome) error {
	text := o.fault
	if text == "" {
		var failed *ran
		for _, r := range o.runs {
			if r.fault != "" {
				failed = r
			}
		}
		if failed == nil {
			return errors.New("it is not refused")
		}
		var err error
		if text, err = failed.refusal(); err != nil {
			if failed.status.Phase != state.Succeeded {
				return err
			}
			text = failed.fault // the engine rejects what it wrote
		}
	}
	for _, part := range c.refused {
		if !strings.Contains(text, part) {
			return fmt.Errorf("it says %q, want %q", text, part)
		}
	}
	return nil
}

// refusal returns the line with which a program refused its input.
func (r *ran) refusal() (string, error) {
	all := lines(r.logPath())
	last := tail(r.logPath())
	switch {
	case r.status.Signal != "":
		return "", fmt.Errorf("it was killed by %s: %s", r.status.Signal, last)
	case r.status.ExitCode == 0:
		return "", fmt.Errorf("it exits with 0, but %s", r.fault)
	case r.status.ExitCode != 1:
		return "", fmt.Errorf("it exits with %d, want 1: %s", r.status.ExitCode, last)
	case last == "":
		return "", errors.New("it says nothing")
	}
	for _, mark := range []string{"Traceback (most recent call last)", "panic: ", "goroutine "} {
		if slices.ContainsFunc(all, func(l string) bool { return strings.HasPrefix(l, mark) }) {
			return "", fmt.Errorf("it ends with a traceback: %s", last)
		}
	}
	return last, nil
}

func (r *ran) logPath() string { return filepath.Join(r.task.Dir, "log") }

// succeeded says why a unit of the component is not done, or returns nil.
func (o *outcome) succeeded() error {
	if o.fault != "" {
		return fmt.Errorf("it does not compile:\n%s", o.fault)
	}
	for _, u := range o.units {
		switch r := o.runs[u.ID]; {
		case r == nil:
			return fmt.Errorf("%s did not run", u.ID)
		case !r.done:
			return fmt.Errorf("%s failed: %s %s", u.ID, r.fault, tail(r.logPath()))
		}
	}
	return nil
}

// ask sends the request of the case to a service and compares the response.
func (c *testCase) ask(ctx context.Context, port int) error {
	line, body, _ := bytes.Cut(c.request, []byte("\n"))
	method, path, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answers := make([]string, 2)
	for i := range answers {
		if req.GetBody != nil {
			req.Body, _ = req.GetBody()
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		answers[i] = fmt.Sprintf("%d\n%s", resp.StatusCode, b)
	}
	if answers[0] != answers[1] {
		return fmt.Errorf("the same request gives %q and then %q", answers[0], answers[1])
	}
	for i, part := range c.response {
		if i == 0 && !strings.HasPrefix(answers[0], part+"\n") || !strings.Contains(answers[0], part) {
			return fmt.Errorf("it answers %q, want %q", answers[0], part)
		}
	}
	return nil
}
