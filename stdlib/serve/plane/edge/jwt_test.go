package edge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge/keys"
)

// A signer signs tokens.
type signer struct {
	id, algorithm string
	key           crypto.Signer
}

func signers(t testing.TB) (all map[string]signer) {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, d, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]signer{"RS256": {"r", "RS256", r}, "ES256": {"e", "ES256", e}, "EdDSA": {"d", "EdDSA", d}}
}

func (s signer) token(t testing.TB, claims jwt.MapClaims, change func(*jwt.Token)) string {
	t.Helper()
	x := jwt.NewWithClaims(jwt.GetSigningMethod(s.algorithm), claims)
	if x.Header["kid"] = s.id; change != nil {
		change(x)
	}
	text, err := x.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// set is a JSON Web Key Set.
func set(t testing.TB, all ...signer) string {
	t.Helper()
	text := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	var list []map[string]string
	for _, s := range all {
		x := map[string]string{"kid": s.id, "use": "sig"}
		switch k := s.key.Public().(type) {
		case *rsa.PublicKey:
			x["kty"], x["n"], x["e"] = "RSA", text(k.N.Bytes()), "AQAB"
		case *ecdsa.PublicKey:
			b, err := k.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			x["kty"], x["crv"], x["x"], x["y"] = "EC", "P-256", text(b[1:33]), text(b[33:])
		case ed25519.PublicKey:
			x["kty"], x["crv"], x["x"] = "OKP", "Ed25519", text(k)
		}
		list = append(list, x)
	}
	b, err := json.Marshal(map[string]any{"keys": append(list, map[string]string{"kty": "oct", "kid": "secret", "k": "AAAA"})})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func claims(change func(jwt.MapClaims)) jwt.MapClaims {
	now := time.Now()
	c := jwt.MapClaims{"iss": "https://id.example", "aud": []string{"other", "api"}, "sub": "alice", "scope": "openid predict metrics",
		"exp": now.Add(time.Hour).Unix(), "nbf": now.Add(-time.Minute).Unix()}
	if change != nil {
		change(c)
	}
	return c
}

func declaredJWT(jwks string) *JWT {
	return &JWT{Issuer: "https://id.example", Audience: "api", JWKS: Source{Path: jwks}, Algorithms: []string{"RS256", "ES256", "EdDSA"}, Leeway: "1s", Refresh: "1h"}
}

func asks(e *Edge, scope keys.Scopes, header ...string) (Caller, *Refusal) {
	r := httptest.NewRequest("POST", "/predict", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	var v Visit
	refusal := e.Enter(&v, r, http.Header{}, Access{Scope: scope})
	v.lease.End()
	return v.Caller, refusal
}

// A token counts if its issuer has signed it for this service, and it has not expired.
func TestTokens(t *testing.T) {
	all := signers(t)
	stranger := signers(t)["RS256"]
	e, _ := opened(t, Declared{Auth: &Auth{JWT: declaredJWT(put(t, filepath.Join(t.TempDir(), "jwks"), set(t, all["RS256"], all["ES256"], all["EdDSA"])))}})
	r := all["RS256"]
	der, err := x509.MarshalPKIXPublicKey(r.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	text := func(v string) string { return base64.RawURLEncoding.EncodeToString([]byte(v)) }
	body := func() string { b, _ := json.Marshal(claims(nil)); return text(string(b)) }()
	// The public key as a shared secret, which everybody has.
	confused, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(nil)).SignedString(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	good := r.token(t, claims(nil), nil)
	parts := strings.Split(good, ".")
	without := func(name string) func(jwt.MapClaims) { return func(c jwt.MapClaims) { delete(c, name) } }
	with := func(name string, v any) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c[name] = v } }
	for name, tt := range map[string]struct {
		token string
		ok    bool
	}{
		"RS256":                        {good, true},
		"RS256 again":                  {good, true},
		"ES256":                        {all["ES256"].token(t, claims(nil), nil), true},
		"EdDSA":                        {all["EdDSA"].token(t, claims(nil), nil), true},
		"the only key that fits":       {r.token(t, claims(nil), func(x *jwt.Token) { delete(x.Header, "kid") }), true},
		"one audience":                 {r.token(t, claims(with("aud", "api")), nil), true},
		"no signature":                 {text(`{"alg":"none"}`) + "." + body + ".", false},
		"no signature, in other words": {text(`{"alg":"nOnE","kid":"r"}`) + "." + body + "." + text("x"), false},
		"the public key as a secret":   {confused, false},
		"a key of somebody else":       {stranger.token(t, claims(nil), nil), false},
		"a key with another name":      {r.token(t, claims(nil), func(x *jwt.Token) { x.Header["kid"] = "e" }), false},
		"a name that is no text":       {r.token(t, claims(nil), func(x *jwt.Token) { x.Header["kid"] = 1 }), false},
		"a key that it brings":         {stranger.token(t, claims(nil), func(x *jwt.Token) { x.Header["kid"] = "x"; x.Header["jwk"] = json.RawMessage(set(t, stranger)) }), false},
		"something to understand":      {r.token(t, claims(nil), func(x *jwt.Token) { x.Header["crit"] = []string{"exp"} }), false},
		"changed claims":               {parts[0] + "." + text(`{"sub":"root","iss":"https://id.example","aud":"api","exp":9999999999}`) + "." + parts[2], false},
		"half a signature":             {good[:len(good)-20], false},
		"another issuer":               {r.token(t, claims(with("iss", "https://id.example.evil")), nil), false},
		"no issuer":                    {r.token(t, claims(without("iss")), nil), false},
		"another audience":             {r.token(t, claims(with("aud", "apis")), nil), false},
		"no audience":                  {r.token(t, claims(without("aud")), nil), false},
		"expired":                      {r.token(t, claims(with("exp", time.Now().Add(-time.Minute).Unix())), nil), false},
		"never expires":                {r.token(t, claims(without("exp")), nil), false},
		"not yet":                      {r.token(t, claims(with("nbf", time.Now().Add(time.Minute).Unix())), nil), false},
		"of nobody":                    {r.token(t, claims(without("sub")), nil), false},
		"of a number":                  {r.token(t, claims(with("sub", 7)), nil), false},
		"of a very long name":          {r.token(t, claims(with("sub", strings.Repeat("a", 300))), nil), false},
		"very long":                    {r.token(t, claims(with("x", strings.Repeat("a", 20000))), nil), false},
		"dots":                         {"..", false},
		"no token":                     {"a.b.c", false},
	} {
		c, refusal := asks(e, keys.Predict, "Authorization", "Bearer "+tt.token)
		switch {
		case tt.ok && (refusal != nil || c.Name != "jwt:alice" || c.Scopes != keys.Predict|keys.Metrics):
			t.Errorf("%s: %+v, %+v", name, c, refusal)
		case !tt.ok && (refusal == nil || refusal.Status != 401 || c.Name != ""):
			t.Errorf("%s: %+v, %+v", name, c, refusal)
		}
	}
	if _, refusal := asks(e, keys.Explain, "Authorization", "bearer "+good); refusal == nil || refusal.Status != 403 {
		t.Errorf("without the scope: %+v", refusal)
	}
	if _, refusal := asks(e, keys.Predict); refusal == nil || refusal.Status != 401 {
		t.Errorf("without a token: %+v", refusal)
	}
}

// A token that was verified once still expires.
func TestAVerifiedTokenExpires(t *testing.T) {
	s := signers(t)["EdDSA"]
	e, _ := opened(t, Declared{Auth: &Auth{JWT: declaredJWT(put(t, filepath.Join(t.TempDir(), "jwks"), set(t, s)))}})
	ends := time.Now().Add(time.Hour)
	token := s.token(t, claims(func(c jwt.MapClaims) { c["exp"] = ends.Unix() }), nil)
	for after, want := range map[time.Duration]error{0: nil, time.Hour - time.Second: nil, time.Hour + 3*time.Second: errExpired, -2 * time.Minute: errToken} {
		if after != 0 {
			_, _ = e.who.tokens.caller(t.Context(), token, time.Now())
		}
		if _, err := e.who.tokens.caller(t.Context(), token, time.Now().Add(after)); err != want {
			t.Errorf("after %s: %v, want %v", after, err, want)
		}
	}
}

// Scopes may have other names, in a list.
func TestScopesOfTokens(t *testing.T) {
	s := signers(t)["EdDSA"]
	d := declaredJWT(put(t, filepath.Join(t.TempDir(), "jwks"), set(t, s)))
	d.ScopeClaim, d.Identity, d.Scopes = "roles", "email", map[string]string{"predict": "late:ask", "explain": "late:ask", "metrics": "late:operate"}
	e, _ := opened(t, Declared{Auth: &Auth{JWT: d}})
	for name, want := range map[string]keys.Scopes{"late:ask": keys.Predict | keys.Explain, "late:operate": keys.Metrics, "predict": 0, "events": keys.Events} {
		token := s.token(t, claims(func(c jwt.MapClaims) { c["roles"], c["email"] = []any{name, 7, "x"}, "a@b.example" }), nil)
		c, err := e.who.tokens.caller(t.Context(), token, time.Now())
		if err != nil || c.Scopes != want || c.Name != "jwt:a@b.example" {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// Keys come from the issuer. A token with a new one makes them be fetched, but not again and
// again, and a fetch that fails leaves those of before.
func TestKeysOfAnIssuerChange(t *testing.T) {
	first, second := signers(t)["ES256"], signers(t)["EdDSA"]
	var served atomic.Value
	var fetched atomic.Int32
	served.Store(set(t, first))
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	defer s.Close()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"issuer": %q, "jwks_uri": %q}`, s.URL, s.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		if text := served.Load().(string); text != "" {
			fmt.Fprint(w, text)
		} else {
			w.WriteHeader(500)
		}
	})
	d := declaredJWT("")
	d.Issuer = s.URL
	e, log := opened(t, Declared{Auth: &Auth{JWT: d}})
	mine := func(c jwt.MapClaims) { c["iss"] = s.URL }
	ask := func(x signer) int {
		_, refusal := asks(e, keys.Predict, "Authorization", "Bearer "+x.token(t, claims(mine), nil))
		if refusal != nil {
			return refusal.Status
		}
		return 200
	}
	if status := ask(first); status != 200 || fetched.Load() != 1 {
		t.Fatalf("%d after %d fetches: %s", status, fetched.Load(), log)
	}
	if status := ask(second); status != 401 || fetched.Load() != 1 {
		t.Errorf("a key that nobody has: %d after %d fetches", status, fetched.Load())
	}
	e.who.tokens.issuer.tried = time.Time{} // a while later
	served.Store(set(t, second))
	if status := ask(second); status != 200 || fetched.Load() != 2 {
		t.Errorf("a new key: %d after %d fetches", status, fetched.Load())
	}
	if status := ask(first); status != 401 {
		t.Errorf("a key that was withdrawn: %d", status)
	}
	served.Store("")
	e.who.tokens.issuer.fetch(t.Context(), 0)
	if status := ask(second); status != 200 || !strings.Contains(log.String(), "answered 500") {
		t.Errorf("an issuer that is away: %d, %s", status, log)
	}
	// Before there are keys, nobody knows whether a token is good.
	away := declaredJWT("http://127.0.0.1:1/keys")
	e, _ = opened(t, Declared{Auth: &Auth{JWT: away}})
	if status := ask(second); status != 503 {
		t.Errorf("without any keys: %d", status)
	}
}

// The document of an issuer names it. Another one may have other keys.
func TestTheDocumentIsOfTheIssuer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"issuer": "https://other.example", "jwks_uri": "https://other.example/keys"}`)
	}))
	defer s.Close()
	d := declaredJWT("")
	d.Issuer = s.URL
	_, log := opened(t, Declared{Auth: &Auth{JWT: d}})
	if !strings.Contains(log.String(), "does not name the issuer") {
		t.Error(log)
	}
}

func FuzzReadKeys(f *testing.F) {
	all := signers(f)
	f.Add([]byte(set(f, all["RS256"], all["ES256"], all["EdDSA"])))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":""},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readKeys(b)
		if err == nil && len(s.keys) == 0 {
			t.Error("a set without keys")
		}
	})
}
