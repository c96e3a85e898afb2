package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// headBytes is how much of a file a look reads: the beginning of a text, the end of Parquet.
const headBytes = 1 << 20

// look compares the head of a file with the schema of the output "out".
func look(ctx context.Context, s *step.Step, u *url.URL, file string, src duck.Source) error {
	out, err := builtin.Output(s, "out")
	if err != nil {
		return err
	}
	builtin.Report(s, 0, 1, "reading the head of "+u.Redacted())
	if err := peek(ctx, u, file, src.Format == "parquet"); err != nil {
		return fmt.Errorf("read %s: %w", u.Redacted(), err)
	}
	src.Files = []string{file}
	heads, err := engine.Heads(ctx, []duck.Head{{Source: src, Schema: out.Schema, All: true}})
	if err != nil {
		return err
	}
	var found step.Look
	if f := heads[0].Fault; f != nil {
		for _, n := range f.Names {
			found.Columns = append(found.Columns, n.Name)
		}
		found.Faults = []step.LookFault{{Column: f.Column, Missing: f.Missing, Text: f.Text, Hint: f.Hint}}
	}
	b, err := json.Marshal(found)
	if err != nil {
		return err
	}
	return os.WriteFile(out.Path, b, 0o644)
}

// peek writes the beginning of what is at u to a file, or its end at the place that it has
// in the whole.
func peek(ctx context.Context, u *url.URL, file string, end bool) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "tenon")
	req.Header.Set("Accept-Encoding", "identity")
	part := fmt.Sprintf("bytes=0-%d", headBytes-1)
	if end {
		part = fmt.Sprintf("bytes=-%d", headBytes)
	}
	req.Header.Set("Range", part)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return orCause(ctx, err)
	}
	defer resp.Body.Close()
	at := int64(0)
	switch resp.StatusCode {
	case http.StatusOK: // it sends everything
		if end && (resp.ContentLength < 0 || resp.ContentLength > headBytes) {
			return errors.New("the server does not send parts of files, so that the columns are only known once it is downloaded")
		}
	case http.StatusPartialContent:
		first, _, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "-")
		if at, err = strconv.ParseInt(first, 10, 64); err != nil || at < 0 {
			return fmt.Errorf("the server does not say which part it sent: %q", resp.Header.Get("Content-Range"))
		}
	default:
		return fmt.Errorf("the server returned %s", resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if end && at > 0 {
		if _, err := f.WriteString("PAR1"); err != nil { // with which every file begins
			return err
		}
	}
	if _, err := io.Copy(io.NewOffsetWriter(f, at), io.LimitReader(resp.Body, headBytes)); err != nil {
		return orCause(ctx, err)
	}
	return nil
}
