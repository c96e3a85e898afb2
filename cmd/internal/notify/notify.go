package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/internal/version"
	"github.com/tenon-ml/tenon/planner"
)

const (
	// Timeout is how long one attempt may take.
	Timeout = 10 * time.Second
	// redirects is how many redirects within a host are followed.
	redirects = 3
	// mostAnswer bounds what is read of an answer.
	mostAnswer = 64 << 10
)

// A RefusedError says that a receiver does not take what was sent: the same would be refused again.
type RefusedError struct{ Status int }

func (e *RefusedError) Error() string { return statusText(e.Status) }

// A Client sends. It is safe for concurrent use.
type Client struct{ http http.Client }

// NewClient returns a client.
func NewClient() *Client {
	return &Client{http.Client{Timeout: Timeout, CheckRedirect: within}}
}

var errRedirect = errors.New("it redirects elsewhere, which is not followed")

// within permits redirects that repeat the request on the same host.
func within(r *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > redirects || r.Method != first.Method || r.URL.Host != first.URL.Host || r.URL.Scheme != first.URL.Scheme {
		return errRedirect
	}
	return nil
}

// CheckWebhook returns the URL of a webhook, or an error that does not have it. Without TLS, it has to be
// on this machine, unless plainHTTP permits more.
func CheckWebhook(raw string, plainHTTP bool) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("it is not a URL: https://HOST/PATH")
	case u.Scheme == "http" && !plainHTTP && !loopback(u.Hostname()):
		return nil, errors.New("it has no TLS: use https, or declare plain_http: true")
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// An Event is a notice as a CloudEvent (version 1.0, structured mode). docs/notices.md describes it.
type Event struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"` // "/tenon/SYSTEM/ENVIRONMENT/UNIT"; with ID, it identifies the notice
	Type            string    `json:"type"`   // "dev.tenon." and a [planner.NoticeType]
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            EventData `json:"data"`
}

// EventData is what a notice is about.
type EventData struct {
	System      string `json:"system"`
	Environment string `json:"environment"` // "" for the one without a name
	Declared    string `json:"declared"`    // the loop or the monitor with the receiver
	Text        string `json:"text"`
	Number      int64  `json:"number,omitempty"`
	Cause       string `json:"cause,omitempty"`
	Revision    int    `json:"revision,omitempty"`
}

// EventOf returns a notice as it is sent, for the loop or the monitor whose receiver gets it.
func EventOf(system, env, declared string, n planner.Notice) Event {
	environment := env
	if env == "" {
		environment = "-"
	}
	return Event{
		SpecVersion: "1.0", ID: n.ID, Source: (&url.URL{Path: "/tenon/" + system + "/" + environment + "/" + declared}).String(),
		Type: "dev.tenon." + string(n.Type), Subject: n.Unit, Time: n.At.UTC(), DataContentType: "application/json",
		Data: EventData{System: system, Environment: env, Declared: declared, Text: n.Text, Number: n.Number, Cause: n.Cause, Revision: n.Revision},
	}
}

// Webhook sends an event. It returns a [RefusedError] if the receiver does not take it.
func (c *Client) Webhook(ctx context.Context, to *url.URL, e Event) error {
	return c.post(ctx, to.String(), "application/cloudevents+json; charset=utf-8", e)
}

// An Alert is one of Alertmanager's API, version 2. Its labels identify it.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"` // in the past if it is resolved
}

// Alertmanager sends alerts to the Alertmanager at a URL without the path of its API.
func (c *Client) Alertmanager(ctx context.Context, at string, alerts []Alert) error {
	return c.post(ctx, strings.TrimRight(at, "/")+"/api/v2/alerts", "application/json", alerts)
}

func (c *Client) post(ctx context.Context, to, contentType string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return errors.New("its URL cannot be used")
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", "tenon/"+version.Version)
	answer, err := c.http.Do(r)
	if err != nil {
		return described(err)
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, mostAnswer) // so that the connection can be used again
	switch s := answer.StatusCode; {
	case s < 300:
		return nil
	case s == http.StatusBadRequest || s == http.StatusRequestEntityTooLarge || s == http.StatusUnsupportedMediaType || s == http.StatusUnprocessableEntity:
		return &RefusedError{s}
	default:
		return errors.New(statusText(s))
	}
}

func statusText(s int) string {
	return strings.TrimSpace(fmt.Sprintf("it answered %d %s", s, http.StatusText(s)))
}

// described says what is wrong without the URL, which errors of net/http have, and without names of hosts.
func described(err error) error {
	var dns *net.DNSError
	var number syscall.Errno
	var certificate *tls.CertificateVerificationError
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, errRedirect):
		return errRedirect
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no answer within %s", Timeout)
	case errors.As(err, &dns):
		return errors.New("the name of its host cannot be resolved")
	case errors.As(err, &certificate):
		return errors.New("its certificate is not valid")
	case errors.As(err, &number):
		return number
	}
	return errors.New("the request failed")
}
