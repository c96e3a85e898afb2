package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
)

// API is the variable with the address of the runtime API.
const API = "AWS_LAMBDA_RUNTIME_API"

// Limits of AWS.
const mostEvent = 32 << 20

type runtime struct {
	base   string
	client *http.Client
}

// Run answers invocations until ctx ends or the runtime API fails. start makes what answers
// them; if it fails, the reason is sent to the API. direct is the path for events that are not of HTTP.
// In a version of a release, requests count for which asks returns true.
func Run(ctx context.Context, start func(context.Context) (http.Handler, error), direct string, asks func(*http.Request) bool) error {
	api := os.Getenv(API)
	if api == "" {
		return errors.New("$" + API + " is not set: only AWS Lambda can start this")
	}
	// An invocation may be minutes away: there is no timeout. The address is local.
	r := &runtime{base: "http://" + api + "/2018-06-01/runtime/", client: &http.Client{Transport: &http.Transport{}}}
	h, err := start(ctx)
	if err != nil {
		said := r.post(ctx, "init/error", &fault{err.Error(), "Tenon.Init"}, "Tenon.Init")
		return errors.Join(err, said)
	}
	if os.Getenv(Route) != "" {
		h = &counted{h, asks, release.NewPrinted(os.Stdout, "")}
	}
	for {
		if err := r.one(ctx, h, direct); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// one answers the next invocation.
func (r *runtime) one(ctx context.Context, h http.Handler, direct string) error {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"invocation/next", nil)
	if err != nil {
		return err
	}
	next, err := r.client.Do(ask)
	if err != nil {
		return err
	}
	payload, err := io.ReadAll(io.LimitReader(next.Body, mostEvent))
	if err = errors.Join(err, next.Body.Close()); err != nil {
		return err
	}
	id := next.Header.Get("Lambda-Runtime-Aws-Request-Id")
	if next.StatusCode != http.StatusOK || id == "" {
		return fmt.Errorf("the runtime API answers %s: %.200s", next.Status, payload)
	}
	within, cancel := ctx, context.CancelFunc(func() {})
	if ms, err := strconv.ParseInt(next.Header.Get("Lambda-Runtime-Deadline-Ms"), 10, 64); err == nil {
		within, cancel = context.WithDeadline(ctx, time.UnixMilli(ms))
	}
	body, err := answerTo(within, h, direct, payload)
	cancel()
	var f *fault
	switch {
	case errors.As(err, &f):
		return r.post(ctx, "invocation/"+id+"/error", f, f.Type)
	case err != nil:
		return r.post(ctx, "invocation/"+id+"/error", &fault{err.Error(), "Tenon.Failed"}, "Tenon.Failed")
	}
	err = r.send(ctx, "invocation/"+id+"/response", body, "")
	if errors.Is(err, errTooLarge) {
		return r.post(ctx, "invocation/"+id+"/error", &fault{"the answer is larger than AWS Lambda allows: ask for fewer rows", "Tenon.TooLarge"}, "Tenon.TooLarge")
	}
	return err
}

func (r *runtime) post(ctx context.Context, path string, f *fault, kind string) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return r.send(ctx, path, b, kind)
}

var errTooLarge = errors.New("the runtime API refuses a large answer")

func (r *runtime) send(ctx context.Context, path string, body []byte, kind string) error {
	ask, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	ask.Header.Set("Content-Type", "application/json")
	if kind != "" {
		ask.Header.Set("Lambda-Runtime-Function-Error-Type", kind)
	}
	got, err := r.client.Do(ask)
	if err != nil {
		return err
	}
	said, err := io.ReadAll(io.LimitReader(got.Body, 64<<10))
	switch err = errors.Join(err, got.Body.Close()); {
	case err != nil:
		return err
	case got.StatusCode == http.StatusRequestEntityTooLarge:
		return errTooLarge
	case got.StatusCode >= 300:
		return fmt.Errorf("the runtime API answers %s: %.200s", got.Status, said)
	}
	return nil
}
