package gcp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/tenon-ml/tenon/executors/cloud"
)

// A client calls Google's APIs, as their discovery documents describe them. Google's own library for
// them is not linked: it describes all methods of an API, and few are called here.
type client struct {
	plain *http.Client // without credentials
	// run, logging, secrets and container are the URLs of the APIs. vertex is that of Vertex AI, or "": it has one for each region.
	run, logging, secrets, container, vertex string

	mu     sync.Mutex
	tokens oauth2.TokenSource // nil until the first call
	quota  string             // project whose quotas the calls use, or "" for that of the resources
}

// newClient finds the APIs where gcloud finds them.
func newClient() *client {
	at := func(api string) string {
		if other := os.Getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_" + strings.ToUpper(api)); other != "" {
			return strings.TrimSuffix(other, "/")
		}
		return "https://" + api + ".googleapis.com"
	}
	return &client{
		plain: &http.Client{Timeout: time.Minute}, run: at("run"), logging: at("logging"), secrets: at("secretmanager"), container: at("container"),
		vertex: strings.TrimSuffix(os.Getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"), "/"),
	}
}

// A refusal is an error that Google answers.
type refusal struct {
	code    int    // of HTTP
	status  string // "PERMISSION_DENIED"
	reason  string // "SERVICE_DISABLED", or ""
	message string
}

func (e *refusal) Error() string { return e.status + ": " + oneLine(e.message) }

// oneLine makes one line of a text, for a status.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// isStatus reports whether Google has answered an error with a status of HTTP.
func isStatus(err error, code int) bool {
	var e *refusal
	return errors.As(err, &e) && e.code == code
}

// patience is how often a call is attempted, over about a minute: a job must not fail because the
// network does for a moment, or because the project makes too many requests. Each call may be repeated, since a
// job is created under a name.
const patience = 7

// call sends a request and decodes its answer into out, unless that is nil.
func (c *client) call(ctx context.Context, method, url string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	for pause := time.Second / 2; ; pause *= 2 {
		err := c.once(ctx, method, url, body, out)
		if err == nil || !temporary(err) || lacksQuota(err) || pause > time.Second<<(patience-2) {
			return err
		}
		if err := cloud.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// lacksQuota reports whether machines are refused, and not too many requests: another attempt does not change that.
func lacksQuota(err error) bool {
	var e *refusal
	return errors.As(err, &e) && e.code == http.StatusTooManyRequests && matched(hostedReasons, e.status+" "+e.message, "") != ""
}

func temporary(err error) bool {
	var e *refusal
	if errors.As(err, &e) {
		return e.code >= 500 || e.code == http.StatusTooManyRequests
	}
	var connection net.Error
	var host *net.DNSError
	return errors.As(err, &connection) && !errors.Is(err, context.Canceled) && (!errors.As(err, &host) || !host.IsNotFound)
}

func (c *client) once(ctx context.Context, method, to string, body []byte, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("User-Agent", "tenon")
	if r.URL.Scheme == "https" { // never send credentials in clear
		token, err := c.token(ctx)
		if err != nil {
			return err
		}
		token.SetAuthHeader(r)
		if c.quota != "" {
			r.Header.Set("X-Goog-User-Project", c.quota)
		}
	}
	answer, err := c.plain.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			return fmt.Errorf("%s: %w", r.URL.Host, u.Err)
		}
		return err
	}
	defer answer.Body.Close()
	const most = 64 << 20
	text, err := io.ReadAll(io.LimitReader(answer.Body, most))
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return refused(answer.StatusCode, text)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s answers what is not JSON: %w", r.URL.Host, err)
	}
	return nil
}

// mostText is how many bytes are shown of an error that is not JSON, such as a page of a proxy.
const mostText = 1000

// refused decodes an error of Google.
func refused(code int, text []byte) error {
	var is struct {
		Error struct {
			Status, Message string
			Details         []struct{ Reason string }
		}
	}
	e := &refusal{code: code, status: http.StatusText(code)}
	if json.Unmarshal(text, &is) != nil {
		e.message = strings.ToValidUTF8(string(text[:min(len(text), mostText)]), "")
		return e
	}
	e.message = is.Error.Message
	if is.Error.Status != "" {
		e.status = is.Error.Status
	}
	for _, d := range is.Error.Details {
		if d.Reason != "" {
			e.reason = d.Reason
		}
	}
	return e
}

// A credentialsError says that there are no credentials that can be used.
type credentialsError struct{ error }

func (e *credentialsError) Unwrap() error { return e.error }

func (c *client) token(ctx context.Context) (*oauth2.Token, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tokens == nil {
		found, err := google.FindDefaultCredentials(context.WithoutCancel(ctx), "https://www.googleapis.com/auth/cloud-platform")
		if err != nil {
			return nil, &credentialsError{err}
		}
		c.tokens, c.quota = found.TokenSource, quotaProject(found.JSON)
	}
	token, err := c.tokens.Token()
	if err != nil {
		return nil, &credentialsError{err}
	}
	return token, nil
}

// quotaProject returns the project whose quotas calls use, as Google's libraries choose it: that of a variable, or that of the
// credentials in a file.
func quotaProject(credentials []byte) string {
	var is struct {
		Quota string `json:"quota_project_id"`
	}
	_ = json.Unmarshal(credentials, &is) // a machine has none in a file
	return cmp.Or(os.Getenv("GOOGLE_CLOUD_QUOTA_PROJECT"), is.Quota)
}

// explainCall adds to an error what was asked, and what to do.
func explainCall(what string, err error) error {
	if err == nil {
		return nil
	}
	var api *refusal
	var credentials *credentialsError
	var dial *net.OpError
	hint := ""
	switch {
	case errors.As(err, &credentials):
		hint = "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account"
	case errors.As(err, &api):
		hint = hintOf(api)
	case errors.As(err, &dial):
		hint = "check that this machine reaches Google Cloud"
	}
	if hint != "" {
		return fmt.Errorf("%s on Google Cloud: %w: %s", what, err, hint)
	}
	return fmt.Errorf("%s on Google Cloud: %w", what, err)
}

// hintOf returns what to do about an error of Google, or "".
func hintOf(e *refusal) string {
	low := strings.ToLower(e.message)
	switch {
	case e.reason == "SERVICE_DISABLED":
		return "enable the API: " + infrastructure
	case e.reason == "BILLING_DISABLED":
		return "link the project to a billing account"
	case strings.Contains(low, "actas"):
		return "the service account of the unit does not exist, for which " + infrastructure + "; or these credentials lack roles/iam.serviceAccountUser on it"
	case e.code == http.StatusForbidden:
		return "grant the right to these credentials: docs/gcp.md lists the rights"
	case e.code == http.StatusUnauthorized:
		return "log in again: gcloud auth application-default login"
	case e.code == http.StatusTooManyRequests || e.status == "RESOURCE_EXHAUSTED":
		return quota
	case strings.Contains(low, "location") && (e.code == http.StatusNotFound || e.code == http.StatusBadRequest):
		return "check the region of the target: `gcloud run regions list` shows those of Cloud Run"
	}
	return ""
}

// infrastructure is what to do when something is missing that Terraform makes.
const infrastructure = "apply the infrastructure that tenon compile --format=terraform writes"
