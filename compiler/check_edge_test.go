package compiler_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// What a deployment says about its callers has to have an effect. Each refused deployment has a
// sound twin.
func TestEdge(t *testing.T) {
	const (
		cert  = `tls: {cert: "/c.pem", key: "/k.pem"}, `
		mtls  = `tls: {cert: "/c.pem", key: "/k.pem", client_ca: "/ca.pem"}, `
		keys  = `auth: keys: "/keys", `
		token = `auth: jwt: {issuer: "https://id.example", audience: "api"}, `
	)
	for name, tt := range map[string]struct{ fields, want string }{
		"everything": {mtls + `auth: {keys: secret: env: "KEYS", jwt: {issuer: "https://id.example", audience: "api", jwks: "https://id.example/keys", scopes: predict: "api.predict"}, clients: billing: ["predict"], public: ["docs"]},
			limits: {rate: 10, burst: 20, concurrency: 4, daily: 1000, callers: {"key:a": rate: 1, "jwt:b": daily: 5, "client:billing": concurrency: 1}, max_idle: 10, idle_timeout: "10s"},
			cors: origins: ["https://shop.example"], audit: {}, management: {port: 9090, public: ["docs", "metrics", "health"]}`, ""},

		"a scope of an endpoint that is off":           {mtls + `auth: clients: billing: ["predict", "explain"]`, `the scope "explain" is for /explain, which deployments.api does not have`},
		"a scope of an endpoint that is on":            {mtls + `explain: true, auth: clients: billing: ["predict", "explain"]`, ""},
		"an endpoint that is false":                    {mtls + `explain: false, auth: clients: billing: ["explain"]`, `the scope "explain" is for /explain, which deployments.api does not have`},
		"events that nobody can send":                  {keys + `auth: public: ["events"]`, `the scope "events" is for /events, which deployments.api does not have`},
		"metrics for everybody":                        {keys + `auth: public: ["metrics"]`, ""},
		"a scope of tokens of an endpoint that is off": {token + `auth: jwt: scopes: explain: "x"`, `the scope "explain" is for /explain, which deployments.api does not have`},
		"a scope of tokens":                            {token + `auth: jwt: scopes: predict: "x"`, ""},

		"clients without certificates": {cert + keys + `auth: clients: billing: ["predict"]`, "deployments.api says what the owners of certificates may ask, but asks for no certificates"},
		"clients with certificates":    {mtls + keys + `auth: clients: billing: ["predict"]`, ""},
		"nobody can ask":               {cert + `auth: public: ["docs"]`, "nobody can ask deployments.api: auth names no keys, no tokens and no certificates"},
		"somebody can ask":             {mtls + `auth: public: ["docs"]`, ""},

		"daily limits without callers":  {`limits: daily: 10`, "deployments.api counts the requests of a day, but does not know its callers, whose addresses change"},
		"a day of keys":                 {keys + `limits: daily: 10`, ""},
		"a day of certificates":         {mtls + `limits: daily: 10`, ""},
		"a rate of addresses":           {`limits: {rate: 10, concurrency: 2}`, ""},
		"callers that nobody knows":     {`limits: callers: "key:a": rate: 1`, "deployments.api limits callers by their identities, but does not know them"},
		"callers by key":                {keys + `limits: callers: "key:a": rate: 1`, ""},
		"a token where there are keys":  {keys + `limits: callers: "jwt:a": rate: 1`, `no caller of deployments.api can be "jwt:a"`},
		"a key where there are tokens":  {token + `limits: callers: "key:a": rate: 1`, `no caller of deployments.api can be "key:a"`},
		"a token where there are such":  {token + `limits: callers: "jwt:a": rate: 1`, ""},
		"a client without certificates": {cert + keys + `limits: callers: "client:a": rate: 1`, `no caller of deployments.api can be "client:a"`},
		"a client with a certificate":   {mtls + `limits: callers: "client:a": rate: 1`, ""},
		"a burst of what":               {`limits: {burst: 3, concurrency: 1}`, "deployments.api limits a burst, but no rate"},
		"a burst of a caller":           {keys + `limits: callers: "key:a": {burst: 3, daily: 3}`, "deployments.api limits a burst, but no rate"},
		"a burst of a rate":             {`limits: {burst: 3, rate: 1}`, ""},
		"no limit":                      {`limits: {}`, "limits of deployments.api limits nothing"},
		"no limit of a caller":          {keys + `limits: callers: "key:a": {}`, "a limit of deployments.api limits nothing"},
		"idle connections":              {`limits: max_idle: 10`, ""},

		"an audit log without an interval": {`audit: interval: "0s"`, "a line of the audit log of deployments.api waits 0s until it is stored, which is too short"},
		"an audit log with an interval":    {`audit: interval: "1s"`, ""},

		"one port for two":                       {`management: port: 8080`, "deployments.api has two uses for port 8080"},
		"a port for each":                        {`management: port: 8081`, ""},
		"documents on the other port":            {keys + `auth: public: ["docs"], management: port: 8081`, "auth makes docs public, which callers of deployments.api cannot ask for"},
		"documents on both ports":                {keys + `auth: public: ["docs"], management: {port: 8081, public: ["docs"]}`, ""},
		"a port of another service":              {`management: port: 8082`, "deployments.b and deployments.api both listen on port 8082"},
		"a port of another host":                 {`management: {port: 8082, host: "127.0.0.2"}`, ""},
		"a release of a service with everything": {cert + keys + `limits: rate: 1, cors: origins: ["*"], audit: {}, management: port: 8081, release: {}`, ""},

		"a certificate by ACME":                 {`tls: acme: {domains: ["api.example.com", "www.example.com"], email: "ops@example.com", directory: "https://ca.example/dir", ca: "/ca.pem"}`, ""},
		"a certificate by ACME and in files":    {`tls: {acme: domains: ["api.example.com"], cert: "/c.pem", key: "/k.pem"}`, "deployments.api has two certificates: one by acme, and one in a file"},
		"a certificate by ACME, no network":     {`tls: acme: domains: ["api.example.com"], network: false`, "deployments.api must not use the network, but tls.acme is reached over it"},
		"TLS without a certificate":             {`tls: {}`, "tls of deployments.api has no certificate"},
		"TLS without a key":                     {`tls: cert: "/c.pem"`, "tls of deployments.api has no key"},
		"tokens without the network":            {token + `network: false`, "deployments.api must not use the network, but the keys of its tokens are fetched over it"},
		"keys at a URL without the network":     {`auth: jwt: {issuer: "i", audience: "api", jwks: "https://id.example/keys"}, network: false`, "deployments.api must not use the network, but the keys of its tokens are fetched over it"},
		"keys in a file without the network":    {`auth: jwt: {issuer: "i", audience: "api", jwks: "/keys.json"}, network: false`, ""},
		"keys in a secret without the network":  {`auth: jwt: {issuer: "i", audience: "api", jwks: secret: env: "KEYS"}, network: false`, ""},
		"a list of callers without the network": {keys + `network: false`, ""},

		"a secret without a source": {`tls: {cert: "/c.pem", key: secret: {}}`, "the secret tls.key of deployments.api needs exactly one source"},
		"a secret with one":         {`tls: {cert: "/c.pem", key: secret: file: "/k.pem"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"x.cue": fmt.Sprintf(edgeSystem, tt.fields)}, tt.want)
		})
	}
}

// A pod whose tokens are verified with keys from elsewhere reaches them.
func TestAServiceReachesTheKeysOfItsTokens(t *testing.T) {
	for jwks, want := range map[string]ir.Network{"": ir.NetworkOpen, `jwks: "https://id.example/keys"`: ir.NetworkOpen, `jwks: "/keys.json"`: ir.NetworkUnsaid} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
		write(t, filepath.Join(dir, "x.cue"), []byte(fmt.Sprintf(edgeSystem, `auth: jwt: {issuer: "https://id.example", audience: "api", `+jwks+`}`)))
		r, _, err := load(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.System.Unit("deployments/api").Network; got != want {
			t.Errorf("%q: the network is %q, want %q", jwks, got, want)
		}
	}
}

const edgeSystem = `package x

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/serve"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System
name: "x"

sources: s: source.#CSV & {
	path: "s.csv"
	schema: {
		n:     col.#Int64
		label: col.#Bool
	}
}

models: m: train.#SKLearn & {
	in: table: sources.s.out
	label:     "label"
	test:      split.#Random
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	evaluation: evaluate.#Classification
}

deployments: b: serve.#HTTP & {in: model: models.m.out, port: 8082}
deployments: api: serve.#HTTP & {in: model: models.m.out}
deployments: api: {%s}
`
