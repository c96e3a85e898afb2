// Package mlflow sends runs to an MLflow server over its REST API, version 2.0, which servers of MLflow 1.0 to 3 have.
//
// What is to be sent is first appended to a [Spool], a folder. So nothing is lost while the server is unavailable, and
// what arrives twice changes nothing: a run has a tag by which it is found again, and MLflow keeps one of two equal values.
package mlflow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Limits of MLflow.
const (
	maxMetrics = 1000 // of one request
	maxParams  = 100
	maxTags    = 100
	maxValue   = 500 // characters of a parameter, in all versions
	maxTag     = 5000
	maxName    = 250
)

// patience is how long one request may take.
const patience = 10 * time.Second

// maxAnswer limits an answer, in bytes.
const maxAnswer = 4 << 20

// Credentials are those of a user. At most one of both kinds is used, the token first.
type Credentials struct {
	Token          string
	User, Password string
}

// A Server is where runs go.
type Server struct {
	URI         string // "http://mlflow:5000", without credentials
	Credentials Credentials
}

// A RefusedError is the answer of a server that will not accept what was sent, however often it is sent.
type RefusedError struct {
	Code    string // "INVALID_PARAMETER_VALUE"
	Message string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("MLflow refused it: %s: %s", e.Code, firstLine(e.Message))
}

// A refusedRun is the error for a run that a server does not accept, while it may accept others.
type refusedRun struct{ *RefusedError }

func (e refusedRun) Unwrap() error { return e.RefusedError }

// gone is the code for what does not exist.
const gone = "RESOURCE_DOES_NOT_EXIST"

var client = &http.Client{
	Timeout: patience,
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a redirect would turn a POST into a GET
	},
}

// call sends a request and decodes the answer into out, which may be nil. It returns a [RefusedError], or an error that
// may pass.
func (s *Server) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return s.send(ctx, method, "/api/2.0/mlflow/"+path, "application/json", body, out)
}

func (s *Server) send(ctx context.Context, method, path, kind string, body []byte, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(s.URI, "/")+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", kind)
	switch c := s.Credentials; {
	case c.Token != "":
		r.Header.Set("Authorization", "Bearer "+c.Token)
	case c.User != "":
		r.SetBasicAuth(c.User, c.Password)
	}
	answer, err := client.Do(r)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // without the URL, which the caller names
	}
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return refusal(answer.StatusCode, b)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("it answers %q, which is not what MLflow answers", firstLine(string(b)))
	}
	return nil
}

// refusal returns the error of an answer with another status than 200.
func refusal(status int, b []byte) error {
	var said struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}
	if status == http.StatusRequestEntityTooLarge { // the answer of a proxy, which is the same each time
		return &RefusedError{"TOO_LARGE", "it answers 413 " + http.StatusText(status)}
	}
	if json.Unmarshal(b, &said) != nil || said.Code == "" {
		return fmt.Errorf("it answers %d %s", status, http.StatusText(status))
	}
	passing := status >= 500 || status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusTooManyRequests
	if passing {
		return fmt.Errorf("it answers %d: %s", status, firstLine(said.Message))
	}
	return &RefusedError{said.Code, said.Message}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if r := []rune(line); len(r) > 200 {
		line = string(r[:200]) + "..."
	}
	return line
}

type pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// experiment returns the id of an experiment, and creates it if it does not exist.
func (s *Server) experiment(ctx context.Context, name string) (string, error) {
	for try := 0; ; try++ {
		var found struct {
			Experiment struct {
				ID    string `json:"experiment_id"`
				Stage string `json:"lifecycle_stage"`
			} `json:"experiment"`
		}
		err := s.call(ctx, http.MethodGet, "experiments/get-by-name?experiment_name="+url.QueryEscape(name), nil, &found)
		var refused *RefusedError
		switch {
		case err == nil && found.Experiment.Stage == "deleted":
			return "", fmt.Errorf("the experiment %s is deleted there: restore it, or name another one", name)
		case err == nil:
			return found.Experiment.ID, nil
		case !errors.As(err, &refused) || refused.Code != gone || try > 0:
			return "", err
		}
		var made struct {
			ID string `json:"experiment_id"`
		}
		err = s.call(ctx, http.MethodPost, "experiments/create", map[string]any{"name": name}, &made)
		if err == nil {
			return made.ID, nil
		}
		if !errors.As(err, &refused) { // otherwise somebody else has just created it
			return "", err
		}
	}
}

// find returns the id of the run with the tag [IDTag], or "".
func (s *Server) find(ctx context.Context, experiment, id string) (string, error) {
	var found struct {
		Runs []struct {
			Info struct {
				ID string `json:"run_id"`
			} `json:"info"`
		} `json:"runs"`
	}
	err := s.call(ctx, http.MethodPost, "runs/search", map[string]any{
		"experiment_ids": []string{experiment}, "max_results": 1, "run_view_type": "ALL",
		"filter": fmt.Sprintf("tags.`%s` = '%s'", IDTag, strings.ReplaceAll(id, "'", "")),
	}, &found)
	if err != nil || len(found.Runs) == 0 {
		return "", err
	}
	return found.Runs[0].Info.ID, nil
}

// create creates a run, unless it exists, and returns its id. If the server does not accept the run itself, the error is a
// [refusedRun].
func (s *Server) create(ctx context.Context, r *Run) (string, error) {
	experiment, err := s.experiment(ctx, r.Experiment)
	if err != nil {
		return "", err
	}
	id, err := s.find(ctx, experiment, r.ID)
	if err != nil || id != "" {
		return id, err
	}
	tags := append([]pair{{IDTag, r.ID}}, pairs(r.Tags, maxTag)...)
	if r.Parent != "" {
		parent, err := s.find(ctx, experiment, r.Parent)
		if err != nil {
			return "", err
		}
		if parent != "" {
			tags = append(tags, pair{"mlflow.parentRunId", parent})
		}
	}
	var made struct {
		Run struct {
			Info struct {
				ID string `json:"run_id"`
			} `json:"info"`
		} `json:"run"`
	}
	err = s.call(ctx, http.MethodPost, "runs/create", map[string]any{
		"experiment_id": experiment, "run_name": r.Name, "start_time": r.Started, "tags": tags[:min(len(tags), maxTags)],
	}, &made)
	var refused *RefusedError
	if errors.As(err, &refused) {
		return "", refusedRun{refused}
	}
	return made.Run.Info.ID, err
}

// active reports whether a run exists, and is not deleted.
func (s *Server) active(ctx context.Context, id string) (bool, error) {
	var found struct {
		Run struct {
			Info struct {
				Stage string `json:"lifecycle_stage"`
			} `json:"info"`
		} `json:"run"`
	}
	err := s.call(ctx, http.MethodGet, "runs/get?run_id="+url.QueryEscape(id), nil, &found)
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Code == gone {
		return false, nil
	}
	return found.Run.Info.Stage != "deleted", err
}
