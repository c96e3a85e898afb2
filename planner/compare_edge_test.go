package planner_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// What a change of the edge means for callers.
func TestEdgeShifts(t *testing.T) {
	const keys, jwt = `"auth": {"keys": "/keys"}`, `"auth": {"jwt": {"issuer": "i", "audience": "a", "algorithms": ["RS256", "EdDSA"]}}`
	const cert, mtls = `"tls": {"cert": "/c", "key": "/k"}`, `"tls": {"cert": "/c", "key": "/k", "client_ca": "/ca"}`
	for name, tt := range map[string]struct {
		before, after string
		want          []string
	}{
		"nothing":                  {keys, keys, nil},
		"another file of keys":     {keys, `"auth": {"keys": "/other"}`, nil},
		"TLS":                      {``, cert, []string{"tls other, breaks callers"}},
		"no TLS":                   {cert, ``, []string{"tls other, breaks callers"}},
		"certificates of clients":  {cert, mtls, []string{"tls.client_ca tighter, breaks callers"}},
		"keys instead of those":    {mtls, cert + "," + keys, []string{"tls.client_ca other, breaks callers", "auth.keys looser"}},
		"nobody is asked any more": {mtls, cert, []string{"tls.client_ca looser", "auth looser"}},
		"keys":                     {``, keys, []string{"auth tighter, breaks callers"}},
		"no keys":                  {keys, ``, []string{"auth looser"}},
		"tokens instead of keys":   {keys, jwt, []string{"auth.keys tighter, breaks callers", "auth.jwt looser"}},
		"another issuer":           {jwt, strings.Replace(jwt, `"i"`, `"j"`, 1), []string{"auth.jwt.issuer other, breaks callers"}},
		"an algorithm less":        {jwt, strings.Replace(jwt, `"RS256", `, ``, 1), []string{"auth.jwt.algorithms tighter, breaks callers"}},
		"less is public":           {`"auth": {"keys": "/k", "public": ["docs", "metrics"]}`, `"auth": {"keys": "/k", "public": ["docs"]}`, []string{"auth.public tighter, breaks callers"}},
		"a scope less":             {mtls + `, "auth": {"clients": {"b": ["predict", "explain"]}}`, mtls + `, "auth": {"clients": {"b": ["predict"]}}`, []string{"auth.clients.b tighter, breaks callers"}},
		"a client less":            {mtls + `, "auth": {"clients": {"b": ["predict"], "c": ["predict"]}}`, mtls + `, "auth": {"clients": {"b": ["predict"]}}`, []string{"auth.clients.c tighter, breaks callers"}},
		"a client more":            {mtls + `, "auth": {"clients": {"b": ["predict"]}}`, mtls + `, "auth": {"clients": {"b": ["predict"], "c": ["predict"]}}`, []string{"auth.clients.c looser"}},
		"clients are listed":       {mtls, mtls + `, "auth": {"clients": {"b": ["predict"]}}`, []string{"auth.clients tighter, breaks callers"}},
		"a lower rate":             {`"limits": {"rate": 10}`, `"limits": {"rate": 9.5}`, []string{"limits.rate tighter, breaks callers"}},
		"a higher rate":            {`"limits": {"rate": 10}`, `"limits": {"rate": 11}`, []string{"limits.rate looser"}},
		"a limit":                  {``, `"limits": {"daily": 10}`, []string{"limits.daily tighter, breaks callers"}},
		"no limit":                 {`"limits": {"daily": 10}`, ``, []string{"limits.daily looser"}},
		"less for a caller":        {`"limits": {"rate": 10}`, `"limits": {"rate": 10, "callers": {"key:a": {"rate": 5}}}`, []string{`limits.callers."key:a" tighter, breaks callers`}},
		"more for a caller":        {`"limits": {"rate": 10}`, `"limits": {"rate": 10, "callers": {"key:a": {"daily": 5}}}`, []string{`limits.callers."key:a" other, breaks callers`}},
		"as all others":            {`"limits": {"rate": 10, "callers": {"key:a": {"rate": 50}}}`, `"limits": {"rate": 10}`, []string{`limits.callers."key:a" tighter, breaks callers`}},
		"an origin less":           {`"cors": {"origins": ["https://a", "https://b"]}`, `"cors": {"origins": ["https://a"]}`, []string{"cors tighter, breaks callers"}},
		"every origin":             {`"cors": {"origins": ["https://a"]}`, `"cors": {"origins": ["*"]}`, []string{"cors looser"}},
		"no pages":                 {`"cors": {"origins": ["*"]}`, ``, []string{"cors tighter, breaks callers"}},
		"another port":             {``, `"management": {"host": "127.0.0.1", "port": 9090}`, []string{"management tighter, breaks callers"}},
		"everything on both ports": {``, `"management": {"host": "127.0.0.1", "port": 9090, "public": ["docs", "health", "metrics"]}`, nil},
		"a third port":             {`"management": {"port": 9090}`, `"management": {"port": 9091}`, []string{"management.port other, breaks callers"}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, planner.EdgeShifts("{"+tt.before+"}", "{"+tt.after+"}")); d != "" {
				t.Error(d)
			}
		})
	}
}

// A release refuses a challenger that would take away what protects the champion.
func TestUnprotected(t *testing.T) {
	unit := func(tls bool, params string) *ir.Unit {
		return &ir.Unit{Endpoint: &ir.Endpoint{TLS: tls}, Params: json.RawMessage(params),
			Release: &ir.Release{Edge: ir.Edge{Params: []string{"tls", "auth", "limits"}, Identifies: []string{"auth", "tls.client_ca"}}}}
	}
	keys, open, mutual := `{"auth": {"keys": "/k"}}`, `{"limits": {"rate": 1}}`, `{"tls": {"client_ca": "/ca"}}`
	for name, tt := range map[string]struct {
		champion, challenger *ir.Unit
		want                 string
	}{
		"the same":               {unit(true, keys), unit(true, keys), ""},
		"more":                   {unit(false, open), unit(true, keys), ""},
		"other limits":           {unit(false, open), unit(false, `{}`), ""},
		"keys for certificates":  {unit(true, mutual), unit(true, keys), ""},
		"without TLS":            {unit(true, keys), unit(false, keys), "without TLS"},
		"without keys":           {unit(false, keys), unit(false, open), "without auth"},
		"without certificates":   {unit(true, mutual), unit(true, open), "without tls.client_ca"},
		"one that does not list": {unit(false, ``), unit(false, ``), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := planner.Unprotected(tt.champion, tt.challenger)
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
